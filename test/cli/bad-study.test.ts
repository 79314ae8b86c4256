/** Bad input to what reads studies and split models: a code, the remedy, an exit code, and nothing written. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { floats, modelBytes } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import { classifierParts, errorOf, temporaryFolder, unbraid, write, writeClassifier, writeImages } from "./support.ts";

const dir = temporaryFolder();
const at = (name: string): string => join(dir, name);
const model = at("net.onnx");
const images = at("images");
const out = at("out.study");
beforeAll(async () => {
  writeClassifier(model);
  write(at("net.preprocess.json"), "{}");
  await writeImages(images, 2);
});

describe.skipIf(testAdapters.length === 0)("studies", () => {
  const adapter = ["--adapter", testAdapters[0] ?? ""];
  const study = at("whole.study");
  const other = at("other.onnx");
  const split = (...argv: string[]): ReturnType<typeof errorOf> =>
    errorOf("split", model, "--study", study, "--out", at("split.onnx"), "--rho", "0.5", ...argv);

  beforeAll(async () => {
    const ran = await unbraid("study", model, "--images", images, "--layer", "body.conv", "--out", study, ...adapter);
    expect(ran.stderr).not.toContain("error");
    writeClassifier(other, 77);
    write(at("other.preprocess.json"), "{}");
  });

  it("not a study, a changed one, another model's, another layer's", async () => {
    expect(await errorOf("find", at("none.study"))).toMatchObject({ code: "STUDY_UNREADABLE", exit: 3 });
    expect(await errorOf("find", model)).toMatchObject({
      code: "STUDY_FORMAT",
      exit: 3,
      message: expect.stringContaining(model) as string,
    });
    const bytes = readFileSync(study);
    expect(await errorOf("find", write(at("cut.study"), bytes.subarray(0, bytes.length - 9)))).toMatchObject({
      code: "STUDY_CORRUPT",
    });
    expect(
      await errorOf("split", other, "--study", study, "--out", at("split.onnx"), "--all", "--rho", "1"),
    ).toMatchObject({
      code: "STUDY_MODEL",
      exit: 3,
    });
    expect(await split("--channel", "1", "--classes", "0,1", "--layer", "stem")).toMatchObject({
      code: "STUDY_LAYER",
      exit: 3,
    });
  });

  it("a tau, a channel or a class that is not there", async () => {
    expect(await errorOf("find", study, "--tau", "0.5")).toMatchObject({ code: "STUDY_TAU", exit: 2 });
    expect(await split("--channel", "6", "--classes", "0,1")).toMatchObject({ code: "CHANNEL_RANGE", exit: 2 });
    expect(await split("--channel", "1", "--classes", "0,4")).toMatchObject({ code: "CLASS_RANGE", exit: 2 });
    expect(await split("--channel", "1", "--classes", "apple,boot")).toMatchObject({
      code: "CLASS_UNKNOWN",
      exit: 2,
      remedy: expect.stringContaining("boat") as string,
    });
    expect(await split("--channel", "1", "--classes", "1,1")).toMatchObject({ code: "SPLIT_CONCEPTS", exit: 2 });
    expect(await split("--channel", "1,1", "--classes", "0,1", "--classes", "0,2")).toMatchObject({
      code: "CHANNEL_TWICE",
    });
  });

  it("options of split that contradict each other or are missing", async () => {
    expect(await split()).toMatchObject({ code: "OPTION_MISSING", exit: 2 });
    expect(await split("--all", "--channel", "1")).toMatchObject({ code: "OPTION_CONFLICT", exit: 2 });
    expect(await split("--all", "--gamma", "0")).toMatchObject({ code: "PAIRS_NONE", exit: 3 });
    expect(await split("--pairs", study)).toMatchObject({ code: "PAIRS_INVALID", exit: 3 });
    expect(await split("--channel", "1", "--classes", "0,1", "--rule", "best")).toMatchObject({
      code: "OPTION_VALUE",
      exit: 2,
    });
    expect(
      await errorOf("split", model, "--study", study, "--out", at("split.onnx"), "--channel", "1", "--classes", "0,1"),
    ).toMatchObject({
      code: "RHO_NEEDS_IMAGES",
      exit: 2,
    });
    expect(readdirSync(dir).filter((f) => f.startsWith("split"))).toEqual([]);
  });

  it("a part of a study is not taken for the whole, nor overwritten by accident", async () => {
    const part = at("part.study");
    const args = ["study", model, "--images", images, "--layer", "body.conv", "--out", part, ...adapter];
    expect((await unbraid(...args, "--shard", "1/2")).code).toBe(0);
    expect(await errorOf("find", part)).toMatchObject({ code: "STUDY_INCOMPLETE", exit: 3 });
    expect((await unbraid("find", part, "--partial")).code).toBe(0);
    expect(await errorOf(...args)).toMatchObject({ code: "STUDY_EXISTS", exit: 8 });
    expect(await errorOf(...args, "--shard", "2/2", "--resume")).toMatchObject({ code: "STUDY_OVERLAP", exit: 3 });
    expect(await errorOf(...args, "--tau", "0.2", "--resume")).toMatchObject({ code: "STUDY_SETTINGS", exit: 3 });
    // Begun as one half, it can be finished as the whole.
    expect((await unbraid(...args, "--resume")).code).toBe(0);
    expect(readFileSync(part).equals(readFileSync(study))).toBe(true);
  });

  it("verify wants a split of this very model", async () => {
    const path = at("halves.onnx");
    expect(
      (
        await unbraid(
          "split",
          model,
          "--study",
          study,
          "--channel",
          "1",
          "--classes",
          "0,1",
          "--rho",
          "1",
          "--out",
          path,
        )
      ).code,
    ).toBe(0);
    expect(await errorOf("verify", model, model, "--images", images)).toMatchObject({ code: "SPLIT_RECORD", exit: 3 });
    expect(await errorOf("verify", other, path, "--images", images)).toMatchObject({ code: "SPLIT_MODEL", exit: 3 });
  });

  it("weights that are not finite", async () => {
    const parts = classifierParts();
    const initializer = (parts.initializer ?? []).map((t) =>
      t.name === "stem.weight" ? floats("stem.weight", [8, 3, 3, 3], new Float32Array(8 * 27).fill(3e38)) : t,
    );
    write(at("huge.onnx"), modelBytes({ ...parts, initializer }));
    const error = await errorOf(
      "study",
      at("huge.onnx"),
      "--images",
      images,
      "--layer",
      "body.conv",
      "--out",
      out,
      ...adapter,
    );
    expect(error).toMatchObject({
      code: "NOT_FINITE",
      exit: 4,
      message: expect.stringContaining("apple/0.png") as string,
    });
    expect(readdirSync(dir)).not.toContain("out.study");
  });
});
