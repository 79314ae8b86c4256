/** Whether findings hold what they promise: on data without an effect, on planted concepts, and on too little data. */
import { describe, expect, it } from "vitest";
import { findPairs, type Findings } from "../../src/channels/find.ts";
import { cosine } from "../../src/channels/cosine.ts";
import { halfSplits } from "../../src/channels/fold-vectors.ts";
import { must } from "../../src/errors.ts";
import { Random } from "../support/random.ts";
import { noisyStudy, normals, sparseMean } from "./noisy-study.ts";

const INPUTS = 32;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, k) => k);
const find = (study: Parameters<typeof findPairs>[0], gamma?: number): Findings =>
  findPairs(study, { tau: 0.03, ...(gamma === undefined ? {} : { gamma }) });

/** Ten classes, each divided into two that differ by nothing; every channel is relevant for both halves of one. */
function halvedClasses(seed: number, noise: number): ReturnType<typeof noisyStudy> {
  const random = new Random(1000 + seed);
  const truth = upTo(10).map(() => sparseMean(random, INPUTS));
  return noisyStudy({
    means: truth.flatMap((m) => [m, m]),
    weights: upTo(40).map(() => normals(random, INPUTS)),
    relevant: upTo(40).map((c) => [2 * (c % 10), 2 * (c % 10) + 1]),
    images: 20,
    noise,
    seed,
  });
}

describe("without an effect", () => {
  it.each([0.1, 0.5])("halves of one class are not found, noise %d", (noise) => {
    const all = upTo(10).map((seed) => find(halvedClasses(seed, noise)));
    const found = all.flatMap((f) => f.pairs);
    expect(all.reduce((n, f) => n + f.candidates, 0)).toBe(400);
    // Binomial(400, 0.05) exceeds 34 with chance 0.0007. (Pairs of one study depend on each other, and p is the larger of
    // two: fewer are to be expected.)
    expect(found.length).toBeLessThanOrEqual(34);
  });

  it.each([0.1, 0.5])("p against halves of one class is small no more often than it says, noise %d", (noise) => {
    // Beyond any cosine, the threshold decides nothing: this is the null of noise alone.
    const all = upTo(10).map((seed) => find(halvedClasses(seed, noise), 2));
    const significance = all.flatMap((f) => f.candidatePairs.map((q) => must(q.significance, "significance")));
    expect(significance.every(({ p, pSameClass }) => p === pSameClass)).toBe(true);
    for (const level of [0.01, 0.05, 0.2]) {
      const below = significance.filter(({ p }) => p <= level).length;
      expect(below, `p <= ${level}`).toBeLessThanOrEqual(400 * level + 3.2 * Math.sqrt(400 * level * (1 - level)));
    }
    // Under the global null any finding is false: a study has one with chance 0.05; four of ten with chance 0.001.
    const studies = all.filter((f) => f.candidatePairs.some((q) => q.significance?.significant === true)).length;
    expect(studies).toBeLessThan(4);
  });

  it("classes that are all one: the layer's own threshold, near 1, finds nothing", () => {
    const random = new Random(77);
    const mean = sparseMean(random, INPUTS);
    let [found, candidates] = [0, 0];
    for (const seed of upTo(10)) {
      const weights = upTo(20).map(() => normals(random, INPUTS));
      const relevant = upTo(20).map(() => [0, 1]);
      const {
        pairs,
        decision,
        candidates: n,
      } = find(noisyStudy({ means: [mean, mean, mean], weights, relevant, images: 25, noise: 0.3, seed }));
      expect(decision.threshold).toBeGreaterThan(0.9);
      found += pairs.length;
      candidates += n;
    }
    expect(candidates).toBe(200);
    // Channels of one study share their images, so findings come together: one study of ten may have some.
    expect(found).toBeLessThanOrEqual(20);
  });
});

/** Inputs 0-9 speak for class 0, 10-19 for class 1, the rest for the others. */
function planted(seed: number, noise: number, folds = 5): ReturnType<typeof noisyStudy> {
  const random = new Random(500 + seed);
  const group = (from: number, to: number): number[] =>
    upTo(INPUTS).map((i) => (i >= from && i < to ? 0.5 + random.uniform() / 2 : 0.1 * random.uniform()));
  const means = [group(0, 10), group(10, 20), ...upTo(6).map(() => sparseMean(random, INPUTS))];
  // Channel 0 listens to both groups. Class 2 has the inputs of class 0, stronger: channels 1 to 5 have one concept.
  means[2] = (means[0] ?? []).map((m) => 1.3 * m);
  const listens = (from: number, to: number): number[] =>
    upTo(INPUTS).map((i) => (i >= from && i < to ? 1 : 0.1 * random.normal()));
  return noisyStudy({
    means,
    weights: [listens(0, 20), ...upTo(5).map(() => listens(0, 10)), ...upTo(6).map(() => normals(random, INPUTS))],
    relevant: [[0, 1], ...upTo(5).map(() => [0, 2]), ...upTo(6).map(() => [3])],
    images: 20,
    noise,
    seed,
    folds,
  });
}

