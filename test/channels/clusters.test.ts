import { describe, expect, it } from "vitest";
import { clusterChannel } from "../../src/channels/clusters.ts";
import { adjustedRand, countConcepts, ellipseLike, permutedColumns } from "../../src/channels/concept-count.ts";
import { kMeans, toRows, type Rows } from "../../src/channels/kmeans.ts";
import { Random as Seeded } from "../../src/channels/random.ts";
import { TopImages, type TopImage } from "../../src/channels/top-images.ts";
import { pearson } from "../../src/channels/statistics.ts";
import { Random } from "../support/random.ts";
import { pointLayer } from "./point-layer.ts";

const upTo = (n: number): number[] => Array.from({ length: n }, (_, k) => k);

/** Relevance of inputs as behind a ReLU: `strong` inputs speak with random strength, the others a little. */
function vector(random: Random, inputs: number, strong: (i: number) => number): number[] {
  return upTo(inputs).map((i) => strong(i) * (0.3 + random.uniform()) + 0.1 * random.uniform());
}

const image = (k: number, v: readonly number[]): TopImage => ({
  path: `${k}.png`,
  label: 0,
  relevance: 1000 - k,
  vector: Float32Array.from(v),
});

describe("clusterChannel", () => {
  const options = { bootstraps: 8, most: 4 };

  it("a channel that mixes two groups of inputs has two concepts, and the right images in each", () => {
    for (const seed of upTo(5)) {
      const random = new Random(seed);
      const groups = upTo(90).map((k) => (k % 3 === 0 ? 1 : 0));
      const images = groups.map((g, k) =>
        image(
          k,
          vector(random, 24, (i) => (Math.floor(i / 12) === g ? 1 + random.uniform() : 0)),
        ),
      );
      const { count, clusters, images: n } = clusterChannel(3, images, { ...options, seed });
      expect([n, count.k, clusters.map((c) => c.images.length)]).toEqual([90, 2, [60, 30]]);
      expect(count.p).toBeLessThanOrEqual(0.05);
      const members = clusters.map((c) => new Set(c.images.map((i) => groups[Number.parseInt(i.path, 10)])));
      expect(members).toEqual([new Set([0]), new Set([1])]);
      // The vector is the mean of the raw ones: class 0's inputs are the first twelve.
      const [first] = clusters;
      const own = images.filter((_, k) => groups[k] === 0);
      expect(first?.vector[2]).toBeCloseTo(own.reduce((s, i) => s + (i.vector[2] ?? 0), 0) / 60, 6);
      expect(count.tried.map((t) => t.k)).toEqual([2, 3, 4]);
    }
  });

  it("three groups are three concepts", () => {
    const random = new Random(8);
    const images = upTo(120).map((k) =>
      image(
        k,
        vector(random, 24, (i) => (Math.floor(i / 8) === k % 3 ? 1 : 0)),
      ),
    );
    const { count, clusters } = clusterChannel(0, images, { seed: 1, bootstraps: 8, most: 5 });
    expect(count.k).toBe(3);
    expect(clusters.map((c) => new Set(c.images.map((i) => Number.parseInt(i.path, 10) % 3)).size)).toEqual([1, 1, 1]);
  });

  it("a channel of one group of inputs has one concept, in nearly all draws, however its images spread", () => {
    const kinds: Record<string, (random: Random) => number[]> = {
      "inputs independent": (random) => vector(random, 12, (i) => (i < 8 ? 1 : 0)),
      // One direction in which images differ most: half of the inputs rise as the others fall.
      "one direction": (random) => {
        const t = random.normal();
        return vector(random, 12, (i) => (i < 8 ? 1.5 + (i % 2 === 0 ? 0.3 : -0.3) * t : 0));
      },
    };
    for (const [kind, draw] of Object.entries(kinds)) {
      const found = upTo(20).map((seed) => {
        const random = new Random(100 + seed);
        const images = upTo(60).map((k) => image(k, draw(random)));
        return clusterChannel(0, images, { seed, bootstraps: 6, most: 3 }).count.k;
      });
      // The level is 0.05: four of twenty and more have chance 0.016, and two nulls must fail.
      expect(found.filter((k) => k > 1).length, kind).toBeLessThan(4);
    }
  });

  it("is the same for the same seed, whatever the scale of the vectors", () => {
    const random = new Random(4);
    const vectors = upTo(40).map((k) => vector(random, 10, (i) => (i < 5 === k < 20 ? 1 : 0)));
    const of = (scale: number) =>
      clusterChannel(
        0,
        vectors.map((v, k) =>
          image(
            k,
            v.map((x) => x * scale),
          ),
        ),
        { seed: 3, bootstraps: 5, most: 3 },
      );
    const paths = (scale: number): string[][] => of(scale).clusters.map((c) => c.images.map((i) => i.path));
    expect(paths(1)).toEqual(paths(1));
    expect(paths(4)).toEqual(paths(1));
  });

  it("few images, constant vectors and no vectors are one concept or none, not a failure", () => {
    const few = clusterChannel(
      0,
      upTo(5).map((k) => image(k, [k, 1])),
      { seed: 1 },
    );
    expect([few.count.k, few.count.p, few.clusters.length]).toEqual([1, NaN, 1]);
    const constant = clusterChannel(
      0,
      upTo(40).map((k) => image(k, [1, 2, 0])),
      { seed: 1, bootstraps: 4 },
    );
    expect([constant.count.k, constant.clusters[0]?.images.length]).toEqual([1, 40]);
    const none = clusterChannel(0, [image(0, [0, 0])], { seed: 1 });
    expect([none.images, none.count.k, none.clusters]).toEqual([0, 0, []]);
  });
});

