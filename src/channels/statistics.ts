/**
 * The statistics that figures are reported with: intervals, ranks, permutation tests, control of false discoveries.
 * Pure functions of numbers, in float64. Random ones take a generator, so that a seed repeats them.
 */
import { invariant } from "../errors.ts";
import type { Random } from "./random.ts";

type Values = ArrayLike<number> & Iterable<number>;

/** How every figure is reported: the estimate, an interval around it, and from how many units. */
export interface Figure {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly n: number;
}

export function sum(values: Values): number {
  let total = 0;
  for (const v of values) total += v;
  return total;
}

/** NaN of nothing. */
export const mean = (values: Values): number => sum(values) / values.length;

/** With n - 1 in the denominator; NaN of fewer than two. */
export function variance(values: Values): number {
  const centre = mean(values);
  let squares = 0;
  for (const v of values) squares += (v - centre) ** 2;
  return values.length < 2 ? NaN : squares / (values.length - 1);
}

/**
 * Interpolated between order statistics at (n - 1) q: definition 7 of Hyndman and Fan (The American Statistician 50(4),
 * 1996), which numpy and R use. NaN of nothing.
 * @param q from 0 to 1
 */
export const quantile = (values: Values, q: number): number => quantileOfSorted(Float64Array.from(values).sort(), q);

/** As `quantile`, of values that are sorted already. */
export function quantileOfSorted(sorted: Values, q: number): number {
  invariant(q >= 0 && q <= 1, `quantile ${q}`);
  if (sorted.length === 0) return NaN;
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  const low = sorted[below] ?? NaN;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] ?? NaN;
  return low === high ? low : low + (at - below) * (high - low);
}

export const median = (values: Values): number => quantile(values, 0.5);

/** [n] ranks from 1; equal values share their mean rank. */
export function ranks(values: Values): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
  const result = new Float64Array(values.length);
  for (let from = 0; from < order.length;) {
    let to = from + 1;
    while (to < order.length && values[order[to] ?? 0] === values[order[from] ?? 0]) to++;
    for (let k = from; k < to; k++) result[order[k] ?? 0] = (from + 1 + to) / 2;
    from = to;
  }
  return result;
}

