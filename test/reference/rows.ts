/** Reductions, softmax and normalisations in float64, from index lists rather than strides. */
import { sizeOf } from "../../src/graph/graph.ts";
import { stridesOf } from "../../src/kernels/shape.ts";
import { indices } from "./pool.ts";

/** Offsets of the elements of each row, rows and elements row-major; `axes` make up a row. */
export function rowOffsets(shape: readonly number[], axes: readonly number[]): number[][] {
  const strides = stridesOf(shape);
  const rows = new Map<string, number[]>();
  for (const index of indices(shape)) {
    const key = index.filter((_, i) => !axes.includes(i)).join();
    const offset = index.reduce((s, x, i) => s + x * (strides[i] ?? 1), 0);
    rows.set(key, [...(rows.get(key) ?? []), offset]);
  }
  return [...rows.values()];
}

export const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
export const mean = (list: readonly number[]): number => sum(list) / list.length;

export const REDUCERS: Readonly<Record<string, (row: readonly number[]) => number>> = {
  ReduceSum: sum,
  ReduceMean: mean,
  ReduceMax: (r) => Math.max(...r),
  ReduceMin: (r) => Math.min(...r),
  ReduceL1: (r) => sum(r.map(Math.abs)),
  ReduceL2: (r) => Math.hypot(...r),
  ReduceProd: (r) => r.reduce((a, b) => a * b, 1),
  ReduceSumSquare: (r) => sum(r.map((x) => x * x)),
  ReduceLogSum: (r) => Math.log(sum(r)),
  ReduceLogSumExp: (r) => Math.log(sum(r.map(Math.exp))),
};

const gather = (x: ArrayLike<number>, row: readonly number[]): number[] => row.map((at) => x[at] ?? 0);

export const reduce = (op: string, x: ArrayLike<number>, rows: readonly number[][]): number[] =>
  rows.map((row) => REDUCERS[op]?.(gather(x, row)) ?? NaN);

/** Rewrites every row of a copy of `x`. */
export function mapRows(
  x: ArrayLike<number>,
  rows: readonly number[][],
  f: (row: number[], index: number) => readonly number[],
): Float64Array {
  const out = Float64Array.from(x);
  rows.forEach((row, index) => {
    const values = f(gather(x, row), index);
    row.forEach((at, k) => {
      out[at] = values[k] ?? NaN;
    });
  });
  return out;
}

export function softmax(row: readonly number[], logarithm: boolean): number[] {
  const largest = Math.max(...row);
  const total = sum(row.map((v) => Math.exp(v - largest)));
  return row.map((v) => (logarithm ? v - largest - Math.log(total) : Math.exp(v - largest) / total));
}

export function standardise(row: readonly number[], epsilon: number): number[] {
  const centre = mean(row);
  const deviation = Math.sqrt(mean(row.map((v) => (v - centre) ** 2)) + epsilon);
  return row.map((v) => (v - centre) / deviation);
}

/** Local response normalisation across axis 1. */
export function localResponse(
  x: ArrayLike<number>,
  shape: readonly number[],
  o: { size: number; alpha: number; beta: number; bias: number },
): number[] {
  const channels = shape[1] ?? 1;
  const inner = sizeOf(shape.slice(2));
  return Array.from({ length: x.length }, (_, i) => {
    const channel = Math.floor(i / inner) % channels;
    let squares = 0;
    for (let c = channel - Math.floor((o.size - 1) / 2); c <= channel + Math.ceil((o.size - 1) / 2); c++) {
      if (c >= 0 && c < channels) squares += (x[i + (c - channel) * inner] ?? 0) ** 2;
    }
    return (x[i] ?? 0) / (o.bias + (o.alpha / o.size) * squares) ** o.beta;
  });
}
