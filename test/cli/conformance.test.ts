/** The runner of ONNX's test cases, on cases made here: it must fail what is wrong. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { CaseResult } from "../../src/cli/conformance.ts";
import { bytesOf, floats, modelBytes, node, TYPE, valueInfo, type ModelParts } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import { onnx } from "../support/onnx-proto.ts";
import { errorOf, jsonOf, temporaryFolder, unbraid, write } from "./support.ts";

type Tensor = Parameters<typeof onnx.TensorProto.encode>[0];
const pb = (tensor: Tensor): Uint8Array => new Uint8Array(onnx.TensorProto.encode(tensor).finish());
const vector = (...values: number[]): Tensor => floats("v", [values.length], Float32Array.from(values));
const integers = (dims: number[], ...values: bigint[]): Tensor => ({
  name: "v",
  dims,
  dataType: TYPE.int64,
  rawData: bytesOf(BigInt64Array.from(values)),
});

describe.skipIf(testAdapters.length === 0)("conformance", () => {
  const dir = temporaryFolder();
  function testCase(name: string, parts: ModelParts, inputs: Tensor[], outputs: Tensor[], set = 0): void {
    write(join(dir, name, "model.onnx"), modelBytes(parts));
    const folder = join(dir, name, `test_data_set_${set}`);
    inputs.forEach((t, k) => write(join(folder, `input_${k}.pb`), pb(t)));
    outputs.forEach((t, k) => write(join(folder, `output_${k}.pb`), pb(t)));
  }
  const unary = (op: string): ModelParts => ({
    input: [valueInfo("x", [4])],
    output: [valueInfo("y", [4])],
    node: [node(op, ["x"], ["y"])],
  });
  const run = (...argv: string[]): ReturnType<typeof unbraid> =>
    unbraid("conformance", dir, "--adapter", testAdapters[0] ?? "", "--json", ...argv);

  testCase("node/right", unary("Relu"), [vector(-1, 2, NaN, Infinity)], [vector(0, 2, NaN, Infinity)]);
  testCase("node/within", unary("Relu"), [vector(-1, 2, 3, 4)], [vector(0, 2.0019, 3, 4)]);
  testCase("node/beyond", unary("Relu"), [vector(-1, 2, 3, 4)], [vector(0, 2.0021, 3, 4)]);
  testCase("node/nan", unary("Relu"), [vector(-1, 2, 3, 4)], [vector(0, NaN, 3, 4)]);
  testCase("node/shape", unary("Relu"), [vector(-1, 2, 3, 4)], [floats("v", [2, 2], Float32Array.of(0, 2, 3, 4))]);
  testCase("node/type", unary("Relu"), [vector(1, 2, 3, 4)], [integers([4], 1n, 2n, 3n, 4n)]);
  testCase("node/second-set", unary("Relu"), [vector(1, 2, 3, 4)], [vector(1, 2, 3, 4)]);
  testCase("node/second-set", unary("Relu"), [vector(1, 2, 3, 4)], [vector(1, 2, 3, 5)], 1);
  testCase("deep/er/unknown", unary("NoSuchOperator"), [vector(1, 2, 3, 4)], [vector(1, 2, 3, 4)]);
  testCase(
    "node/host-input", // the shape is an input of the graph: it becomes a constant
    {
      input: [valueInfo("x", [4]), valueInfo("shape", [2], TYPE.int64)],
      output: [valueInfo("y", [2, 2])],
      node: [node("Reshape", ["x", "shape"], ["y"])],
    },
    [vector(1, 2, 3, 4), integers([2], 2n, -1n)],
    [floats("v", [2, 2], Float32Array.of(1, 2, 3, 4))],
  );

  it("tells pass, fail and unsupported apart, each with a reason", async () => {
    const ran = await run();
    const { cases, ...counts } = jsonOf<{ cases: CaseResult[] }>(ran);
    expect(Object.fromEntries(cases.map((c) => [c.name, c.status]))).toEqual({
      "deep/er/unknown": "unsupported",
      "node/beyond": "fail",
      "node/host-input": "pass",
      "node/nan": "fail",
      "node/right": "pass",
      "node/second-set": "fail",
      "node/shape": "fail",
      "node/type": "fail",
      "node/within": "pass",
    });
    expect(counts).toEqual({ pass: 3, fail: 5, unsupported: 1 });
    expect(ran.code).toBe(9);
    const reason = (name: string): string => cases.find((c) => c.name === name)?.reason ?? "";
    expect(reason("node/shape")).toContain("[4], not [2,2]");
    expect(reason("node/type")).toContain("float32, not int64");
    expect(reason("node/second-set")).toContain("test_data_set_1");
    expect(reason("deep/er/unknown")).toContain("NoSuchOperator");
    expect(cases.find((c) => c.name === "node/within")?.max_abs_diff).toBeCloseTo(0.0019, 6);
  });

  it("--filter chooses cases, and all that pass make exit code 0", async () => {
    const ran = await run("--filter", "right|within|unknown");
    expect(ran.code).toBe(0);
    expect(jsonOf<{ pass: number; unsupported: number }>(ran)).toMatchObject({ pass: 2, fail: 0, unsupported: 1 });
    expect(await errorOf("conformance", dir, "--filter", "nothing")).toMatchObject({
      code: "CONFORMANCE_NONE",
      exit: 3,
    });
    expect(await errorOf("conformance", dir, "--filter", "(")).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
    expect(await errorOf("conformance", join(dir, "node", "right", "test_data_set_0"))).toMatchObject({
      code: "CONFORMANCE_NONE",
    });
  });
});
