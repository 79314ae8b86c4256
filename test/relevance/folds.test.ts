/** Folds: which image belongs to which, and that the parts of a study by fold add up to the whole. */
import { describe, expect, it } from "vitest";
import { must } from "../../src/errors.ts";
import { AverageRelevance, meanTapSums } from "../../src/relevance/arv.ts";
import { evidenceFolds, foldOf, foldsOf, MAX_FOLDS } from "../../src/relevance/folds.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { accumulatorBytes, countsOf, imagesOf, tapSumsOf } from "../../src/relevance/study.ts";
import { batchOf, emptyStudy, INPUTS, LABELS, OUTPUTS, TAPS } from "./synthetic.ts";

describe("folds of a list", () => {
  it("go round in each class by itself", () => {
    expect([0, 1, 2, 3, 4].map((k) => foldOf(k, 3))).toEqual([0, 1, 2, 0, 1]);
    expect(Array.from(foldsOf([4, 4, 1, 4, 1, 4], 2))).toEqual([0, 1, 0, 0, 1, 1]);
    expect(Array.from(foldsOf([4, 4, 1], 1))).toEqual([0, 0, 0]);
  });

  it("give three disjoint parts that are all of them, two fifths, two fifths and the rest", () => {
    expect(evidenceFolds(5)).toEqual({ arv: [0, 1], choose: [2, 3], report: [4] });
    for (let n = 3; n <= MAX_FOLDS; n++) {
      const { arv, choose, report } = evidenceFolds(n);
      expect([...arv, ...choose, ...report]).toEqual(Array.from({ length: n }, (_, k) => k));
      expect(Math.min(arv.length, choose.length, report.length)).toBeGreaterThan(0);
    }
    for (const n of [0, 1, 2, NaN])
      expect(() => evidenceFolds(n)).toThrow(expect.objectContaining({ code: "STUDY_FOLDS", kind: "input" }));
  });
});

describe("a study in folds", () => {
  const FOLDS = 3;
  const study = emptyStudy({ folds: FOLDS });
  accumulate(study, batchOf(0, LABELS.length, [2], FOLDS));
  const whole = emptyStudy();
  accumulate(whole, batchOf(0, LABELS.length, [2]));

  it("holds each image in its own fold, skipped ones counting as a position", () => {
    // Classes of 4, 3 and 5 images; image 2, the first class's third, was skipped.
    const byFold = [0, 1, 2].map((t) => [0, 1, 2].map((fold) => imagesOf(study, t, [fold])));
    expect(byFold).toEqual([
      [2, 1, 0],
      [1, 1, 1],
      [2, 2, 1],
    ]);
    expect([0, 1, 2].map((t) => imagesOf(study, t))).toEqual([3, 3, 5]);
    const alone = emptyStudy();
    accumulate(alone, batchOf(0, 1));
    accumulate(alone, batchOf(3, 4));
    expect(meanTapSums(study, 0, [0])).toEqual(meanTapSums(alone, 0));
    expect(meanTapSums(study, 0, [2])).toBeUndefined();
  });

  it("adds up to the study without folds, bit for bit", () => {
    for (let t = 0; t < 3; t++) {
      expect(must(tapSumsOf(study, t), "sums").state).toEqual(must(tapSumsOf(whole, t), "sums").state);
      expect(countsOf(study, "half", 1, t)).toEqual(countsOf(whole, "half", 1, t));
      const vectors = [study, whole].map((s) => new AverageRelevance(s).vector(1, t, "oriented"));
      expect(vectors[0]).toEqual(vectors[1]);
    }
    const arvs = new AverageRelevance(study);
    expect(arvs.vector(1, 2, "oriented", [0])).not.toEqual(arvs.vector(1, 2, "oriented", [1]));
    expect(arvs.vector(1, 2, "oriented", [2, 1, 0])).toEqual(arvs.vector(1, 2, "oriented"));
  });

  it("takes 17 bytes a tap sum and fold that has images", () => {
    expect(accumulatorBytes(study)).toBe(8 * INPUTS * TAPS * 17 + 3 * 2 * 2 * OUTPUTS * 2);
  });

  it("has 1 to 64 of them", () => {
    for (const folds of [0, 65, 1.5, NaN])
      expect(() => emptyStudy({ folds })).toThrow(expect.objectContaining({ code: "OPTION_RANGE" }));
  });
});
