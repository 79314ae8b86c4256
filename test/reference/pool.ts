/** Pooling in float64, straight from the definition: every window lists its taps. */
import { stridesOf } from "../../src/kernels/shape.ts";

export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly padsBegin: readonly number[];
  readonly padsEnd: readonly number[];
  readonly output: readonly number[];
}

/** All index tuples below `sizes`, row-major. */
export function indices(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>(
    (list, n) => list.flatMap((head) => Array.from({ length: n }, (_, i) => [...head, i])),
    [[]],
  );
}

interface Taps {
  /** Offsets of the taps inside the input, in window order. */
  readonly inside: number[];
  /** Taps inside the padded input. */
  readonly padded: number;
}

/** For every output element of input [N, C, ...spatial], its taps. */
export function poolTaps(shape: readonly number[], w: Window): Taps[] {
  const spatial = shape.slice(2);
  const strides = stridesOf(spatial);
  const plane = spatial.reduce((a, b) => a * b, 1);
  const planes = (shape[0] ?? 1) * (shape[1] ?? 1);
  return indices([planes, ...w.output]).map(([p = 0, ...o]) => {
    const inside: number[] = [];
    let padded = 0;
    for (const k of indices(w.kernel)) {
      const at = k.map((t, i) => (o[i] ?? 0) * (w.strides[i] ?? 1) + t * (w.dilations[i] ?? 1) - (w.padsBegin[i] ?? 0));
      if (at.every((a, i) => a < (spatial[i] ?? 0) + (w.padsEnd[i] ?? 0))) padded++;
      if (at.every((a, i) => a >= 0 && a < (spatial[i] ?? 0))) {
        inside.push(p * plane + at.reduce((s, a, i) => s + a * (strides[i] ?? 1), 0));
      }
    }
    return { inside, padded };
  });
}

export function maxPool(x: ArrayLike<number>, taps: readonly Taps[]): { values: number[]; chosen: number[] } {
  const chosen = taps.map(({ inside }) =>
    inside.reduce((best, at) => ((x[at] ?? 0) > (x[best] ?? 0) ? at : best), inside[0] ?? -1),
  );
  return { values: chosen.map((at) => x[at] ?? 0), chosen };
}

export const averagePool = (x: ArrayLike<number>, taps: readonly Taps[], includePad: boolean): number[] =>
  taps.map(
    ({ inside, padded }) => inside.reduce((s, at) => s + (x[at] ?? 0), 0) / (includePad ? padded : inside.length),
  );

export const lpPool = (x: ArrayLike<number>, taps: readonly Taps[], p: number): number[] =>
  taps.map(({ inside }) => inside.reduce((s, at) => s + Math.abs(x[at] ?? 0) ** p, 0) ** (1 / p));
