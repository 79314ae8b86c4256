/** Bad input: a code, the remedy, an exit code, and nothing written. */
import { existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { encodeNpy } from "../../src/cli/npy.ts";
import { modelBytes, node, valueInfo } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import { onnx } from "../support/onnx-proto.ts";
import {
  CLASSES,
  classifierParts,
  errorOf,
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
const out = at("out.study");
const studyOf = (...argv: string[]): string[] => [
  "study",
  model,
  "--images",
  images,
  "--layer",
  "body.conv",
  "--out",
  out,
  ...argv,
];

beforeAll(async () => {
  writeClassifier(model);
  write(at("net.preprocess.json"), "{}");
  await writeImages(images, 2);
});

describe("models", () => {
  const inspected = (name: string, bytes: Uint8Array | string): ReturnType<typeof errorOf> =>
    errorOf("inspect", write(at(name), bytes));

  it("not there, not ONNX, cut short, damaged", async () => {
    expect(await errorOf("inspect", at("none.onnx"))).toMatchObject({ code: "MODEL_UNREADABLE", exit: 4 });
    expect(await errorOf("inspect", dir)).toMatchObject({ code: "MODEL_UNREADABLE", exit: 4 });
    expect(await inspected("text.onnx", "This is no model.")).toMatchObject({ code: "NOT_ONNX", exit: 4 });
    expect(await inspected("empty.onnx", "")).toMatchObject({ code: "NOT_ONNX", exit: 4 });
    const bytes = readFileSync(model);
    expect(await inspected("cut.onnx", bytes.subarray(0, 1000))).toMatchObject({ code: "ONNX_TRUNCATED", exit: 4 });
  });

  it("external data that is not there is named", async () => {
    const parts = classifierParts();
    const [first, ...rest] = parts.initializer ?? [];
    const beside = {
      ...first,
      rawData: null,
      dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
      externalData: [{ key: "location", value: "weights.bin" }],
    };
    const error = await inspected("external.onnx", modelBytes({ ...parts, initializer: [beside, ...rest] }));
    expect(error).toMatchObject({
      code: "EXTERNAL_DATA",
      exit: 4,
      message: expect.stringContaining("weights.bin") as string,
    });
  });

  it("unsupported operators are listed all at once, with their nodes", async () => {
    const path = write(
      at("odd.onnx"),
      modelBytes({
        input: [valueInfo("x", [1, 4])],
        output: [valueInfo("y", [1, 4])],
        node: [
          node("FirstOdd", ["x"], ["a"], {}, "one"),
          node("Relu", ["a"], ["b"], {}, "two"),
          node("SecondOdd", ["b"], ["y"], {}, "three"),
        ],
      }),
    );
    write(at("x.npy"), encodeNpy({ type: "float32", shape: [1, 4], data: new Float32Array(4) }));
    const inspectedJson = JSON.parse((await unbraid("inspect", path, "--json")).stdout) as { unsupported: unknown[] };
    expect(inspectedJson.unsupported).toMatchObject([
      { node: "one", type: "FirstOdd" },
      { node: "three", type: "SecondOdd" },
    ]);
    if (testAdapters.length === 0) return;
    const error = await errorOf("run", path, "--input", at("x.npy"));
    expect(error).toMatchObject({ code: "OPERATORS_UNSUPPORTED", exit: 5 });
    for (const text of ["one", "FirstOdd", "three", "SecondOdd"]) expect(error.message).toContain(text);
  });
});

describe("layers and options", () => {
  it.each([
    ["body.conf", "LAYER_UNKNOWN", "body.conv"],
    ["/pool", "LAYER_NOT_CONV", "GlobalAveragePool"],
    ["deep", "LAYER_NOT_SPLITTABLE", "depthwise"],
    ["last", "LAYER_NOT_SPLITTABLE", "depthwise"],
  ])("layer %s: %s", async (layer, code, says) => {
    const error = await errorOf("study", model, "--images", images, "--layer", layer, "--out", out);
    expect(error).toMatchObject({ code, exit: 3 });
    expect(`${error.message} ${error.remedy}`).toContain(says);
  });

  it.each([
    [["--tau", "1.5"], "OPTION_VALUE"],
    [["--tau", "a"], "OPTION_VALUE"],
    [["--limit", "0"], "OPTION_VALUE"],
    [["--batch", "-1"], "OPTION_VALUE"],
    [["--shard", "0/3"], "OPTION_VALUE"],
    [["--shard", "4/3"], "OPTION_VALUE"],
  ])("%j: %s", async (argv, code) => {
    expect(await errorOf(...studyOf(...argv))).toMatchObject({ code, exit: 2 });
  });

  it("preprocessing that makes no sense, or does not fit the network", async () => {
    expect(await errorOf(...studyOf("--preset", "imagenot"))).toMatchObject({ code: "PREPROCESS_INVALID", exit: 3 });
    expect(await errorOf(...studyOf("--mean", "1,2"))).toMatchObject({ code: "PREPROCESS_INVALID", exit: 3 });
    expect(await errorOf(...studyOf("--crop", "16"))).toMatchObject({
      code: "INPUT_SHAPE",
      exit: 3,
      message: expect.stringContaining("3x8x8") as string,
    });
  });
});

describe("images", () => {
  const withImages = (folder: string, ...argv: string[]): ReturnType<typeof errorOf> =>
    errorOf("study", model, "--images", folder, "--layer", "body.conv", "--out", out, ...argv);

  it("another number of classes than logits", async () => {
    await writeImages(at("three"), 1, CLASSES.slice(0, 3));
    expect(await withImages(at("three"))).toMatchObject({
      code: "IMAGES_CLASS_COUNT",
      exit: 3,
      message: "the folder has 3 classes, the network 4 logits",
      remedy: expect.stringContaining("--classes") as string,
    });
    write(at("map.json"), JSON.stringify({ apple: 0, boat: 1, cat: 9 }));
    expect(await withImages(at("three"), "--classes", at("map.json"))).toMatchObject({
      code: "IMAGES_CLASS_COUNT",
      exit: 3,
    });
  });

  it("no folder, no classes, empty classes", async () => {
    expect(await withImages(at("nowhere"))).toMatchObject({ code: "IMAGES_UNREADABLE", exit: 3 });
    expect(await withImages(join(images, "cat"))).toMatchObject({ code: "IMAGES_NO_CLASSES", exit: 3 });
    await writeImages(at("hollow"), 1);
    write(join(at("hollow"), "empty-class", "readme.txt"), "");
    const error = await withImages(at("hollow"));
    expect(error).toMatchObject({ code: "IMAGES_EMPTY_CLASS", exit: 3 });
    expect(error.message).toContain("empty-class");
  });

  it.skipIf(testAdapters.length === 0)("a corrupt image is named, and nothing is written", async () => {
    await writeImages(at("corrupt"), 2);
    write(join(at("corrupt"), "cat", "1.png"), readFileSync(join(images, "cat", "0.png")).subarray(0, 70));
    const error = await withImages(at("corrupt"), "--adapter", testAdapters[0] ?? "");
    expect(error).toMatchObject({
      code: "IMAGE_CORRUPT",
      exit: 3,
      remedy: expect.stringContaining("--skip-bad") as string,
    });
    expect(error.message).toContain("cat/1.png");
    expect(readdirSync(dir)).not.toContain("out.study");
  });
});

describe("run", () => {
  const x = at("ok.npy");
  const save = (name: string, shape: number[], type: "float32" | "int64" = "float32"): string => {
    const size = shape.reduce((n, d) => n * d, 1);
    return write(
      at(name),
      encodeNpy({ type, shape, data: type === "float32" ? new Float32Array(size) : new Float64Array(size) }),
    );
  };
  beforeAll(() => {
    save("ok.npy", [1, 3, SIDE, SIDE]);
  });

  it("inputs that are missing, unknown, of another type or not arrays", async () => {
    expect(await errorOf("run", model)).toMatchObject({ code: "INPUT_MISSING", exit: 2 });
    expect(await errorOf("run", model, "--input", `imag=${x}`)).toMatchObject({
      code: "INPUT_NAME",
      exit: 2,
      remedy: expect.stringContaining("image") as string,
    });
    expect(await errorOf("run", model, "--input", save("int.npy", [1, 3, 8, 8], "int64"))).toMatchObject({
      code: "INPUT_TYPE",
      exit: 3,
    });
    expect(await errorOf("run", model, "--input", at("none.npy"))).toMatchObject({ code: "NPY_UNREADABLE", exit: 3 });
    expect(await errorOf("run", model, "--input", model)).toMatchObject({ code: "NPY_FORMAT", exit: 3 });
  });

  it("a value that is not there: the nearest names", async () => {
    expect(await errorOf("run", model, "--input", x, "--output", `logit=${at("y.npy")}`)).toMatchObject({
      code: "VALUE_UNKNOWN",
      exit: 3,
      remedy: expect.stringContaining("logits") as string,
    });
  });

  it.skipIf(testAdapters.length === 0)("an input of another shape", async () => {
    const error = await errorOf(
      "run",
      model,
      "--input",
      save("wide.npy", [1, 3, 8, 9]),
      "--adapter",
      testAdapters[0] ?? "",
    );
    expect(error).toMatchObject({
      code: "INPUT_SHAPE",
      exit: 3,
      message: expect.stringContaining("1x3x8x9") as string,
    });
  });
});

describe("outputs", () => {
  it("never replace what the command reads, under whatever name, nor one another", async () => {
    const before = readFileSync(model);
    const link = at("link.onnx");
    symlinkSync(model, link);
    const study = ["study", model, "--images", images, "--layer", "body.conv", "--out"];
    for (const target of [model, link]) {
      expect(await errorOf(...study, target)).toMatchObject({ code: "OUTPUT_IS_INPUT", exit: 8 });
    }
    const x = write(
      at("x.npy"),
      encodeNpy({ type: "float32", shape: [1, 3, SIDE, SIDE], data: new Float32Array(3 * SIDE * SIDE) }),
    );
    const run = ["run", model, "--input", x];
    expect(await errorOf(...run, "--output", `logits=${x}`)).toMatchObject({ code: "OUTPUT_IS_INPUT", exit: 8 });
    const twice = ["--output", `logits=${at("y.npy")}`, "--output", `logits=${at("y.npy")}`];
    expect(await errorOf(...run, ...twice)).toMatchObject({ code: "OUTPUT_TWICE", exit: 2 });
    expect(readFileSync(model).equals(before)).toBe(true);
  });

  it("a folder, or a folder that is not there, is found out before any work", async () => {
    const study = ["study", model, "--images", images, "--layer", "body.conv", "--out"];
    expect(await errorOf(...study, dir)).toMatchObject({ code: "OUTPUT_UNWRITABLE", exit: 8 });
    expect(await errorOf(...study, join(model, "x.study"))).toMatchObject({ code: "OUTPUT_UNWRITABLE", exit: 8 });
    expect(await errorOf("merge", at("a.study"), "--out", at("no/such/folder/x.study"))).toMatchObject({
      code: "OUTPUT_UNWRITABLE",
      exit: 8,
    });
  });

  it("a folder to write into: a file there is refused, and a refused command leaves none", async () => {
    const bench = ["bench", model, "--only", "prototype", "--prototype", at("none"), "--out"];
    expect(await errorOf(...bench, model)).toMatchObject({ code: "OUTPUT_UNWRITABLE", exit: 8 });
    expect(await errorOf(...bench, join(model, "x"))).toMatchObject({ code: "OUTPUT_UNWRITABLE", exit: 8 });
    if (testAdapters.length === 0) return;
    expect(await errorOf(...bench, at("new/folder"))).toMatchObject({ code: "BENCH_NO_PEER" });
    expect(existsSync(at("new"))).toBe(false);
  });

  it.skipIf(testAdapters.length === 0 || !existsSync("/dev/full"))("a full disk ends the command", async () => {
    const error = await errorOf(
      ...["study", model, "--images", images, "--layer", "body.conv", "--out", "/dev/full"],
      ...["--adapter", testAdapters[0] ?? ""],
    );
    expect(error).toMatchObject({ code: "DISK_FULL", exit: 8 });
  });
});

describe("an adapter that is not there", () => {
  it("names those that are", async () => {
    const error = await errorOf(...studyOf("--adapter", "abacus"));
    expect(["ADAPTER_UNKNOWN", "ADAPTER_NONE"]).toContain(error.code);
    expect(error.exit).toBe(6);
    expect(readdirSync(dir)).not.toContain("out.study");
  });
});
