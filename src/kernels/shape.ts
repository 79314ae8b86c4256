/** Arithmetic on shapes: axes, broadcasting (numpy's, which ONNX uses from opset 7 on), strides. */
import type { GraphNode } from "../graph/graph.ts";
import { modelError } from "./attributes.ts";

/** Elements of a tensor that a kernel can index with 32 bits. */
const MAX_ELEMENTS = 2 ** 32 - 1;

/** Kernels take shapes of at most this rank, after neighbouring dimensions have been merged. */
export const MAX_RANK = 8;

export const showShape = (shape: readonly number[]): string => `[${shape.join(",")}]`;

/** `axis` in 0 .. rank - 1, counted from the end where negative. @throws UnbraidError SHAPE outside -rank .. rank - 1 */
export function normaliseAxis(node: GraphNode, axis: number, rank: number): number {
  const k = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(k) || k < 0 || k >= rank) {
    throw modelError(node, "SHAPE", `axis ${axis} is outside -${rank} .. ${rank - 1} of an input of rank ${rank}`);
  }
  return k;
}

/** Every axis normalised. @throws UnbraidError SHAPE where one is out of range or comes twice */
export function normaliseAxes(node: GraphNode, axes: readonly number[], rank: number): number[] {
  const list = axes.map((a) => normaliseAxis(node, a, rank));
  if (new Set(list).size !== list.length) {
    throw modelError(node, "SHAPE", `axes [${axes.join(",")}] name one axis twice (rank ${rank})`);
  }
  return list;
}

/**
 * `shape`, checked: whole, not negative, and its elements countable in 32 bits. Every infer rule that makes a shape
 * from numbers in the file passes it through here.
 */
export function checkedShape(node: GraphNode, shape: readonly number[]): number[] {
  let size = 1;
  for (const d of shape) {
    if (!Number.isInteger(d) || d < 0)
      throw modelError(node, "SHAPE", `output shape ${showShape(shape)} has a size ${d}`);
    // A zero must not hide an overflow of the others.
    if (d > 0) size *= d;
  }
  if (size > MAX_ELEMENTS) {
    throw modelError(
      node,
      "SHAPE",
      `output shape ${showShape(shape)} has ${size} elements, more than the ${MAX_ELEMENTS} that a kernel can index`,
      "Use a smaller batch or image size.",
    );
  }
  return [...shape];
}

/** Shape of the elementwise combination of tensors of these shapes. @throws UnbraidError SHAPE where they do not fit */
export function broadcastShapes(node: GraphNode, shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    const lead = rank - shape.length;
    shape.forEach((d, i) => {
      const have = out[lead + i] ?? 1;
      if (have === 1) out[lead + i] = d;
      else if (d !== 1 && d !== have) {
        throw modelError(node, "SHAPE", `shapes ${shapes.map(showShape).join(" and ")} cannot be broadcast together`);
      }
    });
  }
  return checkedShape(node, out);
}

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = (strides[i + 1] ?? 1) * (shape[i + 1] ?? 1);
  return strides;
}

/** Strides with which a tensor of `shape` is read at the indices of `out`, to which it is broadcast: 0 where repeated. */
export function broadcastStrides(shape: readonly number[], out: readonly number[]): number[] {
  const lead = out.length - shape.length;
  const own = stridesOf(shape);
  return out.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : (own[i - lead] ?? 0)));
}

export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);
