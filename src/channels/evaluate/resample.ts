/** Bootstrap intervals of several statistics of the same units, from the same resamples: drawing them is most of the work. */
import { quantileOfSorted, type BootstrapOptions, type Figure } from "../statistics.ts";

/** A statistic of units that are drawn `times[i]` times each. */
export type WeightedStatistic = (times: Float64Array) => number;

/**
 * Percentile intervals as `bootstrap` of statistics.ts gives them, with the same conventions: resamples for which a
 * statistic is not finite are left out, and without half of them there is no interval.
 * @param n units
 */
export function bootstrapAll(
  n: number,
  statistics: readonly WeightedStatistic[],
  { random, resamples = 1000, level = 0.95 }: BootstrapOptions,
): Figure[] {
  const values = statistics.map((statistic) => statistic(new Float64Array(n).fill(1)));
  if (n < 2) return values.map((value) => ({ value, low: NaN, high: NaN, n }));
  const draws = statistics.map(() => new Float64Array(resamples));
  const times = new Float64Array(n);
  for (let b = 0; b < resamples; b++) {
    times.fill(0);
    for (let k = 0; k < n; k++) {
      const unit = random.below(n);
      times[unit] = (times[unit] ?? 0) + 1;
    }
    for (const [k, statistic] of statistics.entries()) {
      const target = draws[k];
      if (target !== undefined) target[b] = statistic(times);
    }
  }
  return values.map((value, k) => {
    const finite = (draws[k] ?? new Float64Array(0)).filter(Number.isFinite).sort();
    if (finite.length * 2 < resamples) return { value, low: NaN, high: NaN, n };
    const at = (q: number): number => quantileOfSorted(finite, q);
    return { value, low: at((1 - level) / 2), high: at((1 + level) / 2), n };
  });
}

/** The sum of values, each as often as its unit was drawn. */
export function weightedSum(values: readonly number[], times: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < times.length; i++) {
    const t = times[i] ?? 0;
    // A unit that was not drawn must not spoil the sum if its value is no number.
    if (t > 0) sum += t * (values[i] ?? NaN);
  }
  return sum;
}

export const weightedMean =
  (values: readonly number[]): WeightedStatistic =>
  (times) =>
    weightedSum(values, times) / times.length;

/** The median (of definition 7, as `quantile`) of values, each as often as its unit was drawn. */
export function weightedMedian(values: readonly number[]): WeightedStatistic {
  const order = values.map((_, i) => i).sort((a, b) => (values[a] ?? NaN) - (values[b] ?? NaN));
  return (times) => {
    const middle = (times.length - 1) / 2;
    let seen = 0;
    let low = NaN;
    for (const i of order) {
      const before = seen;
      seen += times[i] ?? 0;
      const value = values[i] ?? NaN;
      if (before <= Math.floor(middle) && seen > Math.floor(middle)) low = value;
      if (before <= Math.ceil(middle) && seen > Math.ceil(middle)) return low === value ? low : (low + value) / 2;
    }
    return NaN;
  };
}
