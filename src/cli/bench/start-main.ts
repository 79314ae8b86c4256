/** One start: opens the adapter, reads the model, runs once. What it answers is the time since this process began. */
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { f16 } from "../../engine/halves.ts";
import { Session } from "../../engine/session.ts";
import { must } from "../../errors.ts";
import { readModelFile } from "../../files.ts";
import { openAdapter } from "../../gpu/dawn/adapters.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { buildGraph } from "../../graph/build.ts";
import { MARK, type ChildFeed } from "./child.ts";
import { concatenated, type Sample } from "./engine.ts";

interface StartJob {
  readonly path: string;
  readonly outputs: readonly string[];
  readonly adapter: string;
  /** Its name; null for float32. */
  readonly precision: string | null;
}
type Command =
  { readonly job: StartJob } | { readonly run: number; readonly output: string; readonly feeds: readonly ChildFeed[] };

const answer = (value: unknown): void => {
  process.stdout.write(`\n${MARK}${JSON.stringify(value)}\n`);
};

async function first({ path, outputs, adapter, precision }: StartJob, feeds: readonly ChildFeed[]): Promise<Sample> {
  using opened = await openAdapter({ name: adapter });
  using gpu = await Gpu.open(opened.adapter, opened);
  using session = new Session(gpu, buildGraph(readModelFile(path)), {
    precision: precision === f16.name ? f16 : undefined,
  });
  const inputs = new Map(
    feeds.map(({ name, shape, file }) => {
      const bytes = readFileSync(file);
      const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
      return [name, { type: "float32", shape, data } as const];
    }),
  );
  const results = await session.run(inputs, outputs);
  const ms = performance.now(); // since the process began: Node's own start counts, closing the device does not
  return { ms, output: concatenated(outputs.map((name) => must(results.get(name), name).data)) };
}

let job: StartJob | undefined;
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const command = JSON.parse(line) as Command;
    if ("job" in command) {
      job = command.job;
      answer({ ready: true });
      continue;
    }
    const { ms, output } = await first(must(job, "job"), command.feeds);
    writeFileSync(command.output, output);
    answer({ ms });
  } catch (error) {
    answer({ error: error instanceof Error ? error.message : String(error) });
  }
}
process.exit(0);
