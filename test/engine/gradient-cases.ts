/**
 * One case or more for every operator that has a gradient: inputs, and the operator in float64 from test/reference. The
 * kernels' own tests go through attributes, sizes and corners; these make sure that no operator is without a check.
 */
import type { AttributeValue, HostTensor } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import * as conv from "../reference/conv.ts";
import { binaryReference, broadcastPositions, unaryReference } from "../reference/elementwise.ts";
import { gemmForward, gemmProducts, matmulProducts } from "../reference/matmul.ts";
import * as move from "../reference/movement.ts";
import * as pool from "../reference/pool.ts";
import { resizeTaps, type ResizeMethod } from "../reference/resize.ts";
import * as rows from "../reference/rows.ts";
import { ints, randomTensor, tensor } from "../support/numbers.ts";

type Numbers = ArrayLike<number>;

export interface GradientCase {
  readonly op: string;
  readonly title?: string;
  readonly opset?: number;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly inputs: readonly (HostTensor | undefined)[];
  /** Inputs that the gradient is with regard to; the others, and those of them that a network stores, are constants. */
  readonly wrt: readonly number[];
  /** Output 0 from all inputs, in float64. */
  readonly f: (x: readonly Numbers[]) => Numbers;
  /** Terms of the longest sum in the gradient. */
  readonly terms?: number;
}

const at = (x: Numbers | undefined, i: number): number => x?.[i] ?? NaN;
let seeds = 100;
const random = (shape: readonly number[], low = -1, high = 1): HostTensor => randomTensor(shape, seeds++, low, high);

const unary = (
  op: string,
  range: readonly [number, number] = [-3, 3],
  attributes: Readonly<Record<string, number | string>> = {},
): GradientCase => ({
  op,
  opset: 24,
  attributes,
  inputs: [random([3, 7], ...range)],
  wrt: [0],
  f: ([x = []]) => Array.from(x, (v) => unaryReference[op]?.(v, attributes) ?? NaN),
});

const binary = (op: string, range: readonly [number, number] = [-2, 2]): GradientCase => {
  const [a, b] = [
    [2, 3, 4],
    [3, 1],
  ] as const;
  const places = broadcastPositions(b, a);
  const f = binaryReference[op] ?? (() => NaN);
  return {
    op,
    opset: 14,
    inputs: [random(a, ...range), random(b, ...range)],
    wrt: [0, 1],
    f: ([x = [], y = []]) => Array.from(x, (v, i) => f(v, at(y, places[i] ?? 0))),
    terms: 8,
  };
};

const variadic = (op: string, f: (list: readonly number[]) => number): GradientCase => ({
  op,
  opset: 13,
  inputs: [random([2, 3]), random([3]), random([2, 1])],
  wrt: [0, 1, 2],
  f: ([x = [], y = [], z = []]) => Array.from(x, (v, i) => f([v, at(y, i % 3), at(z, Math.floor(i / 3))])),
  terms: 3,
});

const convolution = (op: "Conv" | "ConvTranspose", title: string, x: number[], w: number[], attributes: conv.ConvAttributes): GradientCase => {
  const outputs = op === "Conv" ? (w[0] ?? 0) : (w[1] ?? 0) * (attributes.group ?? 1);
  const terms = (op === "Conv" ? conv.convTerms : conv.transposeTerms)(x, w, attributes);
  return {
    op,
    title,
    attributes: { ...attributes },
    inputs: [random(x), random(w), random([outputs])],
    wrt: [0, 1, 2],
    f: ([a = [], b = [], c = []]) => conv.convForward(terms, a, b, c).values,
    terms: 2 * sizeOf(terms.shape),
  };
}; // prettier-ignore