describe("with an effect", () => {
  // The planted cosine is 0.08 to 0.3, the median of random pairs 0.2 to 0.4; with noise of 0.2 of the largest input and 4
  // images a fold the interval is 0.06 to 0.15 wide either way.
  it.each([
    [0.1, 10],
    [0.2, 8],
  ])("planted concepts are found, channels of one concept are not, noise %d: %d of 10", (noise, least) => {
    const found = upTo(10).map((seed) => {
      const { pairs, candidates, decision } = find(planted(seed, noise));
      expect(candidates).toBe(6);
      expect(decision).toMatchObject({ rule: "calibrated", fdr: 0.05 });
      expect(pairs.every((q) => q.significance?.significant)).toBe(true);
      return pairs.map((q) => [q.channel, q.class1, q.class2].join());
    });
    expect(found.filter((keys) => keys.includes("0,0,1")).length).toBeGreaterThanOrEqual(least);
    expect(new Set(found.flat())).toEqual(new Set(["0,0,1"]));
  });

  it("intervals hold the true cosine about as often as they say, and are centred on it", () => {
    const random = new Random(9);
    let [held, all, bias, plainBias] = [0, 0, 0, 0];
    for (const seed of upTo(20)) {
      const means = upTo(4).map(() => sparseMean(random, INPUTS));
      const weights = upTo(10).map(() => normals(random, INPUTS));
      const { candidatePairs } = find(
        noisyStudy({ means, weights, relevant: upTo(10).map(() => [0, 1, 2, 3]), images: 30, noise: 0.3, seed }),
      );
      for (const q of candidatePairs) {
        const [a, b] = [q.class1, q.class2].map((t) =>
          Float64Array.from(means[t] ?? [], (m, i) => m * Math.fround(weights[q.channel]?.[i] ?? NaN)),
        );
        const truth = cosine(must(a, "ARV"), must(b, "ARV"));
        const figure = must(q.significance, "significance").cosine;
        expect(figure.n).toBe(10);
        if (figure.low <= truth && truth <= figure.high) held++;
        bias += figure.value - truth;
        plainBias += q.cosine - truth;
        all++;
      }
    }
    expect(all).toBe(1200);
    // Nominal 0.95. Pairs of one study share images and inputs: the effective number is a few hundred at least, so that
    // two points either way are noise; a jackknife of 5 + 5 folds is known to err on the narrow side.

    expect(held / all).toBeGreaterThan(0.92);
    expect(held / all).toBeLessThan(0.985);
    // Noise makes plain cosines too small on average; the jackknife takes most of that away.
    expect(Math.abs(bias)).toBeLessThan(Math.abs(plainBias) / 3);
  });

  it("marks what lies near the threshold", () => {
    const study = planted(1, 0.3);
    const { candidatePairs } = find(study);
    const own = must(candidatePairs.find((q) => q.channel === 0)?.significance, "significance").cosine;
    const near = find(study, own.value + (own.high - own.value) / 2).candidatePairs.find((q) => q.channel === 0);
    expect(near?.significance?.nearThreshold).toBe(true);
    const far = find(study, own.high + 0.1).candidatePairs.find((q) => q.channel === 0);
    expect(far?.significance?.nearThreshold).toBe(false);
  });

  it("does not depend on the order of classes, nor on a channel's scale", () => {
    const random = new Random(3);
    const means = upTo(4).map(() => sparseMean(random, INPUTS));
    const weights = upTo(6).map(() => normals(random, INPUTS));
    const common = { relevant: upTo(6).map(() => [0, 1, 2, 3]), images: 20, noise: 0, seed: 1 };
    const [plain, swapped] = [means, means.toReversed()].map((m) => find(noisyStudy({ means: m, weights, ...common })));
    const scaled = find(noisyStudy({ means, weights: weights.map((w, c) => w.map((v) => v * 2 ** c)), ...common }));
    const key = (f: Findings | undefined, flip: boolean): string[] =>
      must(f, "findings")
        .candidatePairs.map((q) => {
          const [a, b] = flip ? [3 - q.class2, 3 - q.class1] : [q.class1, q.class2];
          return `${q.channel} ${a} ${b} ${q.cosine.toFixed(9)} ${q.significance?.significant}`;
        })
        .sort();
    expect(key(swapped, true)).toEqual(key(plain, false));
    expect(key(scaled, false)).toEqual(key(plain, false));
  });
});

