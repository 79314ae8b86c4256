import { describe, expect, test } from "vitest";
import { PRESETS, mergePreprocess, parsePreprocess, parseTriple } from "../../src/images/presets.ts";
import { readSidecar, sidecarPaths } from "../../src/images/sidecar.ts";
import { errorOf, folderOf } from "./support.ts";

test("a whole file", () => {
  const text = '{"resize": 232, "crop": 224, "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "channels": "bgr"}';
  expect(parsePreprocess(text, "a.json")).toEqual({
    resize: 232,
    crop: 224,
    mean: [0.1, 0.2, 0.3],
    std: [1, 2, 3],
    channels: "bgr",
  });
});

test("fields left out are a preset's, or none", () => {
  expect(parsePreprocess("{}", "a.json")).toEqual({ mean: [0, 0, 0], std: [1, 1, 1] });
  expect(parsePreprocess('\uFEFF{"preset": "imagenet", "crop": 200}', "a.json")).toEqual({
    ...PRESETS.imagenet,
    crop: 200,
  });
});

test("options go over the file, a preset among them replaces it", () => {
  const file = parsePreprocess('{"preset": "cifar100", "resize": 32}', "a.json");
  expect(mergePreprocess({}, file)).toEqual(file);
  expect(mergePreprocess({ crop: 28, std: [1, 1, 2] }, file)).toEqual({ ...file, crop: 28, std: [1, 1, 2] });
  expect(mergePreprocess({ preset: "imagenet", resize: 300 }, file)).toEqual({ ...PRESETS.imagenet, resize: 300 });
  expect(mergePreprocess({ preset: "none" }, file)).toEqual(PRESETS.none);
  expect(mergePreprocess({})).toEqual(PRESETS.none);
});

describe("what is wrong is named: path and field", () => {
  test.each([
    ['{"resize": 0}', "resize"],
    ['{"resize": 1.5}', "resize"],
    ['{"crop": "224"}', "crop"],
    ['{"crop": 1000000000}', "crop"],
    ['{"mean": [0.5, 0.5]}', "mean"],
    ['{"mean": [0.5, 0.5, null]}', "mean"],
    ['{"mean": 0.5}', "mean"],
    ['{"std": [1, 0, 1]}', "std"],
    ['{"std": [1, 1e-50, 1]}', "std"],
    ['{"std": [1, 1e50, 1]}', "std"],
    ['{"std": [1, 1, 1, 1]}', "std"],
    ['{"channels": "RGB"}', "channels"],
    ['{"preset": "toString"}', "preset"],
    ['{"means": [0, 0, 0]}', "means"],
    ['{"resize": ', "not JSON"],
    ["[]", "no JSON object"],
  ])("%s", async (text, field) => {
    const error = await errorOf(() => parsePreprocess(text, "dir/net.onnx.preprocess.json"));
    expect(error.code).toBe("PREPROCESS_INVALID");
    expect(error.message).toContain("dir/net.onnx.preprocess.json");
    expect(error.message).toContain(field);
  });
  test("options", async () => {
    for (const options of [{ resize: NaN }, { mean: [1, 2] }, { std: [0, 1, 1] }, { preset: "imagnet" }]) {
      const error = await errorOf(() => mergePreprocess(options));
      expect(error.code).toBe("PREPROCESS_INVALID");
      expect(error.message).toContain(Object.keys(options)[0]);
    }
  });
});

test("three numbers of an option", async () => {
  expect(parseTriple("0.485, 0.456,-1e-2", "mean")).toEqual([0.485, 0.456, -0.01]);
  for (const text of ["", "1,2", "1,2,3,4", "1,,2", "a,b,c", "1,2,Infinity"]) {
    expect((await errorOf(() => parseTriple(text, "mean"))).code).toBe("PREPROCESS_INVALID");
  }
});

describe("the JSON beside a model", () => {
  test("is found under either name", async () => {
    const dir = folderOf({ "a.onnx.preprocess.json": '{"crop": 3}', "b.preprocess.json": '{"crop": 4}' });
    expect(sidecarPaths("a.onnx")).toEqual(["a.onnx.preprocess.json", "a.preprocess.json"]);
    expect((await readSidecar(`${dir}/a.onnx`))?.spec.crop).toBe(3);
    expect(await readSidecar(`${dir}/b.onnx`)).toMatchObject({ path: `${dir}/b.preprocess.json`, spec: { crop: 4 } });
    expect(await readSidecar(`${dir}/c.onnx`)).toBeUndefined();
  });
  test("that cannot be read or parsed is an error", async () => {
    const dir = folderOf({ "a.onnx.preprocess.json/x": "", "b.onnx.preprocess.json": "{" });
    expect((await errorOf(() => readSidecar(`${dir}/a.onnx`))).code).toBe("PREPROCESS_INVALID");
    expect((await errorOf(() => readSidecar(`${dir}/b.onnx`))).message).toContain("b.onnx.preprocess.json");
  });
});
