import { describe, expect, it } from "vitest";
import { must, UnbraidError } from "../../src/errors.ts";
import { importantChannels, VARIANTS } from "../../src/relevance/importance.ts";
import { assertStudyMatches, mergeSets } from "../../src/relevance/merge.ts";
import { decodeStudy, encodeStudy, studiesEqual } from "../../src/relevance/study-file.ts";
import { selectLayer } from "../../src/relevance/study-set.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { accumulatorBytes, countsOf, imagesOf, isComplete, tapSumsOf } from "../../src/relevance/study.ts";
import type { Study, StudyMeta } from "../../src/relevance/study.ts";
import { batchOf, emptyStudy, INPUTS, LABELS, OUTPUTS, syntheticMeta, TAPS } from "./synthetic.ts";

const ALL = LABELS.length;

function studyOf(ranges: readonly (readonly [number, number])[], skip: readonly number[] = []): Study {
  const study = emptyStudy();
  for (const [from, to] of ranges) accumulate(study, batchOf(from, to, skip));
  return study;
}

const bytesOf = (study: Study): Uint8Array => encodeStudy({ studies: [study] });
const mergeStudies = (...studies: Study[]): Study =>
  selectLayer(mergeSets(studies.map((study) => ({ studies: [study] }))).set);
const equal = (a: Study, b: Study): boolean => studiesEqual({ studies: [a] }, { studies: [b] });

/** The code of the UnbraidError that `act` throws. */
function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UnbraidError) return error.code;
    throw error;
  }
  return "nothing thrown";
}

describe("accumulating a study", () => {
  const whole = studyOf([[0, ALL]]);

  it("adds tap sums and counts by class", () => {
    const expected = new Float64Array(INPUTS * TAPS);
    const batch = batchOf(0, ALL);
    LABELS.forEach((label, j) => {
      if (label === 1)
        expected.forEach((_, i) => (expected[i] = (expected[i] ?? 0) + (batch.tapSums[j * 36 + i] ?? 0)));
    });
    must(tapSumsOf(whole, 1), "tap sums")
      .toFloat64()
      .forEach((sum, i) => {
        expect(Math.abs(sum - (expected[i] ?? NaN))).toBeLessThanOrEqual(3 * 2 ** -31 * 1e5);
      });
    expect([0, 1, 2].map((t) => imagesOf(whole, t))).toEqual([4, 3, 5]);
    expect(Math.max(...[0, 1, 2].flatMap((t) => Array.from(countsOf(whole, "half", 0, t))))).toBeGreaterThan(0);
    expect(isComplete(whole)).toBe(true);
    expect(isComplete(studyOf([[0, ALL - 1]]))).toBe(false);
  });

  it("gives the same bytes whatever the batches and their order, after a stop and a resume, and from shards", () => {
    const bytes = bytesOf(whole);
    const oneByOne = LABELS.map((_, j) => [j, j + 1] as const);
    expect(bytesOf(studyOf(oneByOne))).toEqual(bytes);
    expect(bytesOf(studyOf(oneByOne.toReversed()))).toEqual(bytes);

    const stopped = studyOf([[0, 5]]);
    const resumed = selectLayer(decodeStudy(bytesOf(stopped)));
    accumulate(resumed, batchOf(5, ALL));
    expect(bytesOf(resumed)).toEqual(bytes);

    const shards = [studyOf([[0, 4]]), studyOf([[4, 8]]), studyOf([[8, ALL]])] as const;
    expect(bytesOf(mergeStudies(mergeStudies(shards[2], shards[0]), shards[1]))).toEqual(bytes);
    expect(equal(whole, studyOf([[0, ALL - 1]]))).toBe(false);
  });

  it("takes hits that the GPU found", () => {
    const study = emptyStudy();
    const batch = batchOf(0, ALL);
    const relevance = must(batch.importance.relevance, "relevance");
    const { taus } = study.meta;
    // One word an image, variant and tau: four channels.
    const bits = LABELS.flatMap((_, j) =>
      VARIANTS.flatMap((variant) =>
        taus.map((tau) => {
          const important = importantChannels(relevance.subarray(j * OUTPUTS, (j + 1) * OUTPUTS), tau, variant);
          return important.reduce((word, hit, c) => (hit ? word | (1 << c) : word), 0);
        }),
      ),
    );
    accumulate(study, { ...batch, importance: { bits: Uint32Array.from(bits) } });
    expect(equal(study, whole)).toBe(true);
  });

  it("counts skipped images as done, not as images", () => {
    const study = studyOf([[0, ALL]], [2, 7]);
    expect([0, 1, 2].map((t) => imagesOf(study, t))).toEqual([3, 3, 4]);
    expect(study.skipped.map((s) => s.index)).toEqual([2, 7]);
    expect(isComplete(study)).toBe(true);
    const shards = [studyOf([[0, 4]], [2, 7]), studyOf([[4, ALL]], [2, 7])] as const;
    expect(equal(mergeStudies(shards[1], shards[0]), study)).toBe(true);
  });

  it("refuses what is not finite, names the image, and stays as it was", () => {
    const study = studyOf([[0, 4]]);
    const before = bytesOf(study);
    const bad = batchOf(4, 8);
    bad.tapSums[2 * INPUTS * TAPS + 5] = NaN;
    expect(() => {
      accumulate(study, bad);
    }).toThrow(/tap sums of image 6 at layer layer1.conv hold NaN \(value 5\)/);
    const worse = batchOf(4, 8);
    if ("relevance" in worse.importance) worse.importance.relevance[OUTPUTS] = Infinity;
    expect(() => {
      accumulate(study, worse);
    }).toThrow(/relevance of image 5 at layer layer1.conv hold Infinity/);
    expect(
      codeOf(() => {
        accumulate(study, worse);
      }),
    ).toBe("NOT_FINITE");
    expect(bytesOf(study)).toEqual(before);
    expect(
      codeOf(() => emptyStudy({ layer: { ...syntheticMeta().layer, weights: new Float32Array(72).fill(NaN) } })),
    ).toBe("NOT_FINITE");
  });

  it("refuses to count images twice", () => {
    expect(
      codeOf(() => {
        accumulate(studyOf([[0, 4]]), batchOf(3, 5));
      }),
    ).toBe("STUDY_OVERLAP");
    expect(codeOf(() => mergeStudies(studyOf([[0, 4]]), studyOf([[3, 5]])))).toBe("STUDY_OVERLAP");
  });

  it("sorts taus, and refuses none and those outside 0 to 1", () => {
    expect(emptyStudy({ taus: [0.3, 0.03, 0.3] }).meta.taus).toEqual([0.03, 0.3]);
    for (const taus of [[], [-0.1], [1.5], [NaN]]) expect(codeOf(() => emptyStudy({ taus }))).toBe("OPTION_TAU");
  });

  it("reserves memory for the classes that have images: 17 bytes a tap sum, 2 a count", () => {
    const perClass = INPUTS * TAPS * 17 + 2 * 2 * OUTPUTS * 2;
    expect(accumulatorBytes(whole)).toBe(3 * perClass);
    expect(accumulatorBytes(studyOf([[0, 4]]))).toBe(perClass);
  });
});

