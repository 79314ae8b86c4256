import { describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { decodeModel, externalLocations } from "../../src/onnx/decode.ts";
import type { ExternalReader } from "../../src/onnx/model.ts";
import { onnx } from "../support/onnx-proto.ts";
import { bytesOf, floats, makeModel, modelBytes, node, TYPE, valueInfo } from "./make.ts";
import type { ModelParts } from "./make.ts";

const relu: ModelParts = {
  node: [node("Relu", ["x"], ["y"])],
  input: [valueInfo("x", ["n", 3, 4])],
  output: [valueInfo("y", [])],
};

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof UnbraidError) return error.code;
    throw error;
  }
  return "none";
}

type Tensor = NonNullable<ModelParts["initializer"]>[number];
const numbersOf = (tensor: Tensor, external?: ExternalReader): number[] => {
  const model = decodeModel(modelBytes({ ...relu, initializer: [{ name: "t", ...tensor }] }), external);
  return [...(model.initializers.get("t")?.numbers() ?? [])];
};

describe("decodeModel", () => {
  it("reads versions, nodes, inputs, outputs, metadata and every name", () => {
    const model = makeModel({
      ...relu,
      node: [
        node("Relu", ["x"], ["h"], {}, "first"),
        node("LeakyRelu", ["h"], ["y"], { ints: [1, -2], s: "é", i: -7 }),
      ],
    });
    expect([model.irVersion, model.opset, model.producer]).toEqual([8, 17, "test"]);
    expect(model.nodes.map(({ name, opType, inputs, outputs }) => [name, opType, inputs, outputs])).toEqual([
      ["first", "Relu", ["x"], ["h"]],
      ["", "LeakyRelu", ["h"], ["y"]],
    ]);
    expect(Object.fromEntries(model.nodes[1]?.attributes ?? [])).toEqual({
      ints: { type: "ints", value: [1, -2] },
      s: { type: "string", value: "é" },
      i: { type: "int", value: -7 },
    });
    expect(model.inputs).toEqual([{ name: "x", dataType: "float32", dims: ["n", 3, 4] }]);
    expect(model.outputs).toEqual([{ name: "y", dataType: "float32", dims: [] }]);
    expect([...model.names].sort()).toEqual(["first", "h", "x", "y"]);
  });

  it("leaves initialisers out of the inputs (IR version 3 lists them)", () => {
    const model = makeModel({
      ...relu,
      ir: 3,
      opset: 7,
      input: [valueInfo("x", [1]), valueInfo("w", [1])],
      initializer: [floats("w", [1], Float32Array.of(2))],
    });
    expect(model.inputs.map((input) => input.name)).toEqual(["x"]);
  });

  it("reads subgraphs, and collects the names inside", () => {
    const branch = { name: "b", node: [node("Identity", ["outer"], ["inner"])], output: [valueInfo("inner", [])] };
    const branching = {
      ...node("If", ["x"], ["y"]),
      attribute: [{ name: "then_branch", g: branch, type: onnx.AttributeProto.AttributeType.GRAPH }],
    };
    const model = makeModel({ ...relu, node: [branching] });
    const inner = model.nodes[0]?.attributes.get("then_branch");
    expect(inner?.type === "graph" && inner.value.nodes.map((n) => [n.opType, n.inputs, n.outputs])).toEqual([
      ["Identity", ["outer"], ["inner"]],
    ]);
    expect(inner?.type === "graph" && inner.value.outputs.map((o) => o.name)).toEqual(["inner"]);
    expect([...model.names].sort()).toEqual(["inner", "outer", "x", "y"]);
  });
});

