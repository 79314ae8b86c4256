/** --precision: where it is taken, what a study records of it, and where it is refused. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { encodeNpy } from "../../src/cli/npy.ts";
import { decodeStudy } from "../../src/relevance/study-file.ts";
import { floats, modelBytes } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import { halfAdapters, U16 } from "../support/half.ts";
import {
  classifierParts,
  CLASSES,
  errorOf,
  jsonOf,
  SIDE,
  temporaryFolder,
  unbraid,
  write,
  writeClassifier,
  writeImages,
} from "./support.ts";

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);
const model = at("net.onnx");
const images = at("images");
const half = ["--precision", "f16", "--adapter", halfAdapters[0] ?? ""];

beforeAll(async () => {
  writeClassifier(model);
  write(at("net.preprocess.json"), "{}");
  await writeImages(images, 2);
});

it("takes f32 and f16 only, and not where a proof is made", async () => {
  const image = join(images, CLASSES[0], "0.png");
  expect(await errorOf("classify", model, image, "--precision", "f64")).toMatchObject({
    code: "OPTION_VALUE",
    message: expect.stringContaining('f32 or f16, not "f64"') as string,
    exit: 2,
  });
  for (const command of [
    ["verify", model, model, "--images", images],
    ["split", model, "--study", at("none.study"), "--all", "--out", at("out.onnx")],
  ])
    expect(await errorOf(...command, "--precision", "f16")).toMatchObject({ code: "OPTION_UNKNOWN", exit: 2 });
});

const without = testAdapters.filter((name) => !halfAdapters.includes(name));

it.skipIf(without.length === 0)(
  "an adapter without half precision is refused, nothing else is done instead",
  async () => {
    const study = ["study", model, "--images", images, "--layer", "body.conv", "--out", at("never.study")];
    const error = await errorOf(...study, "--precision", "f16", "--adapter", without[0] ?? "");
    expect(error).toMatchObject({ code: "PRECISION_MISSING", exit: 6 });
    expect(error.remedy).toContain("precision f32");
  },
);

describe.skipIf(halfAdapters.length === 0)("in half precision", () => {
  const study = (out: string, ...rest: string[]): string[] => [
    ...[
      "study",
      model,
      "--images",
      images,
      "--layer",
      "body.conv",
      "--out",
      at(out),
      "--adapter",
      halfAdapters[0] ?? "",
    ],
    ...rest,
  ];

  it("run gives float32's results but for its rounding, as does classify", async () => {
    const data = Float32Array.from({ length: 3 * SIDE * SIDE }, (_, i) => Math.sin(i));
    const x = write(at("x.npy"), encodeNpy({ type: "float32", shape: [1, 3, SIDE, SIDE], data }));
    const means: number[] = [];
    for (const precision of ["f32", "f16"]) {
      const ran = await unbraid("run", model, "--input", x, "--json", ...half.with(1, precision));
      means.push(jsonOf<{ outputs: { mean: number }[] }>(ran).outputs[0]?.mean ?? NaN);
    }
    const [full = NaN, rounded = NaN] = means;
    expect(Math.abs(full - rounded)).toBeLessThan(16 * U16 * Math.abs(full));
    expect(rounded).not.toBe(full);
    const ran = await unbraid("classify", model, join(images, CLASSES[0], "0.png"), "--json", ...half);
    expect(ran.code).toBe(0);
  });

  it("a study records it; one of another precision is neither added nor continued", async () => {
    expect((await unbraid(...study("f16.study", "--shard", "1/2", "--precision", "f16"))).code).toBe(0);
    expect((await unbraid(...study("f32.study", "--shard", "2/2"))).code).toBe(0);
    const settings = (name: string) => decodeStudy(readFileSync(at(name))).studies[0]?.meta.settings;
    expect(settings("f16.study")).toMatchObject({ precision: "f16" });
    expect(settings("f32.study")).not.toHaveProperty("precision");
    const merged = await errorOf("merge", at("f16.study"), at("f32.study"), "--out", at("merged.study"));
    expect(merged).toMatchObject({ code: "STUDY_SETTINGS", exit: 3 });
    expect(merged.message).toContain('settings differ: {"precision":"f16"} and {}');
    expect(await errorOf(...study("f16.study", "--shard", "1/2", "--resume"))).toMatchObject({
      code: "STUDY_SETTINGS",
    });
    // Two halves of one precision are added.
    expect((await unbraid(...study("rest.study", "--shard", "2/2", "--precision", "f16"))).code).toBe(0);
    const all = await unbraid("merge", at("f16.study"), at("rest.study"), "--out", at("all.study"), "--json");
    expect(jsonOf<{ complete: boolean }>(all).complete).toBe(true);
  });

  it("an overflow of float16 is found, and the remedy is float32", async () => {
    // A weight that float16 does not reach, and no trouble for float32.
    const parts = classifierParts();
    const initializer = (parts.initializer ?? []).map((t) =>
      t.name === "stem.weight" ? floats("stem.weight", [8, 3, 3, 3], new Float32Array(216).fill(1e5)) : t,
    );
    const large = write(at("large.onnx"), modelBytes({ ...parts, initializer }));
    write(at("large.preprocess.json"), "{}");
    const image = join(images, CLASSES[0], "0.png");
    expect((await unbraid("classify", large, image, ...half.with(1, "f32"))).code).toBe(0);
    const error = await errorOf("classify", large, image, ...half);
    expect(error).toMatchObject({ code: "NOT_FINITE", exit: 4 });
    expect(error.remedy).toContain("--precision f32");
    const found = await errorOf(
      ...["study", large, "--images", images, "--layer", "body.conv", "--out", at("large.study"), ...half],
    );
    expect(found).toMatchObject({ code: "NOT_FINITE" });
    expect(found.remedy).toContain("--precision f32");
  });
});
