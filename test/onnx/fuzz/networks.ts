/**
 * The networks whose mutants the fuzz test reads: the shipped, trained one with fewer channels, and small ones in the
 * manner of exporters that together hold nearly every operator. All give finite logits for inputs in -1 .. 1.
 */
import { readFileSync } from "node:fs";
import type { onnx as Onnx } from "onnx-proto";
import { onnx } from "../../support/onnx-proto.ts";
import { bytesOf, floats, modelBytes, noise, node, TYPE, valueInfo } from "../make.ts";

export interface Network {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * A convolutional network with fewer channels: of every initialiser the first rows and columns, one in `divisor`. All
 * else stays as the exporter wrote it. Images keep their three channels, and the classifier its classes.
 */
export function narrowed(file: Uint8Array, divisor: number): Uint8Array {
  const model = onnx.ModelProto.decode(file);
  const classes = Number(model.graph?.output?.[0]?.type?.tensorType?.shape?.dim?.[1]?.dimValue ?? 0);
  const less = (n: number): number => (n <= 3 || n === classes ? n : Math.max(1, Math.floor(n / divisor)));
  for (const tensor of model.graph?.initializer ?? []) {
    const from = (tensor.dims ?? []).map(Number);
    const raw = tensor.rawData ?? new Uint8Array();
    const to = from.map((n, axis) => (axis < 2 ? less(n) : n));
    const [rows = 1, columns = 1] = to;
    const taps = to.slice(2).reduce((n, d) => n * d, 1);
    const width = (from.length > 1 ? (from[1] ?? 1) : 1) * taps * 4;
    const kept: Uint8Array[] = [];
    for (let row = 0; row < rows; row++)
      kept.push(raw.subarray(row * width, row * width + (from.length > 1 ? columns : 1) * taps * 4));
    tensor.dims = to;
    tensor.rawData = Uint8Array.from(kept.flatMap((part) => [...part]));
  }
  return new Uint8Array(onnx.ModelProto.encode(model).finish());
}

const int64 = (name: string, values: number[], dims: number[] = [values.length]): Onnx.ITensorProto => ({
  name,
  dims,
  dataType: TYPE.int64,
  rawData: bytesOf(BigInt64Array.from(values, BigInt)),
});
const small = (name: string, dims: number[], seed: number): Onnx.ITensorProto =>
  floats(
    name,
    dims,
    noise(
      seed,
      dims.reduce((n, d) => n * d, 1),
    ).map((x) => x / 2),
  );
const positive = (name: string, n: number): Onnx.ITensorProto => floats(name, [n], new Float32Array(n).fill(0.75));
const shape = (name: string, dims: (number | string)[]) => valueInfo(name, dims);
const float = (name: string, f: number): Onnx.IAttributeProto => ({
  name,
  f,
  type: onnx.AttributeProto.AttributeType.FLOAT,
});

/** What older exporters leave behind: shapes and pads computed by small integer graphs. */
const exporter = modelBytes({
  opset: 13,
  node: [
    node("Conv", ["x", "w1", "b1"], ["h"], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [1, 1] }, "/conv"),
    node("Relu", ["h"], ["r"], {}, "/relu"),
    node("Constant", [], ["starts"], { value: { dims: [2], dataType: TYPE.int64, int64Data: [0, 0] } }, "/c0"),
    node("Constant", [], ["ends"], {
      value: { dims: [2], dataType: TYPE.int64, int64Data: [2 ** 53, 2 ** 53] },
    }),
    node("Constant", [], ["axes"], { value: { dims: [2], dataType: TYPE.int64, int64Data: [2, 3] } }),
    node("Constant", [], ["steps"], { value: { dims: [2], dataType: TYPE.int64, int64Data: [2, 2] } }),
    node("Slice", ["r", "starts", "ends", "axes", "steps"], ["s"], {}, "/slice"),
    node("ConstantOfShape", ["four"], ["zeros"], { value: { dims: [1], dataType: TYPE.int64, int64Data: [0] } }),
    node("Constant", [], ["side"], { value: { dims: [4], dataType: TYPE.int64, int64Data: [0, 1, 0, 0] } }),
    node("Concat", ["side", "side"], ["amounts"], { axis: 0 }),
    node("Cast", ["amounts"], ["pads"], { to: TYPE.int64 }),
    node("Pad", ["s", "pads", "zero"], ["padded"], { mode: "constant" }, "/pad"),
    node("Shape", ["padded"], ["dims"]),
    node("Gather", ["dims", "first"], ["n"], { axis: 0 }),
    node("Unsqueeze", ["n", "axis0"], ["n1"]),
    node("Concat", ["n1", "minus"], ["target"], { axis: 0 }),
    node("Transpose", ["padded"], ["t"], { perm: [0, 2, 3, 1] }),
    node("Transpose", ["t"], ["back"], { perm: [0, 3, 1, 2] }),
    node("GlobalAveragePool", ["back"], ["g"], {}, "/pool"),
    node("Reshape", ["g", "target"], ["f"], {}, "/reshape"),
    node("Gemm", ["f", "w2", "b2"], ["y"], { transB: 1 }, "/fc"),
  ],
  input: [shape("x", ["n", 3, 8, 8])],
  output: [shape("y", ["n", 5])],
  initializer: [
    small("w1", [6, 3, 3, 3], 1),
    small("b1", [6], 2),
    int64("four", [4]),
    floats("zero", [], Float32Array.of(0)),
    int64("first", [0], []),
    int64("axis0", [0]),
    int64("minus", [-1]),
    small("w2", [5, 8], 3),
    small("b2", [5], 4),
  ],
});

