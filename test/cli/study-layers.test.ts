/** `study` of several layers and folds, and `merge` of their shards, end to end: bits, refusals, remedies. */
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { must } from "../../src/errors.ts";
import { decodeStudy, encodeStudy } from "../../src/relevance/study-file.ts";
import { selectLayer } from "../../src/relevance/study-set.ts";
import { floats, modelBytes, node } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import {
  classifierParts,
  CLASSES,
  errorOf,
  jsonOf,
  temporaryFolder,
  unbraid,
  write,
  writeClassifier,
  writeImages,
} from "./support.ts";

const PER_CLASS = 7;
const ALL = PER_CLASS * CLASSES.length;

interface StudyJson {
  readonly layer: string;
  readonly images: number;
  readonly folds: number;
  readonly complete: boolean;
  readonly accumulator_bytes: number;
  readonly layers: readonly { name: string; channels: number; tap_sums: number; accumulator_bytes: number }[];
}

describe.skipIf(testAdapters.length === 0)("studies of several layers", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const bytes = (name: string): Buffer => readFileSync(at(name));
  const model = at("net.onnx");
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const args = (out: string, layer = "all"): string[] => [
    ...["study", model, "--images", at("images"), "--out", at(out), "--layer", layer, "--tau", "0.03", ...adapter],
  ];
  const study = async (out: string, ...more: string[]): Promise<void> => {
    const ran = await unbraid(...args(out), ...more);
    expect([ran.code, ran.stderr], out).toEqual([0, expect.any(String)]);
  };

  beforeAll(async () => {
    writeClassifier(model);
    await writeImages(at("images"), PER_CLASS);
    await study("all.study");
    for (const k of [1, 2, 3]) await study(`${k}.study`, "--shard", `${k}/3`);
  });

  it("all: every layer that can be split, the others said once; sizes by layer", async () => {
    const ran = await unbraid(...args("again.study"));
    expect(ran.code).toBe(0);
    expect(ran.stderr.match(/left out/g)?.length).toBe(1);
    expect(ran.stderr).toMatch(/1 layer is left out, because .*depthwise.*: deep/);
    expect(ran.stdout).toContain("at 2 layers;");
    const json = jsonOf<StudyJson>(await unbraid(...args("again.study"), "--json"));
    expect(json).toMatchObject({ layer: "all", images: ALL, folds: 5, complete: true });
    expect(json.layers.map(({ name, channels, tap_sums }) => [name, channels, tap_sums])).toEqual([
      ["stem", 8, 27],
      ["body.conv", 6, 8],
    ]);
    // 17 bytes a tap sum, class and fold; 2 bytes a count by class and variant.
    const expected = json.layers.map((l) => CLASSES.length * (5 * 17 * l.tap_sums + 2 * 2 * l.channels));
    expect(json.layers.map((l) => l.accumulator_bytes)).toEqual(expected);
    expect(json.accumulator_bytes).toBe(expected.reduce((a, b) => a + b, 0));
    expect(bytes("again.study").equals(bytes("all.study"))).toBe(true);
  });

  it("a layer of the list is, bit for bit, what it is alone", async () => {
    const set = decodeStudy(bytes("all.study"));
    for (const name of ["stem", "body.conv"]) {
      expect((await unbraid(...args("one.study", name))).code).toBe(0);
      expect(Buffer.from(encodeStudy({ studies: [selectLayer(set, name)] })).equals(bytes("one.study"))).toBe(true);
    }
    const listed = jsonOf<StudyJson>(await unbraid(...args("listed.study", "z, stem,body.conv"), "--json"));
    expect(listed.layer).toBe("stem,body.conv");
    expect(bytes("listed.study").equals(bytes("all.study"))).toBe(true);
  });

  it("folds: one gives the sums of five; each is checked", async () => {
    await study("one-fold.study", "--folds", "1");
    const [one, five] = [decodeStudy(bytes("one-fold.study")), decodeStudy(bytes("all.study"))];
    for (const [k, { meta, accumulators }] of one.studies.entries()) {
      expect(meta.folds).toBe(1);
      const other = must(five.studies[k], "study");
      accumulators.forEach((a, t) => {
        const folds = must(other.accumulators[t], "class").tapSums;
        // 7 images in 5 folds.
        expect(folds.map((sums) => sums?.contributions)).toEqual([2, 2, 1, 1, 1]);
        expect(must(a, "class").counts).toEqual(other.accumulators[t]?.counts);
      });
    }
    for (const folds of ["0", "65", "1.5"])
      expect(await errorOf(...args("x.study"), "--folds", folds)).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
  });

  it("a batch of another size, shards merged in any order, and a resumed half give the same bytes", async () => {
    await study("batch.study", "--batch", "3");
    expect(bytes("batch.study").equals(bytes("all.study"))).toBe(true);
    for (const order of [
      [3, 1, 2],
      [2, 3, 1],
    ]) {
      const ran = await unbraid("merge", ...order.map((k) => at(`${k}.study`)), "--out", at("merged.study"), "--json");
      expect(jsonOf<StudyJson>(ran)).toMatchObject({ layer: "stem,body.conv", images: ALL, complete: true, folds: 5 });
      expect(bytes("merged.study").equals(bytes("all.study"))).toBe(true);
    }
    copyFileSync(at("1.study"), at("begun.study"));
    await study("begun.study", "--resume");
    expect(bytes("begun.study").equals(bytes("all.study"))).toBe(true);
  });

  it("merging again what is in already changes nothing, and is said", async () => {
    for (const files of [
      ["1.study", "2.study", "1.study", "3.study"],
      ["2.study", "all.study", "1.study"],
      ["all.study", "all.study"],
    ]) {
      const ran = await unbraid("merge", ...files.map(at), "--out", at("merged.study"));
      expect(ran.code).toBe(0);
      expect(ran.stderr).toMatch(/1\.study lies within .*: not added again|all\.study lies within/);
      expect(bytes("merged.study").equals(bytes("all.study"))).toBe(true);
    }
  });

  it("what does not belong together is refused, with what differs, and nothing is written", async () => {
    const merge = (...files: string[]): ReturnType<typeof errorOf> =>
      errorOf("merge", ...files.map(at), "--out", at("never.study"));
    await study("half.study", "--shard", "1/2");
    expect(await merge("2.study", "half.study")).toMatchObject({
      code: "STUDY_OVERLAP",
      exit: 3,
      message: expect.stringMatching(
        /2\.study has seen images 9-17 .*half\.study has seen images 0-13: images 9-13/,
      ) as string,
      remedy: expect.stringContaining("different shards") as string,
    });

    expect((await unbraid(...args("body.study", "body.conv"), "--shard", "2/3")).code).toBe(0);
    expect(await merge("1.study", "body.study")).toMatchObject({
      code: "STUDY_LAYER",
      message: expect.stringContaining("stem, body.conv and body.conv") as string,
    });
    expect((await unbraid(...args("stem.study", "stem"), "--shard", "1/3")).code).toBe(0);
    expect(await merge("stem.study", "body.study")).toMatchObject({ code: "STUDY_LAYER" });

    await study("folds.study", "--shard", "2/3", "--folds", "3");
    expect(await merge("1.study", "folds.study")).toMatchObject({
      code: "STUDY_SETTINGS",
      message: expect.stringContaining("numbers of folds differ: 5 and 3") as string,
    });
    await study("scaled.study", "--shard", "2/3", "--std", "0.5,0.5,0.5");
    expect(await merge("1.study", "scaled.study")).toMatchObject({
      code: "STUDY_SETTINGS",
      message: expect.stringContaining("preprocessing") as string,
    });

    writeClassifier(at("other.onnx"), 9);
    const other = args("other.study").map((a) => (a === model ? at("other.onnx") : a));
    expect((await unbraid(...other, "--shard", "2/3")).code).toBe(0);
    expect(await merge("1.study", "other.study")).toMatchObject({ code: "STUDY_MODEL", exit: 3 });

    // The same images, but another answer: as another adapter or version would give.
    const changed = decodeStudy(bytes("1.study"));
    const counts = must(changed.studies[1]?.accumulators[0], "class").counts;
    counts[0] = counts[0] === 0 ? 1 : 0;
    write(at("changed.study"), encodeStudy(changed));
    expect(await merge("1.study", "changed.study")).toMatchObject({
      code: "STUDY_DIFFERENT",
      exit: 3,
      message: expect.stringContaining("images 0-8") as string,
    });
    expect(existsSync(at("never.study"))).toBe(false);
  });

  it("--resume wants the same layers and folds", async () => {
    copyFileSync(at("1.study"), at("begun.study"));
    const before = bytes("begun.study");
    expect(await errorOf(...args("begun.study", "stem"), "--resume")).toMatchObject({ code: "STUDY_LAYER", exit: 3 });
    expect(await errorOf(...args("begun.study"), "--folds", "1", "--resume")).toMatchObject({ code: "STUDY_SETTINGS" });
    expect(await errorOf(...args("begun.study"))).toMatchObject({ code: "STUDY_EXISTS", exit: 8 });
    expect(bytes("begun.study").equals(before)).toBe(true);
  });

  it("no layer left, unknown ones, and those that cannot be split", async () => {
    const parts = classifierParts();
    const initializer = (parts.initializer ?? []).map((t) =>
      t.name === "deep.weight" ? floats("deep.weight", [3, 1, 3, 3], new Float32Array(27).fill(0.1)) : t,
    );
    write(
      at("depthwise.onnx"),
      modelBytes({
        ...parts,
        node: [
          node("Conv", ["image", "deep.weight"], ["z"], { group: 3, pads: [1, 1, 1, 1] }, "/deep/Conv"),
          node("GlobalAveragePool", ["z"], ["e"], {}, "/pool"),
          node("Flatten", ["e"], ["f"], {}, "/flatten"),
          node("Gemm", ["f", "small"], ["logits"], { transB: 1 }, "/head"),
        ],
        initializer: [...initializer, floats("small", [CLASSES.length, 3], new Float32Array(12).fill(0.2))],
      }),
    );
    const none = args("x.study").map((a) => (a === model ? at("depthwise.onnx") : a));
    expect(await errorOf(...none)).toMatchObject({
      code: "LAYER_NOT_SPLITTABLE",
      exit: 3,
      message: expect.stringContaining("deep") as string,
    });
    expect(await errorOf(...args("x.study", "stem,deep"))).toMatchObject({ code: "LAYER_NOT_SPLITTABLE" });
    expect(await errorOf(...args("x.study", "stem,bodi"))).toMatchObject({ code: "LAYER_UNKNOWN" });
  });

  it("NaN: the image and the layer are named, nothing is accumulated, and no file is written", async () => {
    const parts = classifierParts();
    const initializer = (parts.initializer ?? []).map((t) =>
      t.name === "body.conv.weight" ? floats("body.conv.weight", [6, 8, 1, 1], new Float32Array(48).fill(3e38)) : t,
    );
    write(at("huge.onnx"), modelBytes({ ...parts, initializer }));
    const huge = args("huge.study").map((a) => (a === model ? at("huge.onnx") : a));
    expect(await errorOf(...huge)).toMatchObject({
      code: "NOT_FINITE",
      exit: 4,
      message: expect.stringMatching(/of apple\/\d+\.png at layer (stem|body\.conv) hold (NaN|-?Infinity)/) as string,
    });
    expect(existsSync(at("huge.study"))).toBe(false);
  });
});
