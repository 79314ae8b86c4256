import { describe, expect, it } from "vitest";
import { chooseOfficialRho, chooseRho, distinctSets, logRatioScore, RHOS, threeFolds } from "../../src/channels/rho.ts";
import type { Responses } from "../../src/channels/rho.ts";
import { setsFromText } from "../../src/channels/sets.ts";
import { Random } from "../support/random.ts";

const random = new Random(21);
const positive = (n: number, scale = 1): number[] => Array.from({ length: n }, () => scale * Math.exp(random.normal()));

/** Responses of K parts on n images for 3 values of rho, at random. */
const responses = (n: number, parts = 2): number[][][] =>
  Array.from({ length: 3 }, () => Array.from({ length: parts }, () => positive(n)));
const three = [0.1, 0.5, 1];
const swapParts = (r: Responses): Responses => r.map((parts) => parts.toReversed());

describe("the original's choice of rho", () => {
  it("is the mean of ratios on either class, by hand", () => {
    const onClass1 = [
      [
        [2, 4],
        [1, 1],
      ],
      [
        [3, 0],
        [1, 0],
      ],
    ];
    const onClass2 = [
      [[1], [3]],
      [[0], [0.5]],
    ];
    const { scores, rho, index } = chooseOfficialRho([onClass1, onClass2], [0.5, 1]);
    expect(scores[0]).toBeCloseTo((2 / 1.00001 + 4 / 1.00001) / 2 + 3 / 1.00001, 12);
    // One image whose other part is exactly 0 decides: 0.5 / 1e-5.
    expect(scores[1]).toBeCloseTo((3 / 1.00001 + 0) / 2 + 50000, 8);
    expect([rho, index]).toEqual([1, 1]);
  });

  it("takes the first of equal scores", () => {
    const same = [
      [[1], [2]],
      [[1], [2]],
      [[1], [2]],
    ];
    expect(chooseOfficialRho([same, same], three).rho).toBe(0.1);
  });

  it("tries the original's twenty", () => {
    expect(RHOS.map((rho) => rho.toFixed(2))).toEqual(
      Array.from({ length: 20 }, (_, k) => ((k + 1) * 0.05).toFixed(2)),
    );
    expect([RHOS[2], RHOS[6], RHOS[19]]).toEqual([0.15, 0.35, 1]);
  });
});

describe("the default choice of rho", () => {
  it("prefers the rho whose parts separate the classes", () => {
    const noise = (): number[][] => [positive(20), positive(20)];
    const onClass1 = [noise(), [positive(20, 8), positive(20)], noise()];
    const onClass2 = [noise(), [positive(20), positive(20, 8)], noise()];
    const { rho, scores } = chooseRho([onClass1, onClass2], three);
    expect(rho).toBe(0.5);
    // 40 images whose l differ by 2 log 8 about a spread of sqrt(2): far above what permuted labels give.
    expect(scores[1]).toBeGreaterThan(4);
    expect(Math.abs(scores[0] ?? NaN)).toBeLessThan(4);
  });

  it("is the statistic in standard deviations over all permutations of the labels", () => {
    const [onClass1, onClass2] = [
      [positive(3), positive(3)],
      [positive(4), positive(4)],
    ] as const;
    const pooled = [0, 1].map((k) => [...(onClass1[k] ?? []), ...(onClass2[k] ?? [])]);
    const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    const epsilon = 1e-3 * mean(pooled.flat());
    const l = (pooled[0] ?? []).map((q, n) => Math.log((q + epsilon) / ((pooled[1]?.[n] ?? NaN) + epsilon)));
    const statistic = (first: readonly number[]): number =>
      mean(l.filter((_, n) => first.includes(n))) - mean(l.filter((_, n) => !first.includes(n)));
    const null35: number[] = [];
    for (let a = 0; a < 7; a++)
      for (let b = a + 1; b < 7; b++) for (let c = b + 1; c < 7; c++) null35.push(statistic([a, b, c]));
    expect(null35).toHaveLength(35);
    expect(mean(null35)).toBeCloseTo(0, 12);
    const sd = Math.sqrt(mean(null35.map((s) => s ** 2)));
    const [a, b] = onClass1;
    const [c, d] = onClass2;
    expect(logRatioScore([a, b], [c, d])).toBeCloseTo(statistic([0, 1, 2]) / sd, 10);
  });

  it("is the same, bit for bit, when the concepts are swapped", () => {
    for (let trial = 0; trial < 50; trial++) {
      const [on1, on2] = [responses(5 + random.below(20)), responses(5 + random.below(20))];
      expect(chooseRho([swapParts(on2), swapParts(on1)], three)).toEqual(chooseRho([on1, on2], three));
    }
  });

  it("does not depend on a positive scale of the channel", () => {
    for (const scale of [1e-6, 0.37, 1e6]) {
      const [on1, on2] = [responses(30), responses(30)];
      const scaled = [on1, on2].map((r) => r.map((parts) => parts.map((q) => q.map((x) => x * scale))));
      const [plain, other] = [chooseRho([on1, on2], three), chooseRho(scaled, three)];
      expect(other.rho).toBe(plain.rho);
      plain.scores.forEach((score, r) => {
        expect(other.scores[r]).toBeCloseTo(score, 9);
      });
    }
  });

  it("scores parts that do not differ, or never respond, with 0", () => {
    const same = positive(6);
    expect(logRatioScore([same, same], [same, same])).toBe(0);
    const zeros = new Float64Array(4);
    expect(logRatioScore([zeros, zeros], [zeros, zeros])).toBe(0);
    const silent = Array.from({ length: 3 }, () => [zeros, zeros]);
    expect(chooseRho([silent, silent], three)).toEqual({ rho: 0.1, index: 0, scores: [0, 0, 0] });
  });

  it("stays finite where a part is silent on some images", () => {
    const score = logRatioScore(
      [
        [5, 3, 4],
        [0, 0, 0],
      ],
      [
        [0, 0, 1],
        [4, 2, 1],
      ],
    );
    expect(score).toBeGreaterThan(1);
    expect(score).toBeLessThan(10);
  });

  it("takes more than two concepts", () => {
    const { scores } = chooseRho([responses(6, 3), responses(7, 3), responses(8, 3)], three);
    expect(scores.every(Number.isFinite)).toBe(true);
  });

  it("refuses a class with too few images", () => {
    expect(() => chooseRho([responses(1), responses(5)], three)).toThrow(/concept 1 has 1/);
    expect(() => chooseOfficialRho([responses(3), responses(0)], three)).toThrow(
      expect.objectContaining({ code: "RHO_IMAGES" }),
    );
  });
});

describe("folds and sets", () => {
  it("are disjoint, and cover the images evenly", () => {
    for (let n = 0; n < 20; n++) {
      const { arv, choose, report } = threeFolds(n);
      expect([...arv, ...choose, ...report].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
      const sizes = [arv.length, choose.length, report.length];
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    }
    expect(threeFolds(5)).toEqual({ arv: [0, 3], choose: [1, 4], report: [2] });
  });

  it("are run once each", () => {
    const sets = ["012", "012", "112", "012"].map((t) => setsFromText(t, 2));
    const { distinct, index } = distinctSets(sets);
    expect(distinct).toHaveLength(2);
    expect(index).toEqual([0, 0, 1, 0]);
  });
});
