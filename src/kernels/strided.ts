/**
 * Boxes of elements with strides: how a kernel walks several tensors at once. A box is a list of dimensions, each with
 * its size and one stride (in elements) for every tensor that takes part.
 */
import type { KernelCall, Lowering, Param, Slot } from "./operator.ts";
import { f32, spread } from "./operator.ts";
import { unsupported } from "./attributes.ts";
import { broadcastStrides, MAX_RANK } from "./shape.ts";

export interface Dim {
  readonly size: number;
  readonly strides: readonly number[];
}

/** Without dimensions of size 1, and with neighbours merged that every tensor walks as one. */
export function collapse(dims: readonly Dim[]): Dim[] {
  const out: Dim[] = [];
  for (const dim of dims) {
    if (dim.size === 1) continue;
    const last = out.at(-1);
    if (last?.strides.every((s, t) => s === (dim.strides[t] ?? 0) * dim.size) === true) {
      out[out.length - 1] = { size: last.size * dim.size, strides: dim.strides };
    } else {
      out.push(dim);
    }
  }
  return out;
}

/** The box of an output of shape `out`, walked by tensors of `shapes` that are broadcast to it. */
export function broadcastBox(out: readonly number[], shapes: readonly (readonly number[])[]): Dim[] {
  const strides = shapes.map((s) => broadcastStrides(s, out));
  return collapse(out.map((size, i) => ({ size, strides: strides.map((s) => s[i] ?? 0) })));
}

/** The `array<vec4u, 8>` of a shader's parameters: size and strides of each dimension. @throws UnbraidError above rank 8 */
export function boxParams(l: Lowering, dims: readonly Dim[]): Param[] {
  if (dims.length > MAX_RANK) {
    throw unsupported(l.node, `${dims.length} dimensions that cannot be merged; kernels take ${MAX_RANK}`);
  }
  const words = new Array<Param>(4 * MAX_RANK).fill(0);
  dims.forEach((dim, i) => {
    [dim.size, ...dim.strides].forEach((x, j) => {
      words[4 * i + j] = x >>> 0;
    });
  });
  return words;
}

/** Elements a box names. */
export const boxSize = (dims: readonly Dim[]): number => dims.reduce((n, d) => n * d.size, 1);

/** A copy out of one tensor (stride 0 of each dimension) into another (stride 1). */
export interface StridedCopy {
  readonly dims: readonly Dim[];
  readonly fromOffset: number;
  readonly toOffset: number;
}

export const reversed = (copy: StridedCopy): StridedCopy => ({
  dims: copy.dims.map(({ size, strides: [from = 0, to = 0] }) => ({ size, strides: [to, from] })),
  fromOffset: copy.toOffset,
  toOffset: copy.fromOffset,
});

/** Calls `visit` with the places in both tensors, in the box's order. */
export function walk(copy: StridedCopy, visit: (from: number, to: number) => void): void {
  const dims = collapse(copy.dims);
  const at = new Array<number>(dims.length).fill(0);
  const n = boxSize(dims);
  let from = copy.fromOffset;
  let to = copy.toOffset;
  for (let i = 0; i < n; i++) {
    visit(from, to);
    for (let k = dims.length - 1; k >= 0; k--) {
      const { size, strides } = dims[k] ?? { size: 1, strides: [] };
      const [f = 0, t = 0] = strides;
      from += f;
      to += t;
      const next = (at[k] ?? 0) + 1;
      if (next < size) {
        at[k] = next;
        break;
      }
      at[k] = 0;
      from -= f * size;
      to -= t * size;
    }
  }
}

/** A tensor's memory and how many elements it has. */
export interface Memory {
  readonly slot: Slot;
  readonly elements: number;
}

/** Dispatches `copy` with shaders/copy.wgsl: four elements at a time where every place is a multiple of four. */
export function dispatchCopy(l: Lowering, copy: StridedCopy, from: Memory, to: Memory, step: string): void {
  let dims = collapse(copy.dims);
  let count = boxSize(dims);
  if (count === 0) return;
  let offsets = [copy.fromOffset, copy.toOffset];
  const last = dims.at(-1);
  const inFours =
    last?.strides.every((s) => s === 1) === true &&
    [last.size, from.elements, to.elements, ...offsets, ...dims.slice(0, -1).flatMap((d) => d.strides)].every(
      (x) => x % 4 === 0,
    );
  if (inFours) {
    const rest = dims.slice(0, -1).map((d) => ({ size: d.size, strides: d.strides.map((s) => s / 4) }));
    dims = [...rest, { size: last.size / 4, strides: last.strides }];
    offsets = offsets.map((x) => x / 4);
    count /= 4;
  }
  l.dispatch({
    shader: "copy",
    entry: inFours ? "quads" : "main",
    params: [count, dims.length, ...offsets.map((x) => x >>> 0), ...boxParams(l, dims)],
    reads: [from.slot],
    writes: [to.slot],
    workgroups: spread(Math.ceil(count / 64)),
    label: `${l.node.name}: ${step}`,
  });
}

/** Fills memory with one value. */
export function dispatchFill(l: Lowering, to: Memory, value: number, step: string): void {
  if (to.elements === 0) return;
  const call: KernelCall = {
    shader: "fill",
    params: [to.elements, f32(value)],
    reads: [],
    writes: [to.slot],
    workgroups: spread(Math.ceil(to.elements / 256)),
    label: `${l.node.name}: ${step}`,
  };
  l.dispatch(call);
}
