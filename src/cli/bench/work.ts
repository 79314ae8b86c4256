/** What a network must do at least, by its own definition: multiplications and additions, bytes; and how much it may round. */
import type { Precision } from "../../engine/precision.ts";
import { convLayers } from "../../graph/conv-layers.ts";
import { sizeOf, type GraphNode, type ShapedGraph } from "../../graph/graph.ts";

export interface NodeWork {
  readonly node: GraphNode;
  /** For people: "3x3/2", "depthwise 3x3", "Gemm", "Add". */
  readonly what: string;
  /** Multiplications and additions, each counted as one, of the direct way; 0 where hardly any are done. */
  readonly operations: number;
  /** Inputs, weights and outputs, each read or written once. */
  readonly bytes: number;
  /** Length of the sums: multiplications a result. */
  readonly depth: number;
}

/** One entry a node that computes, in the order of the graph. */
export function workOf(graph: ShapedGraph): NodeWork[] {
  const layers = new Map(convLayers(graph).map((layer) => [layer.node, layer]));
  const elements = (name: string): number => sizeOf(graph.values.get(name)?.shape ?? [0]);
  return graph.nodes.map((node) => {
    const bytes = 4 * [...node.inputs, ...node.outputs].reduce((n, name) => n + (name === "" ? 0 : elements(name)), 0);
    const results = elements(node.outputs[0] ?? "");
    const layer = layers.get(node);
    if (layer !== undefined) {
      const depth = (layer.inChannels / layer.groups) * sizeOf(layer.kernel);
      return { node, what: convolution(layer), operations: 2 * results * depth, bytes, depth };
    }
    const depth = node.opType === "Gemm" || node.opType === "MatMul" ? innerSize(graph, node) : 0;
    return { node, what: node.opType, operations: 2 * results * depth, bytes, depth };
  });
}

function convolution(layer: ReturnType<typeof convLayers>[number]): string {
  const strides = layer.node.attributes.get("strides");
  const stride = Array.isArray(strides) && typeof strides[0] === "number" && strides[0] > 1 ? `/${strides[0]}` : "";
  const size = `${layer.kernel.join("x")}${stride}`;
  if (layer.groups === 1) return size;
  return layer.groups === layer.inChannels ? `depthwise ${size}` : `grouped ${size}`;
}

function innerSize(graph: ShapedGraph, { opType, inputs, attributes }: GraphNode): number {
  const shape = graph.values.get(inputs[0] ?? "")?.shape ?? [];
  return (opType === "Gemm" && attributes.get("transA") === 1 ? shape[0] : shape.at(-1)) ?? 0;
}

/** Winograd's F(4x4, 3x3) rounds about so many times more than the direct way (Lavin and Gray 2016, and our own tests). */
const WINOGRAD = 8;

/**
 * What half precision adds to the bound: a layer's output, and its weights, are rounded to float16, u16 of their size; so is
 * what Winograd's transformed weights weigh, which its transforms enlarge as they do float32's roundings.
 */
function halfBound(work: readonly NodeWork[], largest: number): number {
  const u16 = 2 ** -11;
  const layers = work.reduce((n, w) => n + (w.depth === 0 ? 1 : 1 + (w.what === "3x3" ? WINOGRAD : 1)), 1);
  return u16 * layers * largest;
}

/**
 * How far two engines' outputs may lie apart, of outputs of size `largest`: each layer adds rounding errors of float32, u
 * times the root of the length of its sums relative to its values' size, in both engines. Wrong results are off by far more:
 * by the outputs' own size.
 */
export function roundingBound(work: readonly NodeWork[], largest: number): number {
  const u = 2 ** -24;
  const layers = work.reduce(
    (n, w) => n + (w.depth === 0 ? 1 : Math.sqrt(w.depth) * (w.what === "3x3" ? WINOGRAD : 1)),
    1,
  );
  return 2 * u * layers * largest;
}

export interface Difference {
  readonly difference: number;
  readonly bound: number;
  readonly holds: boolean;
}

/** Outputs beside the peer's; what is not a number, or not as many, does not hold. */
export function differenceOf(
  ours: Float32Array,
  theirs: Float32Array,
  work: readonly NodeWork[],
  precision?: Precision,
): Difference {
  const largest = theirs.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const bound = roundingBound(work, largest) + (precision === undefined ? 0 : halfBound(work, largest));
  if (ours.length !== theirs.length || ours.length === 0) return { difference: Infinity, bound, holds: false };
  let difference = 0;
  for (let k = 0; k < ours.length; k++) {
    const d = Math.abs((ours[k] ?? NaN) - (theirs[k] ?? NaN));
    difference = Number.isNaN(d) ? Infinity : Math.max(difference, d);
  }
  return { difference, bound, holds: difference <= bound && Number.isFinite(bound) && largest > 0 };
}
