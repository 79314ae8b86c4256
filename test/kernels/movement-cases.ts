/** Cases of operators that move elements, for the device and for the host, and what they give. */
import type { AttributeValue, HostTensor } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import type { Rule, Shape } from "../reference/movement.ts";
import * as reference from "../reference/movement.ts";
import { ints, randomTensor, tensor, U } from "../support/numbers.ts";

export interface Case {
  readonly title: string;
  readonly op: string;
  readonly opset?: number;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly shapes: readonly Shape[];
  /** Integer inputs after those (undefined: left out). */
  readonly more?: readonly (HostTensor | undefined)[];
  /** Shape of each output and where its elements come from. */
  readonly outputs: readonly (readonly [Shape, Rule])[];
}

const END = 2 ** 53; // what INT64_MAX is read as
const range = reference.pythonRange;
const picked = (...list: [number, number[]][]) => reference.slice(new Map(list));
const whole: Rule = (at) => ({ input: 0, at });
/** The same elements in order, in another shape. */
const reshaped =
  (from: Shape, to: Shape): Rule =>
  (at) => ({ input: 0, at: reference.indices(from)[reference.flat(to, at)] ?? [] }); // prettier-ignore

const shapeCase = (
  op: string,
  title: string,
  from: Shape,
  to: Shape,
  rest: Pick<Case, "attributes" | "more" | "opset">,
): Case => ({ op, title, shapes: [from], outputs: [[to, reshaped(from, to)]], ...rest });

export const tupleCases = [
  { title: "one axis, some twice", shape: [4, 3], tuples: [2, 0, -2], tupleShape: [3, 1], batch: 0, out: [3, 3] },
  { title: "two axes", shape: [3, 2, 5], tuples: [2, 1, -3, -1, 2, 1], tupleShape: [3, 2], batch: 0, out: [3, 5] },
  { title: "single elements", shape: [3, 4], tuples: [0, 3, 2, 1], tupleShape: [1, 2, 2], batch: 0, out: [1, 2] },
  { title: "a batch", shape: [2, 3, 2], tuples: [1, 1, -1, 0], tupleShape: [2, 2, 1], batch: 1, out: [2, 2, 2] },
];

