/** Student's t distribution, for intervals and tests from few folds. */
import { invariant } from "../errors.ts";

/**
 * P(T <= t) with `df` degrees of freedom, which need not be whole: 1 - I_x(df/2, 1/2) / 2 with x = df / (df + t^2) for
 * t > 0 (Abramowitz and Stegun 26.7.1). Absolute error below 1e-12.
 */
export function studentCdf(t: number, df: number): number {
  invariant(df > 0, `${df} degrees of freedom`);
  if (Number.isNaN(t)) return NaN;
  if (!Number.isFinite(t)) return t > 0 ? 1 : 0;
  const tail = incompleteBeta(df / (df + t * t), df / 2, 1 / 2) / 2;
  return t > 0 ? 1 - tail : tail;
}

/** t with P(T <= t) = p, by bisection. @param p in (0, 1) */
export function studentQuantile(p: number, df: number): number {
  invariant(p > 0 && p < 1, `quantile ${p}`);
  let [low, high] = [-1, 1];
  while (studentCdf(low, df) > p) low *= 2;
  while (studentCdf(high, df) < p) high *= 2;
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2;
    if (studentCdf(middle, df) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** I_x(a, b), regularised, by its continued fraction (Abramowitz and Stegun 26.5.8, evaluated from the front: Lentz 1976). */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  // The fraction converges fast below the mean; above it, the other tail's does.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(
    a * Math.log(x) + b * Math.log1p(-x) - Math.log(a) - (logGamma(a) + logGamma(b) - logGamma(a + b)),
  );
  const term = (k: number): number => {
    const m = Math.floor(k / 2);
    if (k % 2 === 0) return (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    return (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
  };
  const tiny = 1e-300;
  const away = (v: number): number => (Math.abs(v) < tiny ? tiny : v);
  let [value, c, d] = [1, 1, 0];
  for (let k = 1; k <= 500; k++) {
    d = 1 / away(1 + term(k) * d);
    c = away(1 + term(k) / c);
    value *= c * d;
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return front / value;
}

/** log of the gamma function for x > 0: Stirling's series beyond 10, reached by the recurrence. */
function logGamma(x: number): number {
  let [shift, y] = [0, x];
  for (; y < 10; y++) shift += Math.log(y);
  const r = 1 / (y * y);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r * (1 / 1188 - (r * 691) / 360360))))) / y;
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
