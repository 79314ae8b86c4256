/** MaxPool, AveragePool, LpPool against windows listed tap by tap in float64. */
import { expect, test } from "vitest";
import type { AttributeValue, GraphNode } from "../../src/graph/graph.ts";
import { pooling } from "../../src/kernels/pooling.ts";
import { resolveSpatial } from "../../src/kernels/spatial.ts";
import { averagePool, lpPool, maxPool, poolTaps } from "../reference/pool.ts";
import { expectWithin, numericGradient, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

type Attributes = Readonly<Record<string, AttributeValue>>;
const nodeOf = (opType: string, attributes: Attributes, outputs = ["y"]): GraphNode => ({
  name: "pool",
  opType,
  inputs: ["x"],
  outputs,
  attributes: new Map(Object.entries(attributes)),
});

function windowOf(shape: readonly number[], attributes: Attributes) {
  const kernel = attributes.kernel_shape as readonly number[];
  const node = nodeOf("MaxPool", attributes);
  return resolveSpatial(node, shape.slice(2), kernel, { ceilMode: attributes.ceil_mode === 1 });
}

interface Case {
  readonly title: string;
  readonly shape: readonly number[];
  readonly attributes: Attributes;
}

const cases: readonly Case[] = [
  {
    title: "ResNet's 3x3/2",
    shape: [2, 3, 13, 11],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
  },
  { title: "2x2/2", shape: [1, 5, 8, 6], attributes: { kernel_shape: [2, 2], strides: [2, 2] } },
  {
    title: "uneven pads and strides",
    shape: [5, 1, 7, 9],
    attributes: { kernel_shape: [3, 2], strides: [1, 3], pads: [0, 1, 2, 0] },
  },
  {
    title: "dilated, gaps larger than the stride",
    shape: [1, 2, 11, 10],
    attributes: { kernel_shape: [3, 2], dilations: [2, 3], pads: [1, 2, 2, 1], strides: [2, 1] },
  },
  { title: "ceil_mode", shape: [2, 2, 8, 7], attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 } },
  {
    title: "ceil_mode, last window dropped",
    shape: [1, 1, 6, 6],
    attributes: { kernel_shape: [1, 1], strides: [4, 2], ceil_mode: 1 },
  },
  {
    title: "ceil_mode with pads",
    shape: [1, 2, 9, 6],
    attributes: { kernel_shape: [4, 4], strides: [3, 3], pads: [1, 1, 2, 2], ceil_mode: 1 },
  },
  {
    title: "ceil_mode, one window larger than the image",
    shape: [1, 3, 2, 5],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
  },
  {
    title: "SAME_UPPER",
    shape: [1, 2, 7, 8],
    attributes: { kernel_shape: [3, 4], strides: [2, 3], auto_pad: "SAME_UPPER" },
  },
  {
    title: "SAME_LOWER",
    shape: [1, 2, 7, 8],
    attributes: { kernel_shape: [2, 4], strides: [2, 3], auto_pad: "SAME_LOWER" },
  },
  { title: "1-D", shape: [2, 3, 17], attributes: { kernel_shape: [4], strides: [3], pads: [2, 1] } },
  {
    title: "3-D",
    shape: [1, 2, 5, 4, 6],
    attributes: { kernel_shape: [2, 3, 2], strides: [2, 1, 3], pads: [1, 1, 0, 0, 1, 1] },
  },
];

