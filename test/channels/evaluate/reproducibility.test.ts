/** Source sets of two halves of the images. */
import { describe, expect, test } from "vitest";
import type { SplitChannel } from "../../../src/channels/evaluate/channel.ts";
import {
  foldHalvings,
  imageHalvings,
  randomJaccard,
  reproducibility,
} from "../../../src/channels/evaluate/reproducibility.ts";
import { Random } from "../../../src/channels/random.ts";

// scipy.stats.hypergeom, summed over the overlap.
test.each([
  [10, 3, 4, 0.2283333333333333],
  [96, 30, 35, 0.2043120033369742],
  [8, 8, 5, 0.625],
  [5, 0, 3, 0],
])("random sets among %i inputs, of %i and %i", (size, a, b, expected) => {
  expect(randomJaccard(size, a, b)).toBeCloseTo(expected, 12);
});

test("two empty sets have no index", () => {
  expect(randomJaccard(5, 0, 0)).toBeNaN();
});

test("halves of folds: every way once, and no fold in both", () => {
  expect([1, 2, 3, 4, 5, 6].map((n) => foldHalvings(n).length)).toEqual([0, 1, 3, 3, 15, 10]);
  for (const [a, b] of foldHalvings(5)) expect(new Set([...a, ...b]).size).toBe(4);
});

const channel: SplitChannel = {
  ...{ channel: 0, concepts: ["a", "b"], classes: [0, 1], ids: [0, 1], rho: 0.5, rule: "symmetric", rows: [0, 1, 2] },
  ...{
    weights: Float64Array.of(1, 1, 1, 1),
    parts: [],
    sign: 1,
    bias: 0,
    first: 0,
    count: 4,
    taps: 1,
    sets: undefined,
  },
};
const means = (...rows: number[][]): Float64Array[] => rows.map((row) => Float64Array.from(row));

describe("Jaccard's index", () => {
  test("is 1 where halves agree, and what is shared by all counts for no concept", () => {
    const half = means([1, 1, 0, 1], [0, 0, 1, 1]);
    const found = reproducibility(channel, "study", [[half, half]]);
    expect(found.concepts.map((c) => c.jaccard)).toEqual([
      { value: 1, low: 1, high: 1, n: 1 },
      { value: 1, low: 1, high: 1, n: 1 },
    ]);
    expect(found.concepts[0]?.random.value).toBeCloseTo(randomJaccard(4, 2, 2), 12);
    expect(found.concepts[0]?.difference.value).toBeCloseTo(1 - randomJaccard(4, 2, 2), 12);
  });

  test("counts what differs", () => {
    const found = reproducibility(channel, "study", [
      [means([1, 1, 0, 0], [0, 0, 1, 1]), means([1, 0, 0, 0], [0, 1, 1, 1])],
    ]);
    expect(found.concepts.map((c) => c.jaccard.value)).toEqual([1 / 2, 2 / 3]);
  });

  test("is undefined where neither half gives a concept an input, and such halvings do not count", () => {
    const shared = means([1, 1, 1, 1], [1, 1, 1, 1]);
    const found = reproducibility(channel, "study", [[shared, shared]]);
    expect(found.concepts[0]?.jaccard).toMatchObject({ value: NaN, n: 0 });
  });

  test("a sign is a sign: a negated row gives the same sets", () => {
    const halves = [means([3, 1, 0, 2], [0, 2, 1, 2]), means([2, 1, 0, 2], [1, 2, 1, 0])] as const;
    const negated = { ...channel, weights: channel.weights.map((w) => -w), sign: -1 };
    expect(reproducibility(negated, "study", [halves])).toEqual(reproducibility(channel, "study", [halves]));
  });

  test("other rules are held to the symmetric one at rho 1, and say so", () => {
    const half = means([2, 1, 0, 1], [0, 0, 1, 2]);
    const found = reproducibility({ ...channel, rule: "additive", rho: null }, "study", [[half, half]]);
    expect(found).toMatchObject({ rule: "symmetric", rho: 1 });
  });
});

test("images are halved at random, the same for the same seed", () => {
  const images = [1, 2, 3, 4].map((v) => Float32Array.of(v));
  const one = imageHalvings([images, images.slice(0, 2)], 5, new Random(1));
  expect(one).toEqual(imageHalvings([images, images.slice(0, 2)], 5, new Random(1)));
  for (const [a, b] of one) expect((a[0]?.[0] ?? NaN) + (b[0]?.[0] ?? NaN)).toBe(5); // of two each
  expect(imageHalvings([images, images.slice(0, 1)], 5, new Random(1))).toEqual([]);
});
