/** What becomes of one mutant: everything that reads a model, and a run on the device where it comes that far. */
import { Executable } from "../../../src/engine/executable.ts";
import { makePlan, type Plan } from "../../../src/engine/plan.ts";
import { WeightStore } from "../../../src/engine/weights.ts";
import { UnbraidError } from "../../../src/errors.ts";
import type { Gpu } from "../../../src/gpu/gpu.ts";
import { buildGraph } from "../../../src/graph/build.ts";
import { convLayers } from "../../../src/graph/conv-layers.ts";
import { sizeOf, type Graph } from "../../../src/graph/graph.ts";
import { inferShapes } from "../../../src/graph/infer.ts";
import { splitLayer } from "../../../src/graph/surgery.ts";
import { inferRule } from "../../../src/kernels/table.ts";
import { decodeModel } from "../../../src/onnx/decode.ts";
import type { ExternalReader, OnnxModel } from "../../../src/onnx/model.ts";

/** An adapter with subgroups, so that plans are those of the fast kernels. */
const WIDE = { subgroups: 8, workgroupBytes: 32768 };

export interface Attempt {
  /** "planned", or the error's code. */
  readonly outcome: string;
  readonly message: string;
  readonly graph?: Graph;
  readonly plan?: Plan;
}

const SIDE = 8;
/** Batch 2, and images of 8 pixels where the file leaves their size open. */
const shapesFor = (graph: Graph): Map<string, number[]> =>
  new Map(graph.inputs.map((i) => [i.name, (i.shape ?? [2, 3, SIDE, SIDE]).map((d, k) => d ?? (k === 0 ? 2 : SIDE))]));

/** Decodes, builds, splits a Conv, and plans forward; where `gradient`, backward too, and lists the layers as inspect does. Only UnbraidError is caught. */
export function attempt(bytes: Uint8Array, gradient: boolean, external?: ExternalReader): Attempt {
  try {
    const model = decodeModel(bytes, external);
    const graph = buildGraph(model);
    splitSome(model);
    const shapes = shapesFor(graph);
    if (gradient) {
      planGradient(graph, shapes);
      tolerant(() => convLayers(inferShapes(graph, shapes, inferRule)));
    }
    const plan = makePlan(graph, { inputs: shapes, outputs: graph.outputs }, WIDE);
    return { outcome: "planned", message: "", graph, plan };
  } catch (error) {
    if (error instanceof UnbraidError) return { outcome: error.code, message: error.message };
    throw error;
  }
}

/** Errors of these two do not end the attempt: a model that cannot be split may still be run. */
function tolerant(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
  }
}

function splitSome(model: OnnxModel): void {
  const nodeIndex = model.nodes.findLastIndex((n) => n.opType === "Conv");
  const node = model.nodes[nodeIndex];
  if (node === undefined) return;
  tolerant(() => {
    const width = model.initializers.get(node.inputs[1] ?? "")?.dims[1] ?? 2;
    const sets = Uint32Array.from({ length: Math.min(width, 4096) }, (_, i) => 1 + (i % 3));
    decodeModel(splitLayer(model, { nodeIndex, channels: [{ channel: 1, concepts: 2, sets }] }).bytes);
  });
}

function planGradient(graph: Graph, shapes: ReadonlyMap<string, number[]>): void {
  const [of = ""] = graph.outputs;
  const wrt = graph.inputs.map((i) => i.name);
  tolerant(() => makePlan(graph, { inputs: shapes, outputs: [], gradient: { of, wrt } }, WIDE));
}

/** What a test run takes on: enough for every mutant that is still a small network. */
const MOST_BYTES = 4 * 2 ** 20;
const MOST_GROUPS = 5000;

export function smallEnough({ slots, calls }: Plan): boolean {
  const bytes = slots.reduce((n, s) => n + s.bytes, 0);
  const groups = calls.reduce((n, c) => n + c.workgroups[0] * c.workgroups[1] * c.workgroups[2], 0);
  return bytes < MOST_BYTES && groups < MOST_GROUPS;
}

/** Numbers in -1 .. 1 for every input of a plan. */
export const inputsOf = (plan: Plan): Map<string, Float32Array> =>
  new Map(
    [...plan.inputs].map(([name, t]) => [
      name,
      Float32Array.from({ length: sizeOf(t.shape) }, (_, i) => Math.sin(1 + 7 * i)),
    ]),
  );

/** Runs the plan; the results by the names of the graph's outputs. */
export async function evaluate(gpu: Gpu, graph: Graph, plan: Plan): Promise<Map<string, Float32Array>> {
  using weights = new WeightStore(gpu);
  using executable = await Executable.make(gpu, plan, weights);
  executable.run(inputsOf(plan));
  return await executable.read([...new Set(graph.outputs)]);
}