describe("studies that do not belong together", () => {
  const { layer, model, images } = syntheticMeta();
  const cases: [string, string, Partial<StudyMeta>][] = [
    ["model", "STUDY_MODEL", { model: { ...model, sha256: "ee".repeat(32) } }],
    ["layer", "STUDY_LAYER", { layer: { ...layer, nodeName: "other" } }],
    ["weights", "STUDY_LAYER", { layer: { ...layer, weights: layer.weights.map((w) => -w) } }],
    ["signs", "STUDY_LAYER", { layer: { ...layer, sign: Int8Array.of(1, 1, 1, 1) } }],
    ["classes", "STUDY_SETTINGS", { classes: ["a", "b", "c"] }],
    ["labels", "STUDY_SETTINGS", { labels: [0, 1, 2] }],
    ["images", "STUDY_SETTINGS", { images: { ...images, digest: "00" } }],
    ["preprocessing", "STUDY_SETTINGS", { preprocess: "other" }],
    ["taus", "STUDY_SETTINGS", { taus: [0.03] }],
    ["settings", "STUDY_SETTINGS", { settings: { a: "1", b: "3" } }],
  ];
  it.each(cases)("are not merged: other %s", (_, code, changes) => {
    expect(codeOf(() => mergeStudies(emptyStudy(), emptyStudy(changes)))).toBe(code);
  });

  it("are merged whatever the file name and the order in which settings are given", () => {
    const other = emptyStudy({ model: { ...model, file: "copy.onnx" }, settings: { a: "1", b: "2" } });
    expect(mergeStudies(emptyStudy(), other).done).toEqual([]);
  });

  it("are refused for another model or layer", () => {
    const study = emptyStudy();
    expect(
      codeOf(() => {
        assertStudyMatches(study, { modelDigest: "ee".repeat(32) });
      }),
    ).toBe("STUDY_MODEL");
    expect(
      codeOf(() => {
        assertStudyMatches(study, { layer: "layer2" });
      }),
    ).toBe("STUDY_LAYER");
    assertStudyMatches(study, { modelDigest: model.sha256, layer: "layer1.conv" });
    assertStudyMatches(study, { layer: "z" });
  });
});
