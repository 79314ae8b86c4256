/** Reductions of constants on the host, in float64. */
import type { HostTensor } from "../graph/graph.ts";
import type { Rows } from "./rows.ts";

interface Rule {
  /** OP of reduce.wgsl. */
  readonly code: number;
  /** What an empty row begins with. */
  readonly start: number;
  readonly fold: (row: readonly number[]) => number;
}

const sum = (row: readonly number[], of: (x: number) => number = (x) => x): number =>
  row.reduce((s, x) => s + of(x), 0);
const extremum = (row: readonly number[], pick: (a: number, b: number) => number, start: number): number =>
  row.reduce((a, b) => pick(a, b), start);

/** Every reduction: its code on the device and its value on the host. */
export const REDUCTIONS = {
  SUM: { code: 0, start: 0, fold: (r) => sum(r) },
  MEAN: { code: 1, start: 0, fold: (r) => sum(r) / r.length },
  L1: { code: 2, start: 0, fold: (r) => sum(r, Math.abs) },
  L2: { code: 3, start: 0, fold: (r) => Math.sqrt(sum(r, (x) => x * x)) },
  MAX: { code: 4, start: -Infinity, fold: (r) => extremum(r, Math.max, -Infinity) },
  MIN: { code: 5, start: Infinity, fold: (r) => extremum(r, Math.min, Infinity) },
  PROD: { code: 6, start: 1, fold: (r) => r.reduce((a, b) => a * b, 1) },
  SUM_SQUARE: { code: 7, start: 0, fold: (r) => sum(r, (x) => x * x) },
  LOG_SUM: { code: 8, start: 0, fold: (r) => Math.log(sum(r)) },
  /** With a norm p, for GlobalLpPool; constants never come this way. */
  LP: { code: 9, start: 0, fold: () => NaN },
  LOG_SUM_EXP: {
    code: 10,
    start: 0,
    fold: (r) => {
      const largest = extremum(r, Math.max, -Infinity);
      return Number.isFinite(largest) ? largest + Math.log(sum(r, (x) => Math.exp(x - largest))) : largest;
    },
  },
} as const satisfies Record<string, Rule>;
export type Reduction = keyof typeof REDUCTIONS;
/** OP of reduce.wgsl that only devices do: elements that equal the row's reference. */
export const COUNT = 11;

/** The offset of every row, or of every element of a row: row-major over four sizes and strides. */
function offsets(sizes: readonly number[], strides: readonly number[]): number[] {
  let list = [0];
  sizes.forEach((size, axis) => {
    list = list.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * (strides[axis] ?? 0)));
  });
  return list;
}

/** `op` of every row of `x`, row-major. Integers stay whole: a mean of them is rounded towards zero, as ONNX's are. */
export function foldRows(x: HostTensor, { geometry, length }: Rows, op: Reduction): Float32Array | Float64Array {
  const rows = offsets(geometry.slice(0, 4), geometry.slice(4, 8));
  const elements = length === 0 ? [] : offsets(geometry.slice(8, 12), geometry.slice(12, 16));
  const folded = rows.map((row) => REDUCTIONS[op].fold(elements.map((e) => x.data[row + e] ?? 0)));
  if (x.type === "bool") return Float64Array.from(folded, (v) => Math.min(Math.max(v, 0), 1));
  return x.type === "float32" ? Float32Array.from(folded) : Float64Array.from(folded, Math.trunc);
}
