/** Slice, Split and Concat: boxes cut out of one tensor, or put together to one. ONNX opset 7 to 22. */
import { dispatchJoin, joinsFours } from "./channels-fours.ts";
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { intAttr, intsAttr, intsInput, modelError, requireInput, required } from "./attributes.ts";
import type { Movement } from "./movement.ts";
import { movementOperator } from "./movement.ts";
import type { Operator } from "./operator.ts";
import { normaliseAxes, normaliseAxis, sameShape, showShape, stridesOf } from "./shape.ts";
import type { StridedCopy } from "./strided.ts";

type Inputs = readonly (ValueInfo | undefined)[];

const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);

/**
 * First index and number of elements of start:end:step on an axis of `size`: numpy's rule, but that a start before the first
 * element counts as that element going backwards too, as ONNX says (and onnxruntime does).
 */
function range(size: number, start: number, end: number, step: number): { first: number; count: number } {
  const fromEnd = (x: number): number => (x < 0 ? x + size : x);
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
  const first = clamp(fromEnd(start), 0, high);
  const stop = clamp(fromEnd(end), low, high);
  return { first, count: Math.max(0, Math.ceil((stop - first) / step)) };
}

/** Attributes before opset 10, inputs from there on. Bounds beyond the axis are clamped, however large. */
function slice(node: GraphNode, inputs: Inputs): Movement[] {
  const { shape } = requireInput(node, inputs, 0);
  const starts = intsAttr(node, "starts") ?? intsInput(node, inputs, 1, "starts");
  const ends = intsAttr(node, "ends") ?? intsInput(node, inputs, 2, "ends", starts?.length);
  if (starts === undefined || ends === undefined) throw modelError(node, "INPUT_MISSING", "starts or ends are missing");
  const given = intsAttr(node, "axes") ?? intsInput(node, inputs, 3, "axes") ?? starts.map((_, i) => i);
  const steps = intsInput(node, inputs, 4, "steps") ?? starts.map(() => 1);
  if ([ends, given, steps].some((list) => list.length !== starts.length)) {
    throw modelError(
      node,
      "SHAPE",
      `starts, ends, axes and steps differ in length: ${starts.length}, ${ends.length}, ${given.length}, ${steps.length}`,
    );
  }
  const axes = normaliseAxes(node, given, shape.length);
  const out = [...shape];
  const from = stridesOf(shape);
  let fromOffset = 0;
  axes.forEach((axis, i) => {
    const step = steps[i] ?? 1;
    if (step === 0) throw modelError(node, "SHAPE", `the step of axis ${axis} is 0`);
    const { first, count } = range(shape[axis] ?? 0, starts[i] ?? 0, ends[i] ?? 0, step);
    const stride = from[axis] ?? 1;
    out[axis] = count;
    fromOffset += first * stride;
    // With one element no step is taken; the largest ones would not fit 32 bits.
    from[axis] = count > 1 ? stride * step : stride;
  });
  const to = stridesOf(out);
  const dims = out.map((size, i) => ({ size, strides: [from[i] ?? 0, to[i] ?? 0] }));
  return [{ shape: out, placements: [{ input: 0, copy: { dims, fromOffset, toOffset: 0 } }] }];
}

/** A part of a larger tensor: where a box of shape `part` starts at `at` on `axis` of a tensor of shape `whole`. */
function partOf(whole: readonly number[], part: readonly number[], axis: number, at: number): [number[], number] {
  const strides = stridesOf(whole);
  return [part.map((_, i) => strides[i] ?? 0), at * (strides[axis] ?? 0)];
}

/** Sizes along the axis: attribute before opset 13, input from there on, `num_outputs` from 18 on, else equal parts. */
function splitSizes(node: GraphNode, inputs: Inputs, size: number): readonly number[] {
  const given = intsAttr(node, "split") ?? intsInput(node, inputs, 1, "split");
  if (given !== undefined) {
    const sum = given.reduce((a, b) => a + b, 0);
    if (sum !== size || given.some((d) => d < 0) || given.length !== node.outputs.length) {
      throw modelError(
        node,
        "SHAPE",
        `parts [${given.join(",")}] do not cut an axis of ${size} into ${node.outputs.length} outputs`,
      );
    }
    return given;
  }
  const asked = intAttr(node, "num_outputs");
  const parts = asked ?? node.outputs.length;
  if (parts < 1 || parts !== node.outputs.length) {
    throw modelError(node, "ATTRIBUTE", `num_outputs is ${parts}, but the node has ${node.outputs.length} outputs`);
  }
  if (asked === undefined && size % parts !== 0) {
    throw modelError(node, "SHAPE", `an axis of ${size} cannot be cut into ${parts} equal parts`);
  }
  const chunk = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => clamp(size - i * chunk, 0, chunk));
}

function split(node: GraphNode, inputs: Inputs): Movement[] {
  const { shape } = requireInput(node, inputs, 0);
  const axis = normaliseAxis(node, intAttr(node, "axis", 0), shape.length);
  let at = 0;
  return splitSizes(node, inputs, shape[axis] ?? 0).map((size) => {
    const part = shape.map((d, i) => (i === axis ? size : d));
    const [from, fromOffset] = partOf(shape, part, axis, at);
    const to = stridesOf(part);
    at += size;
    const copy: StridedCopy = {
      dims: part.map((d, i) => ({ size: d, strides: [from[i] ?? 0, to[i] ?? 0] })),
      fromOffset,
      toOffset: 0,
    };
    return { shape: part, placements: [{ input: 0, copy }] };
  });
}

function concat(node: GraphNode, inputs: Inputs): Movement[] {
  const first = requireInput(node, inputs, 0);
  const axis = normaliseAxis(node, required(node, "axis", intAttr(node, "axis")), first.shape.length);
  const parts = inputs.map((_, k) => requireInput(node, inputs, k));
  const others = (shape: readonly number[]): number[] => shape.filter((_, i) => i !== axis);
  for (const part of parts) {
    if (part.shape.length !== first.shape.length || !sameShape(others(part.shape), others(first.shape))) {
      const shapes = parts.map((p) => showShape(p.shape)).join(", ");
      throw modelError(node, "SHAPE", `shapes ${shapes} differ beside axis ${axis}`);
    }
    if (part.type !== first.type) throw modelError(node, "INPUT_TYPE", `types ${first.type} and ${part.type} differ`);
  }
  const shape = first.shape.map((d, i) => (i === axis ? parts.reduce((n, p) => n + (p.shape[axis] ?? 0), 0) : d));
  let at = 0;
  const placements = parts.map((part, input) => {
    const from = stridesOf(part.shape);
    const [to, toOffset] = partOf(shape, part.shape, axis, at);
    at += part.shape[axis] ?? 0;
    const dims = part.shape.map((size, i) => ({ size, strides: [from[i] ?? 0, to[i] ?? 0] }));
    return { input, copy: { dims, fromOffset: 0, toOffset } };
  });
  return [{ shape, placements }];
}

const inRows = movementOperator(concat);

const Concat: Operator = {
  ...inRows,
  forward: (l) => {
    const rank = l.info(0)?.shape.length ?? 0;
    const axis = normaliseAxis(l.node, intAttr(l.node, "axis", 1), rank);
    if (joinsFours(l, axis)) dispatchJoin(l);
    else inRows.forward?.(l);
  },
};

export const slicing: Record<string, Operator> = {
  Slice: movementOperator(slice),
  Split: movementOperator(split),
  Concat,
};
