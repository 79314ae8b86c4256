/** Operators that move elements: on the device, on the host, and their gradients, all exact but for repeated elements. */
import { describe, expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import type { AttributeValue, Graph, GraphNode, HostTensor, ValueInfo } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { lazyTensor } from "../../src/graph/lazy.ts";
import { operators } from "../../src/kernels/table.ts";
import type { Rule, Shape } from "../reference/movement.ts";
import * as reference from "../reference/movement.ts";
import { expectWithin, ints, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

interface Case {
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

const tupleCases = [
  { title: "one axis, some twice", shape: [4, 3], tuples: [2, 0, -2], tupleShape: [3, 1], batch: 0, out: [3, 3] },
  { title: "two axes", shape: [3, 2, 5], tuples: [2, 1, -3, -1, 2, 1], tupleShape: [3, 2], batch: 0, out: [3, 5] },
  { title: "single elements", shape: [3, 4], tuples: [0, 3, 2, 1], tupleShape: [1, 2, 2], batch: 0, out: [1, 2] },
  { title: "a batch", shape: [2, 3, 2], tuples: [1, 1, -1, 0], tupleShape: [2, 2, 1], batch: 1, out: [2, 2, 2] },
];

const cases: readonly Case[] = [
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
function expected(c: Case, k: number, data: readonly HostTensor[]): number[] {
  const [shape, rule] = c.outputs[k] ?? [[], whole];
  return reference.indices(shape).map((at) => {
    const source = rule(at);
    if ("value" in source) return source.value;
    const from = data[source.input];
    return from?.data[reference.flat(from.shape, source.at)] ?? NaN;
  });
}

/** The gradient of input `k` of sum(seed * output 0): what each of its elements was taken for, added up. */
function expectedGradient(c: Case, k: number, data: readonly HostTensor[], seed: Float32Array) {
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

const inputsOf = (c: Case): HostTensor[] => c.shapes.map((shape, k) => randomTensor(shape, 50 + k));

onAdapters("operators that move elements", (gpu) => {
  // An empty result has no memory to read; those cases run on the host below.
  test.each(cases.filter((c) => c.outputs.every(([shape]) => sizeOf(shape) > 0)))("$op: $title", async (c) => {
    const data = inputsOf(c);
    const inputs = [...data, ...(c.more ?? [])];
    const size = sizeOf(c.outputs[0]?.[0] ?? []);
    const seed = Float32Array.from(randomTensor([size], 60).data);
    const wrt = data.flatMap((t, k) => (t.data.length > 0 ? [k] : []));
    const got = await runOperator(gpu(), {
      opType: c.op,
      opset: c.opset ?? 13,
      inputs,
      constants: inputs.flatMap((t, k) => (k >= data.length && t !== undefined ? [k] : [])),
      outputs: c.outputs.length,
      gradient: { seed, wrt },
      ...(c.attributes === undefined ? {} : { attributes: c.attributes }),
    });
    c.outputs.forEach(([shape], k) => {
      expect(got.outputs[k]?.shape).toEqual(shape);
      expect(Array.from(got.outputs[k]?.data ?? []), `output ${k}`).toEqual(expected(c, k, data));
    });
    for (const k of wrt) {
      // Terms of one element are added in a fixed order: (terms - 1) u of the sum of magnitudes at most.
      const { sum, bound } = expectedGradient(c, k, data, seed);
      expectWithin(got.gradients.get(k)?.data ?? [], sum, (i) => bound[i] ?? 0, `gradient ${k}`);
    }
  });

  test("Gather by indices that were computed", async () => {
    const data = randomTensor([2, 5, 3], 1);
    const list = [4, -1, 0, 2, 2, -5];
    const out = [2, 6, 3];
    const c: Case = { title: "", op: "Gather", shapes: [[2, 5, 3]], outputs: [[out, reference.gather(1, 5, list, 1)]] };
    const seed = Float32Array.from(randomTensor([36], 2).data);
    const got = await runOperator(gpu(), {
      opType: "Gather",
      opset: 13,
      attributes: { axis: 1 },
      inputs: [data, ints(list)],
      gradient: { seed, wrt: [0] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual(expected(c, 0, [data]));
    const { sum, bound } = expectedGradient(c, 0, [data], seed);
    expectWithin(got.gradients.get(0)?.data ?? [], sum, (i) => bound[i] ?? 0);
  });

  test.each(tupleCases)("GatherND by indices that were computed: $title", async (t) => {
    const data = randomTensor(t.shape, 1);
    const rule = reference.gatherNd(t.shape, t.tuples, t.tupleShape, t.batch);
    const c: Case = { title: "", op: "GatherND", shapes: [t.shape], outputs: [[t.out, rule]] };
    const seed = Float32Array.from(randomTensor([sizeOf(t.out)], 2).data);
    const got = await runOperator(gpu(), {
      opType: "GatherND",
      opset: 13,
      attributes: { batch_dims: t.batch },
      inputs: [data, { type: "int64", shape: t.tupleShape, data: Float64Array.from(t.tuples) }],
      gradient: { seed, wrt: [0] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual(expected(c, 0, [data]));
    const { sum, bound } = expectedGradient(c, 0, [data], seed);
    expectWithin(got.gradients.get(0)?.data ?? [], sum, (i) => bound[i] ?? 0);
  });

  test("Pad with a value that was computed", async () => {
    const data = randomTensor([2, 3], 1);
    const got = await runOperator(gpu(), {
      opType: "Pad",
      opset: 13,
      inputs: [data, ints([1, 0, 0, 2]), tensor([], [7])],
      constants: [1],
    });
    const c: Case = { title: "", op: "Pad", shapes: [[2, 3]], outputs: [[[3, 5], reference.pad([2, 3], [1, 0], "constant", 7)]] }; // prettier-ignore
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual(expected(c, 0, [data]));
  });

  test("Cast cuts fractions off, and to bool gives 0 and 1", async () => {
    const x = tensor([6], [-2.7, -0.5, 0, 0.5, 1, 300.9]);
    const run = async (to: number) =>
      Array.from(
        (await runOperator(gpu(), { opType: "Cast", opset: 13, attributes: { to }, inputs: [x] })).outputs[0]?.data ??
          [],
      );
    expect((await run(7)).map((v) => v + 0)).toEqual([-2, 0, 0, 0, 1, 300]);
    expect(await run(9)).toEqual([1, 1, 0, 1, 1, 1]);
    expect(await run(1)).toEqual(Array.from(x.data));
    expect(await run(10)).toEqual(Array.from(x.data));
  });

  test("a large constant is filled on the device", async () => {
    const value = tensor([1], [2.5]);
    const { outputs } = await runOperator(gpu(), {
      opType: "ConstantOfShape",
      opset: 9,
      attributes: { value },
      inputs: [ints([1025, 1024])],
      constants: [0],
    });
    expect(outputs[0]?.shape).toEqual([1025, 1024]);
    expect(outputs[0]?.data.every((x) => x === 2.5)).toBe(true);
  });

  test("gradients of all parts of a Split, and of a tensor used twice", async () => {
    const node = (
      name: string,
      opType: string,
      inputs: string[],
      outputs: string[],
      attributes: Record<string, AttributeValue>,
    ): GraphNode => ({
      name,
      opType,
      inputs,
      outputs,
      attributes: new Map(Object.entries(attributes)),
    });
    const graph: Graph = {
      opset: 13,
      constants: new Map([["sizes", ints([2, 3, 1])]]),
      inputs: [{ name: "x", type: "float32", shape: [2, 6, 3] }],
      outputs: ["y"],
      nodes: [
        node("split", "Split", ["x", "sizes"], ["a", "b", "c"], { axis: 1 }),
        node("join", "Concat", ["c", "a", "b", "a"], ["y"], { axis: 1 }),
      ],
    };
    using session = new Session(gpu(), graph);
    const x = randomTensor([2, 6, 3], 3);
    const seed = randomTensor([2, 8, 3], 4);
    const found = await session.gradient(new Map([["x", x]]), {
      of: "y",
      seed: Float32Array.from(seed.data),
      wrt: ["x"],
    });
    const order = [5, 0, 1, 2, 3, 4, 0, 1];
    const sum = new Float64Array(36);
    reference.indices([2, 8, 3]).forEach(([n = 0, k = 0, i = 0], p) => {
      const at = reference.flat([2, 6, 3], [n, order[k] ?? 0, i]);
      sum[at] = (sum[at] ?? 0) + (seed.data[p] ?? 0);
    });
    expectWithin(found.get("x")?.data ?? [], sum, () => 2 * U);
  });
});

const node = (
  op: string,
  inputs: readonly unknown[],
  outputs: number,
  attributes: Readonly<Record<string, AttributeValue>> = {},
): GraphNode => ({
  name: "node",
  opType: op,
  inputs: inputs.map((t, k) => (t === undefined ? "" : `in${k}`)),
  outputs: Array.from({ length: outputs }, (_, k) => `out${k}`),
  attributes: new Map(Object.entries(attributes)),
});
const constant = (t: HostTensor | undefined): ValueInfo | undefined => t && { type: t.type, shape: t.shape, value: t };
const infer = (
  op: string,
  inputs: readonly (HostTensor | undefined)[],
  attributes: Record<string, AttributeValue> = {},
  opset = 13,
  outputs = 1,
) => operators.get(op)?.infer(node(op, inputs, outputs, attributes), inputs.map(constant), opset) ?? [];

describe("the same of constants, on the host", () => {
  test.each(cases)("$op: $title", (c) => {
    const data = inputsOf(c);
    const inputs = [...data, ...(c.more ?? [])];
    const found = operators
      .get(c.op)
      ?.infer(node(c.op, inputs, c.outputs.length, c.attributes), inputs.map(constant), c.opset ?? 13);
    c.outputs.forEach(([shape], k) => {
      expect(found?.[k]?.shape).toEqual(shape);
      expect(Array.from(found?.[k]?.value?.data ?? [])).toEqual(expected(c, k, data));
    });
  });

  test("Shape, Size, Range, ConstantOfShape", () => {
    const values = (found: ValueInfo[]) => [found[0]?.type, found[0]?.shape, Array.from(found[0]?.value?.data ?? [])];
    const x = randomTensor([2, 3, 4], 1);
    expect(values(infer("Shape", [x]))).toEqual(["int64", [3], [2, 3, 4]]);
    expect(values(infer("Shape", [x], { start: 1 }, 15))).toEqual(["int64", [2], [3, 4]]);
    expect(values(infer("Shape", [x], { start: -2, end: -1 }, 15))).toEqual(["int64", [1], [3]]);
    expect(values(infer("Shape", [x], { start: 5 }, 15))).toEqual(["int64", [0], []]);
    expect(values(infer("Size", [x]))).toEqual(["int64", [], [24]]);
    const n = (v: number): HostTensor => ({ type: "int64", shape: [], data: Float64Array.of(v) });
    expect(values(infer("Range", [n(2), n(9), n(3)]))).toEqual(["int64", [3], [2, 5, 8]]);
    expect(values(infer("Range", [n(4), n(0), n(-2)]))).toEqual(["int64", [2], [4, 2]]);
    expect(values(infer("Range", [tensor([], [0]), tensor([], [1]), tensor([], [0.25])]))).toEqual(["float32", [4], [0, 0.25, 0.5, 0.75]]); // prettier-ignore
    expect(values(infer("ConstantOfShape", [ints([2, 2])]))).toEqual(["float32", [2, 2], [0, 0, 0, 0]]);
    expect(values(infer("ConstantOfShape", [ints([3])], { value: ints([7]) }))).toEqual(["int64", [3], [7, 7, 7]]);
  });

  test("Cast wraps integers around and cuts fractions off", () => {
    const cast = (x: HostTensor, to: number) => infer("Cast", [x], { to })[0]?.value;
    expect(cast(tensor([3], [2.9, -2.9, 0]), 7)?.data.map((v) => v + 0)).toEqual(Float64Array.of(2, -2, 0));
    expect(cast(ints([300, -1]), 2)?.data).toEqual(Float64Array.of(44, 255));
    expect(cast(ints([200, -129]), 3)?.data).toEqual(Float64Array.of(-56, 127));
    expect(cast(tensor([3], [0, 0.5, NaN]), 9)).toMatchObject({ type: "bool", data: Float64Array.of(0, 1, 1) });
    expect(cast(ints([3]), 1)).toMatchObject({ type: "float32", data: Float32Array.of(3) });
    expect(() => cast(ints([3]), 8)).toThrow(/Cast "node".*type 8/);
  });
});

describe("what is refused, with the numbers", () => {
  const x = randomTensor([2, 3, 4], 1);
  const refused: readonly (readonly [string, string, () => unknown, RegExp])[] = [
    [
      "Reshape",
      "another number of elements",
      () => infer("Reshape", [x, ints([5, 5])]),
      /\[2,3,4\] to \[5,5\].*24.*25/,
    ],
    ["Reshape", "two -1", () => infer("Reshape", [x, ints([-1, -1])]), /two sizes/],
    ["Reshape", "an indivisible rest", () => infer("Reshape", [x, ints([-1, 7])]), /24 elements do not divide by 7/],
    ["Reshape", "no dimension to keep", () => infer("Reshape", [x, ints([2, 3, 4, 0])]), /no dimension 3/],
    ["Flatten", "an axis outside", () => infer("Flatten", [x], { axis: 4 }), /axis 4 is outside -3 \.\. 3/],
    ["Squeeze", "an axis that is not 1", () => infer("Squeeze", [x, ints([1])]), /axis 1 of \[2,3,4\] has size 3/],
    ["Unsqueeze", "one axis twice", () => infer("Unsqueeze", [x, ints([0, 0])]), /twice/],
    ["Transpose", "a short perm", () => infer("Transpose", [x], { perm: [0, 1] }), /perm \[0,1\].*\[2,3,4\]/],
    ["Concat", "other sizes", () => infer("Concat", [x, randomTensor([2, 2, 4], 1)], { axis: 2 }), /\[2,3,4\], \[2,2,4\] differ beside axis 2/], // prettier-ignore
    ["Concat", "no axis", () => infer("Concat", [x]), /attribute axis is missing/],
    [
      "Split",
      "sizes that do not add up",
      () => infer("Split", [x, ints([1, 1])], { axis: 2 }, 13, 2),
      /\[1,1\].*axis of 4/,
    ],
    ["Split", "unequal parts", () => infer("Split", [x], { axis: 1 }, 13, 2), /axis of 3 cannot be cut into 2/],
    ["Slice", "step 0", () => infer("Slice", [x, ints([0]), ints([1]), ints([0]), ints([0])]), /step of axis 0 is 0/],
    ["Gather", "an index outside", () => infer("Gather", [x, ints([3])], { axis: 1 }), /index 3 is outside axis 1 of \[2,3,4\]/], // prettier-ignore
    ["GatherND", "an index outside", () => infer("GatherND", [x, tensor([1, 2], [1, 3])]), /index 3 of tuple 0 is outside an axis of 3/], // prettier-ignore
    ["GatherND", "tuples that are too long", () => infer("GatherND", [x, tensor([1, 4], [0, 0, 0, 0])]), /tuples of 4.*\[2,3,4\]/], // prettier-ignore
    ["GatherND", "another batch", () => infer("GatherND", [x, tensor([1, 1], [0])], { batch_dims: 1 }), /differ in the first 1 sizes/], // prettier-ignore
    ["Pad", "too few pads", () => infer("Pad", [x, ints([1, 1])]), /must have 6 entries.*has 2/],
    ["Pad", "cropped below nothing", () => infer("Pad", [x, ints([-3, 0, 0, 0, 0, 0])]), /-1/],
    [
      "Pad",
      "an unknown mode",
      () => infer("Pad", [x, ints([0, 0, 0, 0, 0, 0])], { mode: "mirror" }),
      /mode.*"reflect"/,
    ],
    ["Expand", "what does not fit", () => infer("Expand", [x, ints([5, 4])]), /\[2,3,4\] and \[5,4\]/],
    [
      "Expand",
      "too many elements",
      () => infer("Expand", [tensor([1], [1]), ints([70000, 70000])]),
      /4900000000 elements/,
    ],
    ["Tile", "repeats for another rank", () => infer("Tile", [x, ints([2, 2])]), /3 entries, but has 2/],
    ["DepthToSpace", "channels", () => infer("DepthToSpace", [randomTensor([1, 6, 2, 2], 1)], { blocksize: 2 }), /6 channels/], // prettier-ignore
    ["Dropout", "training", () => infer("Dropout", [x, tensor([], [0.5]), { type: "bool", shape: [], data: Float64Array.of(1) }]), /training/], // prettier-ignore
    ["Range", "no end", () => infer("Range", [ints([0]), ints([4]), ints([0])]), /steps of 0/],
  ];
  test.each(refused)("%s: %s", (_, __, act, message) => {
    expect(act).toThrow(message);
  });

  test("shapes that depend on the network's input", () => {
    const dynamic: ValueInfo = { type: "int64", shape: [2] };
    expect(() => operators.get("Reshape")?.infer(node("Reshape", [1, 1], 1), [constant(x), dynamic], 13)).toThrow(/depends on the network's inputs/); // prettier-ignore
  });

  test("another shape, or name, of a stored tensor that is not in memory does not read it", () => {
    const load = (): never => {
      throw new Error("read");
    };
    const part = (start: number, count: number) => new Float32Array(count).fill(start);
    const stored = lazyTensor("float32", [4, 6], load, part);
    for (const [op, more, shape] of [
      ["Identity", [], [4, 6]],
      ["Reshape", [ints([2, -1])], [2, 12]],
      ["Flatten", [], [4, 6]],
      ["Dropout", [], [4, 6]],
    ] as const) {
      const [y] = infer(op, [stored, ...more]);
      expect([y?.shape, y?.value?.part?.(7, 2)], op).toEqual([shape, Float32Array.of(7, 7)]);
    }
  });

  test("a huge declared constant allocates nothing", () => {
    expect(infer("ConstantOfShape", [ints([60000, 60000])])).toEqual([{ type: "float32", shape: [60000, 60000] }]);
    expect(() => infer("ConstantOfShape", [ints([2 ** 40])])).toThrow(/1099511627776/);
  });
});