export const cases: readonly Case[] = [
  shapeCase("Identity", "a tensor", [2, 3], [2, 3], {}),
  shapeCase("Reshape", "0 and -1", [2, 3, 4, 5], [2, 12, 5], { more: [ints([0, -1, 5])] }),
  shapeCase("Reshape", "to a number", [1, 1], [], { more: [ints([])] }),
  shapeCase("Reshape", "0 is an empty size with allowzero", [3, 0, 2], [0, 7], { more: [ints([0, 7])], attributes: { allowzero: 1 }, opset: 14 }), // prettier-ignore
  shapeCase("Flatten", "axis 1", [2, 3, 4, 5], [2, 60], {}),
  shapeCase("Flatten", "axis 0", [2, 3, 4], [1, 24], { attributes: { axis: 0 } }),
  shapeCase("Flatten", "axis = rank", [2, 3], [6, 1], { attributes: { axis: 2 } }),
  shapeCase("Flatten", "axis -2", [2, 3, 4, 5], [6, 20], { attributes: { axis: -2 }, opset: 11 }),
  shapeCase("Squeeze", "all", [1, 3, 1, 5], [3, 5], {}),
  shapeCase("Squeeze", "axes as attribute", [1, 3, 1, 5], [1, 3, 5], { attributes: { axes: [2] }, opset: 11 }),
  shapeCase("Squeeze", "axes as input", [1, 3, 1, 5], [3, 1, 5], { more: [ints([-4])] }),
  shapeCase("Unsqueeze", "axes as attribute", [3, 5], [1, 3, 5, 1], { attributes: { axes: [0, 3] }, opset: 11 }),
  shapeCase("Unsqueeze", "axes as input, any order", [3, 5], [3, 1, 1, 5], { more: [ints([-2, 1])] }),
  { op: "Dropout", title: "inference, opset 7", opset: 7, attributes: { ratio: 0.3 }, shapes: [[2, 5]], outputs: [[[2, 5], whole], [[2, 5], () => ({ value: 1 })]] }, // prettier-ignore
  { op: "Dropout", title: "inference, opset 13", shapes: [[3, 3]], more: [tensor([], [0.5]), { type: "bool", shape: [], data: Float64Array.of(0) }], outputs: [[[3, 3], whole]] }, // prettier-ignore

  ...[
    [0, 2, 3, 1],
    [3, 1, 0, 2],
    [1, 0, 2, 3],
    [0, 1, 2, 3],
  ].map((perm): Case => {
    const shape = [5, 3, 4, 2];
    return { op: "Transpose", title: `perm ${perm.join("")}`, attributes: { perm }, shapes: [shape], outputs: [[perm.map((a) => shape[a] ?? 0), reference.transpose(perm)]] }; // prettier-ignore
  }),
  { op: "Transpose", title: "reversed by default", shapes: [[2, 3, 5]], outputs: [[[5, 3, 2], reference.transpose([2, 1, 0])]] }, // prettier-ignore
  { op: "Transpose", title: "ShuffleNet's channels", attributes: { perm: [0, 2, 1, 3, 4] }, shapes: [[2, 3, 4, 5, 5]], outputs: [[[2, 4, 3, 5, 5], reference.transpose([0, 2, 1, 3, 4])]] }, // prettier-ignore
  { op: "Transpose", title: "rank 8", attributes: { perm: [7, 5, 3, 1, 0, 2, 4, 6] }, shapes: [[2, 1, 3, 2, 2, 3, 2, 2]], outputs: [[[2, 3, 2, 1, 2, 3, 2, 2], reference.transpose([7, 5, 3, 1, 0, 2, 4, 6])]] }, // prettier-ignore

  { op: "Concat", title: "channels, in fours", attributes: { axis: 1 }, shapes: [[2, 3, 4, 4], [2, 1, 4, 4], [2, 5, 4, 4]], outputs: [[[2, 9, 4, 4], reference.concat(1, [3, 1, 5])]] }, // prettier-ignore
  { op: "Concat", title: "channels, odd", attributes: { axis: -3 }, shapes: [[2, 3, 5, 3], [2, 2, 5, 3]], outputs: [[[2, 5, 5, 3], reference.concat(1, [3, 2])]] }, // prettier-ignore
  { op: "Concat", title: "the last axis, an empty one among them", attributes: { axis: 2 }, shapes: [[2, 2, 3], [2, 2, 0], [2, 2, 1]], outputs: [[[2, 2, 4], reference.concat(2, [3, 0, 1])]] }, // prettier-ignore
  { op: "Concat", title: "one", attributes: { axis: 0 }, shapes: [[3, 2]], outputs: [[[3, 2], whole]] },

  { op: "Split", title: "sizes as attribute", opset: 11, attributes: { axis: 1, split: [1, 4] }, shapes: [[2, 5, 3]], outputs: [[[2, 1, 3], reference.splitPart(1, [1, 4], 0)], [[2, 4, 3], reference.splitPart(1, [1, 4], 1)]] }, // prettier-ignore
  { op: "Split", title: "sizes as input", attributes: { axis: -1 }, shapes: [[2, 8]], more: [ints([4, 4])], outputs: [[[2, 4], reference.splitPart(1, [4, 4], 0)], [[2, 4], reference.splitPart(1, [4, 4], 1)]] }, // prettier-ignore
  { op: "Split", title: "equal parts", shapes: [[6, 2]], outputs: [0, 1, 2].map((k) => [[2, 2], reference.splitPart(0, [2, 2, 2], k)] as const) }, // prettier-ignore
  { op: "Split", title: "uneven num_outputs", opset: 18, attributes: { num_outputs: 3 }, shapes: [[7, 2]], outputs: [3, 3, 1].map((d, k) => [[d, 2], reference.splitPart(0, [3, 3, 1], k)] as const) }, // prettier-ignore

  { op: "Slice", title: "attributes", opset: 9, attributes: { starts: [1, 0], ends: [END, -1], axes: [2, 3] }, shapes: [[2, 3, 5, 4]], outputs: [[[2, 3, 4, 3], picked([2, range(5, 1, END, 1)], [3, range(4, 0, -1, 1)])]] }, // prettier-ignore
  { op: "Slice", title: "attributes without axes", opset: 9, attributes: { starts: [0, 2], ends: [1, 3] }, shapes: [[2, 3, 5]], outputs: [[[1, 1, 5], picked([0, [0]], [1, [2]])]] }, // prettier-ignore
  { op: "Slice", title: "every other row and column", shapes: [[2, 3, 8, 7]], more: [ints([0, 0]), ints([END, END]), ints([2, 3]), ints([2, 2])], outputs: [[[2, 3, 4, 4], picked([2, [0, 2, 4, 6]], [3, [0, 2, 4, 6]])]] }, // prettier-ignore
  { op: "Slice", title: "backwards", shapes: [[3, 5]], more: [ints([-1]), ints([-END]), ints([1]), ints([-1])], outputs: [[[3, 5], picked([1, [4, 3, 2, 1, 0]])]] }, // prettier-ignore
  { op: "Slice", title: "backwards by two, clamped", shapes: [[7, 2]], more: [ints([100]), ints([0]), ints([0]), ints([-2])], outputs: [[[3, 2], picked([0, range(7, 100, 0, -2)])]] }, // prettier-ignore
  { op: "Slice", title: "backwards from before the first", shapes: [[4, 2]], more: [ints([-8]), ints([-6]), ints([0]), ints([-2])], outputs: [[[1, 2], picked([0, [0]])]] }, // prettier-ignore
  { op: "Slice", title: "contiguous, in fours", shapes: [[2, 8, 4]], more: [ints([4]), ints([8]), ints([1])], outputs: [[[2, 4, 4], picked([1, [4, 5, 6, 7]])]] }, // prettier-ignore
  { op: "Slice", title: "nothing left", shapes: [[4, 3]], more: [ints([3]), ints([1]), ints([0])], outputs: [[[0, 3], whole]] }, // prettier-ignore
  { op: "Slice", title: "a huge step", shapes: [[4, 3]], more: [ints([1]), ints([END]), ints([0]), ints([END])], outputs: [[[1, 3], picked([0, [1]])]] }, // prettier-ignore
  { op: "Slice", title: "axes left out, steps given", shapes: [[5, 4]], more: [ints([0, 1]), ints([5, 4]), undefined, ints([3, 1])], outputs: [[[2, 3], picked([0, [0, 3]], [1, [1, 2, 3]])]] }, // prettier-ignore

  ...[0, 1, 2].map((axis): Case => {
    const shape = [3, 4, 5];
    const list = [2, -1, 0, 2, 1, -2];
    const out = [...shape.slice(0, axis), 3, 2, ...shape.slice(axis + 1)];
    return { op: "Gather", title: `axis ${axis}, two-dimensional indices, some twice`, attributes: { axis }, shapes: [shape], more: [{ type: "int64", shape: [3, 2], data: Float64Array.from(list) }], outputs: [[out, reference.gather(axis, shape[axis] ?? 0, list, 2)]] }; // prettier-ignore
  }),
  { op: "Gather", title: "one index takes the axis away", attributes: { axis: 1 }, shapes: [[2, 3, 4]], more: [{ type: "int64", shape: [], data: Float64Array.of(-1) }], outputs: [[[2, 4], reference.gather(1, 3, [-1], 0)]] }, // prettier-ignore

  ...tupleCases.map(({ title, shape, tuples, tupleShape, batch, out }): Case => {
    const more = [{ type: "int64", shape: tupleShape, data: Float64Array.from(tuples) } as const];
    return { op: "GatherND", title, attributes: { batch_dims: batch }, shapes: [shape], more, outputs: [[out, reference.gatherNd(shape, tuples, tupleShape, batch)]] }; // prettier-ignore
  }),

  ...["constant", "reflect", "edge", "wrap"].flatMap((mode): Case[] => {
    const [before, after] = [[0, 0, 2, 1], [0, 0, 1, 3]]; // prettier-ignore
    const shape = [2, 3, 4, 5];
    const out = [2, 3, 7, 9];
    const cropped = [2, 3, 3, 8];
    return [
      { op: "Pad", title: `${mode}, attribute`, opset: 10, attributes: { mode, pads: [...before, ...after], value: mode === "constant" ? 1.5 : 0 }, shapes: [shape], outputs: [[out, reference.pad(shape, before, mode, 1.5)]] }, // prettier-ignore
      { op: "Pad", title: `${mode}, input`, opset: 19, attributes: { mode }, shapes: [shape], more: [ints([...before, ...after]), tensor([], [-2])], outputs: [[out, reference.pad(shape, before, mode, -2)]] }, // prettier-ignore
      { op: "Pad", title: `${mode}, cropping, axes`, opset: 19, attributes: { mode }, shapes: [shape], more: [ints([2, -2, 1, 1]), undefined, ints([-1, 2])], outputs: [[cropped, reference.pad(shape, [0, 0, -2, 2], mode, 0)]] }, // prettier-ignore
      { op: "Pad", title: `${mode}, wider than the tensor`, opset: 19, attributes: { mode }, shapes: [[1, 3]], more: [ints([0, 7, 0, 5])], outputs: [[[1, 15], reference.pad([1, 3], [0, 7], mode, 0)]] }, // prettier-ignore
      { op: "Pad", title: `${mode}, no padding`, opset: 13, attributes: { mode }, shapes: [[2, 3]], more: [ints([0, 0, 0, 0])], outputs: [[[2, 3], whole]] }, // prettier-ignore
    ];
  }),
  { op: "Pad", title: "constant, cropping only", opset: 13, shapes: [[4, 5]], more: [ints([-1, -1, -1, -2])], outputs: [[[2, 2], reference.pad([4, 5], [-1, -1], "constant", 0)]] }, // prettier-ignore
  { op: "Pad", title: "channels, ResNet's parameter-free shortcut", opset: 13, shapes: [[2, 4, 4, 4]], more: [ints([0, 2, 0, 0, 0, 2, 0, 0])], outputs: [[[2, 8, 4, 4], reference.pad([2, 4, 4, 4], [0, 2, 0, 0], "constant", 0)]] }, // prettier-ignore

  { op: "Expand", title: "a channel's numbers", shapes: [[3, 1, 1]], more: [ints([2, 3, 4, 5])], outputs: [[[2, 3, 4, 5], reference.expand([3, 1, 1])]] }, // prettier-ignore
  { op: "Expand", title: "both ways", shapes: [[2, 1, 5]], more: [ints([3, 1])], outputs: [[[2, 3, 5], reference.expand([2, 1, 5])]] }, // prettier-ignore
  { op: "Expand", title: "a number, many times", shapes: [[1]], more: [ints([30, 41])], outputs: [[[30, 41], reference.expand([1])]] }, // prettier-ignore
  { op: "Expand", title: "nothing", shapes: [[2, 4]], more: [ints([1])], outputs: [[[2, 4], whole]] },
  { op: "Tile", title: "all axes", shapes: [[2, 3, 2]], more: [ints([2, 1, 3])], outputs: [[[4, 3, 6], reference.tile([2, 3, 2])]] }, // prettier-ignore
  { op: "Tile", title: "one row", shapes: [[1, 5]], more: [ints([7, 1])], outputs: [[[7, 5], reference.tile([1, 5])]] },

  ...["DCR", "CRD"].map((mode): Case => {
    return { op: "DepthToSpace", title: mode, attributes: { blocksize: 2, mode }, shapes: [[2, 12, 3, 2]], outputs: [[[2, 3, 6, 4], reference.depthToSpace(2, mode, 12)]] }; // prettier-ignore
  }),
  ...["DCR", "CRD"].map((mode): Case => {
    return { op: "SpaceToDepth", title: mode, attributes: { blocksize: 3, mode }, shapes: [[2, 2, 6, 3]], outputs: [[[2, 18, 2, 1], reference.spaceToDepth(3, mode, 2)]] }; // prettier-ignore
  }),
];

