/**
 * Which pixels of the network's input a position of an inner value can see: the union, over all ways through the graph, of the
 * windows of Conv and pooling nodes (their strides, pads and dilations multiply and add up as in Araujo, Norris and Sim,
 * "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).
 */
import type { GraphNode, ShapedGraph } from "../graph/graph.ts";
import { intAttr, intsAttr } from "../kernels/attributes.ts";
import { resolveSpatial, type Spatial } from "../kernels/spatial.ts";

/** Along one axis position p sees the input's pixels from first + p step to last + p step. */
interface Axis {
  readonly step: number;
  readonly first: number;
  readonly last: number;
}

/** Two axes: of the height and of the width. */
type Field = readonly [Axis, Axis];

/** Pixels of the input, cut off at its edges. */
export interface Window {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const WINDOWS = new Set(["Conv", "MaxPool", "AveragePool", "LpPool"]);

/**
 * @param value [n, channels, height, width]
 * @param input the graph input that takes images, [n, channels, height, width]
 * @returns what a position (row-major) sees; undefined where it may be anything: behind a node that mixes positions, or moves
 * them about, the whole image
 */
export function receptiveField(
  graph: ShapedGraph,
  value: string,
  input: string,
): ((position: number) => Window) | undefined {
  const image = graph.values.get(input)?.shape ?? [];
  const shape = graph.values.get(value)?.shape ?? [];
  const [height = 0, width = 0] = image.slice(2);
  const own: Axis = { step: 1, first: 0, last: 0 };
  const fields = new Map<string, Field | "all">([[input, [own, own]]]);
  for (const node of graph.nodes) {
    const sources = node.inputs.flatMap((name) => {
      const field = fields.get(name);
      return field === undefined ? [] : [{ name, field }];
    });
    if (sources.length === 0) continue;
    const through = sources.map(({ name, field }) => (field === "all" ? field : behind(graph, node, name, field)));
    const joined = through.reduce((a, b) => (a === "all" || b === "all" ? "all" : union(a, b)));
    for (const name of node.outputs) fields.set(name, joined);
  }
  const field = fields.get(value);
  if (field === undefined || field === "all" || shape.length !== 4 || image.length !== 4) return undefined;
  const columns = shape[3] ?? 1;
  return (position) => {
    const [y, bottom] = range(field[0], Math.floor(position / columns), height);
    const [x, right] = range(field[1], position % columns, width);
    return { x, y, width: right - x, height: bottom - y };
  };
}

/** [from, to), at least a pixel. */
function range({ step, first, last }: Axis, p: number, size: number): readonly [number, number] {
  const from = Math.min(size - 1, Math.max(0, first + p * step));
  return [from, Math.max(from + 1, Math.min(size, last + p * step + 1))];
}

function behind(graph: ShapedGraph, node: GraphNode, name: string, field: Field): Field | "all" {
  const shape = graph.values.get(name)?.shape ?? [];
  if (WINDOWS.has(node.opType)) {
    const window = name === node.inputs[0] && shape.length === 4 ? windowOf(graph, node, shape) : undefined;
    return window === undefined ? "all" : [slide(field[0], window, 0), slide(field[1], window, 1)];
  }
  // Element by element, or normalised or joined over channels: positions stay where they are.
  const output = graph.values.get(node.outputs[0] ?? "")?.shape ?? [];
  const stays =
    shape.length === 4 &&
    output.length === 4 &&
    shape[2] === output[2] &&
    shape[3] === output[3] &&
    (POINTWISE.has(node.opType) || (node.opType === "Concat" && node.attributes.get("axis") === 1));
  return stays ? field : "all";
}

/** What computes an element from elements at its own position only (of values of its height and width). */
const POINTWISE = new Set(
  (
    "Abs Add BatchNormalization Cast Ceil Celu Clip Constant Div Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity " +
    "LRN LeakyRelu Log Max Mean Min Mish Mul Neg PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Softplus Softsign Sqrt " +
    "Sub Sum Tanh ThresholdedRelu Where"
  ).split(" "),
);

function windowOf(graph: ShapedGraph, node: GraphNode, shape: readonly number[]): Spatial {
  const spatial = shape.slice(2);
  const kernel =
    node.opType === "Conv"
      ? (graph.values.get(node.inputs[1] ?? "")?.shape.slice(2) ?? [])
      : (intsAttr(node, "kernel_shape", undefined, spatial.length) ?? []);
  return resolveSpatial(node, spatial, kernel, { ceilMode: intAttr(node, "ceil_mode", 0) !== 0 });
}

/** Positions of the output, in those of the input of a window. */
function slide({ step, first, last }: Axis, window: Spatial, axis: 0 | 1): Axis {
  const [stride, dilation] = [window.strides[axis] ?? 1, window.dilations[axis] ?? 1];
  const [kernel, pad] = [window.kernel[axis] ?? 1, window.padsBegin[axis] ?? 0];
  return { step: step * stride, first: first - pad * step, last: last + ((kernel - 1) * dilation - pad) * step };
}

function union(a: Field, b: Field): Field | "all" {
  const axes = ([0, 1] as const).map((k): Axis | undefined =>
    a[k].step === b[k].step
      ? { step: a[k].step, first: Math.min(a[k].first, b[k].first), last: Math.max(a[k].last, b[k].last) }
      : undefined,
  );
  const [rows, columns] = axes;
  return rows === undefined || columns === undefined ? "all" : [rows, columns];
}