const moved = (
  op: string,
  shapes: readonly (readonly number[])[],
  out: readonly number[],
  rule: move.Rule,
  more: readonly (HostTensor | undefined)[] = [],
  rest: Pick<GradientCase, "attributes" | "opset" | "title"> = {},
): GradientCase => ({
  op,
  opset: 18,
  inputs: [...shapes.map((s) => random(s)), ...more],
  wrt: shapes.map((_, k) => k),
  f: (x) =>
    move.indices(out).map((index) => {
      const from = rule(index);
      return "value" in from ? from.value : at(x[from.input], move.flat(shapes[from.input] ?? [], from.at));
    }),
  terms: sizeOf(out),
  ...rest,
});

/** The same elements in another shape. */
const same = (op: string, from: readonly number[], to: readonly number[], more: readonly HostTensor[] = [], attributes = {}): GradientCase =>
  moved(op, [from], to, (i) => ({ input: 0, at: move.indices(from)[move.flat(to, i)] ?? [] }), more, { attributes }); // prettier-ignore

const window = {
  kernel: [3, 2],
  strides: [2, 1],
  dilations: [1, 2],
  padsBegin: [1, 0],
  padsEnd: [1, 1],
  output: [3, 4],
};
const pooled = (op: string, f: (x: Numbers, taps: ReturnType<typeof pool.poolTaps>) => Numbers, attributes = {}): GradientCase => {
  const shape = [1, 2, 5, 5];
  const taps = pool.poolTaps(shape, window);
  const pads = [...window.padsBegin, ...window.padsEnd];
  const { kernel: kernel_shape, strides, dilations } = window;
  return { op, opset: 22, attributes: { kernel_shape, strides, dilations, pads, ...attributes }, inputs: [random(shape)], wrt: [0], f: ([x = []]) => f(x, taps), terms: 6 };
}; // prettier-ignore

const reduced = (op: string, range: readonly [number, number] = [-2, 2], reducer = op): GradientCase => ({
  op,
  opset: 13,
  ...(op === "ReduceSum" ? {} : { attributes: { axes: [1] } }),
  inputs: [random([2, 4, 3], ...range), ...(op === "ReduceSum" ? [ints([1])] : [])],
  wrt: [0],
  f: ([x = []]) => rows.reduce(reducer, x, rows.rowOffsets([2, 4, 3], [1])),
  terms: 4,
});

const globally = (op: string, reducer: string, attributes = {}): GradientCase => ({
  op,
  opset: 13,
  attributes,
  inputs: [random([2, 3, 2, 3])],
  wrt: [0],
  f: ([x = []]) => rows.reduce(reducer, x, rows.rowOffsets([2, 3, 2, 3], [2, 3])),
  terms: 6,
});

/** Rows of `axes` to mean 0 and variance 1, times scale, plus bias: `place` gives the parameter of an element. */
const normalised = (
  op: string,
  shape: readonly number[],
  axes: readonly number[],
  parameters: readonly number[],
  place: (i: number) => number,
  rest: Pick<GradientCase, "attributes" | "opset">,
  view: readonly number[] = shape,
): GradientCase => ({
  op,
  inputs: [random(shape, -2, 3), random(parameters, 0.5, 2), random(parameters)],
  wrt: [0, 1, 2],
  f: ([x = [], s = [], b = []]) => {
    const y = rows.mapRows(x, rows.rowOffsets(view, axes), (row) => rows.standardise(row, 1e-2));
    return y.map((v, i) => v * at(s, place(i)) + at(b, place(i)));
  },
  terms: 2 * sizeOf(shape),
  ...rest,
  attributes: { epsilon: 1e-2, ...rest.attributes },
});

