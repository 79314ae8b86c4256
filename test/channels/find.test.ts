import { describe, expect, it } from "vitest";
import { findPairs } from "../../src/channels/find.ts";
import { pairsCsv } from "../../src/channels/pairs-csv.ts";
import { sharedInputsStudy } from "./vectors.ts";

/** 4 images a class; channel 0 is important on all, channel 1 on none (its relevance is a hundredth). */
const study = (vectors: readonly (readonly number[])[], images = 4) => sharedInputsStudy({ vectors, images });

const pairsOf = (vectors: readonly (readonly number[])[], compat?: "official") =>
  findPairs(study(vectors), { tau: 0.03, gamma: 0.9, ...(compat && { compat }) });

describe("findPairs", () => {
  it("lists pairs of relevant classes by falling cosine, then by classes", () => {
    const { pairs, candidates } = pairsOf([
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
      [3, 4, 0],
    ]);
    expect(candidates).toBe(6);
    expect(pairs.map((q) => [q.class1, q.class2, q.cosine])).toEqual([
      [1, 3, 0.8],
      [0, 3, 0.6],
      [0, 1, 0],
      [0, 2, 0],
      [1, 2, 0],
      [2, 3, 0],
    ]);
    expect(pairs[0]).toMatchObject({ channel: 0, count1: 4, images1: 4, count2: 4, images2: 4, overflow: false });
  });

  it("leaves out negative cosines and those from gamma on", () => {
    const vectors = [
      [3, 4],
      [4, 3],
      [-4, 3],
    ];
    const { pairs } = findPairs(study(vectors), { tau: 0.03, gamma: 0.96 });
    // cos(0,1) = 24/25 is gamma itself, cos(0,2) = 0 is in, cos(1,2) = -7/25 is out.
    expect(pairs.map((q) => [q.class1, q.class2])).toEqual([[0, 2]]);
  });

  it("rounds to float16 in compat mode: 0.4999 is 0.5, and out", () => {
    const vectors = [
      [1, 0],
      [0.4999, Math.sqrt(1 - 0.4999 ** 2)],
    ];
    expect(findPairs(study(vectors), { tau: 0.03 }).pairs).toHaveLength(1);
    expect(findPairs(study(vectors), { tau: 0.03, compat: "official" }).pairs).toHaveLength(0);
  });

  it("reports zero vectors as undefined, not as pairs", () => {
    for (const compat of [undefined, "official"] as const) {
      const { pairs, undefinedPairs } = pairsOf(
        [
          [1, 0],
          [0, 0],
          [0, 1],
        ],
        compat,
      );
      expect(pairs.map((q) => [q.class1, q.class2])).toEqual([[0, 2]]);
      expect(undefinedPairs.map((q) => [q.class1, q.class2, q.cosine])).toEqual([
        [0, 1, NaN],
        [1, 2, NaN],
      ]);
    }
  });

  it("repeats the original's float16 overflow in compat mode, and says so", () => {
    const vectors = [
      [300, 10],
      [290, 20],
    ];
    const official = findPairs(study(vectors), { tau: 0.03, compat: "official" });
    // The squared norms are infinite; so is the dot product, and their quotient is undefined.
    expect(official.undefinedPairs).toMatchObject([{ cosine: NaN, overflow: true }]);
    const mixed = pairsOf(
      [
        [300, 10],
        [1, 1],
      ],
      "official",
    );
    expect(mixed.pairs).toMatchObject([{ cosine: 0, overflow: true }]);
    expect(findPairs(study(vectors), { tau: 0.03 }).undefinedPairs).toEqual([]);
  });

  it("finds nothing with a single class, or with classes of which nothing was accumulated", () => {
    expect(pairsOf([[1, 0]]).pairs).toEqual([]);
    const empty = sharedInputsStudy({
      vectors: [
        [1, 0],
        [0, 1],
      ],
      images: 0,
    });
    expect(findPairs(empty, { tau: 0.03 })).toMatchObject({ pairs: [], candidates: 0, relevant: [[], []] });
  });

  it("asks for p of all images of a class, exactly", () => {
    // Important on 11 of 20: 0.55 * 20 is 11.000000000000002 in floating point.
    const options = {
      vectors: [
        [1, 0],
        [0, 1],
      ],
      images: 20,
      important: 11,
    } as const;
    expect(findPairs(sharedInputsStudy(options), { tau: 0.03, p: 0.55 }).pairs).toHaveLength(1);
    expect(findPairs(sharedInputsStudy(options), { tau: 0.03, p: 0.6 }).pairs).toHaveLength(0);
  });

  it("refuses a tau that the study has not, and lists those it has", () => {
    expect(() => findPairs(study([[1]]), { tau: 0.05 })).toThrow(/not made with tau 0.05; it has 0.03/);
  });

  it.each([{ p: -0.1 }, { p: 1.1 }, { p: NaN }, { gamma: -1 }, { gamma: NaN }])("refuses %o", (options) => {
    expect(() => findPairs(study([[1]]), { tau: 0.03, ...options })).toThrow(
      expect.objectContaining({ code: "OPTION_RANGE" }),
    );
  });

  it("writes CSV in the original's column order", () => {
    const s = study([
      [1, 0],
      [0.6, 0.8],
    ]);
    const findings = findPairs(s, { tau: 0.03, gamma: 0.7 });
    const csv = pairsCsv([{ study: s, findings, listed: findings.pairs }]).split("\n");
    expect(csv[0]?.startsWith("channel,class1,class2,cosine_similarity,")).toBe(true);
    expect(csv[1]).toMatch(/^0,0,1,0\.[56]\d*,"class ""0"", first",class 1,4,4,4,4,,,1,,,,,,$/);
    expect(csv.slice(2)).toEqual([""]);
  });
});
