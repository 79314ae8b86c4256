/** Similarity of classes against cosines. */
import { describe, expect, test } from "vitest";
import { hierarchyFromJson, hierarchyFromPairs } from "../../../src/channels/evaluate/hierarchy.ts";
import { candidatePairs, classSimilarity, type CandidatePair } from "../../../src/channels/evaluate/similarity.ts";
import { findPairs } from "../../../src/channels/find.ts";
import { Random } from "../../../src/channels/random.ts";
import { accumulate } from "../../../src/relevance/accumulate.ts";
import { batchOf, emptyStudy, LABELS } from "../../relevance/synthetic.ts";

const options = (changes: object = {}) => ({ random: new Random(1), gamma: 0.5, partial: false, ...changes });
const tree = hierarchyFromJson({
  name: "all",
  children: [
    { name: "animal", children: [{ name: "canine", children: ["dog", "wolf"] }, "cat"] },
    { name: "machine", children: ["car", "bus"] },
  ],
});
const names = ["dog", "wolf", "cat", "car", "bus"];
const pair = (channel: number, class1: number, class2: number, cosine: number): CandidatePair => ({
  ...{ channel, class1, class2, cosine },
});

test("Spearman's correlation, ties included, is scipy's", () => {
  // Path similarities: dog-wolf 1/3, dog-cat 1/4, dog-car 1/6, cat-bus 1/5, car-bus 1/3.
  const pairs = [pair(0, 0, 1, 0.5), pair(0, 0, 2, 0.2), pair(1, 0, 3, 0.3), pair(1, 2, 4, 0.05), pair(2, 3, 4, 0.9)];
  const found = classSimilarity(pairs, names, tree, options());
  expect(found.points.map(([, s]) => s)).toEqual([1 / 3, 1 / 4, 1 / 6, 1 / 5, 1 / 3]);
  // scipy.stats.spearmanr([1/3, 1/4, 1/6, 1/5, 1/3], [.5, .2, .3, .05, .9])
  expect(found.spearman.value).toBeCloseTo(SPEARMAN, 12);
  expect(found).toMatchObject({ pairs: 5, channels: 3, classes: 5, left_out: 0, missing: [] });
  expect(found.similarity.found).toBeCloseTo((1 / 4 + 1 / 6 + 1 / 5) / 3, 14);
  expect(found.p).toBeGreaterThan(0);
  expect(found.p).toBeLessThanOrEqual(1);
});
const SPEARMAN = 0.6668859288553503;

describe("a hierarchy that explains the cosines, and one that does not", () => {
  const leaves = Array.from({ length: 24 }, (_, t) => `c${t}`);
  const groups = [0, 1, 2, 3];
  const grouped = hierarchyFromPairs([
    ...leaves.map((name, t) => [name, `g${t % 4}`] as const),
    ...groups.map((g) => [`g${g}`, "all"] as const),
  ]);
  const every = (cosine: (a: number, b: number, random: Random) => number): CandidatePair[] => {
    const random = new Random(5);
    return leaves.flatMap((_, a) =>
      leaves.slice(a + 1).map((__, k) => pair(a, a, a + 1 + k, cosine(a, a + 1 + k, random))),
    );
  };

  test("is found", () => {
    const pairs = every((a, b, random) => (a % 4 === b % 4 ? 0.6 : 0.3) + 0.1 * random.normal());
    const found = classSimilarity(pairs, leaves, grouped, options());
    expect(found.spearman.low).toBeGreaterThan(0.3);
    expect(found.p).toBe(1 / 1001);
  });

  test("is not found in noise", () => {
    const pairs = every((_, __, random) => random.normal());
    const found = classSimilarity(pairs, leaves, grouped, options());
    expect(found.spearman.low).toBeLessThan(0);
    expect(found.spearman.high).toBeGreaterThan(0);
    expect(found.p).toBeGreaterThan(0.01);
  });
});

describe("classes that the hierarchy lacks", () => {
  const pairs = [pair(0, 0, 1, 0.5), pair(0, 0, 5, 0.4), pair(1, 2, 3, 0.2), pair(1, 2, 6, 0.1), pair(2, 0, 3, NaN)];
  const more = [...names, "tulip", "rose"];

  test("are named", () => {
    expect(() => classSimilarity(pairs, more, tree, options())).toThrow(
      expect.objectContaining({
        code: "HIERARCHY_CLASSES",
        message: expect.stringContaining("2 of the 6 classes of candidate pairs: tulip, rose") as string,
      }) as Error,
    );
  });

  test("are left out where that is asked for, and counted", () => {
    const found = classSimilarity(pairs, more, tree, options({ partial: true }));
    expect(found).toMatchObject({ pairs: 2, left_out: 3, missing: ["tulip", "rose"] });
  });
});

test("classes that are equally near give no correlation, not a number by accident", () => {
  const flat = hierarchyFromPairs(names.map((name) => [name, "all"] as const));
  const found = classSimilarity([pair(0, 0, 1, 0.1), pair(0, 1, 2, 0.3), pair(1, 3, 4, 0.2)], names, flat, options());
  expect(found.spearman.value).toBeNaN();
  expect(found.p).toBeNaN();
});

test("candidate pairs are those of find, whatever their cosine", () => {
  const study = emptyStudy();
  accumulate(study, batchOf(0, LABELS.length));
  const pairs = candidatePairs(study, 0.03, 0.25);
  const found = findPairs(study, { tau: 0.03, p: 0.25, gamma: 2 });
  expect(pairs.length).toBeGreaterThan(5);
  for (const { channel, class1, class2, cosine } of found.pairs)
    expect(pairs).toContainEqual({ channel, class1, class2, cosine });
  expect(pairs.filter((q) => q.cosine >= 0)).toHaveLength(found.pairs.length);
});
