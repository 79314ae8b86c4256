/**
 * The parts of a split as the split model itself holds them: rows of weights over the layer's input, whatever rule made
 * them, read back through the nodes that surgery inserted (graph/surgery.ts).
 */
import { UnbraidError } from "../../errors.ts";
import { sizeOf, type GraphNode, type HostTensor, type ShapedGraph } from "../../graph/graph.ts";

/** Values that are linear in the patches of one value: y[r, p] = bias[r] + sum over i, k of weights[r][i, k] x[i, p, k]. */
export interface LinearRows {
  /** [rows][I, K] over all input channels of the layer, zeros outside a row's group. */
  readonly weights: readonly Float64Array[];
  /** [rows] */
  readonly bias: Float64Array;
}

/** Where the rows begin: the layer's input value, its channels, and the taps of its kernel. */
export interface RowsFrom {
  readonly input: string;
  readonly inChannels: number;
  readonly taps: number;
}

/**
 * The rows of `value`, which is a Conv over the layer's input or over a slice of its channels, or 1x1 Convs, Concats and
 * Identities of such.
 * @throws UnbraidError SPLIT_ROWS where anything else stands on the way
 */
export function linearRows(graph: ShapedGraph, value: string, from: RowsFrom): LinearRows {
  const node = producer(graph, value);
  const [x = "", w = "", b = ""] = node?.inputs ?? [];
  if (node?.opType === "Identity") return linearRows(graph, x, from);
  if (node?.opType === "Concat" && node.attributes.get("axis") === 1) {
    const pieces = node.inputs.map((name) => linearRows(graph, name, from));
    return {
      weights: pieces.flatMap((piece) => piece.weights),
      bias: Float64Array.from(pieces.flatMap((piece) => [...piece.bias])),
    };
  }
  const weight = node?.opType === "Conv" ? graph.values.get(w)?.value : undefined;
  if (node === undefined || weight === undefined) throw otherwise(value, node);
  const [rows = 0] = weight.shape;
  const added = graph.values.get(b)?.value?.data ?? new Float64Array(rows);
  const first = x === from.input ? 0 : sliceStart(graph, producer(graph, x), from.input);
  if (first === undefined) return composed(weight, added, linearRows(graph, pointwise(node, weight, x), from));
  return { weights: placed(node, weight, first, from), bias: Float64Array.from(added) };
}

const producer = (graph: ShapedGraph, value: string): GraphNode | undefined =>
  graph.nodes.find((node) => node.outputs.includes(value));

const otherwise = (value: string, node: GraphNode | undefined): UnbraidError =>
  new UnbraidError(
    "model",
    "SPLIT_ROWS",
    `"${value}", which the split's record names, is ${node === undefined ? "given by no node" : `given by the ${node.opType} node "${node.name}"`}: these are not the parts of a Conv layer`,
    "Split the model again with this version of unbraid, and do not rewrite the split model with other tools.",
  );

/** The first channel that a Slice takes of `input`; undefined where the node is none of that. */
function sliceStart(graph: ShapedGraph, node: GraphNode | undefined, input: string): number | undefined {
  if (node?.opType !== "Slice" || node.inputs[0] !== input) return undefined;
  const starts = node.attributes.get("starts");
  if (Array.isArray(starts)) return Number(starts[0]);
  return graph.values.get(node.inputs[1] ?? "")?.value?.data[0];
}

/** A Conv's rows, each put where its group lies among all input channels. */
function placed(node: GraphNode, weight: HostTensor, first: number, { inChannels, taps }: RowsFrom): Float64Array[] {
  const [rows = 0, groupInputs = 0, ...kernel] = weight.shape;
  const group = node.attributes.get("group");
  const groups = typeof group === "number" ? group : 1;
  if (sizeOf(kernel) !== taps || first + groups * groupInputs > inChannels)
    throw otherwise(node.outputs[0] ?? "", node);
  const size = groupInputs * taps;
  return Array.from({ length: rows }, (_, r) => {
    const row = new Float64Array(inChannels * taps);
    const start = first + Math.floor(r / (rows / groups)) * groupInputs;
    row.set(weight.data.subarray(r * size, (r + 1) * size), start * taps);
    return row;
  });
}

/** The input of a Conv that only mixes channels. */
function pointwise(node: GraphNode, weight: HostTensor, x: string): string {
  const all = (name: string, n: number): boolean => {
    const value = node.attributes.get(name);
    return !Array.isArray(value) || value.every((v) => v === n);
  };
  const group = node.attributes.get("group") ?? 1;
  if (sizeOf(weight.shape.slice(2)) === 1 && group === 1 && all("strides", 1) && all("pads", 0)) return x;
  throw otherwise(node.outputs[0] ?? "", node);
}

function composed(weight: HostTensor, bias: ArrayLike<number>, inner: LinearRows): LinearRows {
  const [rows = 0, width = 0] = weight.shape;
  const size = inner.weights[0]?.length ?? 0;
  const sums = Float64Array.from({ length: rows }, (_, r) => bias[r] ?? 0);
  const weights = Array.from({ length: rows }, (_, r) => {
    const row = new Float64Array(size);
    for (let k = 0; k < width; k++) {
      const factor = weight.data[r * width + k] ?? 0;
      if (factor === 0) continue;
      const part = inner.weights[k] ?? row;
      for (let j = 0; j < size; j++) row[j] = (row[j] ?? 0) + factor * (part[j] ?? 0);
      sums[r] = (sums[r] ?? 0) + factor * (inner.bias[k] ?? 0);
    }
    return row;
  });
  return { weights, bias: sums };
}