onAdapters("pooling", (gpu) => {
  test.each(cases)("MaxPool $title", async ({ shape, attributes }) => {
    const x = randomTensor(shape, 1);
    const taps = poolTaps(shape, windowOf(shape, attributes));
    const { values, chosen } = maxPool(x.data, taps);
    const seed = Float32Array.from(randomTensor([values.length], 2).data);
    const got = await runOperator(gpu(), {
      opType: "MaxPool",
      opset: 22,
      attributes,
      inputs: [x],
      outputs: 2,
      gradient: { seed, wrt: [0] },
    });
    expectWithin(got.outputs[0]?.data ?? [], values, () => 0, "values are copied, hence exact");
    expectWithin(got.outputs[1]?.data ?? [], chosen, () => 0, "indices");
    const dx = new Float64Array(x.data.length);
    const terms = new Float64Array(x.data.length);
    chosen.forEach((at, i) => {
      dx[at] = (dx[at] ?? 0) + (seed[i] ?? 0);
      terms[at] = (terms[at] ?? 0) + Math.abs(seed[i] ?? 0);
    });
    // A sum of at most `windows` terms in any order: (windows - 1) u sum |terms|; no element is in more than 32.
    expectWithin(got.gradients.get(0)?.data ?? [], dx, (i) => 32 * U * (terms[i] ?? 0), "gradient");
  });

  test("MaxPool: ties go to the first in row-major order, as PyTorch's", async () => {
    const x = tensor([1, 1, 3, 3], [1, 1, 0, 1, 1, 2, 2, 0, 2]);
    const got = await runOperator(gpu(), {
      opType: "MaxPool",
      opset: 12,
      attributes: { kernel_shape: [2, 2] },
      inputs: [x],
      outputs: 2,
      gradient: { seed: Float32Array.from([1, 2, 4, 8]), wrt: [0] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual([1, 2, 2, 2]);
    expect(Array.from(got.outputs[1]?.data ?? [])).toEqual([0, 5, 6, 5]);
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual([1, 0, 0, 0, 0, 10, 4, 0, 0]);
  });

  test("MaxPool: a NaN anywhere in a window is its maximum and gets its gradient, as PyTorch's", async () => {
    const shape = [1, 1, 2, 10];
    // A NaN at each place of a window of four, and two of them.
    const rows = [
      [NaN, 2, 1, NaN, 1, 2, 1, 2, NaN, 7],
      [3, 4, 3, 4, NaN, 4, 3, NaN, NaN, 7],
    ];
    const got = await runOperator(gpu(), {
      opType: "MaxPool",
      opset: 12,
      attributes: { kernel_shape: [2, 2], strides: [2, 2] },
      inputs: [tensor(shape, rows.flat())],
      outputs: 2,
      gradient: { seed: Float32Array.from([1, 2, 3, 4, 5]), wrt: [0] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual([NaN, NaN, NaN, NaN, NaN]);
    expect(Array.from(got.outputs[1]?.data ?? [])).toEqual([0, 3, 14, 17, 18]);
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual([
      1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 4, 5, 0,
    ]);
  });

  test("MaxPool: equal everywhere, minus infinity, storage_order by columns", async () => {
    const flat = await runOperator(gpu(), {
      opType: "MaxPool",
      opset: 12,
      attributes: { kernel_shape: [2, 2], strides: [2, 2] },
      inputs: [tensor([1, 1, 4, 4], new Array<number>(16).fill(-Infinity))],
      gradient: { seed: Float32Array.from([1, 2, 3, 4]), wrt: [0] },
    });
    expect(Array.from(flat.outputs[0]?.data ?? [])).toEqual([-Infinity, -Infinity, -Infinity, -Infinity]);
    expect(Array.from(flat.gradients.get(0)?.data ?? [])).toEqual([1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0]);
    const columns = await runOperator(gpu(), {
      opType: "MaxPool",
      opset: 12,
      attributes: { kernel_shape: [2, 2], strides: [2, 2], storage_order: 1 },
      inputs: [
        tensor(
          [1, 2, 2, 4],
          Array.from({ length: 16 }, (_, i) => i),
        ),
      ],
      outputs: 2,
    });
    // Plane of 2 rows and 4 columns: element (row, column) has position column * 2 + row, planes being 8 apart.
    expect(Array.from(columns.outputs[1]?.data ?? [])).toEqual([3, 7, 11, 15]);
  });

  test("a batch gives the bits of its images alone", async () => {
    const both = randomTensor([2, 3, 9, 7], 7);
    const half = both.data.length / 2;
    const run = async (data: ArrayLike<number>, batch: number) =>
      runOperator(gpu(), {
        opType: "AveragePool",
        opset: 19,
        attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
        inputs: [tensor([batch, 3, 9, 7], Array.from(data))],
      });
    const together = (await run(both.data, 2)).outputs[0]?.data;
    const alone = (await run(both.data.slice(half), 1)).outputs[0]?.data;
    expect(Array.from(together?.slice(half) ?? [])).toEqual(Array.from(alone ?? []));
  });

  test.each(cases.flatMap((c) => [0, 1].map((count) => ({ ...c, count }))))(
    "AveragePool $title, count_include_pad $count",
    async ({ shape, attributes, count }) => {
      const x = randomTensor(shape, 3);
      const taps = poolTaps(shape, windowOf(shape, attributes));
      const reference = (data: ArrayLike<number>) => averagePool(data, taps, count === 1);
      const expected = reference(x.data);
      const seed = Float32Array.from(randomTensor([expected.length], 4).data);
      const got = await runOperator(gpu(), {
        opType: "AveragePool",
        opset: 22,
        attributes: { ...attributes, count_include_pad: count },
        inputs: [x],
        gradient: { seed, wrt: [0] },
      });
      // n additions, one division of at most 2.5 ulp (WGSL): (n + 5) u sum |x| / divisor; n is at most 16, |x| at most 1.
      const mass = reference(x.data.map(Math.abs));
      expectWithin(got.outputs[0]?.data ?? [], expected, (i) => 21 * U * (mass[i] ?? 0));
      // Linear: the gradient of |seed| bounds the sum of the terms' sizes; at most 32 windows; 1e-9 for the differences.
      const dx = numericGradient(reference, x.data, seed);
      const terms = numericGradient(reference, x.data, seed.map(Math.abs));
      expectWithin(got.gradients.get(0)?.data ?? [], dx, (i) => 37 * U * (terms[i] ?? 0) + 1e-9);
    },
  );

  test("AveragePool over whole large planes, where a tree sums", async () => {
    const shape = [2, 3, 19, 17];
    const attributes = { kernel_shape: [19, 17] };
    const x = randomTensor(shape, 5, 0.5, 1.5);
    const taps = poolTaps(shape, windowOf(shape, attributes));
    const expected = averagePool(x.data, taps, false);
    const got = await runOperator(gpu(), { opType: "AveragePool", opset: 11, attributes, inputs: [x] });
    // A lane adds 6 numbers, the tree 6 more times, then the division: 15 u times the mean of |x|.
    expectWithin(got.outputs[0]?.data ?? [], expected, (i) => 15 * U * (expected[i] ?? 0));
  });

  test.each([1, 2, 3])("LpPool of norm %i", async (p) => {
    const { shape, attributes } = {
      shape: [2, 2, 7, 9],
      attributes: { kernel_shape: [3, 2], strides: [2, 2], pads: [1, 0, 1, 1] },
    };
    // Away from 0, where |x| has a corner that differences would step over.
    const x = randomTensor(shape, 6, 0.2, 1);
    const signed = { ...x, data: x.data.map((v, i) => (i % 3 === 0 ? -v : v)) };
    const taps = poolTaps(shape, windowOf(shape, attributes));
    const reference = (data: ArrayLike<number>) => lpPool(data, taps, p);
    const expected = reference(signed.data);
    const seed = Float32Array.from(randomTensor([expected.length], 8).data);
    const got = await runOperator(gpu(), {
      opType: "LpPool",
      opset: 18,
      attributes: { ...attributes, p },
      inputs: [signed],
      gradient: { seed, wrt: [0] },
    });
    // 6 positive terms and a root: 8 u relative. For p = 3, pow is exp2(y log2(x)): log2 errs by 2^-21 absolute near 1
    // (WGSL), times 3 in the exponent, and exp2 by about 4 ulp: 64 u relative each way.
    const relative = (p === 3 ? 160 : 12) * U;
    expectWithin(got.outputs[0]?.data ?? [], expected, (i) => relative * (expected[i] ?? 0));
    const dx = numericGradient(reference, signed.data, seed);
    // At most 4 windows, each slope (|x| / y)^(p - 1) at most 1 and as exact as above.
    expectWithin(got.gradients.get(0)?.data ?? [], dx, () => 4 * (relative + 8 * U) + 1e-9);
  });
});

test("shapes and refusals", () => {
  const infer = (opType: string, shape: readonly number[], attributes: Attributes, outputs?: string[]) =>
    pooling[opType]?.infer(nodeOf(opType, attributes, outputs), [{ type: "float32", shape }], 22);
  expect(infer("MaxPool", [1, 64, 112, 112], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] })).toEqual([
    { type: "float32", shape: [1, 64, 56, 56] },
  ]);
  expect(() => infer("MaxPool", [1, 3, 4, 4], {})).toThrow(/kernel_shape is missing/);
  expect(() => infer("MaxPool", [1, 3, 4, 4], { kernel_shape: [5, 5] })).toThrow(/window of 5 does not fit into 4/);
  expect(() => infer("MaxPool", [1, 3, 2, 4], { kernel_shape: [3, 3], strides: [1, 2], ceil_mode: 1 })).toThrow(
    /window of 3 does not fit into 2/,
  );
  expect(() => infer("MaxPool", [1, 3, 4, 4], { kernel_shape: [3] })).toThrow(/must have 2 entries/);
  expect(() => infer("MaxPool", [1, 3, 4, 4], { kernel_shape: [2, 2], pads: [2, 2, 2, 2] })).toThrow(/pad 2/);
  expect(() => infer("MaxPool", [1, 3, 4, 4], { kernel_shape: [2, 2], strides: [0, 1] })).toThrow(/must be positive/);
  expect(() => infer("MaxPool", [2, 3, 4, 4, 4, 4], { kernel_shape: [1, 1, 1, 1] })).toThrow(/up to 3/);
  expect(() => infer("MaxPool", [1, 4, 3000, 3000], { kernel_shape: [2, 2] }, ["y", "i"])).toThrow(/16777216/);
  expect(() => infer("MaxPool", [1, 3, 4], { kernel_shape: [4e9], pads: [3e9, 3e9] })).toThrow(/exceed 2147483647/);
  expect(() => infer("LpPool", [1, 3, 4, 4], { kernel_shape: [2, 2], p: 0 })).toThrow(/at least 1/);
});