/** Windows of all kinds, groups, and changes of size. */
const windows = modelBytes({
  node: [
    node("Conv", ["x", "w1"], ["a"], { group: 2, dilations: [2, 1], pads: [2, 1, 2, 1] }, "grouped"),
    node("MaxPool", ["a"], ["m"], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }, "max"),
    node("AveragePool", ["a"], ["v"], { kernel_shape: [2, 2], strides: [2, 2], auto_pad: "SAME_UPPER" }, "average"),
    node("LpPool", ["a"], ["l"], { kernel_shape: [2, 2], strides: [2, 2], p: 2 }, "lp"),
    node("Concat", ["m", "v", "l"], ["c"], { axis: 1 }),
    node("LRN", ["c"], ["n"], { size: 3 }),
    node("ConvTranspose", ["n", "w2", "b2"], ["u"], { strides: [2, 2], output_padding: [1, 0], pads: [1, 0, 0, 1] }),
    node("Resize", ["u", "", "scales"], ["z"], { mode: "linear", coordinate_transformation_mode: "half_pixel" }),
    node("SpaceToDepth", ["z"], ["d"], { blocksize: 2 }),
    node("DepthToSpace", ["d"], ["e"], { blocksize: 2, mode: "CRD" }),
    node("Pad", ["e", "pads"], ["p"], { mode: "reflect" }),
    node("Conv", ["p", "w3", "b3"], ["k"], { kernel_shape: [1, 1] }, "last"),
    node("GlobalMaxPool", ["k"], ["g"]),
    node("Flatten", ["g"], ["f"], { axis: 1 }),
    node("Gemm", ["f", "w4"], ["y"], { transA: 0, transB: 0 }),
  ],
  input: [shape("x", ["n", 4, 8, 8])],
  output: [shape("y", ["n", 5])],
  initializer: [
    small("w1", [4, 2, 3, 3], 11),
    small("w2", [12, 4, 3, 3], 12),
    small("b2", [4], 13),
    floats("scales", [4], Float32Array.of(1, 1, 2, 1.25)),
    int64("pads", [0, 0, 1, 1, 0, 0, 1, 1]),
    small("w3", [6, 4, 1, 1], 14),
    small("b3", [6], 15),
    small("w4", [6, 5], 16),
  ],
});