describe("gamma and the lack of a null", () => {
  it("gamma lists what lies below it, and says of each whether it is significant", () => {
    const { pairs, decision } = find(planted(2, 0.3), 0.999);
    expect(decision).toEqual({ rule: "gamma", threshold: 0.999, fdr: 0.05 });
    expect(pairs.every((q) => q.cosine >= 0 && q.cosine < 0.999)).toBe(true);
    expect(pairs.length).toBeGreaterThan(1);
    expect(pairs.every((q) => q.significance !== null)).toBe(true);
  });

  it.each([1, 2, 3])("a study of %d folds holds no null: gamma 0.5 decides", (folds) => {
    const { pairs, decision, sameClass } = find(planted(1, 0.1, folds));
    expect(decision).toMatchObject({ rule: "gamma", threshold: 0.5 });
    expect(sameClass).toBeNull();
    expect(pairs.map((q) => [q.channel, q.significance])).toEqual([[0, null]]);
  });

  it("two classes make no random pairs: the threshold is 0.5", () => {
    const two = noisyStudy({
      means: [
        [1, 1, 0.1, 0],
        [0, 0.1, 1, 1],
      ],
      weights: [
        [1, 1, 1, 1],
        [0, 1, 1, 0],
      ],
      relevant: [[0, 1], [0]],
      images: 20,
      noise: 0.1,
      seed: 1,
    });
    const { pairs, decision } = find(two);
    expect(decision).toMatchObject({ rule: "calibrated", threshold: 0.5 });
    expect(pairs.map((q) => [q.channel, q.significance?.significant])).toEqual([[0, true]]);
  });

  it.each([4, 6, 8])("%d folds do", (folds) => {
    const { pairs, decision } = find(planted(1, 0.1, folds));
    expect(decision.rule).toBe("calibrated");
    expect(pairs.map((q) => q.channel)).toEqual([0]);
  });

  it("classes with fewer images than folds have no significance, and nothing breaks", () => {
    const random = new Random(5);
    const means = upTo(4).map(() => sparseMean(random, INPUTS));
    const study = noisyStudy({
      means,
      weights: upTo(3).map(() => normals(random, INPUTS)),
      relevant: [[0, 1, 2], [], [3]],
      images: [20, 3, 20, 0],
      noise: 0.2,
      seed: 1,
    });
    const { candidatePairs, relevant } = find(study);
    expect(relevant).toEqual([[0, 1, 2], [], []]);
    const known = candidatePairs.map((q) => [q.class1, q.class2, q.significance !== null] as const);
    expect(known.toSorted((a, b) => a[0] - b[0] || a[1] - b[1])).toEqual([
      [0, 1, false],
      [0, 2, true],
      [1, 2, false],
    ]);
  });

  it("images that are all alike: no noise, so that any difference is one; zero vectors are undefined", () => {
    const means = [
      [1, 0, 0],
      [1, 0, 0],
      [1, 1, 0],
      [0, 0, 0],
      [0, 0, 1],
      [0, 1, 1],
    ];
    const study = noisyStudy({
      means,
      weights: [[1, 1, 1]],
      relevant: [[0, 1, 2, 3]],
      images: 10,
      noise: 0,
      seed: 1,
    });
    const { candidatePairs, undefinedPairs, decision } = find(study);
    // Of the ten random pairs 1 + 0.71 x 2 (0 or 1 with 2, 2 with 5: 0.5 ...): whatever the median, equal pairs are not below.
    expect(decision.threshold).toBeLessThanOrEqual(1);
    const of = (a: number, b: number) => candidatePairs.find((q) => q.class1 === a && q.class2 === b);
    expect(of(0, 1)?.significance).toMatchObject({ pSameClass: 1, significant: false });
    expect(of(0, 2)?.significance?.pSameClass).toBeLessThan(0.05);
    expect(undefinedPairs.map((q) => [q.class1, q.class2])).toEqual([
      [0, 3],
      [1, 3],
      [2, 3],
    ]);
  });
});

describe("halfSplits", () => {
  it.each([
    [4, 3, 2],
    [5, 15, 2],
    [6, 10, 3],
    [9, 9, 4],
    [64, 15, 32],
  ])("of %d folds: %d, of %d folds a side, disjoint and different", (folds, count, size) => {
    const splits = halfSplits(folds);
    expect(splits).toHaveLength(count);
    for (const [a, b] of splits) {
      expect([a.length, b.length, new Set([...a, ...b]).size]).toEqual([size, size, 2 * size]);
      expect(Math.max(...a, ...b)).toBeLessThan(folds);
    }
    const keys = splits.map((sides) => sides.map((side) => [...side].sort((x, y) => x - y).join()).join("|"));
    expect(new Set(keys).size).toBe(count);
  });
});
