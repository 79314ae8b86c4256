/** PyTorch on the processor, where a Python has it: the network is given as a list of nodes, for it reads no ONNX itself. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readModelFile } from "../../files.ts";
import { buildGraph } from "../../graph/build.ts";
import { elementsOf, type ShapedGraph } from "../../graph/graph.ts";
import { inferShapes } from "../../graph/infer.ts";
import { inferRule } from "../../kernels/table.ts";
import { ChildEngine } from "./child.ts";
import type { Engine, Peer, Task } from "./engine.ts";
import { TORCH_PROGRAM } from "./torch-program.ts";

interface Constant {
  readonly name: string;
  readonly shape: readonly number[];
  /** In elements of the file of weights; integers stand in `values`. */
  readonly offset?: number;
  readonly values?: readonly number[];
}

/** The network for torch-program.ts; float constants go into the file `weights`. */
export function torchNetwork(graph: ShapedGraph, weights: string): unknown {
  const used = new Set(graph.nodes.flatMap((node) => node.inputs));
  const floats: Float32Array[] = [];
  const constants: Constant[] = [];
  let offset = 0;
  for (const [name, { value }] of graph.values) {
    if (value === undefined || !used.has(name)) continue;
    const data = elementsOf(value);
    if (data instanceof Float32Array) {
      constants.push({ name, shape: value.shape, offset });
      floats.push(data);
      offset += data.length;
    } else constants.push({ name, shape: value.shape, values: Array.from(data) });
  }
  writeFileSync(
    weights,
    Buffer.concat(floats.map((data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))),
  );
  const nodes = graph.nodes.map(({ opType, inputs, outputs, attributes }) => ({
    type: opType,
    inputs,
    outputs,
    attributes: Object.fromEntries(attributes),
  }));
  return { nodes, constants, weights };
}

function hasTorch(python: string): boolean {
  return spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status === 0;
}

async function open(task: Task, python: string): Promise<Engine> {
  const shapes = new Map(task.feeds.map((f) => [f.name, f.shape]));
  const shaped = inferShapes(buildGraph(readModelFile(task.path)), shapes, inferRule);
  const folder = mkdtempSync(join(tmpdir(), "unbraid-torch-"));
  const engine = new ChildEngine("pytorch", [python, "-c", TORCH_PROGRAM], task.feeds);
  try {
    await engine.ask({ job: { ...task, feeds: [], program: torchNetwork(shaped, join(folder, "weights")) } });
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true }); // the weights have been read
  }
}

/** @param given the interpreter of --python */
export function torchPeer(given: string | undefined): Peer {
  const python = given ?? "python3";
  return {
    name: "pytorch",
    open: async (task) => {
      if (!hasTorch(python)) throw new Error(`${python} cannot import torch (--python names an interpreter that can)`);
      return open(task, python);
    },
  };
}
