/**
 * LRN: y = x / (bias + alpha / size * the sum of squares over `size` neighbouring channels)^beta. Input [N, C, ...]
 * (ONNX opsets 1 and 13).
 */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { floatAttr, intAttr, modelError, required, requireInput } from "./attributes.ts";
import { dataGradient, deviceInput, dispatchElements } from "./lowering.ts";
import type { Lowering, Operator, Param } from "./operator.ts";
import { f32 } from "./operator.ts";
import { showShape } from "./shape.ts";

function windowSize(node: GraphNode): number {
  const size = required(node, "size", intAttr(node, "size"));
  if (size < 1) throw modelError(node, "ATTRIBUTE", `size is ${size}, but must be at least 1`);
  return size;
}

function paramsOf(l: Lowering): { count: number; params: Param[] } {
  const { shape } = deviceInput(l, 0);
  const size = windowSize(l.node);
  const count = sizeOf(shape);
  const channels = shape[1] ?? 1;
  // A window may be wider than the channels are many, and than 32 bits can say.
  const reach = (half: number): number => Math.min(half, channels);
  const params = [
    count,
    channels,
    sizeOf(shape.slice(2)),
    reach(Math.floor((size - 1) / 2)),
    reach(Math.ceil((size - 1) / 2)),
    f32(floatAttr(l.node, "alpha", 1e-4) / size),
    f32(floatAttr(l.node, "beta", 0.75)),
    f32(floatAttr(l.node, "bias", 1)),
  ];
  return { count, params };
}

const LRN: Operator = {
  infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]) {
    const x = requireInput(node, inputs, 0);
    windowSize(node);
    if (x.shape.length < 2) throw modelError(node, "SHAPE", `input ${showShape(x.shape)} is not [N,C,...]`);
    return [{ type: x.type, shape: x.shape }];
  },
  forward(l) {
    const { count, params } = paramsOf(l);
    const reads = [deviceInput(l, 0).slot];
    dispatchElements(l, count, { shader: "lrn", entry: "forward", params, reads, writes: [l.output(0).slot] });
  },
  gradient(l) {
    const dy = dataGradient(l);
    if (dy === undefined) return;
    const { count, params } = paramsOf(l);
    const x = deviceInput(l, 0).slot;
    const sums = l.scratch(count);
    dispatchElements(l, count, { shader: "lrn", entry: "local_sums", params, reads: [x], writes: [sums] });
    dispatchElements(l, count, {
      shader: "lrn",
      entry: "gradient",
      params,
      reads: [x, sums, dy.slot],
      writes: [l.inputGradient(0).slot],
    });
  },
};

export const lrn: Record<string, Operator> = { LRN };
