/** Separation beside its nulls. */
import { describe, expect, test } from "vitest";
import { contrast, type Scores } from "../../../src/channels/evaluate/separation.ts";
import { Random } from "../../../src/channels/random.ts";

const scores = (positives: readonly number[], negatives: readonly number[]): Scores => ({
  positives: Float64Array.from(positives),
  negatives: Float64Array.from(negatives),
});
const options = () => ({ random: new Random(1), resamples: 400, permutations: 400 });

test("areas and differences by hand, ties counting half", () => {
  const part = scores([3, 2], [1, 2]); // 3 > 1, 3 > 2, 2 > 1, 2 = 2: 3.5 of 4
  const draws = [scores([1, 1], [1, 1]), scores([0, 2], [1, 3])]; // 1/2 and 1/4
  const filters = [scores([5, 5], [1, 1])]; // 1
  const found = contrast(part, scores([0, 0], [1, 1]), draws, filters, options());
  expect(found.auroc).toMatchObject({ value: 0.875, n: 4 });
  expect(found.whole.value).toBe(0);
  expect(found.random_partition.null).toMatchObject({ value: 0.375, n: 2 });
  expect(found.random_partition.difference.value).toBeCloseTo(0.5, 14);
  expect(found.random_partition.p).toBeCloseTo(1 / 3, 14); // of two draws none reaches it
  expect(found.random_filter?.difference.value).toBeCloseTo(-0.125, 14);
  expect(found.random_filter?.p).toBe(1);
  expect(found.permuted_labels.null.value).toBe(0.5);
  expect(found.permuted_labels.difference.value).toBeCloseTo(0.375, 14);
});

test("the same seed, the same figures", () => {
  const part = scores([3, 2, 5, 1], [1, 2, 0, 4]);
  const once = contrast(part, part, [part], undefined, options());
  expect(contrast(part, part, [part], undefined, options())).toEqual(once);
  expect(once.random_filter).toBeNull();
});

describe("intervals", () => {
  const draw = (n: number, shift: number, random: Random): number[] =>
    Array.from({ length: n }, () => random.normal() + shift);

  test("hold the truth about as often as they say", () => {
    // Positives are 1 sd above: the area is Phi(1 / sqrt 2) = 0.7602; draws know nothing: 1/2.
    const truth = 0.7602499389065233 - 0.5;
    let held = 0;
    const RUNS = 100;
    for (let run = 0; run < RUNS; run++) {
      const random = new Random(run);
      const part = scores(draw(30, 1, random), draw(60, 0, random));
      const nulls = Array.from({ length: 40 }, () => scores(draw(30, 0, random), draw(60, 0, random)));
      const { difference } = contrast(part, part, nulls, undefined, {
        ...options(),
        random,
        permutations: 1,
      }).random_partition;
      held += Number(difference.low <= truth && truth <= difference.high);
    }
    // 95 % nominal. A binomial of 100 runs is below 84 with probability 1e-5 at 95 %, and 1e-3 at 92 % (percentile
    // intervals of 30 units are a little short).
    expect(held).toBeGreaterThanOrEqual(84);
  });

  test("a part that is one of its null's draws is not above them", () => {
    const random = new Random(9);
    const all = Array.from({ length: 60 }, () => scores(draw(20, 0.5, random), draw(40, 0, random)));
    const [part, ...nulls] = all;
    const { difference, p } = contrast(
      part ?? scores([], []),
      part ?? scores([], []),
      nulls,
      undefined,
      options(),
    ).random_partition;
    expect(difference.low).toBeLessThan(0);
    expect(p).toBeGreaterThan(0.02);
  });

  test("constant scores are worth one half", () => {
    const same = scores([2, 2, 2], [2, 2]);
    expect(contrast(same, same, [same], [same], options()).auroc).toMatchObject({ value: 0.5, low: 0.5, high: 0.5 });
  });

  test("one image of a kind has no interval", () => {
    const lone = scores([2], [1, 3]);
    const { auroc } = contrast(lone, lone, [lone], undefined, options());
    expect(auroc.value).toBe(0.5);
    expect(auroc.low).toBeNaN();
  });
});
