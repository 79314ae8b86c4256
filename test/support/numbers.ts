/** Random tensors, comparison with a bound for each element, and gradients by finite differences. */
import { expect } from "vitest";
import type { HostTensor } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";

/** Unit roundoff of float32. */
export const U = 2 ** -24;

/** Uniform numbers in 0 .. 1 from a seed (xorshift32). */
export function uniform(seed: number): () => number {
  let s = (seed * 2654435761 + 12345) | 1;
  return () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>> 0) / 2 ** 32;
  };
}

/** A float32 tensor of uniform numbers in low .. high. */
export function randomTensor(shape: readonly number[], seed: number, low = -1, high = 1): HostTensor {
  const next = uniform(seed);
  for (let i = 0; i < 8; i++) next();
  return {
    type: "float32",
    shape,
    data: Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * next()),
  };
}

export const tensor = (shape: readonly number[], data: readonly number[]): HostTensor => ({
  type: "float32",
  shape,
  data: Float32Array.from(data),
});

export const ints = (data: readonly number[]): HostTensor => ({
  type: "int64",
  shape: [data.length],
  data: Float64Array.from(data),
});

/** Every element of `actual` within its bound of `expected`; both not-a-number counts as equal. */
export function expectWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: (index: number) => number,
  what = "",
): void {
  expect(actual.length, `${what}: elements`).toBe(expected.length);
  const wrong: string[] = [];
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i] ?? NaN, expected[i] ?? NaN];
    const fine = Object.is(a, e) || Math.abs(a - e) <= bound(i);
    if (!fine && wrong.length < 5) wrong.push(`[${i}] is ${a}, should be ${e} within ${bound(i)}`);
  }
  expect(wrong, what).toEqual([]);
}

/**
 * d sum(seed * f(x)) / dx by central differences in float64. The error is about h^2 times the third derivative, and
 * 1e-16 |f| / h: 1e-9 or so at the default, below float32's rounding for f of ordinary size.
 */
export function numericGradient(
  f: (x: Float64Array) => ArrayLike<number>,
  x: ArrayLike<number>,
  seed: ArrayLike<number>,
  h = 1e-5,
): Float64Array {
  const at = Float64Array.from(x);
  const scalar = (): number => {
    const y = f(at);
    let sum = 0;
    for (let i = 0; i < y.length; i++) sum += (y[i] ?? 0) * (seed[i] ?? 0);
    return sum;
  };
  return Float64Array.from(at, (value, i) => {
    at[i] = value + h;
    const above = scalar();
    at[i] = value - h;
    const below = scalar();
    at[i] = value;
    return (above - below) / (2 * h);
  });
}