const resized = (op: string, opset: number, mode: ResizeMethod["mode"], coordinates: string, scales: readonly number[]): GradientCase => {
  const shape = [1, 2, 4, 3];
  const axes = shape.map((input, k) => ({ input, output: Math.floor(input * (scales[k] ?? 1)), scale: scales[k] ?? 1 }));
  const taps = resizeTaps(axes, { mode, coordinates, nearest: coordinates === "asymmetric" ? "floor" : "round_prefer_floor" });
  const list = tensor([4], scales);
  return {
    op,
    opset,
    title: mode,
    attributes: opset < 11 ? { mode } : { mode, coordinate_transformation_mode: coordinates },
    inputs: opset < 11 ? [random(shape), list] : [random(shape), tensor([0], []), list],
    wrt: [0],
    f: ([x = []]) => taps.map((t) => (t ?? []).reduce((s, [i, w]) => s + w * at(x, i), 0)),
    terms: 16,
  };
}; // prettier-ignore

const clipped = (title: string, limits: readonly number[]): GradientCase => ({
  op: "Clip",
  title,
  opset: 13,
  inputs: [random([3, 5], -3, 3), ...limits.map((v) => tensor([], [v]))],
  wrt: [0, ...limits.map((_, k) => k + 1)],
  f: ([x = [], low, high]) => {
    const [least, most] = [at(low ?? [-Infinity], 0), at(high ?? [Infinity], 0)];
    return Array.from(x, (v) => Math.min(most, Math.max(least, v)));
  },
  terms: 15,
});

const channelOf = (i: number): number => Math.floor(i / 6) % 4;

