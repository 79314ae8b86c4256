/**
 * Models that are valid protobuf and not valid ONNX, one fault each: the error names the node or tensor and the numbers,
 * comes in well under a second, and nothing that is only declared is allocated.
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { externalReader } from "../../src/files.ts";
import { onnx } from "../support/onnx-proto.ts";
import { attempt } from "./fuzz/attempt.ts";
import { modelBytes, node, TYPE, valueInfo, type ModelParts } from "./make.ts";

import { ends, weight, ints, conv, one, external, relu, plain, check } from "./invalid-models.ts";

const folder = mkdtempSync(join(tmpdir(), "unbraid-invalid-"));
writeFileSync(join(folder, "short.bin"), new Uint8Array(64));
symlinkSync("/etc/hostname", join(folder, "link.bin"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

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
};

it.each(Object.entries(cases))("%s", (_, [parts, code, ...words]) => {
  check(parts, code, words, externalReader(join(folder, "model.onnx")));
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
