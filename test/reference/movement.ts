/**
 * Operators that move elements, as lists: for every output element the place it comes from. Written index by index from
 * ONNX's documentation, with no strides.
 */

export type Shape = readonly number[];
export type Index = readonly number[];

/** Where an output element comes from: an input and an index in it, or a constant. */
export type Source = { readonly input: number; readonly at: Index } | { readonly value: number };

/** All indices of a shape, row-major. */
export function indices(shape: Shape): number[][] {
  return shape.reduce<number[][]>(
    (list, d) => list.flatMap((head) => Array.from({ length: d }, (_, i) => [...head, i])),
    [[]],
  );
}

/** Row-major position of an index. */
export const flat = (shape: Shape, at: Index): number => at.reduce((n, i, k) => n * (shape[k] ?? 1) + i, 0);

const get = (list: readonly number[], k: number): number => {
  const value = list[k];
  if (value === undefined) throw new Error(`no entry ${k}`);
  return value;
};

export type Rule = (out: number[]) => Source;

const first = (at: Index): Source => ({ input: 0, at });

export const transpose =
  (perm: readonly number[]): Rule =>
  (out) => first(perm.map((_, axis) => get(out, perm.indexOf(axis)))); // prettier-ignore

/** Python's range(start, stop, step) of slice.indices, by trying every index in order. */
export function pythonRange(size: number, start: number, stop: number, step: number): number[] {
  const a = start < 0 ? start + size : start;
  const b = stop < 0 ? stop + size : stop;
  const all = Array.from({ length: size }, (_, i) => i);
  if (step > 0) {
    const begin = Math.max(a, 0);
    return all.filter((i) => i >= begin && i < b && (i - begin) % step === 0);
  }
  const begin = Math.min(a, size - 1);
  return all.reverse().filter((i) => i <= begin && i > b && (begin - i) % -step === 0);
}

export const slice =
  (picked: ReadonlyMap<number, readonly number[]>): Rule =>
  (out) => first(out.map((i, axis) => get(picked.get(axis) ?? [...Array(i + 1).keys()], i))); // prettier-ignore

export const concat =
  (axis: number, sizes: readonly number[]): Rule =>
  (out) => {
    let i = get(out, axis);
    let input = 0;
    while (i >= get(sizes, input)) i -= get(sizes, input++);
    return { input, at: out.map((x, k) => (k === axis ? i : x)) };
  };

export const splitPart =
  (axis: number, sizes: readonly number[], part: number): Rule =>
  (out) => first(out.map((x, k) => (k === axis ? x + sizes.slice(0, part).reduce((a, b) => a + b, 0) : x))); // prettier-ignore

export const expand =
  (shape: Shape): Rule =>
  (out) => first(shape.map((d, k) => (d === 1 ? 0 : get(out, k + out.length - shape.length)))); // prettier-ignore

export const tile =
  (shape: Shape): Rule =>
  (out) => first(out.map((i, k) => i % get(shape, k))); // prettier-ignore

export const gather =
  (axis: number, size: number, list: readonly number[], indexRank: number): Rule =>
  (out) => {
    const indexShape =
      indexRank === 0 ? [] : [list.length / (indexRank === 2 ? 2 : 1), ...(indexRank === 2 ? [2] : [])];
    const which = get(list, flat(indexShape, out.slice(axis, axis + indexRank)));
    return first([...out.slice(0, axis), which < 0 ? which + size : which, ...out.slice(axis + indexRank)]);
  };

/** GatherND: `tuples` of `length` indices each, for data of `shape` whose first `batch` axes go along. */
export const gatherNd =
  (shape: Shape, tuples: readonly number[], tupleShape: Shape, batch: number): Rule =>
  (out) => {
    const length = get(tupleShape, tupleShape.length - 1);
    const which = out.slice(0, tupleShape.length - 1);
    const tuple = Array.from({ length }, (_, j) => {
      const i = get(tuples, flat(tupleShape, [...which, j]));
      return i < 0 ? i + get(shape, batch + j) : i;
    });
    return first([...out.slice(0, batch), ...tuple, ...out.slice(tupleShape.length - 1)]);
  };

/** Walks from the padded position back into the tensor, one reflection or turn at a time. */
function inside(i: number, size: number, mode: string): number {
  let k = i;
  if (mode === "edge") return Math.min(Math.max(k, 0), size - 1);
  while (k < 0 || k >= size) {
    if (mode === "wrap") k += k < 0 ? size : -size;
    else if (size === 1) k = 0;
    else k = k < 0 ? -k : 2 * (size - 1) - k;
  }
  return k;
}

export const pad =
  (shape: Shape, before: readonly number[], mode: string, value: number): Rule =>
  (out) => {
    const at = out.map((i, k) => i - get(before, k));
    if (mode !== "constant") return first(at.map((i, k) => inside(i, get(shape, k), mode)));
    return at.every((i, k) => i >= 0 && i < get(shape, k)) ? first(at) : { value };
  };

export const depthToSpace =
  (b: number, mode: string, channels: number): Rule =>
  ([n = 0, c = 0, y = 0, x = 0]) => {
    const [row, column, depth] = [y % b, x % b, channels / (b * b)];
    const channel = mode === "DCR" ? (row * b + column) * depth + c : (c * b + row) * b + column;
    return first([n, channel, Math.floor(y / b), Math.floor(x / b)]);
  };

export const spaceToDepth =
  (b: number, mode: string, channels: number): Rule =>
  ([n = 0, c = 0, y = 0, x = 0]) => {
    const block = mode === "DCR" ? Math.floor(c / channels) : c % (b * b);
    const channel = mode === "DCR" ? c % channels : Math.floor(c / (b * b));
    return first([n, channel, y * b + Math.floor(block / b), x * b + (block % b)]);
  };
