/** Gemm and MatMul in float64 from the list of products that make up each output element. */
import { sizeOf } from "../../src/graph/graph.ts";
import { emptySums, add, type Sums } from "./conv.ts";
import { indices } from "./pool.ts";

type Numbers = ArrayLike<number>;

/** output[at] += a[i] b[j] for every visit. */
interface Products {
  readonly shape: readonly number[];
  readonly each: (visit: (a: number, b: number, output: number) => void) => void;
}

/** Offset of an element whose index is broadcast against a longer one: numpy's rule, aligned at the end. */
function broadcastOffset(shape: readonly number[], index: readonly number[]): number {
  const lead = index.length - shape.length;
  return shape.reduce((at, size, axis) => at * size + (size === 1 ? 0 : (index[lead + axis] ?? 0)), 0);
}

export function gemmProducts(a: readonly number[], b: readonly number[], transA: boolean, transB: boolean): Products {
  const [rows = 0, depth = 0] = transA ? [a[1], a[0]] : a;
  const columns = (transB ? b[0] : b[1]) ?? 0;
  return {
    shape: [rows, columns],
    each: (visit) => {
      for (const [i = 0, j = 0, k = 0] of indices([rows, columns, depth])) {
        const [left, right] = [transA ? k * rows + i : i * depth + k, transB ? j * depth + k : k * columns + j];
        visit(left, right, i * columns + j);
      }
    },
  };
}

/** numpy.matmul: vectors, matrices and stacks of them that are broadcast. */
export function matmulProducts(a: readonly number[], b: readonly number[]): Products {
  const left = a.length === 1 ? [1, ...a] : a;
  const right = b.length === 1 ? [...b, 1] : b;
  const [rows = 0, depth = 0] = left.slice(-2);
  const columns = right.at(-1) ?? 0;
  const [batchA, batchB] = [left.slice(0, -2), right.slice(0, -2)];
  const rank = Math.max(batchA.length, batchB.length);
  const batch = Array.from({ length: rank }, (_, axis) => {
    const [da, db] = [batchA.at(axis - rank) ?? 1, batchB.at(axis - rank) ?? 1];
    return da === 1 ? db : da;
  });
  const stacks = indices(batch);
  return {
    shape: [...batch, ...(a.length === 1 ? [] : [rows]), ...(b.length === 1 ? [] : [columns])],
    each: (visit) => {
      stacks.forEach((index, n) => {
        const [fromA, fromB] = [broadcastOffset(batchA, index), broadcastOffset(batchB, index)];
        for (const [i = 0, j = 0, k = 0] of indices([rows, columns, depth])) {
          visit((fromA * rows + i) * depth + k, (fromB * depth + k) * columns + j, (n * rows + i) * columns + j);
        }
      });
    },
  };
}

/** alpha a b + beta c. */
export function gemmForward(
  { shape, each }: Products,
  a: Numbers,
  b: Numbers,
  o: { alpha?: number; beta?: number; c?: { shape: readonly number[]; data: Numbers } } = {},
): Sums {
  const sums = emptySums(sizeOf(shape));
  each((i, j, at) => {
    add(sums, at, (o.alpha ?? 1) * (a[i] ?? NaN) * (b[j] ?? NaN));
  });
  const { c } = o;
  if (c !== undefined) {
    indices(shape).forEach((index, at) => {
      add(sums, at, (o.beta ?? 1) * (c.data[broadcastOffset(c.shape, index)] ?? NaN));
    });
  }
  return sums;
}

/** Gradients of sum(dy * y) with regard to a, b and, where its shape is given, c. */
export function gemmGradients(
  { shape, each }: Products,
  a: Numbers,
  b: Numbers,
  dy: Numbers,
  o: { alpha?: number; beta?: number; c?: readonly number[] } = {},
): [Sums, Sums, Sums] {
  const { c = [] } = o;
  const [da, db, dc] = [emptySums(a.length), emptySums(b.length), emptySums(sizeOf(c))];
  each((i, j, at) => {
    const g = (o.alpha ?? 1) * (dy[at] ?? NaN);
    add(da, i, g * (b[j] ?? NaN));
    add(db, j, g * (a[i] ?? NaN));
  });
  indices(shape).forEach((index, at) => {
    add(dc, broadcastOffset(c, index), (o.beta ?? 1) * (dy[at] ?? NaN));
  });
  return [da, db, dc];
}
