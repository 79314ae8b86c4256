/** The engines that ours is held against: each is there, or said to be absent. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { compiledPath } from "../../compiled.ts";
import { ChildEngine, type Command, type Job } from "./child.ts";
import type { Engine, Peer, Task } from "./engine.ts";
import { TFJS_CORE, TFJS_INSTALL, TFJS_WEBGPU } from "./tfjs-api.ts";
import { torchPeer } from "./torch.ts";

export interface PeerOptions {
  readonly prototype?: string | undefined;
  readonly python?: string | undefined;
}

const require = createRequire(import.meta.url);

const MAIN = compiledPath("./child-main.js", import.meta.url);

async function open(name: string, task: Task, rest: Pick<Job, "provider" | "folder" | "shapes">): Promise<Engine> {
  const { path, batch, outputs, adapter } = task;
  const engine = new ChildEngine(name, [process.execPath, MAIN], task.feeds);
  try {
    await engine.ask({ job: { path: resolve(path), batch, outputs, adapter, ...rest } } satisfies Command);
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

const onnxruntime = (provider: Job["provider"]): Peer => ({
  name: `onnxruntime_${provider}`,
  open: async (task) => {
    if (!installed("onnxruntime-node")) throw new Error("onnxruntime-node is not installed");
    return open(`onnxruntime_${provider}`, task, { provider });
  },
});

const prototype = (folder: string): Peer => ({
  name: "prototype",
  open: async (task) => {
    const root = resolve(folder);
    if (!existsSync(join(root, "net.mjs"))) throw new Error(`there is no net.mjs in ${folder}`);
    if (task.feeds.length !== 1) throw new Error("it takes networks with one input");
    return open("prototype", task, { provider: "webgpu", folder: root });
  },
});

/** On Dawn, with our graph: it reads no ONNX. Who wants it installs it: 70 MB, for this comparison alone. */
const tfjs: Peer = {
  name: "tfjs_webgpu",
  open: async (task) => {
    const missing = [TFJS_CORE, TFJS_WEBGPU].filter((name) => !installed(name));
    if (missing.length > 0) throw new Error(`not installed: ${missing.join(", ")} (${TFJS_INSTALL})`);
    const shapes = task.feeds.map(({ name, shape }) => [name, shape] as const);
    return open("tfjs_webgpu", task, { provider: "webgpu", shapes });
  },
};

export function installed(name: string): boolean {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
}

export function allPeers(options: PeerOptions): Peer[] {
  return [
    onnxruntime("webgpu"),
    onnxruntime("cpu"),
    ...(options.prototype === undefined ? [] : [prototype(options.prototype)]),
    torchPeer(options.python),
    tfjs,
  ];
}
