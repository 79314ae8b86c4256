/** Evaluation on the host: integers, shapes and small constants, so that tensors never leave the GPU in between. */
import type { ElementType, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { lazyTensor } from "../graph/lazy.ts";

/**
 * An operator whose result is larger than this, and than each of its constant inputs, is not computed on the
 * host though it could be: a file of a few bytes must not make us allocate what it only declares. The device computes
 * it, whose limits are checked. What all nodes together may make of a file's constants is limited in graph/constants-meter.ts.
 */
const GROWTH_LIMIT = 2 ** 20;

/** Whether a result of `size` elements is to be computed on the host, given that every one of `inputs` is constant. */
export function worthEvaluating(size: number, inputs: readonly (ValueInfo | undefined)[]): boolean {
  // Not their sum: one constant may stand for many inputs.
  const largest = inputs.reduce((n, i) => Math.max(n, i === undefined ? 0 : sizeOf(i.shape)), 0);
  return size <= Math.max(GROWTH_LIMIT, largest);
}

/** Zeros of the array type that holds elements of `type`. */
export const newData = (type: ElementType, size: number): Float32Array | Float64Array =>
  type === "float32" ? new Float32Array(size) : new Float64Array(size);

/** What is known of a constant. */
export function known(type: ElementType, shape: readonly number[], data: Float32Array | Float64Array): ValueInfo {
  return { type, shape, value: { type, shape, data } };
}

/** What is known of a constant of the same elements in another shape; a large one is still read when it is needed. */
export function reshaped(value: HostTensor, shape: readonly number[]): ValueInfo {
  const { type, load, part } = value;
  if (load === undefined) return known(type, shape, value.data);
  return { type, shape, value: lazyTensor(type, shape, load, part) };
}

/** What is known of a constant list of integers. */
export const knownInts = (list: readonly number[]): ValueInfo => known("int64", [list.length], Float64Array.from(list));

/** The constants behind `inputs`, or undefined where one of them is not constant (or left out). */
export function allValues(inputs: readonly (ValueInfo | undefined)[]): HostTensor[] | undefined {
  const values: HostTensor[] = [];
  for (const input of inputs) {
    if (input?.value === undefined) return undefined;
    values.push(input.value);
  }
  return values;
}