describe("tensors", () => {
  it.each<[string, Tensor, number[]]>([
    ["float_data", { dataType: TYPE.float32, dims: [2], floatData: [1.5, -0.25] }, [1.5, -0.25]],
    [
      "double_data, rounded to float32",
      { dataType: TYPE.float64, dims: [2], doubleData: [0.1, 2] },
      [Math.fround(0.1), 2],
    ],
    [
      "float16 in int32_data",
      { dataType: TYPE.float16, dims: [5], int32Data: [0x3c00, 0xc000, 1, 0x7c00, 0x3555] },
      [1, -2, 2 ** -24, Infinity, 0.333251953125],
    ],
    ["bfloat16 in int32_data", { dataType: TYPE.bfloat16, dims: [2], int32Data: [0x3f80, 0xc0a0] }, [1, -5]],
    ["bool in int32_data", { dataType: TYPE.bool, dims: [2], int32Data: [1, 0] }, [1, 0]],
    ["int8 in int32_data, negative", { dataType: TYPE.int8, dims: [2], int32Data: [-3, 127] }, [-3, 127]],
    [
      "int32_data",
      { dataType: TYPE.int32, dims: [3], int32Data: [-1, 2 ** 31 - 1, -(2 ** 31)] },
      [-1, 2 ** 31 - 1, -(2 ** 31)],
    ],
    ["int64_data", { dataType: TYPE.int64, dims: [4], int64Data: [-1, 0, 300, 2 ** 52] }, [-1, 0, 300, 2 ** 52]],
    ["uint64_data", { dataType: TYPE.uint64, dims: [1], uint64Data: [2 ** 40] }, [2 ** 40]],
    [
      "raw int64, saturated",
      { dataType: TYPE.int64, dims: [2], rawData: bytesOf(BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n))) },
      [2 ** 53, -(2 ** 53)],
    ],
    [
      "raw float16",
      { dataType: TYPE.float16, dims: [2], rawData: bytesOf(Uint16Array.of(0x3c00, 0x8001)) },
      [1, -(2 ** -24)],
    ],
    ["raw float64", { dataType: TYPE.float64, dims: [1], rawData: bytesOf(Float64Array.of(-2.5)) }, [-2.5]],
    ["a scalar", { dataType: TYPE.float32, dims: [], floatData: [3] }, [3]],
    ["nothing at all", { dataType: TYPE.float32, dims: [0, 7] }, []],
  ])("%s", (_, tensor, expected) => {
    expect(numbersOf(tensor)).toEqual(expected);
  });

  it("reads INT64_MIN and INT64_MAX out of varints bit for bit", () => {
    // 0x38: field 7 (int64_data), one element unpacked: -2^63; then packed (0x3a): 2^63 - 1.
    const max = [...Array.from({ length: 8 }, () => 0xff), 0x7f];
    const min = [...Array.from({ length: 9 }, () => 0x80), 0x01];
    const tensor = Uint8Array.from([
      0x08,
      0x02,
      0x10,
      TYPE.int64,
      0x42,
      0x01,
      0x74,
      0x38,
      ...min,
      0x3a,
      max.length,
      ...max,
    ]);
    const graph = Uint8Array.from([0x2a, tensor.length, ...tensor]);
    const model = decodeModel(Uint8Array.from([0x08, 8, 0x3a, graph.length, ...graph, 0x42, 2, 0x10, 17]));
    expect(model.initializers.get("t")?.raw()).toEqual(
      new Uint8Array(BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n).buffer),
    );
  });

  it("reads raw data at any byte offset", () => {
    for (let pad = 0; pad < 8; pad++) {
      const bytes = modelBytes({
        ...relu,
        docString: "d".repeat(pad),
        initializer: [floats("t", [2], Float32Array.of(1.25, -7))],
      });
      const shifted = new Uint8Array(bytes.length + pad);
      shifted.set(bytes, pad);
      expect(decodeModel(shifted.subarray(pad)).initializers.get("t")?.numbers()).toEqual(Float32Array.of(1.25, -7));
    }
  });

  it("gives numbers that nobody shares with the file", () => {
    const bytes = modelBytes({ ...relu, initializer: [floats("t", [2], Float32Array.of(1, 2))] });
    const before = bytes.slice();
    decodeModel(Buffer.from(bytes.buffer)).initializers.get("t")?.numbers().fill(9);
    expect(bytes).toEqual(before);
  });

  it.each<[string, Tensor, string]>([
    ["too few bytes", { dataType: TYPE.float32, dims: [3], rawData: new Uint8Array(8) }, "TENSOR_SIZE"],
    ["a huge declared size", { dataType: TYPE.float32, dims: [2 ** 20, 2 ** 20], floatData: [1] }, "TENSOR_SIZE"],
    ["no data", { dataType: TYPE.float32, dims: [2 ** 30] }, "TENSOR_SIZE"],
    ["a negative dimension", { dataType: TYPE.float32, dims: [-1, -1], floatData: [1] }, "TENSOR_DIMS"],
    ["dimensions beyond 2^53", { dataType: TYPE.float32, dims: [2 ** 40, 2 ** 40] }, "TENSOR_DIMS"],
    ["strings", { dataType: TYPE.string, dims: [1], stringData: [Uint8Array.of(65)] }, "TENSOR_TYPE"],
    ["a type of the future", { dataType: 77, dims: [1], rawData: new Uint8Array(1) }, "TENSOR_TYPE"],
  ])("refuses %s", (_, tensor, code) => {
    expect(codeOf(() => numbersOf(tensor))).toBe(code);
  });

  it("reports sparse initialisers without reading them", () => {
    const model = makeModel({
      ...relu,
      sparseInitializer: [
        {
          values: floats("s", [1], Float32Array.of(1)),
          indices: { dims: [1], dataType: TYPE.int64, int64Data: [3] },
          dims: [2 ** 20, 2 ** 20],
        },
      ],
    });
    const sparse = model.initializers.get("s");
    expect(sparse?.dims).toEqual([2 ** 20, 2 ** 20]);
    expect(codeOf(() => sparse?.numbers())).toBe("TENSOR_TYPE");
  });
});

