/** Intervals of several statistics from the same resamples. */
import { describe, expect, test } from "vitest";
import { bootstrapAll, weightedMean, weightedMedian, weightedSum } from "../../../src/channels/evaluate/resample.ts";
import { Random } from "../../../src/channels/random.ts";
import { bootstrap, median, mean, sum } from "../../../src/channels/statistics.ts";

const values = [3, -1, 4, 1.5, 9, 2.5, 6, 5];

describe("weights say how often a unit was drawn", () => {
  test.each([
    [[1, 1, 1, 1, 1, 1, 1, 1]],
    [[0, 2, 1, 0, 3, 1, 0, 1]],
    [[8, 0, 0, 0, 0, 0, 0, 0]],
    [[0, 0, 4, 4, 0, 0, 0, 0]],
  ])("%j", (times) => {
    const drawn = values.flatMap((v, i) => Array.from({ length: times[i] ?? 0 }, () => v));
    const weights = Float64Array.from(times);
    expect(weightedSum(values, weights)).toBeCloseTo(sum(drawn), 12);
    expect(weightedMean(values)(weights)).toBeCloseTo(mean(drawn), 12);
    expect(weightedMedian(values)(weights)).toBeCloseTo(median(drawn), 12);
  });

  test("of an odd number of units", () => {
    const three = [7, 1, 3];
    expect(weightedMedian(three)(Float64Array.of(1, 1, 1))).toBe(3);
    expect(weightedMedian(three)(Float64Array.of(2, 1, 0))).toBe(7);
  });

  test("a value that is no number counts where it was drawn, and only there", () => {
    expect(weightedSum([1, NaN], Float64Array.of(2, 0))).toBe(2);
    expect(weightedSum([1, NaN], Float64Array.of(1, 1))).toBeNaN();
  });
});

test("intervals are those of `bootstrap`", () => {
  const options = () => ({ random: new Random(7), resamples: 300 });
  const [first, second] = bootstrapAll(values.length, [weightedMean(values), weightedMedian(values)], options());
  const of = (units: Iterable<number>): number[] => Array.from(units, (i) => values[i] ?? NaN);
  const byMean = bootstrap([values.length], ([units]) => mean(of(units ?? [])), options());
  const byMedian = bootstrap([values.length], ([units]) => median(of(units ?? [])), options());
  for (const [got, expected] of [
    [first, byMean],
    [second, byMedian],
  ] as const) {
    expect(got?.n).toBe(expected.n);
    for (const key of ["value", "low", "high"] as const) expect(got?.[key]).toBeCloseTo(expected[key], 12);
  }
});

test("one unit has no interval, nor has a statistic that is mostly undefined", () => {
  const random = new Random(1);
  expect(bootstrapAll(1, [weightedMean([4])], { random })).toEqual([{ value: 4, low: NaN, high: NaN, n: 1 }]);
  expect(bootstrapAll(2, [() => NaN], { random })[0]).toMatchObject({ value: NaN, low: NaN, n: 2 });
});
