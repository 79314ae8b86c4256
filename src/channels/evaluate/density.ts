/** Densities of a channel's activations (METHOD.md A8): Gaussian kernels of Scott's width on a grid beyond both ends. */
import { mean, variance } from "../statistics.ts";

export interface Density {
  /** Of the values given. */
  readonly n: number;
  readonly mean: number;
  /** With n - 1 in the denominator; null of one value. */
  readonly sd: number | null;
  /** h = sd n^(-1/5); 0 where there is no density, because there are fewer than 2 values or all are the same. */
  readonly bandwidth: number;
  /** 200 points from 3 h below the least value to 3 h above the greatest; empty without a density. */
  readonly x: readonly number[];
  readonly y: readonly number[];
}

const POINTS = 200;
/** Bandwidths beyond the ends. */
const CUT = 3;

/**
 * Gaussian kernel density estimate (Scott, "Multivariate Density Estimation", 1992, section 6.5.2: h = sd n^(-1/5)).
 * Values that differ only by rounding (sd below 1e-12 of their size) count as the same.
 */
export function density(values: readonly number[]): Density {
  const n = values.length;
  const centre = mean(values);
  const sd = Math.sqrt(variance(values));
  const size = values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  const base = { n, mean: centre, sd: n < 2 ? null : sd };
  if (!(sd > 1e-12 * size)) return { ...base, bandwidth: 0, x: [], y: [] };
  const h = sd * n ** -0.2;
  const low = Math.min(...values) - CUT * h;
  const high = Math.max(...values) + CUT * h;
  const x = Array.from({ length: POINTS }, (_, k) => low + ((high - low) * k) / (POINTS - 1));
  const scale = 1 / (n * h * Math.sqrt(2 * Math.PI));
  const y = x.map((at) => scale * values.reduce((sum, v) => sum + Math.exp(-0.5 * ((at - v) / h) ** 2), 0));
  return { ...base, bandwidth: h, x, y };
}
