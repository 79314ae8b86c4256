/** Studies of several layers together: choosing one, adding batches to all or to none, sizes, merging. */
import { describe, expect, it } from "vitest";
import { accumulate, accumulateSet, type LayerBatch } from "../../src/relevance/accumulate.ts";
import { assertSameSet, mergeSets, planMerge } from "../../src/relevance/merge.ts";
import { decodeStudy, encodeStudy, studiesEqual } from "../../src/relevance/study-file.ts";
import { createSet, expectedBytes, isCalled, selectLayer, type StudySet } from "../../src/relevance/study-set.ts";
import { accumulatorBytes, type StudyLayer } from "../../src/relevance/study.ts";
import { batchOf, LABELS, syntheticMeta } from "./synthetic.ts";

const { layer, ...common } = syntheticMeta({ folds: 2 });
const other: StudyLayer = { ...layer, name: "layer2.conv", nodeName: "/layer2/conv/Conv", output: "y", hasBias: false };

/** Both layers of the set have the same numbers, but for the sign. */
function setOf(ranges: readonly (readonly [number, number])[], layers = [layer, other]): StudySet {
  const set = createSet(common, layers);
  for (const [from, to] of ranges) {
    const batch = batchOf(from, to, [5], 2);
    accumulateSet(
      set,
      batch,
      layers.map((_, k): LayerBatch => ({ ...batch, tapSums: batch.tapSums.map((s) => (k === 0 ? s : -s)) })),
    );
  }
  return set;
}

const ALL = LABELS.length;
const refusal = (code: string, message: unknown = expect.any(String)): unknown =>
  expect.objectContaining({ code, message });

describe("a set of studies", () => {
  it("gives one layer by its names, `last`, or says which there are", () => {
    const set = setOf([]);
    for (const name of ["layer1.conv", "layer1.conv.weight", "/layer1/conv/Conv", "z"])
      expect(selectLayer(set, name)).toBe(set.studies[0]);
    expect(selectLayer(set, "last")).toBe(set.studies[1]);
    expect(selectLayer(setOf([], [other])).meta.layer.name).toBe("layer2.conv");
    expect(() => selectLayer(set)).toThrow(
      refusal("STUDY_LAYER", "The study holds 2 layers: layer1.conv, layer2.conv."),
    );
    expect(() => selectLayer(set, "layer3")).toThrow(
      refusal("STUDY_LAYER", 'The study holds no layer "layer3": it is of layer1.conv, layer2.conv.'),
    );
    const twins = createSet(common, [layer, { ...other, name: "layer1.conv" }]);
    expect(() => selectLayer(twins, "layer1.conv")).toThrow(
      refusal("STUDY_LAYER", expect.stringContaining("2 layers")),
    );
    expect(isCalled(layer, "layer1")).toBe(false);
  });

  it("reads back as it was written, each layer with its own sums", () => {
    const set = setOf([
      [4, ALL],
      [0, 4],
    ]);
    const read = decodeStudy(encodeStudy(set));
    expect(studiesEqual(read, set)).toBe(true);
    expect(read.studies.map((s) => s.meta.layer.name)).toEqual(["layer1.conv", "layer2.conv"]);
    const [one, two] = read.studies.map((s) => s.accumulators[2]?.tapSums[1]?.toFloat64());
    expect(two).toEqual(one?.map((sum) => -sum));
    expect(studiesEqual(read, setOf([[0, ALL]], [layer]))).toBe(false);
  });

  it("is added to wholly or not at all, and the layer is named", () => {
    const set = setOf([[0, 4]]);
    const before = encodeStudy(set);
    const batch = batchOf(4, 8, [5], 2);
    const bad = batch.tapSums.slice();
    bad[2 * 36 + 3] = NaN;
    const add = (): void => {
      accumulateSet(set, batch, [batch, { ...batch, tapSums: bad }]);
    };
    expect(add).toThrow(refusal("NOT_FINITE", "The tap sums of image 7 at layer layer2.conv hold NaN (value 3)."));
    expect(encodeStudy(set)).toEqual(before);
  });

  it("says beforehand how large it becomes, and refuses what no file can hold", () => {
    const [study] = createSet(common, [layer]).studies;
    if (study !== undefined) accumulate(study, batchOf(0, ALL, [], 2));
    const weights = layer.weights.byteLength + layer.sign.byteLength;
    expect(study && accumulatorBytes(study) + weights).toBe(study && expectedBytes(study.meta));
    const images = { digest: "", length: 5e6, perClass: [2e6, 1e6, 2e6] };
    const wide = { ...layer, inChannels: 2 ** 22, groups: 2, outChannels: 2, kernel: [1, 1] as const };
    const weightsOf = (l: StudyLayer): StudyLayer => ({
      ...l,
      weights: new Float32Array(2 ** 22),
      sign: Int8Array.of(1, 1),
    });
    // 2^22 tap sums of 17 bytes for each of three classes: 214 MB a fold.
    const make = (folds: number): StudySet => createSet({ ...common, images, folds }, [weightsOf(wide)]);
    expect(make(1).studies.length).toBe(1);
    expect(() => make(64)).toThrow(
      expect.objectContaining({ remedy: "Pass --folds 19, or study fewer layers at a time." }),
    );
    expect(() => make(64)).toThrow(
      refusal("STUDY_TOO_LARGE", expect.stringMatching(/1 layer, 3 classes and 64 folds takes 13\.7 GB/)),
    );
  });
});