describe("kMeans", () => {
  it("finds the best partition of a few points (all partitions tried)", () => {
    const random = new Random(6);
    for (let trial = 0; trial < 10; trial++) {
      const rows = toRows(upTo(9).map(() => [random.normal(), random.normal()]));
      const best = Math.min(
        ...upTo(2 ** 8 - 1).map((bits) =>
          withinOf(
            rows,
            upTo(9).map((i) => ((bits + 1) >>> i) & 1),
          ),
        ),
      );
      const found = kMeans(rows, 2, new Seeded(trial), 20);
      expect(found.within).toBeCloseTo(best, 10);
      expect(withinOf(rows, [...found.labels])).toBeCloseTo(best, 10);
    }
  });

  it("takes rows that are all equal, and as many clusters as rows", () => {
    const equal = kMeans(toRows(upTo(6).map(() => [1, 2])), 3, new Seeded(1));
    expect([equal.within, new Set(equal.labels).size]).toEqual([0, 1]);
    const each = kMeans(toRows(upTo(5).map((k) => [k])), 5, new Seeded(1), 10);
    expect([each.within, new Set(each.labels).size]).toEqual([0, 5]);
    expect(() => kMeans(toRows([[1]]), 2, new Seeded(1))).toThrow(/2 clusters of 1 rows/);
  });
});

function withinOf({ data, d }: Rows, labels: readonly number[]): number {
  let sum = 0;
  for (const label of new Set(labels)) {
    const members = labels.flatMap((l, i) => (l === label ? [i] : []));
    for (const j of upTo(d)) {
      const values = members.map((i) => data[i * d + j] ?? NaN);
      const centre = values.reduce((a, b) => a + b, 0) / values.length;
      sum += values.reduce((s, v) => s + (v - centre) ** 2, 0);
    }
  }
  return sum;
}