export const gradientCases: readonly GradientCase[] = [
  ...["Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSwish", "Swish", "Mish", "Gelu", "Erf", "Tanh", "Softplus", "Softsign", "ThresholdedRelu", "Neg", "Abs", "Exp", "Sign", "Floor", "Ceil", "Round"].map((op) => unary(op)), // prettier-ignore
  unary("HardSigmoid", [-4, 4], { alpha: 0.2, beta: 0.5 }),
  unary("Gelu", [-3, 3], { approximate: "tanh" }),
  ...["Sqrt", "Log", "Reciprocal"].map((op) => unary(op, [0.3, 4])),
  ...["Add", "Sub", "Mul", "Min", "Max", "PRelu"].map((op) => binary(op)),
  ...["Div", "Pow"].map((op) => binary(op, [0.4, 2])),
  variadic("Sum", rows.sum),
  variadic("Mean", rows.mean),
  variadic("Min", (l) => Math.min(...l)),
  variadic("Max", (l) => Math.max(...l)),
  clipped("both limits", [-1.1, 0.9]),
  clipped("one limit", [-0.4]),
  clipped("a lower limit above the upper", [1, -1]),
  clipped("no limit", []),
  {
    op: "Where",
    inputs: [{ type: "bool", shape: [2, 3], data: Float64Array.of(1, 0, 0, 1, 1, 0) }, random([2, 3]), random([3])],
    wrt: [1, 2],
    f: ([c = [], a = [], b = []]) => Array.from(c, (v, i) => (v === 1 ? at(a, i) : at(b, i % 3))),
    terms: 2,
  },

  convolution("Conv", "3x3, stride 2, padded", [2, 3, 6, 5], [4, 3, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] }),
  convolution("Conv", "groups, dilation", [1, 4, 7, 6], [6, 2, 2, 3], { group: 2, dilations: [3, 2], pads: [2, 0, 1, 2] }), // prettier-ignore
  convolution("Conv", "depthwise, 1-D", [2, 3, 9], [3, 1, 3], { group: 3, strides: [3] }),
  convolution("ConvTranspose", "stride 2, output padding", [1, 3, 3, 4], [3, 2, 3, 3], { strides: [2, 2], pads: [1, 1, 1, 1], output_padding: [1, 1] }), // prettier-ignore
  convolution("ConvTranspose", "groups, dilation", [2, 4, 3, 3], [4, 2, 2, 2], { group: 2, dilations: [2, 1] }),
  {
    op: "Gemm",
    attributes: { transA: 1, transB: 1, alpha: 0.5, beta: -2 },
    inputs: [random([4, 3]), random([5, 4]), random([5])],
    wrt: [0, 1, 2],
    f: ([a = [], b = [], c = []]) =>
      gemmForward(gemmProducts([4, 3], [5, 4], true, true), a, b, { alpha: 0.5, beta: -2, c: { shape: [5], data: c } })
        .values,
    terms: 5,
  },
  {
    op: "MatMul",
    inputs: [random([2, 3, 4]), random([4, 5])],
    wrt: [0, 1],
    f: ([a = [], b = []]) => gemmForward(matmulProducts([2, 3, 4], [4, 5]), a, b).values,
    terms: 8,
  },

  pooled("MaxPool", (x, taps) => pool.maxPool(x, taps).values),
  pooled("AveragePool", (x, taps) => pool.averagePool(x, taps, true), { count_include_pad: 1 }),
  pooled("AveragePool", (x, taps) => pool.averagePool(x, taps, false)),
  pooled("LpPool", (x, taps) => pool.lpPool(x, taps, 3), { p: 3 }),
  globally("GlobalAveragePool", "ReduceMean"),
  globally("GlobalMaxPool", "ReduceMax"),
  globally("GlobalLpPool", "ReduceL2", { p: 2 }),
  ...["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"].map((op) => reduced(op)), // prettier-ignore
  ...["ReduceProd", "ReduceLogSum"].map((op) => reduced(op, [0.5, 2])),
  ...["Softmax", "LogSoftmax"].map((op): GradientCase => ({
    op,
    opset: 13,
    attributes: { axis: 1 },
    inputs: [random([2, 5, 2], -2, 2)],
    wrt: [0],
    f: ([x = []]) => rows.mapRows(x, rows.rowOffsets([2, 5, 2], [1]), (r) => rows.softmax(r, op === "LogSoftmax")),
    terms: 5,
  })),

  {
    op: "BatchNormalization",
    opset: 15,
    attributes: { epsilon: 1e-3 },
    inputs: [random([2, 4, 2, 3]), random([4], -2, 2), random([4]), random([4]), random([4], 0.2, 2)],
    wrt: [0, 1, 2, 3, 4],
    f: ([x = [], s = [], b = [], m = [], v = []]) =>
      Array.from(x, (value, i) => {
        const c = channelOf(i);
        return ((value - at(m, c)) / Math.sqrt(at(v, c) + 1e-3)) * at(s, c) + at(b, c);
      }),
    terms: 12,
  },
  {
    op: "BatchNormalization",
    title: "statistics an activation",
    opset: 7,
    attributes: { spatial: 0 },
    inputs: [random([3, 2, 2]), ...[1, 2, 3].map(() => random([2, 2])), random([2, 2], 0.2, 2)],
    wrt: [0, 1, 2, 3, 4],
    f: ([x = [], s = [], b = [], m = [], v = []]) =>
      Array.from(x, (value, i) => ((value - at(m, i % 4)) / Math.sqrt(at(v, i % 4) + 1e-5)) * at(s, i % 4) + at(b, i % 4)), // prettier-ignore
    terms: 3,
  },
  normalised("InstanceNormalization", [2, 4, 2, 3], [2, 3], [4], channelOf, { opset: 6 }),
  normalised("GroupNormalization", [2, 4, 2, 3], [2, 3, 4], [4], channelOf, { opset: 21, attributes: { num_groups: 2 } }, [2, 2, 2, 2, 3]), // prettier-ignore
  normalised("GroupNormalization", [2, 4, 2, 3], [2, 3, 4], [2], (i) => Math.floor(i / 12) % 2, { opset: 18, attributes: { num_groups: 2 } }, [2, 2, 2, 2, 3]), // prettier-ignore
  normalised("LayerNormalization", [3, 4, 6], [2], [6], (i) => i % 6, { opset: 17, attributes: { axis: -1 } }),
  normalised("LayerNormalization", [3, 4, 6], [1, 2], [4, 6], (i) => i % 24, { opset: 17, attributes: { axis: 1 } }),
  {
    op: "MeanVarianceNormalization",
    opset: 13,
    inputs: [random([2, 3, 2, 2])],
    wrt: [0],
    f: ([x = []]) => rows.mapRows(x, rows.rowOffsets([2, 3, 2, 2], [0, 2, 3]), (row) => rows.standardise(row, 0)),
    terms: 16,
  },
  {
    op: "LRN",
    opset: 13,
    attributes: { size: 3, alpha: 0.3, beta: 0.75, bias: 1.5 },
    inputs: [random([2, 5, 3], -2, 2)],
    wrt: [0],
    f: ([x = []]) => rows.localResponse(x, [2, 5, 3], { size: 3, alpha: 0.3, beta: 0.75, bias: 1.5 }),
    terms: 6,
  },
  resized("Resize", 19, "linear", "half_pixel", [1, 1, 1.5, 2]),
  resized("Resize", 19, "cubic", "align_corners", [1, 1, 2, 2]),
  resized("Resize", 19, "nearest", "half_pixel", [1, 1, 2, 0.7]),
  resized("Upsample", 9, "nearest", "asymmetric", [1, 1, 2, 3]),

  same("Identity", [2, 3], [2, 3]),
  same("Reshape", [2, 6], [3, 4], [ints([3, -1])]),
  same("Flatten", [2, 3, 2], [2, 6]),
  same("Squeeze", [2, 1, 3], [2, 3], [ints([1])]),
  same("Unsqueeze", [2, 3], [2, 1, 3], [ints([1])]),
  same("Dropout", [2, 3], [2, 3]),
  same("Cast", [2, 3], [2, 3], [], { to: 1 }),
  { ...same("CastLike", [2, 3], [2, 3], [tensor([1], [0])]), opset: 15 },
  moved("Transpose", [[2, 3, 4]], [4, 2, 3], move.transpose([2, 0, 1]), [], { attributes: { perm: [2, 0, 1] } }),
  moved("Concat", [[2, 2], [2, 3]], [2, 5], move.concat(1, [2, 3]), [], { attributes: { axis: 1 } }), // prettier-ignore
  moved("Split", [[2, 5]], [2, 2], move.splitPart(1, [2, 3], 0), [ints([2, 3])], { attributes: { axis: 1 } }),
  moved("Slice", [[5, 6]], [5, 3], move.slice(new Map([[1, [4, 2, 0]]])), [ints([4]), ints([-7]), ints([1]), ints([-2])]), // prettier-ignore
  moved("Gather", [[4, 3]], [3, 3], move.gather(0, 4, [2, 0, 2], 1), [ints([2, 0, -2])], { attributes: { axis: 0 } }),
  moved("GatherND", [[3, 2, 3]], [2, 3], move.gatherNd([3, 2, 3], [2, 1, 2, -1], [2, 2], 0), [tensor([2, 2], [2, 1, 2, -1])]), // prettier-ignore
  moved("Expand", [[2, 1, 3]], [2, 4, 3], move.expand([2, 1, 3]), [ints([2, 4, 3])]),
  moved("Tile", [[2, 3]], [4, 6], move.tile([2, 3]), [ints([2, 2])]),
  moved("DepthToSpace", [[1, 8, 2, 3]], [1, 2, 4, 6], move.depthToSpace(2, "DCR", 8), [], { attributes: { blocksize: 2 } }), // prettier-ignore
  moved("SpaceToDepth", [[1, 2, 4, 6]], [1, 8, 2, 3], move.spaceToDepth(2, "DCR", 2), [], { attributes: { blocksize: 2 } }), // prettier-ignore
  ...["constant", "reflect", "edge", "wrap"].map(
    (mode) =>
    moved("Pad", [[3, 4]], [6, 7], move.pad([3, 4], [1, 2], mode, 0), [ints([1, 2, 2, 1])], { title: mode, attributes: { mode }, opset: 19 }), // prettier-ignore
  ),
];
