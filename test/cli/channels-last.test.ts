/**
 * A network that takes its images with channels last, as Keras has them: the commands for images give bit by bit what
 * they give of the same network with channels first.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { decodeModel } from "../../src/onnx/decode.ts";
import { modelBytes, node, valueInfo } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import {
  CLASSES,
  classifierParts,
  jsonOf,
  SIDE,
  temporaryFolder,
  unbraid,
  write,
  writeClassifier,
  writeImages,
} from "./support.ts";

const parts = classifierParts();
const last = {
  ...parts,
  input: [valueInfo("keras", ["n", SIDE, SIDE, 3])],
  node: [node("Transpose", ["keras"], ["image"], { perm: [0, 3, 1, 2] }, "to first"), ...(parts.node ?? [])],
};

describe.skipIf(testAdapters.length === 0)("channels last", () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  const plain = ["--mean", "0.5,0.4,0.3", "--std", "0.25,0.2,0.3", "--adapter", testAdapters[0] ?? "", "--json"];
  const images = () => ["--images", at("images"), ...plain];
  const [first, keras] = [at("first.onnx"), at("keras.onnx")];

  /** The JSON of a command that must succeed. */
  async function done(...argv: string[]): Promise<Record<string, unknown>> {
    const ran = await unbraid(...argv);
    expect(ran.code, ran.stdout).toBe(0);
    return jsonOf(ran);
  }

  beforeAll(async () => {
    writeClassifier(first);
    write(keras, modelBytes(last));
    await writeImages(at("images"), 9);
  });

  it("classify", async () => {
    const picture = join(at("images"), CLASSES[1], "0.png");
    const both = [await done("classify", first, picture, ...plain), await done("classify", keras, picture, ...plain)];
    expect(both[1]).toEqual(both[0]);
  });

  it("study, split and verify, onnxruntime's opinion with them", async () => {
    const found = [];
    for (const [name, model] of [
      ["first", first],
      ["keras", keras],
    ] as const) {
      const [study, split] = [at(`${name}.study`), at(`${name}-split.onnx`)];
      await done("study", model, ...images(), "--layer", "body.conv", "--out", study);
      const chosen = ["--channel", "2", "--classes", "apple,cat", "--channel", "4", "--classes", "boat,door"];
      // rho is chosen on images: the second pass reads them too.
      const { parts: made } = await done(
        "split",
        "--force",
        model,
        "--study",
        study,
        ...chosen,
        "--out",
        split,
        ...images(),
      );
      const verified = await done("verify", model, split, ...images());
      expect(verified.onnxruntime).not.toBeNull();
      found.push({ made, verified });
    }
    expect(found[1]).toEqual(found[0]);
    // The file keeps its own layout.
    const written = decodeModel(readFileSync(at("keras-split.onnx")));
    expect(written.inputs).toMatchObject([{ name: "keras", dims: ["n", SIDE, SIDE, 3] }]);
  });

  it("run and inspect take the file as it is", async () => {
    const json = await done("inspect", keras, "--json");
    expect(json.inputs).toMatchObject([{ name: "keras", shape: [null, SIDE, SIDE, 3] }]);
    expect(json.operators).toMatchObject({ Transpose: 1 });
  });
});