describe("the parts of choosing K", () => {
  it("adjustedRand: scipy-like contingency by hand, labels exchanged, and chance", () => {
    const a = Uint8Array.of(0, 0, 0, 1, 1, 1);
    expect(adjustedRand(a, Uint8Array.of(1, 1, 1, 0, 0, 0))).toBe(1);
    // Cells 2, 1, 3: 1 + 0 + 3 = 4 pairs; rows 3 + 3 = 6, columns 1 + 6 = 7; expected 42/15: (4 - 2.8) / (6.5 - 2.8).
    expect(adjustedRand(a, Uint8Array.of(0, 0, 1, 1, 1, 1))).toBeCloseTo(1.2 / 3.7, 14);
    const random = new Random(1);
    const draw = (): Uint8Array => Uint8Array.from({ length: 2000 }, () => random.below(3));
    expect(Math.abs(adjustedRand(draw(), draw()))).toBeLessThan(0.01);
    expect(adjustedRand(new Uint8Array(4), new Uint8Array(4))).toBe(1);
  });

  const random = new Random(2);
  const rows = toRows(
    upTo(2000).map(() => {
      const common = random.normal();
      return [common + 0.5 * random.normal(), 3 - common, random.uniform()];
    }),
  );
  const column = ({ data, n, d }: Rows, j: number): number[] => upTo(n).map((i) => data[i * d + j] ?? NaN);

  it("permuted columns keep their values and lose their correlation", () => {
    const permuted = permutedColumns(rows, new Seeded(1));
    for (const j of upTo(3)) expect(column(permuted, j).sort()).toEqual(column(rows, j).sort());
    expect(pearson(column(rows, 0), column(rows, 1))).toBeLessThan(-0.85);
    // The correlation of independent columns has standard deviation 1 / sqrt(2000): four of them.
    expect(Math.abs(pearson(column(permuted, 0), column(permuted, 1)))).toBeLessThan(0.09);
  });

  it("the ellipse keeps mean and covariance", () => {
    const drawn = ellipseLike(rows, new Seeded(2));
    expect(pearson(column(drawn, 0), column(drawn, 1))).toBeCloseTo(pearson(column(rows, 0), column(rows, 1)), 1);
    const mean = (x: number[]): number => x.reduce((a, b) => a + b, 0) / x.length;
    for (const j of upTo(3)) {
      const sd = Math.sqrt(mean(column(rows, j).map((v) => v * v)) - mean(column(rows, j)) ** 2);
      expect(Math.abs(mean(column(drawn, j)) - mean(column(rows, j)))).toBeLessThan((4 * sd) / Math.sqrt(2000));
    }
  });

  it("countConcepts says what it tried", () => {
    const { k, p, tried } = countConcepts(
      toRows(upTo(30).map((i) => upTo(6).map((j) => ((i + j) % 2) + 0.01 * random.uniform()))),
      {
        seed: 1,
        most: 3,
        bootstraps: 4,
      },
    );
    expect([k, p]).toEqual([2, 0.05]);
    expect(tried[0]?.stability).toEqual({ value: 1, low: 1, high: 1, n: 4 });
    expect(tried[0]?.nullStability).toBeLessThan(1);
  });
});

describe("TopImages", () => {
  const layer = pointLayer(
    [
      [1, 2],
      [3, 4],
    ],
    [1, -1],
    2,
  );

  it("keeps the most relevant in any order of batches, with their oriented vectors, and none without relevance", () => {
    const random = new Random(3);
    const n = 50;
    const relevance = upTo(n).map((k) => [k < 40 ? random.normal() : 0, -1 - random.uniform()]);
    const taps = upTo(n).map((k) => [k, 1, 2, k]);
    const build = (sizes: readonly number[]): TopImages => {
      const top = new TopImages(layer, [0, 1], 7);
      let at = 0;
      for (const size of sizes) {
        const some = upTo(size).map((k) => at + k);
        top.add({
          paths: some.map((k) => `a/${k}.png`),
          labels: some.map((k) => k % 3),
          relevance: Float32Array.from(some.flatMap((k) => relevance[k] ?? [])),
          tapSums: Float32Array.from(some.flatMap((k) => taps[k] ?? [])),
        });
        at += size;
      }
      return top;
    };
    const best = upTo(n)
      .filter((k) => (relevance[k]?.[0] ?? 0) > 0)
      .sort((a, b) => (relevance[b]?.[0] ?? 0) - (relevance[a]?.[0] ?? 0))
      .slice(0, 7);
    for (const sizes of [[50], [1, 30, 19]]) {
      const images = build(sizes).of(0);
      expect(images.map((i) => i.path)).toEqual(best.map((k) => `a/${k}.png`));
      expect(images.map((i) => [...i.vector])).toEqual(best.map((k) => [k, 2]));
      expect(images.map((i) => i.label)).toEqual(best.map((k) => k % 3));
      expect(build(sizes).of(1)).toEqual([]);
    }
    expect(TopImages.bytes(layer, [0, 1], 7)).toBe(2 * 7 * 2 * 4);
  });
});