describe("external data", () => {
  const tensor = (entries: Record<string, string>): Tensor => ({
    dataType: TYPE.float32,
    dims: [2],
    dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
  });

  it("is read in its piece, once asked for", () => {
    const asked: unknown[] = [];
    const reader: ExternalReader = (...args) => {
      asked.push(args);
      return bytesOf(Float32Array.of(4, 5));
    };
    expect(numbersOf(tensor({ location: "w.bin", offset: "4096", length: "8" }), reader)).toEqual([4, 5]);
    expect(asked).toEqual([["w.bin", 4096, 8]]);
  });

  it("is listed by file", () => {
    const model = makeModel({
      ...relu,
      initializer: [
        { name: "b", ...tensor({ location: "b.bin" }) },
        { name: "a", ...tensor({ location: "a.bin" }) },
        { name: "c", ...tensor({ location: "b.bin", offset: "8" }) },
      ],
    });
    expect(externalLocations(model)).toEqual(["a.bin", "b.bin"]);
  });

  it.each(["/etc/passwd", "../w.bin", "a/../../w.bin", "..\\w.bin", "C:\\w.bin", "\\\\host\\w"])(
    "refuses %s",
    (location) => {
      expect(codeOf(() => numbersOf(tensor({ location }), () => new Uint8Array(8)))).toBe("EXTERNAL_DATA_OUTSIDE");
    },
  );

  it.each<[string, Record<string, string>, string]>([
    ["a length that is not the tensor's", { location: "w", length: "12" }, "TENSOR_SIZE"],
    ["an offset that is no number", { location: "w", offset: "-8" }, "EXTERNAL_DATA"],
    ["no location", {}, "EXTERNAL_DATA"],
  ])("refuses %s", (_, entries, code) => {
    expect(codeOf(() => numbersOf(tensor(entries), () => new Uint8Array(8)))).toBe(code);
  });

  it("is an error without a reader", () => {
    expect(codeOf(() => numbersOf(tensor({ location: "w" })))).toBe("EXTERNAL_DATA");
  });
});

describe("what is not a model", () => {
  const good = modelBytes({ ...relu, initializer: [floats("t", [64], new Float32Array(64))] });
  it.each<[string, Uint8Array, string]>([
    ["an empty file", new Uint8Array(0), "NOT_ONNX"],
    ["a PNG", Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13), "NOT_ONNX"],
    ["text", new TextEncoder().encode("<!DOCTYPE html><html>not found</html>"), "NOT_ONNX"],
    [
      "a Git LFS pointer",
      new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
      "NOT_ONNX",
    ],
    ["a truncated file", good.subarray(0, good.length - 20), "ONNX_TRUNCATED"],
    ["a model without a graph", Uint8Array.of(0x08, 8, 0x42, 2, 0x10, 17), "ONNX_NO_GRAPH"],
    ["opset 6", modelBytes({ ...relu, opset: 6 }), "OPSET_UNSUPPORTED"],
    ["IR version 2", modelBytes({ ...relu, ir: 2 }), "IR_UNSUPPORTED"],
    [
      "two initialisers of one name",
      modelBytes({ ...relu, initializer: [floats("t", [], Float32Array.of(1)), floats("t", [], Float32Array.of(2))] }),
      "DUPLICATE_NAME",
    ],
  ])("%s", (_, bytes, code) => {
    expect(codeOf(() => decodeModel(bytes))).toBe(code);
  });

  it.each([7, 13, 22, 30])("opset %i is read", (opset) => {
    expect(makeModel({ ...relu, opset, ir: opset > 22 ? 14 : 8 }).opset).toBe(opset);
  });

  it("graphs nested without end are refused", () => {
    let graph: Uint8Array = new Uint8Array(0);
    // Graph { node { attribute { g: graph } } }, 500 deep: lengths as three-byte varints.
    const wrap = (tag: number, inner: Uint8Array): Uint8Array =>
      Uint8Array.from([
        tag,
        0x80 | (inner.length & 0x7f),
        0x80 | ((inner.length >> 7) & 0x7f),
        inner.length >> 14,
        ...inner,
      ]);
    for (let k = 0; k < 500; k++) graph = wrap(0x0a, wrap(0x2a, wrap(0x32, graph)));
    expect(codeOf(() => decodeModel(Uint8Array.from([0x08, 8, ...wrap(0x3a, graph), 0x42, 2, 0x10, 17])))).toBe(
      "ONNX_DAMAGED",
    );
  });
});
