/** Figures of times: medians and ratios with their intervals. */
import { Random } from "../../channels/random.ts";
import { bootstrap, median, type Figure } from "../../channels/statistics.ts";

/** Runs are a sample; which resamples are drawn must not change from one reading of them to the next. */
const SEED = 1;

/** A figure of one thing that is counted, not sampled. */
export const exactly = (value: number): Figure => ({ value, low: value, high: value, n: 1 });

/** The median with a bootstrap interval; of one value that value. */
export function medianOf(values: readonly number[]): Figure {
  const [only = NaN] = values;
  if (values.length < 2) return { value: only, low: only, high: only, n: values.length };
  const pick = (units: Uint32Array | undefined): number =>
    median(Float64Array.from(units ?? [], (i) => values[i] ?? NaN));
  return bootstrap([values.length], ([units]) => pick(units), { random: new Random(SEED) });
}

/** The median of the pairs' ratios, with a bootstrap interval over pairs: a drift of the machine's speed cancels. */
export function ratioOf(above: readonly number[], below: readonly number[]): Figure {
  const pairs = Math.min(above.length, below.length);
  return medianOf(Array.from({ length: pairs }, (_, i) => (above[i] ?? NaN) / (below[i] ?? NaN)));
}

export const scaled = ({ value, low, high, n }: Figure, by: number): Figure => ({
  value: value * by,
  low: low * by,
  high: high * by,
  n,
});

/** by / figure. */
export const inverse = ({ value, low, high, n }: Figure, by: number): Figure => ({
  value: by / value,
  low: by / high,
  high: by / low,
  n,
});
