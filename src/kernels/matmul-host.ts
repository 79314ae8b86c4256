/** Products of constant matrices, evaluated once on the host in float64. */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import { worthEvaluating } from "./host.ts";

/** A stored stack of matrices seen with strides: element (i, j) of stack index n lies at n . steps + i row + j column. */
export interface HostView {
  readonly value: HostTensor;
  readonly row: number;
  readonly column: number;
  /** One an axis of the batch; 0 where the matrix is repeated. */
  readonly steps: readonly number[];
}

/** Multiplications that are done on the host; the device does what needs more. */
const MOST_PRODUCTS = 2 ** 22;

/** Whether both operands are constant and their product is small enough to be computed while planning. */
export const worthMultiplying = (
  inputs: readonly (HostTensor | undefined)[],
  size: number,
  depth: number,
): inputs is readonly HostTensor[] =>
  inputs.every((t) => t !== undefined) && worthEvaluating(size, inputs) && size * depth <= MOST_PRODUCTS;

/** [...batch, rows, columns] a b, in float64. */
export function multiplyOnHost(
  batch: readonly number[],
  rows: number,
  columns: number,
  depth: number,
  a: HostView,
  b: HostView,
): Float64Array {
  const out = new Float64Array(sizeOf(batch) * rows * columns);
  for (let at = 0; at < out.length; at++) {
    const i = Math.floor(at / columns) % rows;
    const j = at % columns;
    let [n, fromA, fromB] = [Math.floor(at / columns / rows), i * a.row, j * b.column];
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      const index = n % (batch[axis] ?? 1);
      n = Math.floor(n / (batch[axis] ?? 1));
      fromA += index * (a.steps[axis] ?? 0);
      fromB += index * (b.steps[axis] ?? 0);
    }
    let sum = 0;
    for (let k = 0; k < depth; k++) {
      sum += (a.value.data[fromA + k * a.column] ?? NaN) * (b.value.data[fromB + k * b.row] ?? NaN);
    }
    out[at] = sum;
  }
  return out;
}
