/**
 * Models that are valid protobuf and not valid ONNX, one fault each: the error names the node or tensor and the numbers,
 * comes in well under a second, and nothing that is only declared is allocated.
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { onnx as Onnx } from "onnx-proto";
import { afterAll, expect, it } from "vitest";
import { externalReader } from "../../src/files.ts";
import { watchAllocations } from "../support/allocations.ts";
import { onnx } from "../support/onnx-proto.ts";
import { attempt } from "./fuzz/attempt.ts";
import { bytesOf, floats, modelBytes, node, TYPE, valueInfo, type ModelParts } from "./make.ts";

const LIMIT_MS = 500;
/** Twice the largest result that is computed on the host (2^20 float64). */
const LIMIT_BYTES = 16 * 2 ** 20;

const folder = mkdtempSync(join(tmpdir(), "unbraid-invalid-"));
writeFileSync(join(folder, "short.bin"), new Uint8Array(64));
symlinkSync("/etc/hostname", join(folder, "link.bin"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const T = onnx.AttributeProto.AttributeType;
const ends = { input: [valueInfo("x", [1, 3, 8, 8])], output: [valueInfo("y", [])] };
const weight = floats("w", [4, 3, 3, 3], new Float32Array(108));
const ints = (name: string, values: (number | bigint)[], dims = [values.length]): Onnx.ITensorProto => ({
  name,
  dims,
  dataType: TYPE.int64,
  rawData: bytesOf(BigInt64Array.from(values, BigInt)),
});
/** x -Conv "conv"-> y with a weight, and attributes. */
const conv = (attributes: Parameters<typeof node>[3], w: Onnx.ITensorProto = weight): ModelParts => ({
  ...ends,
  node: [node("Conv", ["x", "w"], ["y"], attributes, "conv")],
  initializer: [w],
});
/** x -op "op"-> y, with constants behind x. */
const one = (
  opType: string,
  attributes: Parameters<typeof node>[3],
  constants: Onnx.ITensorProto[] = [],
  opset = 17,
): ModelParts => ({
  ...ends,
  opset,
  node: [node(opType, ["x", ...constants.map((t) => t.name ?? "")], ["y"], attributes, "op")],
  initializer: constants,
});
const external = (entries: Record<string, string>): ModelParts =>
  conv(
    {},
    {
      name: "w",
      dims: [4, 3, 3, 3],
      dataType: TYPE.float32,
      dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
    },
  );
const relu = (...names: [string, string, string][]): ModelParts => ({
  ...ends,
  node: names.map(([from, to, name]) => node("Relu", [from], [to], {}, name)),
});
const plain = relu(["x", "y", "a"]);

/** Model, code, and what the message must hold. */
const cases: Readonly<Record<string, readonly [ModelParts, string, ...string[]]>> = {
  // The graph.
  "a cycle of two": [
    {
      ...ends,
      node: [
        node("Add", ["x", "b"], ["a"], {}, "one"),
        node("Add", ["a", "x"], ["b"], {}, "two"),
        node("Relu", ["b"], ["y"]),
      ],
    },
    "GRAPH_CYCLE",
    '"one"',
    '"two"',
  ],
  "a node that reads itself": [
    { ...ends, node: [node("Add", ["x", "y"], ["y"], {}, "self")] },
    "GRAPH_CYCLE",
    '"self"',
  ],
  "a value that nothing gives": [relu(["z", "y", "lonely"]), "GRAPH_INPUT_MISSING", '"lonely" (Relu)', '"z"'],
  "an output that nothing gives": [relu(["x", "z", "a"]), "GRAPH_OUTPUT_MISSING", '"y"'],
  "an output without a name": [{ ...relu(["x", "y", "a"]), output: [valueInfo("", [])] }, "GRAPH_OUTPUT_MISSING", '""'],
  "two nodes with one output": [relu(["x", "y", "a"], ["x", "y", "b"]), "DUPLICATE_NAME", '"y"', '"a"', '"b"'],
  "a node with one output twice": [
    { ...ends, node: [node("MaxPool", ["x"], ["y", "y"], { kernel_shape: [1, 1] }, "pool")] },
    "DUPLICATE_NAME",
    '"y"',
    '"pool"',
  ],
  "a node that overwrites an initialiser": [
    { ...conv({}), node: [node("Relu", ["x"], ["w"], {}, "over"), node("Relu", ["w"], ["y"])] },
    "DUPLICATE_NAME",
    '"w"',
    '"over"',
  ],
  "two graph inputs of one name": [
    { ...relu(["x", "y", "a"]), input: [...ends.input, ...ends.input] },
    "DUPLICATE_NAME",
    '"x"',
  ],
  "two initialisers of one name": [{ ...conv({}), initializer: [weight, weight] }, "DUPLICATE_NAME", '"w"'],
  "an input left out that is needed": [
    { ...ends, node: [node("Conv", ["x", ""], ["y"], {}, "conv")] },
    "INPUT_MISSING",
    'Conv "conv"',
    "input 1",
  ],
  "too few inputs": [
    { ...ends, node: [node("Add", ["x"], ["y"], {}, "sum")] },
    "INPUT_MISSING",
    'Add "sum"',
    "input 1",
  ],
  "too many inputs": [
    { ...ends, node: [node("Relu", ["x", "x", "x"], ["y"], {}, "r")] },
    "NODE_ARITY",
    'Relu "r"',
    "3 inputs",
    "takes 1",
  ],
  "inputs of a later opset": [
    one("Slice", { starts: [0], ends: [1] }, [ints("s", [0]), ints("e", [1])], 9),
    "NODE_ARITY",
    'Slice "op"',
    "opset 9",
  ],
  "too many outputs": [{ ...ends, node: [node("Relu", ["x"], ["y", "z"], {}, "r")] }, "NODE_ARITY", '"r"', "2 outputs"],
  "a node without an operator": [
    { ...ends, node: [node("", ["x"], ["y"], {}, "blank")] },
    "OPERATORS_UNSUPPORTED",
    "blank",
  ],
  // Versions.
  "an old opset": [{ ...plain, opset: 6 }, "OPSET_UNSUPPORTED", "opset 6", "7"],
  "a negative opset": [{ ...plain, opset: -3 }, "OPSET_UNSUPPORTED", "opset -3"],
  // Tensors.
  "negative dimensions": [conv({}, { ...weight, dims: [4, 3, -3, -3] }), "TENSOR_DIMS", '"w"', "[4, 3, -3, -3]"],
  "dimensions whose product overflows": [
    conv({}, { ...weight, dims: [2 ** 31, 2 ** 31, 2 ** 31, 2 ** 31] }),
    "TENSOR_DIMS",
    '"w"',
    "2147483648",
  ],
  "a zero that hides an overflow": [
    conv({}, { ...weight, dims: [0, 2 ** 40, 2 ** 40, 1], rawData: new Uint8Array() }),
    "TENSOR_DIMS",
    '"w"',
    "1099511627776",
  ],
  "terabytes declared in a tiny file": [
    conv({}, { ...weight, dims: [2 ** 20, 2 ** 20, 1, 1] }),
    "TENSOR_SIZE",
    '"w"',
    "4398046511104 bytes",
    "432",
  ],
  "less data than dimensions": [
    conv({}, { ...weight, dims: [8, 3, 3, 3] }),
    "TENSOR_SIZE",
    "needs 864 bytes",
    "holds 432",
  ],
  "half an element": [
    conv({}, { ...weight, rawData: new Uint8Array(431) }),
    "TENSOR_SIZE",
    "needs 432 bytes",
    "holds 431",
  ],
  "a tensor of strings": [
    conv({}, { name: "w", dims: [1], dataType: TYPE.string, stringData: [Uint8Array.of(65)] }),
    "TYPE_UNSUPPORTED",
    '"w"',
    "string",
  ],
  "a tensor of a type that is not": [conv({}, { ...weight, dataType: 99 }), "TYPE_UNSUPPORTED", '"w"', "99"],
  "a sparse initialiser": [
    {
      ...conv({}),
      initializer: [],
      sparseInitializer: [{ values: weight, indices: ints("i", [0]), dims: [4, 3, 3, 3] }],
    },
    "TENSOR_TYPE",
    '"w"',
    "sparse",
  ],
  "an initialiser that contradicts graph.input": [
    { ...conv({}), input: [...ends.input, valueInfo("w", [4, 3, 5, 5])] },
    "TENSOR_DIMS",
    '"w"',
    "[4, 3, 3, 3]",
    "[4, 3, 5, 5]",
  ],
  // External data.
  "external data that is not there": [external({ location: "none.bin" }), "EXTERNAL_DATA", "none.bin"],
  "external data beyond the file": [
    external({ location: "short.bin", offset: "32" }),
    "EXTERNAL_DATA",
    "bytes 32 to 464",
    "has 64",
  ],
  "an external offset beyond 2^53": [
    external({ location: "short.bin", offset: "99999999999999999999" }),
    "EXTERNAL_DATA",
    "99999999999999999999",
  ],
  "an external offset of terabytes": [
    external({ location: "short.bin", offset: "4398046511104" }),
    "EXTERNAL_DATA",
    "4398046511104",
    "has 64",
  ],
  "a negative external offset": [external({ location: "short.bin", offset: "-4" }), "EXTERNAL_DATA", '"w"', "-4"],
  "a negative external length": [external({ location: "short.bin", length: "-4" }), "EXTERNAL_DATA", '"w"', "-4"],
  "an external length that is not the tensor's": [
    external({ location: "short.bin", length: "64" }),
    "TENSOR_SIZE",
    "432",
    "64",
  ],
  "a path out of the folder": [
    external({ location: "../../etc/passwd" }),
    "EXTERNAL_DATA_OUTSIDE",
    '"w"',
    "../../etc/passwd",
  ],
  "an absolute path": [external({ location: "/etc/passwd" }), "EXTERNAL_DATA_OUTSIDE", '"w"', "/etc/passwd"],
  "a link out of the folder": [external({ location: "link.bin" }), "EXTERNAL_DATA_OUTSIDE", "link.bin"],
  // Attributes.
  "an attribute of another type": [conv({ group: [1] }), "ATTRIBUTE", 'Conv "conv"', "group", "a list"],
  "text where a list belongs": [conv({ pads: "1" }), "ATTRIBUTE", 'Conv "conv"', "pads"],
  "a list of another length": [conv({ strides: [1] }), "ATTRIBUTE", "strides", "2 entries", "has 1"],
  "a stride of zero": [conv({ strides: [0, 1] }), "ATTRIBUTE", "[0,1]"],
  "negative pads": [conv({ pads: [-1, 0, 0, 0] }), "ATTRIBUTE", "[-1,0,0,0]"],
  "pads beyond 32 bits": [conv({ pads: [2 ** 32, 0, 0, 0] }), "ATTRIBUTE", 'Conv "conv"', "4294967296"],
  "a dilation beyond 32 bits": [conv({ dilations: [2 ** 40, 1] }), "SHAPE", 'Conv "conv"', "2199023255553"],
  "strides of 2^62, saturated at 2^53": [conv({ strides: [2 ** 62, 1] }), "ATTRIBUTE", "9007199254740992"],
  "no groups": [conv({ group: 0 }), "SHAPE", "group 0"],
  "groups that do not divide": [conv({ group: 2 }), "SHAPE", "group 2", "[1,3,8,8]", "[4,3,3,3]"],
  "a kernel that contradicts its weight": [conv({ kernel_shape: [5, 5] }), "SHAPE", "[5,5]", "[4,3,3,3]"],
  "an unknown mode": [
    one("Resize", { mode: "spline" }, [
      floats("r", [0], new Float32Array()),
      floats("s", [4], Float32Array.of(1, 1, 2, 2)),
    ]),
    "ATTRIBUTE",
    'Resize "op"',
    "spline",
  ],
  "a tensor attribute without a tensor": [
    {
      ...ends,
      node: [
        { opType: "Constant", name: "c", output: ["k"], attribute: [{ name: "value", type: T.TENSOR }] },
        node("Add", ["x", "k"], ["y"]),
      ],
    },
    "ATTRIBUTE_EMPTY",
    '"c"',
    "value",
  ],
  // Ranks and shapes.
  "a weight of another rank": [conv({}, { ...weight, dims: [4, 27] }), "SHAPE", 'Conv "conv"', "[4,27]"],
  "channels that do not fit": [
    conv({}, floats("w", [4, 5, 1, 1], new Float32Array(20))),
    "SHAPE",
    "[1,3,8,8]",
    "[4,5,1,1]",
  ],
  "a window larger than the image": [
    conv({}, floats("w", [1, 3, 1000, 1], new Float32Array(3000))),
    "SHAPE",
    'Conv "conv"',
    "1000",
    "8 elements",
  ],
  "an axis out of range": [one("Softmax", { axis: 4 }), "SHAPE", 'Softmax "op"', "4", "rank 4"],
  "a reshape that does not fit": [one("Reshape", {}, [ints("s", [5, -1])]), "SHAPE", 'Reshape "op"', "192", "5"],
  "a reshape with two open sizes": [one("Reshape", {}, [ints("s", [-1, -1])]), "SHAPE", 'Reshape "op"', "-1"],
  "shapes that cannot be broadcast": [
    one("Add", {}, [floats("k", [5], new Float32Array(5))]),
    "SHAPE",
    'Add "op"',
    "[1,3,8,8]",
    "[5]",
  ],
  "an index out of range": [one("Gather", { axis: 1 }, [ints("i", [3])]), "INDEX", 'Gather "op"', "3"],
  "a permutation that is none": [one("Transpose", { perm: [0, 0, 1, 2] }), "SHAPE", 'Transpose "op"', "0,0,1,2"],
  "sizes of a split that do not add up": [one("Split", { axis: 1 }, [ints("s", [1, 1])]), "SHAPE", 'Split "op"'],
  // Huge results of tiny files.
  "a constant of 2^40 numbers": [
    {
      ...ends,
      node: [node("ConstantOfShape", ["s"], ["k"], {}, "fill"), node("Add", ["x", "k"], ["y"])],
      initializer: [ints("s", [2 ** 20, 2 ** 20])],
    },
    "SHAPE",
    'ConstantOfShape "fill"',
    "1099511627776",
  ],
  "a range without end": [
    {
      ...ends,
      node: [node("Range", ["a", "b", "c"], ["k"], {}, "range"), node("Add", ["x", "k"], ["y"])],
      initializer: [
        floats("a", [], Float32Array.of(0)),
        floats("b", [], Float32Array.of(1)),
        floats("c", [], Float32Array.of(0)),
      ],
    },
    "SHAPE",
    'Range "range"',
  ],
  "a range of 2^40 numbers": [
    {
      ...ends,
      node: [node("Range", ["a", "b", "c"], ["k"], {}, "range"), node("Add", ["x", "k"], ["y"])],
      initializer: [ints("a", [0], []), ints("b", [2 ** 40], []), ints("c", [1], [])],
    },
    "UNSUPPORTED_NODE",
    'Range "range"',
    "1099511627776",
  ],
  "an expansion to 2^50 numbers": [
    one("Expand", {}, [ints("s", [2 ** 40, 1, 1, 1])]),
    "SHAPE",
    'Expand "op"',
    "1099511627776",
  ],
  "2^40 tiles": [one("Tile", {}, [ints("s", [2 ** 40, 1, 1, 1])]), "SHAPE", 'Tile "op"', "1099511627776"],
  "padding by 2^40": [one("Pad", {}, [ints("s", [0, 0, 2 ** 40, 0, 0, 0, 0, 0])]), "SHAPE", 'Pad "op"', "1099511627"],
  "a scale of 1e12": [
    one("Resize", {}, [floats("r", [0], new Float32Array()), floats("s", [4], Float32Array.of(1, 1, 1e12, 1))]),
    "UNSUPPORTED_NODE",
    'Resize "op"',
    "79999",
  ],
  "a transposed stride of 2^33": [
    {
      ...ends,
      node: [node("ConvTranspose", ["x", "w"], ["y"], { strides: [2 ** 33, 1] }, "up")],
      initializer: [floats("w", [3, 4, 3, 3], new Float32Array(108))],
    },
    "ATTRIBUTE",
    'ConvTranspose "up"',
    "601295421",
  ],
  "output padding as large as the stride": [
    {
      ...ends,
      node: [node("ConvTranspose", ["x", "w"], ["y"], { strides: [2, 2], output_padding: [2, 0] }, "up")],
      initializer: [floats("w", [3, 4, 3, 3], new Float32Array(108))],
    },
    "ATTRIBUTE",
    "[2,0]",
    "[2,2]",
  ],
  "an input of -5 rows": [
    { ...relu(["x", "y", "a"]), input: [valueInfo("x", [1, 3, -5, 8])] },
    "TENSOR_DIMS",
    '"x"',
    "[1, 3, -5, 8]",
  ],
  "an output of -7 rows": [
    { ...relu(["x", "y", "a"]), output: [valueInfo("y", [1, 3, -7, 8])] },
    "TENSOR_DIMS",
    '"y"',
    "[1, 3, -7, 8]",
  ],
  "a constant doubled 60 times": [
    {
      ...ends,
      node: [
        node("ConstantOfShape", ["s"], ["c0"]),
        ...Array.from({ length: 60 }, (_, k) =>
          node("Concat", [`c${k}`, `c${k}`], [`c${k + 1}`], { axis: 0 }, `double${k}`),
        ),
        node("ReduceMax", ["c60"], ["m"], { keepdims: 0 }),
        node("Add", ["x", "m"], ["y"]),
      ],
      initializer: [ints("s", [1024])],
    },
    "SHAPE",
    'Concat "double21"',
    "4294967296",
  ],
  "a thousand constants of a million numbers": [
    {
      ...ends,
      node: [
        ...Array.from({ length: 1000 }, (_, k) => node("ConstantOfShape", ["s"], [`c${k}`], {}, `fill${k}`)),
        node("Relu", ["x"], ["y"]),
      ],
      initializer: [ints("s", [2 ** 20])],
    },
    "UNSUPPORTED_NODE",
    'ConstantOfShape "fill8"',
    "9437184",
  ],
  "a thousand steps on a million numbers": [
    {
      ...ends,
      node: [
        node("ConstantOfShape", ["s"], ["c0"]),
        ...Array.from({ length: 1000 }, (_, k) => node("Neg", [`c${k}`], [`c${k + 1}`], {}, `step${k}`)),
        node("Add", ["x", "c1000"], ["y"]),
      ],
      initializer: [ints("s", [2 ** 20])],
    },
    "UNSUPPORTED_NODE",
    'Neg "step7"',
    "9437184",
  ],
  "a million numbers, put together 8192 times": [
    {
      ...ends,
      node: [
        node("ConstantOfShape", ["s"], ["c"]),
        node("Concat", new Array<string>(8192).fill("c"), ["d"], { axis: 0 }, "together"),
        node("Add", ["x", "d"], ["y"]),
      ],
      initializer: [ints("s", [2 ** 20])],
    },
    "SHAPE",
    'Concat "together"',
    "8589934592",
  ],
  "an input of 2^40 pixels": [
    { ...relu(["x", "y", "a"]), input: [valueInfo("x", [1, 1, 2 ** 20, 2 ** 20])] },
    "INPUT_SHAPE",
    '"x"',
    "1099511627776",
  ],
};

it.each(Object.entries(cases))("%s", (_, [parts, code, ...words]) => {
  const bytes = modelBytes(parts);
  using watch = watchAllocations();
  const before = process.cpuUsage();
  const { outcome, message } = attempt(bytes, false, externalReader(join(folder, "model.onnx")));
  const { user, system } = process.cpuUsage(before);
  expect(`${outcome}: ${message}`).toContain(`${code}: `);
  for (const word of words) expect(message).toContain(word);
  expect((user + system) / 1000).toBeLessThan(LIMIT_MS);
  expect(watch.largest()).toBeLessThan(LIMIT_BYTES);
});

it.each<[string, { domain: string; version: number }[], string]>([
  [
    "two versions of the standard operators",
    [
      { domain: "", version: 13 },
      { domain: "ai.onnx", version: 17 },
    ],
    "13 and 17",
  ],
  [
    "two versions of another domain",
    [
      { domain: "", version: 13 },
      { domain: "q", version: 1 },
      { domain: "q", version: 2 },
    ],
    '"q"',
  ],
  ["none of the standard operators", [{ domain: "q", version: 1 }], "no version"],
])("%s", (_, opsetImport, words) => {
  const model = onnx.ModelProto.decode(modelBytes(relu(["x", "y", "a"])));
  model.opsetImport = opsetImport.map((entry) => onnx.OperatorSetIdProto.create(entry));
  const bytes = onnx.ModelProto.encode(model).finish();
  const { outcome, message } = attempt(new Uint8Array(bytes), false);
  expect(outcome).toBe("OPSET_UNSUPPORTED");
  expect(message).toContain(words);
});