/** Normalisations and activations in a residual block or two. */
const activations = modelBytes({
  opset: 21,
  ir: 10,
  node: [
    node("Conv", ["x", "w1", "b1"], ["a"], { auto_pad: "SAME_LOWER" }, "c1"),
    { ...node("BatchNormalization", ["a", "s", "b", "mean", "var"], ["bn"]), attribute: [float("epsilon", 1e-3)] },
    node("HardSwish", ["bn"], ["h"]),
    node("InstanceNormalization", ["h", "s", "b"], ["i"]),
    node("PRelu", ["i", "slope"], ["p"]),
    node("GroupNormalization", ["p", "s", "b"], ["gn"], { num_groups: 2 }),
    node("Sigmoid", ["gn"], ["sig"]),
    node("Mul", ["gn", "sig"], ["silu"]),
    node("Add", ["silu", "a"], ["r"]),
    node("Clip", ["r", "low", "high"], ["c"]),
    node("Conv", ["c", "w2"], ["z"], { kernel_shape: [1, 1] }, "c2"),
    node("Gelu", ["z"], ["ge"]),
    { ...node("LeakyRelu", ["ge"], ["le"]), attribute: [float("alpha", 0.1)] },
    node("Elu", ["le"], ["el"]),
    node("Softplus", ["el"], ["sp"]),
    node("Sqrt", ["sp"], ["sq"]),
    node("Log", ["sp"], ["lo"]),
    node("Exp", ["lo"], ["ex"]),
    node("Div", ["sq", "ex"], ["di"]),
    node("Erf", ["di"], ["er"]),
    node("Tanh", ["er"], ["ta"]),
    node("ReduceMean", ["ta", "hw"], ["mean2"], { keepdims: 0 }),
    node("LayerNormalization", ["mean2", "s", "b"], ["ln"], { axis: -1 }),
    node("Dropout", ["ln"], ["dr"]),
    node("MatMul", ["dr", "w3"], ["mm"]),
    node("LogSoftmax", ["mm"], ["y"], { axis: 1 }),
  ],
  input: [shape("x", ["n", 3, 6, 6])],
  output: [shape("y", ["n", 5])],
  initializer: [
    small("w1", [4, 3, 3, 3], 21),
    small("b1", [4], 22),
    positive("s", 4),
    small("b", [4], 23),
    small("mean", [4], 24),
    positive("var", 4),
    small("slope", [4, 1, 1], 25),
    floats("low", [], Float32Array.of(-3)),
    floats("high", [], Float32Array.of(3)),
    small("w2", [4, 4, 1, 1], 26),
    int64("hw", [2, 3]),
    small("w3", [4, 5], 27),
  ],
});

/** Integers, comparisons, reductions and movement. */
const movement = modelBytes({
  node: [
    node("Split", ["x", "sizes"], ["s1", "s2"], { axis: 1 }),
    node("Sub", ["s1", "half"], ["d"]),
    node("Abs", ["d"], ["ab"]),
    node("Less", ["ab", "half"], ["small"]),
    node("Where", ["small", "ab", "d"], ["w"]),
    node("Expand", ["half", "target"], ["ex"]),
    node("Max", ["w", "ex"], ["mx"]),
    node("Min", ["mx", "s1"], ["mn"]),
    node("Sum", ["mn", "s1", "half"], ["su"]),
    node("Mean", ["su", "mn"], ["me"]),
    node("Tile", ["s2", "repeats"], ["ti"]),
    node("Gather", ["ti", "order"], ["ga"], { axis: 1 }),
    node("Pow", ["ga", "two"], ["po"]),
    node("Concat", ["me", "po"], ["co"], { axis: 1 }),
    node("ReduceL2", ["co"], ["l2"], { axes: [3], keepdims: 1 }),
    node("ReduceMax", ["co"], ["rm"], { axes: [-1], keepdims: 1 }),
    node("Add", ["l2", "rm"], ["sm"]),
    node("Squeeze", ["sm", "last"], ["sq"]),
    node("Reshape", ["sq", "flat"], ["re"]),
    node("Range", ["zero", "limit", "one"], ["ra"]),
    node("Gather", ["re", "ra"], ["ge"], { axis: 1 }),
    node("MatMul", ["ge", "w"], ["mm"]),
    node("ReduceSum", ["mm", "last"], ["rs"], { keepdims: 1 }),
    node("Mul", ["mm", "half"], ["mu"]),
    node("Neg", ["mu"], ["ne"]),
    node("Add", ["ne", "rs"], ["y"]),
  ].map((n) => ({ ...n, input: (n.input ?? []).map((name) => (name === "w" && n.opType === "MatMul" ? "wm" : name)) })),
  input: [shape("x", ["n", 5, 4, 4])],
  output: [shape("y", ["n", 5])],
  initializer: [
    int64("sizes", [2, 3]),
    floats("half", [], Float32Array.of(0.5)),
    int64("target", [1, 2, 4, 4]),
    int64("repeats", [1, 1, 1, 1]),
    int64("order", [2, 0, -2]),
    floats("two", [1], Float32Array.of(2)),
    int64("last", [-1]),
    int64("flat", [0, -1]),
    int64("zero", [0], []),
    int64("limit", [20], []),
    int64("one", [1], []),
    small("wm", [20, 5], 31),
  ],
});

/** The shipped network at full width, for mutants of a real file's own bytes. */
export const demo = new Uint8Array(readFileSync(new URL("../../../models/demo.onnx", import.meta.url)));

export const networks: readonly Network[] = [
  { name: "the demo model, narrowed", bytes: narrowed(demo, 8) },
  { name: "an older exporter's integers", bytes: exporter },
  { name: "windows", bytes: windows },
  { name: "activations", bytes: activations },
  { name: "movement", bytes: movement },
];
