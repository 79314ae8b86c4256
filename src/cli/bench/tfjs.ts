/**
 * Our graph as a network of tfjs, which reads no ONNX. It is given what tfjs' own converter gives a model: BatchNormalization
 * is folded into the Conv before it, a bias and a Relu are done by the Conv, and images have channels last. Its results count
 * only where they agree with ours, so it need not be complete.
 */
import { must } from "../../errors.ts";
import { foldBatchNorm } from "../../graph/fold-batchnorm.ts";
import type { Graph, GraphNode, ShapedGraph } from "../../graph/graph.ts";
import { inferShapes } from "../../graph/infer.ts";
import { neededNodes, readers } from "../../graph/prune.ts";
import { inferRule } from "../../kernels/table.ts";
import type { Activation, Tensor, Tf } from "./tfjs-api.ts";
import { clipBounds, TFJS_OPERATORS, type Compute } from "./tfjs-operators.ts";
import { channelsFirst, type Site } from "./tfjs-site.ts";

export type Shapes = ReadonlyMap<string, readonly number[]>;

interface Step {
  readonly compute: Compute;
  readonly inputs: readonly string[];
  readonly output: string;
  /** Values that no later step reads. */
  readonly done: readonly string[];
}

/** Inputs are kept as tfjs takes them: see channelsLast. Outputs have ONNX's layout; the caller disposes of them. */
export type TfjsNetwork = (feeds: ReadonlyMap<string, Float32Array>) => readonly Tensor[];

const FUSING = new Set(["Conv", "Gemm", "MatMul"]);

/** The numbers of a [N, C, H, W] as [N, H, W, C]; those of every other rank as they are. */
export function channelsLast(data: Float32Array, shape: readonly number[]): Float32Array {
  const [images = 0, channels = 0, ...spatial] = shape;
  if (spatial.length !== 2) return data;
  const pixels = (spatial[0] ?? 0) * (spatial[1] ?? 0);
  const turned = new Float32Array(data.length);
  for (let n = 0; n < images; n++)
    for (let c = 0; c < channels; c++)
      for (let p = 0; p < pixels; p++)
        turned[(n * pixels + p) * channels + c] = data[(n * channels + c) * pixels + p] ?? NaN;
  return turned;
}

function siteOf(tf: Tf, graph: ShapedGraph, node: GraphNode, activation?: Activation): Site {
  const info = (name: string | undefined) => must(graph.values.get(name ?? ""), `value ${name ?? ""}`);
  return {
    ...{ tf, node, activation, output: info(node.outputs[0]).shape },
    shape: (k) => info(node.inputs[k]).shape,
    constant: (k) => info(node.inputs[k]).value,
  };
}

function activationOf(tf: Tf, graph: ShapedGraph, node: GraphNode): Activation | undefined {
  if (node.opType === "Relu") return "relu";
  if (node.opType !== "Clip") return undefined;
  const [low, high] = clipBounds(siteOf(tf, graph, node));
  return low === 0 && high === 6 ? "relu6" : undefined;
}

/** @throws Error naming all operators that are not mapped, or the first node with what tfjs lacks */
function stepsOf(tf: Tf, graph: ShapedGraph): Step[] {
  const nodes = neededNodes(graph, graph.outputs);
  const missing = [...new Set(nodes.map((n) => n.opType))].filter((type) => !TFJS_OPERATORS.has(type)).sort();
  if (missing.length > 0) throw new Error(`the tfjs peer has no ${missing.join(", ")}`);
  const reads = readers(graph);
  const fused = new Set<GraphNode>();
  const steps: Omit<Step, "done">[] = [];
  for (const node of nodes) {
    if (fused.has(node)) continue;
    let [output = ""] = node.outputs;
    let activation: Activation | undefined;
    if (FUSING.has(node.opType) && reads.get(output) === 1) {
      const next = nodes.find((n) => n.inputs[0] === output);
      activation = next && activationOf(tf, graph, next);
      if (next !== undefined && activation !== undefined) {
        fused.add(next);
        output = next.outputs[0] ?? "";
      }
    }
    const lower = must(TFJS_OPERATORS.get(node.opType), node.opType);
    steps.push({ compute: lower(siteOf(tf, graph, node, activation)), inputs: node.inputs, output });
  }
  const last = new Map(steps.flatMap(({ inputs }, k) => inputs.map((name) => [name, k] as const)));
  const kept = (name: string): boolean => graph.outputs.includes(name) || graph.constants.has(name);
  return steps.map((step, k) => ({
    ...step,
    done: [...new Set(step.inputs)].filter((name) => last.get(name) === k && !kept(name)),
  }));
}

/** @param outputs what each run gives, in this order @throws Error that says why tfjs cannot run it */
export function tfjsNetwork(tf: Tf, graph: Graph, shapes: Shapes, outputs: readonly string[]): TfjsNetwork {
  const shaped = foldBatchNorm(inferShapes({ ...graph, outputs }, shapes, inferRule), new Set(outputs));
  const steps = stepsOf(tf, shaped);
  return (feeds) =>
    tf.tidy(() => {
      const values = new Map<string, Tensor>();
      for (const [name, data] of feeds) {
        const shape = must(shapes.get(name), name);
        const [n = 0, c = 0, ...spatial] = shape;
        values.set(name, tf.tensor(data, spatial.length === 2 ? [n, ...spatial, c] : shape));
      }
      for (const { compute, inputs, output, done } of steps) {
        const result = compute((k) => must(values.get(inputs[k] ?? ""), `value ${inputs[k] ?? ""}`));
        values.set(output, result);
        for (const name of done) values.get(name)?.dispose();
      }
      return outputs.map((name) => channelsFirst(tf, must(values.get(name), name)));
    });
}