/** The linear correlation of paired values; NaN where one of them is constant. */
export function pearson(a: Values, b: Values): number {
  invariant(a.length === b.length, "paired values");
  const [centreA, centreB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [(a[i] ?? 0) - centreA, (b[i] ?? 0) - centreB];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa > 0 && bb > 0 ? Math.max(-1, Math.min(1, ab / Math.sqrt(aa * bb))) : NaN;
}

/** Spearman's rank correlation, ties by mean ranks; NaN where one of them is constant. */
export const spearman = (a: Values, b: Values): number => pearson(ranks(a), ranks(b));

/**
 * The area under the ROC curve: the chance that one of `positives` is above one of `negatives`, ties counting half
 * (Mann and Whitney's U over the number of pairs). NaN where either is empty.
 */
export function auroc(positives: Values, negatives: Values): number {
  const [n, m] = [positives.length, negatives.length];
  const rank = ranks([...Array.from(positives), ...Array.from(negatives)]);
  return (sum(rank.subarray(0, n)) - (n * (n + 1)) / 2) / (n * m);
}

export interface BootstrapOptions {
  readonly random: Random;
  /** 1000 unless given. */
  readonly resamples?: number;
  /** What the interval is to cover; 0.95 unless given. */
  readonly level?: number;
}

/**
 * A statistic with its percentile bootstrap interval (Efron 1979). Units are drawn with replacement within each group (the
 * positives and the negatives of an AUROC, say); dependent values belong in one unit (all the plants of one seed).
 * Resamples for which the statistic is not finite are left out; where it is so for more than half, there is no interval.
 * @param sizes units of each group
 * @param statistic of the chosen units: one array of indices a group
 * @returns `n` is the number of units; low and high are NaN where there is no interval, or fewer than 2 units
 */
export function bootstrap(
  sizes: readonly number[],
  statistic: (units: readonly Uint32Array[]) => number,
  { random, resamples = 1000, level = 0.95 }: BootstrapOptions,
): Figure {
  const value = statistic(sizes.map((n) => Uint32Array.from({ length: n }, (_, i) => i)));
  const n = sum(sizes);
  if (n < 2) return { value, low: NaN, high: NaN, n };
  const draws = Array.from({ length: resamples }, () => statistic(sizes.map((size) => random.resample(size))));
  const finite = Float64Array.from(draws.filter(Number.isFinite)).sort();
  if (finite.length * 2 < resamples) return { value, low: NaN, high: NaN, n };
  return { value, low: quantileOfSorted(finite, (1 - level) / 2), high: quantileOfSorted(finite, (1 + level) / 2), n };
}

/** The mean of values with its bootstrap interval. */
export const bootstrapMean = (values: Values, options: BootstrapOptions): Figure =>
  bootstrap([values.length], ([units]) => mean(Float64Array.from(units ?? [], (i) => values[i] ?? NaN)), options);

/**
 * A share with Wilson's score interval (Journal of the American Statistical Association 22, 1927), which holds for few
 * units and for shares of 0 and 1 too.
 * @param z of the normal distribution; 1.96 is a level of 0.95
 */
export function proportion(hits: number, n: number, z = 1.959963984540054): Figure {
  invariant(hits >= 0 && hits <= n, `${hits} of ${n}`);
  if (n === 0) return { value: NaN, low: NaN, high: NaN, n };
  const share = hits / n;
  const centre = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = ((z / (1 + (z * z) / n)) * Math.sqrt(share * (1 - share) + (z * z) / (4 * n))) / Math.sqrt(n);
  // Rounding must not put the interval off the estimate.
  return {
    value: share,
    low: Math.min(share, Math.max(0, centre - half)),
    high: Math.max(share, Math.min(1, centre + half)),
    n,
  };
}

/**
 * q-values (adjusted p-values) of Benjamini and Hochberg, Journal of the Royal Statistical Society B 57(1), 1995: taking all with
 * q <= f keeps the expected share of false ones among them at or below f, for p-values that are independent or positively
 * dependent.
 * @param pValues [m] from 0 to 1
 * @returns [m] in the same order
 */
export function benjaminiHochberg(pValues: Values): Float64Array {
  const m = pValues.length;
  const order = Array.from(pValues, (_, i) => i).sort((a, b) => (pValues[b] ?? 0) - (pValues[a] ?? 0));
  const q = new Float64Array(m);
  let least = 1;
  order.forEach((i, k) => {
    least = Math.min(least, ((pValues[i] ?? NaN) * m) / (m - k));
    q[i] = least;
  });
  return q;
}

/** The p-value of a permutation test: the share of null draws at or above the observed one, itself counted among them. */
export function permutationP(observed: number, draws: Values): number {
  let atLeast = 1;
  for (const draw of draws) if (draw >= observed) atLeast++;
  return atLeast / (draws.length + 1);
}

export interface MantelOptions {
  /** Objects (classes, say) whose labels are permuted. */
  readonly size: number;
  /** Which pairs of objects are compared; all of them, or those for which `values` exist. A pair may stand several times. */
  readonly pairs: readonly (readonly [number, number])[];
  /** [pairs] the first measure. */
  readonly values: Values;
  /** The second measure of any two objects: it must be known for every pair, for permutations need it. */
  readonly other: (i: number, j: number) => number;
  readonly random: Random;
  /** 1000 unless given. */
  readonly permutations?: number;
  /** `spearman` unless given. */
  readonly correlation?: (a: Values, b: Values) => number;
}

export interface MantelTest {
  readonly value: number;
  /** One-sided: permutations whose correlation is as high. */
  readonly p: number;
  /** Permutations whose correlation is as far from 0. */
  readonly pTwoSided: number;
  /** Mean and standard deviation of the null. */
  readonly nullMean: number;
  readonly nullSd: number;
  /** Pairs. */
  readonly n: number;
}

/**
 * Mantel's test (Cancer Research 27, 1967): whether two measures on pairs of objects go together. Pairs that share an object
 * depend on each other, so whole objects are permuted, not pairs.
 */
export function mantel(options: MantelOptions): MantelTest {
  const { size, pairs, values, other, random, permutations = 1000, correlation = spearman } = options;
  invariant(values.length === pairs.length, "one value a pair");
  const under = (order: ArrayLike<number>): number =>
    correlation(
      values,
      pairs.map(([i, j]) => other(order[i] ?? 0, order[j] ?? 0)),
    );
  const value = under(Array.from({ length: size }, (_, i) => i));
  const draws = Float64Array.from({ length: permutations }, () => under(random.permutation(size)));
  // Where a correlation is undefined nothing is shown: such a draw counts as one at the observed value.
  const p = (of: (r: number) => number): number =>
    Number.isFinite(value)
      ? permutationP(
          of(value),
          draws.map((r) => (Number.isFinite(r) ? of(r) : Infinity)),
        )
      : NaN;
  const known = draws.filter(Number.isFinite);
  return {
    value,
    p: p((r) => r),
    pTwoSided: p(Math.abs),
    nullMean: mean(known),
    nullSd: Math.sqrt(variance(known)),
    n: pairs.length,
  };
}
