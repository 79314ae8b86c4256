/** Time from a process's begin to the first logits, with caches and without: each start is a process of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { compiledPath } from "../../compiled.ts";
import { ChildEngine } from "./child.ts";
import type { Sample, Task } from "./engine.ts";

/** The compiled child. */
const MAIN = compiledPath("./start-main.js", import.meta.url);

/**
 * @param cold nothing cached: no shaders of Mesa's or NVIDIA's, no unpacked SwiftShader, no choices of ours
 * @param adapter its name, as `--adapter` takes it
 */
export async function firstLogits(task: Task, adapter: string, cold: boolean): Promise<Sample> {
  const cache = mkdtempSync(join(tmpdir(), "unbraid-cold-"));
  const environment = cold
    ? { MESA_SHADER_CACHE_DIR: cache, __GL_SHADER_DISK_CACHE_PATH: cache, XDG_CACHE_HOME: cache }
    : {};
  const engine = new ChildEngine("start", [process.execPath, MAIN], task.feeds, environment);
  try {
    await engine.ask({
      job: { path: resolve(task.path), outputs: task.outputs, adapter, precision: task.precision?.name ?? null },
    });
    return await engine.run(1);
  } finally {
    await engine.close();
    rmSync(cache, { recursive: true, force: true });
  }
}
