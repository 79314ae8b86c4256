/**
 * Folds BatchNormalization (inference) into the Conv before it:
 *   s = scale / sqrt(var + epsilon),   W' = s W,   b' = (b - mean) s + beta      (ONNX BatchNormalization, opset 7..15)
 * A Conv whose own output must stay visible is left alone: a layer under study is read before its BatchNormalization.
 */
import { elementsOf, sizeOf, type GraphNode, type HostTensor, type ShapedGraph } from "./graph.ts";
import { LAZY_FROM, lazyTensor } from "./lazy.ts";
import { readers } from "./prune.ts";

/** @param visible values that must still exist afterwards */
export function foldBatchNorm(graph: ShapedGraph, visible: ReadonlySet<string>): ShapedGraph {
  const uses = readers(graph);
  const producer = new Map<string, GraphNode>();
  for (const node of graph.nodes) for (const name of node.outputs) producer.set(name, node);
  const replaced = new Map<GraphNode, GraphNode>();
  const dropped = new Set<GraphNode>();
  const constants = new Map(graph.constants);
  const values = new Map(graph.values);

  for (const bn of graph.nodes) {
    if (bn.opType !== "BatchNormalization") continue;
    const through = bn.inputs[0] ?? "";
    const conv = producer.get(through);
    const output = bn.outputs[0] ?? "";
    if (conv?.opType !== "Conv" || uses.get(through) !== 1 || visible.has(through)) continue;
    // Gradients with regard to the layer's own weight, bias or statistics are wanted: they must stay what they are.
    if ([...conv.inputs.slice(1), ...bn.inputs.slice(1)].some((name) => visible.has(name))) continue;
    const folded = foldedOnce(graph, conv, bn);
    if (folded === undefined) continue;
    const weightName = `${output}:folded weight`;
    const biasName = `${output}:folded bias`;
    for (const [name, value] of [
      [weightName, folded.weight],
      [biasName, folded.bias],
    ] as const) {
      constants.set(name, value);
      values.set(name, { type: value.type, shape: value.shape, value });
    }
    replaced.set(conv, { ...conv, inputs: [conv.inputs[0] ?? "", weightName, biasName], outputs: [output] });
    dropped.add(bn);
  }
  const nodes = graph.nodes.filter((n) => !dropped.has(n)).map((n) => replaced.get(n) ?? n);
  return { ...graph, nodes, constants, values };
}

/**
 * The BatchNormalization that `foldBatchNorm` can merge into the Conv that writes `output`: what it writes, and the bias
 * [C] that the Conv then has. undefined where there is none.
 */
export function foldedNorm(
  graph: ShapedGraph,
  output: string,
): { readonly output: string; readonly bias: HostTensor } | undefined {
  const reading = graph.nodes.filter((n) => n.inputs.includes(output));
  const conv = graph.nodes.find((n) => n.outputs.includes(output));
  const [bn] = reading;
  if (conv?.opType !== "Conv" || bn?.opType !== "BatchNormalization" || bn.inputs[0] !== output) return undefined;
  if (readers(graph).get(output) !== 1) return undefined;
  const folded = foldedOnce(graph, conv, bn);
  return folded && { output: bn.outputs[0] ?? "", bias: folded.bias };
}

/** The per-channel scale s of a BatchNormalization whose parameters are all constant; undefined where one is not. */
export function batchNormScale(graph: ShapedGraph, bn: GraphNode): Float64Array | undefined {
  const scale = graph.constants.get(bn.inputs[1] ?? "");
  const variance = graph.constants.get(bn.inputs[4] ?? "");
  if (scale === undefined || variance === undefined) return undefined;
  const epsilon = bn.attributes.get("epsilon") ?? 1e-5;
  if (typeof epsilon !== "number") return undefined;
  return Float64Array.from(scale.data, (s, c) => s / Math.sqrt((variance.data[c] ?? 0) + epsilon));
}

interface Folded {
  readonly weight: HostTensor;
  readonly bias: HostTensor;
}

/** By weight tensor: plans of one network fold the same pairs again and again, and must get the same tensors. */
const done = new WeakMap<HostTensor, { readonly from: readonly unknown[]; readonly folded: Folded }[]>();

function foldedOnce(graph: ShapedGraph, conv: GraphNode, bn: GraphNode): Folded | undefined {
  const weight = graph.constants.get(conv.inputs[1] ?? "");
  if (weight === undefined) return undefined;
  const parameters = [conv.inputs[2] ?? "", ...bn.inputs.slice(1)].map((name) => graph.constants.get(name));
  const from = [...parameters, bn.attributes.get("epsilon")];
  const known = done.get(weight) ?? [];
  const same = known.find((k) => k.from.length === from.length && k.from.every((x, i) => x === from[i]));
  if (same !== undefined) return same.folded;
  const folded = fold(graph, conv, bn);
  if (folded !== undefined) done.set(weight, [...known, { from, folded }]);
  return folded;
}

function fold(graph: ShapedGraph, conv: GraphNode, bn: GraphNode): Folded | undefined {
  const weight = graph.constants.get(conv.inputs[1] ?? "");
  const hasBias = (conv.inputs[2] ?? "") !== "";
  const bias = graph.constants.get(conv.inputs[2] ?? "");
  const beta = graph.constants.get(bn.inputs[2] ?? "");
  const mean = graph.constants.get(bn.inputs[3] ?? "");
  const s = batchNormScale(graph, bn);
  if (weight === undefined || beta === undefined || mean === undefined || s === undefined) return undefined;
  if (hasBias && bias === undefined) return undefined;
  if ((bn.attributes.get("training_mode") ?? 0) !== 0) return undefined;
  const channels = weight.shape[0] ?? 0;
  if (s.length !== channels) return undefined;
  const size = sizeOf(weight.shape);
  const row = size / Math.max(channels, 1);
  const scaled = (): Float32Array => {
    // One loop a row: no division an element.
    const data = Float32Array.from(elementsOf(weight));
    s.forEach((factor, c) => {
      for (let i = c * row; i < (c + 1) * row; i++) data[i] = (data[i] ?? 0) * factor;
    });
    return data;
  };
  const shift = Float32Array.from(
    s,
    (sc, c) => ((bias?.data[c] ?? 0) - (mean.data[c] ?? 0)) * sc + (beta.data[c] ?? 0),
  );
  return {
    weight:
      size < LAZY_FROM
        ? { type: "float32", shape: weight.shape, data: scaled() }
        : lazyTensor("float32", weight.shape, scaled),
    bias: { type: "float32", shape: [channels], data: shift },
  };
}