/** Output `k` by the rule. */
export function expected(c: Case, k: number, data: readonly HostTensor[]): number[] {
  const [shape, rule] = c.outputs[k] ?? [[], whole];
  return reference.indices(shape).map((at) => {
    const source = rule(at);
    if ("value" in source) return source.value;
    const from = data[source.input];
    return from?.data[reference.flat(from.shape, source.at)] ?? NaN;
  });
}

/** The gradient of input `k` of sum(seed * output 0): what each of its elements was taken for, added up. */
export function expectedGradient(c: Case, k: number, data: readonly HostTensor[], seed: Float32Array) {
  const shape = data[k]?.shape ?? [];
  const sum = new Float64Array(sizeOf(shape));
  const magnitude = new Float64Array(sizeOf(shape));
  const terms = new Float64Array(sizeOf(shape));
  const [out, rule] = c.outputs[0] ?? [[], whole];
  reference.indices(out).forEach((at, i) => {
    const source = rule(at);
    if ("value" in source || source.input !== k) return;
    const p = reference.flat(shape, source.at);
    sum[p] = (sum[p] ?? 0) + (seed[i] ?? 0);
    magnitude[p] = (magnitude[p] ?? 0) + Math.abs(seed[i] ?? 0);
    terms[p] = (terms[p] ?? 0) + 1;
  });
  return { sum, bound: magnitude.map((m, i) => U * Math.max(0, (terms[i] ?? 0) - 1) * m) };
}

export const inputsOf = (c: Case): HostTensor[] => c.shapes.map((shape, k) => randomTensor(shape, 50 + k));
