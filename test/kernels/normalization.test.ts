/** BatchNormalization, instance, layer, group and mean-variance normalisation, LRN against float64. */
import { expect, test } from "vitest";
import type { AttributeValue, HostTensor } from "../../src/graph/graph.ts";
import { batchNormalization } from "../../src/kernels/batch-normalization.ts";
import { normalization } from "../../src/kernels/normalization.ts";
import { localResponse, mapRows, mean, rowOffsets, standardise } from "../reference/rows.ts";
import { expectWithin, numericGradient, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

const at = (t: HostTensor, i: number): number => t.data[i] ?? NaN;

interface Case {
  readonly title: string;
  readonly opType: string;
  readonly opset: number;
  readonly shape: readonly number[];
  /** How rows are made: the axes, of this shape. */
  readonly rows: { readonly shape: readonly number[]; readonly axes: readonly number[] };
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Shapes of scale and bias. */
  readonly parameters?: readonly (readonly number[])[];
  /** Element i's index into scale and bias. */
  readonly parameter?: (i: number) => number;
  readonly epsilon?: number;
}

const cases: readonly Case[] = [
  {
    title: "instance",
    opType: "InstanceNormalization",
    opset: 22,
    shape: [2, 3, 5, 7],
    rows: { shape: [2, 3, 35], axes: [2] },
    parameters: [[3], [3]],
    parameter: (i) => Math.floor(i / 35) % 3,
  },
  {
    title: "instance, large planes and epsilon",
    opType: "InstanceNormalization",
    opset: 6,
    shape: [1, 2, 17, 19],
    rows: { shape: [2, 323], axes: [1] },
    attributes: { epsilon: 0.25 },
    parameters: [[2], [2]],
    parameter: (i) => Math.floor(i / 323),
    epsilon: 0.25,
  },
  {
    title: "layer, last axis",
    opType: "LayerNormalization",
    opset: 17,
    shape: [5, 3, 8],
    rows: { shape: [5, 3, 8], axes: [2] },
    parameters: [[8], [8]],
    parameter: (i) => i % 8,
  },
  {
    title: "layer, long rows over two axes, no bias",
    opType: "LayerNormalization",
    opset: 17,
    shape: [2, 19, 17],
    rows: { shape: [2, 323], axes: [1] },
    attributes: { axis: 1 },
    parameters: [[19, 17]],
    parameter: (i) => i % 323,
  },
  {
    title: "layer, scale broadcast",
    opType: "LayerNormalization",
    opset: 17,
    shape: [2, 3, 4],
    rows: { shape: [2, 12], axes: [1] },
    attributes: { axis: 1 },
    parameters: [
      [3, 1],
      [3, 1],
    ],
    parameter: (i) => Math.floor(i / 4) % 3,
  },
  {
    title: "group, parameters a group (opset 18)",
    opType: "GroupNormalization",
    opset: 18,
    shape: [2, 6, 3, 5],
    rows: { shape: [4, 45], axes: [1] },
    attributes: { num_groups: 2 },
    parameters: [[2], [2]],
    parameter: (i) => Math.floor(i / 45) % 2,
  },
  {
    title: "group, parameters a channel (opset 21)",
    opType: "GroupNormalization",
    opset: 21,
    shape: [1, 6, 11, 13],
    rows: { shape: [2, 429], axes: [1] },
    attributes: { num_groups: 2 },
    parameters: [[6], [6]],
    parameter: (i) => Math.floor(i / 143) % 6,
  },
  {
    title: "mean and variance over batch and image",
    opType: "MeanVarianceNormalization",
    opset: 13,
    shape: [5, 3, 2, 4],
    rows: { shape: [5, 3, 8], axes: [0, 2] },
    epsilon: 0,
  },
  {
    title: "mean and variance along a first axis",
    opType: "MeanVarianceNormalization",
    opset: 9,
    shape: [7, 3, 2],
    rows: { shape: [7, 6], axes: [0] },
    attributes: { axes: [0] },
    epsilon: 0,
  },
];

/**
 * Rounding of h = (x - mean) / deviation for rows of n numbers around `offset` and of deviation about 0.6. The mean errs
 * by (n + 2) u max|x|; that, over the deviation, is h's error; the deviation adds (n + 8) u relatively, |h| being below
 * 4. n counts additions one after another: at most 255, or 24 where a tree sums.
 */
const tolerance = (length: number, offset: number): number => {
  const n = length >= 256 ? 24 : length;
  return 2 * (n + 2) * U * (Math.abs(offset) + 1) + 4 * (n + 8) * U;
};

onAdapters("normalisation", (gpu) => {
  test.each(cases)("$title", async (c) => {
    const rows = rowOffsets(c.rows.shape, c.rows.axes);
    const length = rows[0]?.length ?? 1;
    const parameters = (c.parameters ?? []).map((shape, k) => randomTensor(shape, 31 + k, 0.5, 2));
    const [scale, bias] = parameters;
    const index = c.parameter ?? (() => 0);
    const reference = (data: ArrayLike<number>) =>
      mapRows(data, rows, (r) => standardise(r, c.epsilon ?? 1e-5)).map(
        (h, i) => h * (scale ? at(scale, index(i)) : 1) + (bias ? at(bias, index(i)) : 0),
      );
    // The second time with a mean far from 0, where a variance of E(x^2) - E(x)^2 would lose four digits.
    for (const offset of [0, 100]) {
      const x = randomTensor(c.shape, 33, offset - 1, offset + 1);
      const expected = reference(x.data);
      const seed = Float32Array.from(randomTensor([expected.length], 34).data);
      const got = await runOperator(gpu(), {
        opType: c.opType,
        opset: c.opset,
        ...(c.attributes === undefined ? {} : { attributes: c.attributes }),
        inputs: [x, ...parameters],
        constants: parameters.map((_, k) => k + 1),
        gradient: { seed, wrt: [0] },
      });
      const error = tolerance(length, offset);
      expectWithin(got.outputs[0]?.data ?? [], expected, () => 2 * error + 8 * U, `mean ${offset}`);
      // r (g - mean(g) - h mean(g h)) with |g| <= 2, r about 1.7: each h enters with a factor below 4, r once more.
      const dx = numericGradient(reference, x.data, seed, 1e-4);
      expectWithin(got.gradients.get(0)?.data ?? [], dx, () => 16 * error + 1e-6, `gradient, mean ${offset}`);
    }
  });

  test("LayerNormalization's further outputs: mean and 1 / deviation", async () => {
    const x = randomTensor([2, 3, 5], 35);
    const scale = tensor([5], [1, 1, 1, 1, 1]);
    const got = await runOperator(gpu(), { opType: "LayerNormalization", opset: 17, inputs: [x, scale], outputs: 3 });
    const rows = rowOffsets(x.shape, [2]).map((r) => r.map((i) => at(x, i)));
    expect(got.outputs.map((o) => o.shape)).toEqual([
      [2, 3, 5],
      [2, 3, 1],
      [2, 3, 1],
    ]);
    expectWithin(got.outputs[1]?.data ?? [], rows.map(mean), () => 7 * U);
    const inverse = rows.map((r) => 1 / Math.sqrt(mean(r.map((v) => (v - mean(r)) ** 2)) + 1e-5));
    expectWithin(got.outputs[2]?.data ?? [], inverse, (i) => 40 * U * (inverse[i] ?? 0));
  });

  test("a constant row is normalised to 0", async () => {
    const got = await runOperator(gpu(), {
      opType: "MeanVarianceNormalization",
      opset: 13,
      attributes: { axes: [1] },
      inputs: [tensor([1, 4], [3, 3, 3, 3])],
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual([0, 0, 0, 0]);
  });

  const batchCases = [
    { shape: [5, 3, 4, 7], opset: 15, attributes: { epsilon: 0.001 }, parameter: [3], inner: 28 },
    { shape: [2, 6], opset: 9, attributes: {}, parameter: [6], inner: 1 },
    { shape: [2, 3, 2, 5], opset: 7, attributes: { spatial: 0 }, parameter: [3, 2, 5], inner: 1 },
    { shape: [1, 4, 9], opset: 14, attributes: { training_mode: 0 }, parameter: [4], inner: 9 },
  ];
  test.each(batchCases)(
    "BatchNormalization of $shape at opset $opset",
    async ({ shape, opset, attributes, parameter, inner }) => {
      const x = randomTensor(shape, 41);
      const parameters = [0.5, -1, -1, 0.1].map((low, k) => randomTensor(parameter, 42 + k, low, 2));
      const [scale, bias, centre, variance] = parameters as [HostTensor, HostTensor, HostTensor, HostTensor];
      const epsilon = attributes.epsilon ?? 1e-5;
      const count = scale.data.length;
      const reference = (data: ArrayLike<number>) =>
        Array.from(data, (v, i) => {
          const c = Math.floor(i / inner) % count;
          return ((v - at(centre, c)) * at(scale, c)) / Math.sqrt(at(variance, c) + epsilon) + at(bias, c);
        });
      const expected = reference(x.data);
      const seed = Float32Array.from(randomTensor([expected.length], 47).data);
      const got = await runOperator(gpu(), {
        opType: "BatchNormalization",
        opset,
        attributes,
        inputs: [x, ...parameters],
        constants: [1, 2, 3, 4],
        gradient: { seed, wrt: [0] },
      });
      // |x - mean| <= 3, factor <= 2 / sqrt(0.1) < 6.4: six roundings and a root within 4 u, of numbers up to 19.2.
      expectWithin(got.outputs[0]?.data ?? [], expected, () => 19.2 * 14 * U);
      expectWithin(
        got.gradients.get(0)?.data ?? [],
        numericGradient(reference, x.data, seed),
        () => 6.4 * 12 * U + 1e-8,
      );
    },
  );

  test.each([
    { size: 5, alpha: 0.9, beta: 0.75, bias: 2 },
    { size: 2, alpha: 0.5, beta: 1, bias: 1 },
    { size: 4, alpha: 1e-4, beta: 0.5, bias: 1 },
  ])("LRN $size", async (o) => {
    const shape = [2, 7, 3, 2];
    const x = randomTensor(shape, 51, -2, 2);
    const reference = (data: ArrayLike<number>) => localResponse(data, shape, o);
    const expected = reference(x.data);
    const seed = Float32Array.from(randomTensor([expected.length], 52).data);
    const got = await runOperator(gpu(), {
      opType: "LRN",
      opset: 13,
      attributes: o,
      inputs: [x],
      gradient: { seed, wrt: [0] },
    });
    // pow(s, -beta) of s in 1 .. 10: log2 within 2^-21 or 3 ulp, times beta, then exp2 within 3 + 2 * 4 ulp: 2^-19.
    expectWithin(got.outputs[0]?.data ?? [], expected, (i) => 2 ** -18 * Math.abs(expected[i] ?? 0) + 2 ** -24);
    expectWithin(got.gradients.get(0)?.data ?? [], numericGradient(reference, x.data, seed), () => 6 * 2 ** -18 + 1e-9);
  });
});

test("outputs of training mode outside of it, wrong parameters and ranks are refused", () => {
  const infer = (
    opType: string,
    shapes: readonly (readonly number[])[],
    attributes: Record<string, number>,
    outputs = ["y"],
  ) => {
    const node = {
      name: "n",
      opType,
      inputs: shapes.map((_, k) => `i${k}`),
      outputs,
      attributes: new Map(Object.entries(attributes)),
    };
    const rule = { ...batchNormalization, ...normalization }[opType]?.infer;
    return rule?.(
      node,
      shapes.map((shape) => ({ type: "float32", shape }) as const),
      15,
    );
  };
  const four = [[3], [3], [3], [3]];
  expect(() => infer("BatchNormalization", [[1, 3, 2], ...four], {}, ["y", "mean"])).toThrow(/training mode/);
  expect(() => infer("BatchNormalization", [[1, 4, 2], ...four], {})).toThrow(/scale has shape \[3\].*needs \[4\]/);
  expect(() => infer("InstanceNormalization", [[1, 3], [3], [3]], {})).toThrow(/is not \[N,C,D1/);
  expect(() => infer("GroupNormalization", [[1, 6, 2], [4], [4]], { num_groups: 4 })).toThrow(/cannot be divided/);
  expect(() => infer("LayerNormalization", [[2, 4], [3]], {})).toThrow(/cannot be broadcast/);
});