describe("merging sets", () => {
  const whole = setOf([[0, ALL]]);
  const [a, b, c] = [setOf([[0, 4]]), setOf([[4, 8]]), setOf([[8, ALL]])];

  it("gives the whole whatever the order, and takes what is in already no second time", () => {
    for (const [sets, repeated] of [
      [[a, b, c], []],
      [[c, a, b], []],
      [[b, c, b, a], [2]],
      [
        [a, whole, c],
        [0, 2],
      ],
      [[whole, whole], [1]],
      [
        [
          setOf([
            [0, 4],
            [8, ALL],
          ]),
          b,
          c,
        ],
        [2],
      ],
    ] as const) {
      const merged = mergeSets([...sets]);
      expect(studiesEqual(merged.set, whole)).toBe(true);
      expect(merged.repeated).toEqual(repeated);
    }
  });

  it("leaves what is given as it was, and takes the first name of the model", () => {
    const before = encodeStudy(b);
    const renamed = {
      studies: a.studies.map((s) => ({ ...s, meta: { ...s.meta, model: { ...s.meta.model, file: "a.onnx" } } })),
    };
    const merged = [mergeSets([b, renamed]), mergeSets([renamed, b])].map((m) => encodeStudy(m.set));
    expect(merged[0]).toEqual(merged[1]);
    expect(encodeStudy(b)).toEqual(before);
  });

  it("refuses overlaps with both ranges, and other layers", () => {
    expect(() => mergeSets([setOf([[0, 6]]), setOf([[4, 8]])], ["x", "y"])).toThrow(
      refusal(
        "STUDY_OVERLAP",
        "x has seen images 0-5 of the list and y has seen images 4-7: images 4-5 would count twice.",
      ),
    );
    expect(() => mergeSets([a, setOf([[4, 8]], [layer])])).toThrow(refusal("STUDY_LAYER"));
    expect(() => {
      assertSameSet(setOf([], [layer]), setOf([], [other]));
    }).toThrow(refusal("STUDY_LAYER"));
    // Another model has other layers, but what is wrong is the model.
    const model = { file: "net.onnx", sha256: "ee".repeat(32) };
    expect(() => mergeSets([a, createSet({ ...common, model }, [layer])])).toThrow(refusal("STUDY_MODEL"));
  });

  it("refuses two answers to the same images", () => {
    const changed = decodeStudy(encodeStudy(a));
    const counts = changed.studies[1]?.accumulators[0]?.counts ?? new Uint16Array(1);
    counts[1] = counts[1] === 0 ? 1 : 0;
    expect(() => mergeSets([a, changed])).toThrow(refusal("STUDY_DIFFERENT", expect.stringContaining("images 0-3")));
    // Of a part it shows only where the whole has counted less.
    const more = decodeStudy(encodeStudy(a));
    more.studies[0]?.accumulators[0]?.counts.fill(4);
    expect(() => mergeSets([more, whole])).toThrow(refusal("STUDY_DIFFERENT"));
    // Another list of images gone without.
    const skipped = decodeStudy(encodeStudy(b));
    for (const s of skipped.studies) s.skipped = s.skipped.map((i) => ({ ...i, index: i.index + 1 }));
    expect(() => mergeSets([skipped, whole])).toThrow(refusal("STUDY_DIFFERENT"));
  });

  it("plans by what each has seen", () => {
    const plan = (...done: [number, number][][]): unknown => planMerge(done.map((d, k) => ({ name: `${k}`, done: d })));
    expect(plan([[0, 2]], [[0, 9]], [[1, 3]])).toEqual({
      add: [1],
      repeated: [
        { index: 0, within: 1 },
        { index: 2, within: 1 },
      ],
    });
    // Nested: the outermost holds all.
    expect(plan([[1, 2]], [[0, 3]], [[0, 9]])).toEqual({
      add: [2],
      repeated: [
        { index: 0, within: 2 },
        { index: 1, within: 2 },
      ],
    });
    expect(plan([[0, 2]], [[0, 2]], [[0, 2]])).toEqual({
      add: [0],
      repeated: [
        { index: 1, within: 0 },
        { index: 2, within: 0 },
      ],
    });
    expect(plan([], [[3, 4]])).toEqual({ add: [1], repeated: [{ index: 0, within: 1 }] });
    expect(plan([])).toEqual({ add: [0], repeated: [] });
    expect(() => plan([[0, 4]], [[2, 6]], [[2, 4]])).toThrow(refusal("STUDY_OVERLAP"));
  });
});
