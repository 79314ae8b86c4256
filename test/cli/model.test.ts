/** What is said of a model when it is opened. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { modelBytes, node, TYPE, valueInfo, type ModelParts } from "../onnx/make.ts";
import { temporaryFolder, unbraid, write } from "./support.ts";

const dir = temporaryFolder();
const said = "all is computed in float32";

const cases: Record<string, { types: string; parts: ModelParts }> = {
  "float16 input": {
    types: "float16",
    parts: {
      input: [valueInfo("x", [2], TYPE.float16)],
      output: [valueInfo("y", [2], TYPE.float16)],
      node: [node("Relu", ["x"], ["y"])],
    },
  },
  "float64 constant": {
    types: "float64",
    parts: {
      input: [valueInfo("x", [1], TYPE.float64)],
      output: [valueInfo("y", [1], TYPE.float64)],
      node: [
        node("Constant", [], ["c"], { value: { dims: [1], dataType: TYPE.float64, doubleData: [2] } }),
        node("Mul", ["x", "c"], ["y"]),
      ],
    },
  },
  "bfloat16 weight and float16 input": {
    types: "float16 and bfloat16",
    parts: {
      input: [valueInfo("x", [1], TYPE.float16)],
      output: [valueInfo("y", [1], TYPE.float16)],
      node: [node("Cast", ["w"], ["v"], { to: TYPE.float16 }), node("Add", ["x", "v"], ["y"])],
      initializer: [{ name: "w", dims: [1], dataType: TYPE.bfloat16, rawData: Uint8Array.of(0x80, 0x3f) }],
    },
  },
};

describe("floating-point types other than float32", () => {
  it.each(Object.entries(cases))("are said once, on stderr: %s", async (name, { types, parts }) => {
    const path = write(join(dir, `${name}.onnx`), modelBytes(parts));
    const { code, stdout, stderr } = await unbraid("inspect", path);
    expect(code).toBe(0);
    expect(stderr.split("\n").filter((line) => line.includes(said))).toHaveLength(1);
    expect(stderr).toContain(`${types} numbers`);
    expect(stdout).not.toContain(said);
  });

  it("and nothing of a float32 model", async () => {
    const parts = {
      input: [valueInfo("x", [2])],
      output: [valueInfo("y", [2])],
      node: [node("Relu", ["x"], ["y"])],
    };
    const { stderr } = await unbraid("inspect", write(join(dir, "plain.onnx"), modelBytes(parts)));
    expect(stderr).not.toContain(said);
  });
});
