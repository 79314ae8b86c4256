/** Constants from scipy 1.17 (stats) and numpy, but where a test says that they are counted by hand. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/channels/random.ts";
import {
  auroc,
  benjaminiHochberg,
  bootstrap,
  bootstrapMean,
  mantel,
  mean,
  median,
  pearson,
  permutationP,
  proportion,
  quantile,
  ranks,
  spearman,
  variance,
} from "../../src/channels/statistics.ts";

const a = [3.1, -2, 5, 5, 0.5, 7.25, -2, 9];
const b = [1, 4, 4, 2, 0, 8, 3, 7.5];

describe("moments, quantiles, ranks", () => {
  it("are numpy's and scipy's", () => {
    expect(variance(a)).toBeCloseTo(16.842098214285716, 13);
    expect([0, 0.1, 0.5, 0.9, 1].map((q) => quantile(a, q))).toEqual([-2, -2, 4.05, 7.7749999999999995, 9]);
    expect(median([4, 1, 3])).toBe(3);
    expect([...ranks(a)]).toEqual([4, 1.5, 5.5, 5.5, 3, 7, 1.5, 8]);
    expect(pearson(a, b)).toBeCloseTo(0.5986750809377444, 14);
    expect(spearman(a, b)).toBeCloseTo(0.5333431285220599, 14);
  });

  it("say NaN where there is nothing to say", () => {
    expect([mean([]), variance([1]), quantile([], 0.5), pearson([1, 1], [1, 2]), auroc([], [1])]).toEqual(
      Array(5).fill(NaN),
    );
  });

  it("leave their arguments alone, and stay within -1 and 1", () => {
    const values = [3, 1, 2];
    quantile(values, 0.5);
    ranks(values);
    expect(values).toEqual([3, 1, 2]);
    const x = [0.1, 0.2, 0.7];
    expect(pearson(x, x)).toBeLessThanOrEqual(1);
  });
});

describe("auroc", () => {
  it("is U over the number of pairs, ties counting half", () => {
    expect(auroc([3, 1, 4, 1.5, 9], [2, 1, 0.5, 4])).toBeCloseTo(0.7, 15);
    expect(auroc([2, 3], [0, 1])).toBe(1);
    expect(auroc([1, 1], [1, 1, 1])).toBe(0.5);
  });
});

describe("benjaminiHochberg", () => {
  it("is scipy's false_discovery_control", () => {
    const q = benjaminiHochberg([0.01, 0.04, 0.03, 0.005, 0.8, 0.5, 0.03]);
    [0.035, 0.056, 0.0525, 0.035, 0.8, 0.5833333333333334, 0.0525].forEach((expected, k) => {
      expect(q[k]).toBeCloseTo(expected, 14);
    });
    expect([...benjaminiHochberg([])]).toEqual([]);
    expect([...benjaminiHochberg([1, 1])]).toEqual([1, 1]);
  });
});

describe("proportion", () => {
  it("has Wilson's interval", () => {
    const wilson = proportion(3, 17);
    expect(wilson).toMatchObject({ value: 3 / 17, n: 17 });
    expect(wilson.low).toBeCloseTo(0.061911266376209945, 12);
    expect(wilson.high).toBeCloseTo(0.4102945856883412, 12);
    expect(proportion(0, 10).low).toBe(0);
    expect(proportion(0, 10).high).toBeCloseTo(0.27753279986288926, 12);
    expect(proportion(10, 10).low).toBeCloseTo(0.7224672001371109, 12);
    expect(proportion(10, 10).high).toBe(1);
    expect(proportion(0, 0)).toEqual({ value: NaN, low: NaN, high: NaN, n: 0 });
  });
});

describe("bootstrap", () => {
  const random = (): Random => new Random(11);

  it("gives a normal mean its interval: mean +- 1.96 sd / sqrt n", () => {
    const draw = new Random(1);
    const values = Array.from({ length: 400 }, () => 5 + draw.normal());
    const figure = bootstrapMean(values, { random: random(), resamples: 4000 });
    const half = (1.96 * Math.sqrt(variance(values))) / 20;
    expect(figure).toMatchObject({ value: mean(values), n: 400 });
    // An end of the interval is a 2.5 % quantile of 4000 draws: its standard error is sqrt(0.025 * 0.975 / 4000) over the
    // density there (0.0584 / sd), 0.042 sd; four of them, and what 400 values are from normal.
    expect(Math.abs(figure.low - (figure.value - half))).toBeLessThan(0.2 * (half / 1.96));
    expect(Math.abs(figure.high - (figure.value + half))).toBeLessThan(0.2 * (half / 1.96));
  });

  it("covers the truth about as often as it says", () => {
    const draw = new Random(2);
    let covered = 0;
    for (let k = 0; k < 300; k++) {
      const values = Array.from({ length: 40 }, () => draw.normal());
      const { low, high } = bootstrapMean(values, { random: draw, resamples: 300, level: 0.9 });
      if (low <= 0 && high >= 0) covered++;
    }
    // Nominal 270; the percentile interval of 40 values covers a little less (0.885 or so). 4 sd = 21.
    expect(covered).toBeGreaterThan(265 - 22);
    expect(covered).toBeLessThan(270 + 21);
  });

  it("resamples each group by itself", () => {
    const sizes: number[][] = [];
    const figure = bootstrap(
      [3, 5],
      (units) => {
        sizes.push(units.map((u) => u.length));
        return mean(units[1] ?? []) - mean(units[0] ?? []);
      },
      { random: random(), resamples: 50 },
    );
    expect(figure.value).toBe(1);
    expect(figure.n).toBe(8);
    expect(sizes).toHaveLength(51);
    expect(new Set(sizes.map(String))).toEqual(new Set(["3,5"]));
    expect(figure.low).toBeLessThan(1);
    expect(figure.high).toBeGreaterThan(1);
  });

  it("repeats itself, and gives no interval to one unit or to what is mostly undefined", () => {
    const once = (): unknown => bootstrapMean([1, 2, 3, 4], { random: random(), resamples: 100 });
    expect(once()).toEqual(once());
    expect(bootstrapMean([7], { random: random() })).toEqual({ value: 7, low: NaN, high: NaN, n: 1 });
    const rare = bootstrap([9], ([units]) => (new Set(units).size === 9 ? 1 : NaN), { random: random() });
    expect(rare).toEqual({ value: 1, low: NaN, high: NaN, n: 9 });
  });
});

describe("permutation tests", () => {
  it("count the observed value among the draws", () => {
    expect(permutationP(2, [1, 2, 3, 0])).toBe(3 / 5);
    expect(permutationP(9, [1, 2, 3])).toBe(1 / 4);
  });

  const matrix = [
    [0, 1, 5, 9],
    [1, 0, 4, 8],
    [5, 4, 0, 3],
    [9, 8, 3, 0],
  ];
  const pairs = [0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].filter((j) => j > i).map((j) => [i, j] as const));
  const at = (i: number, j: number): number => matrix[i]?.[j] ?? NaN;

  it("Mantel: a measure against itself: one order of 24 gives as much (counted by hand)", () => {
    const values = pairs.map(([i, j]) => at(i, j));
    const test = mantel({ size: 4, pairs, values, other: at, random: new Random(1), permutations: 4800 });
    expect(test.value).toBeCloseTo(1, 14);
    expect(test.n).toBe(6);
    // No two off-diagonal values are equal, so only the identity gives 1: p = 1/24, with sd 0.0029 from 4800 draws.
    expect(Math.abs(test.p - 1 / 24)).toBeLessThan(0.012);
  });

  it("Mantel: permutes objects, not pairs: unrelated measures are significant at 5 % about 5 % of the time", () => {
    const draw = new Random(8);
    let significant = 0;
    for (let k = 0; k < 200; k++) {
      // Each measure depends on the objects (|x_i - x_j|), so pairs that share one are dependent.
      const [x, y] = [0, 1].map(() => Array.from({ length: 8 }, () => draw.normal())) as [number[], number[]];
      const apart = (z: number[], i: number, j: number): number => Math.abs((z[i] ?? 0) - (z[j] ?? 0));
      const all = Array.from({ length: 8 }, (_, i) => i).flatMap((i) =>
        Array.from({ length: i }, (_, j) => [j, i] as const),
      );
      const { p } = mantel({
        size: 8,
        pairs: all,
        values: all.map(([i, j]) => apart(x, i, j)),
        other: (i, j) => apart(y, i, j),
        random: draw,
        permutations: 99,
      });
      if (p <= 0.05) significant++;
    }
    // Binomial(200, 0.05): 20 or more has chance 0.003.
    expect(significant).toBeLessThan(20);
    expect(significant).toBeGreaterThan(1);
  });

  it("Mantel: a constant measure has no correlation and no p", () => {
    const test = mantel({ size: 4, pairs, values: pairs.map(() => 1), other: at, random: new Random(1) });
    expect(test.value).toBeNaN();
    expect(test.p).toBeNaN();
  });
});
