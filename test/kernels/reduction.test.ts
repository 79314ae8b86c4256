/** Reductions and global pooling against float64, on the device and on the host. */
import { expect, test } from "vitest";
import type { AttributeValue, HostTensor, ValueInfo } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { globalPooling } from "../../src/kernels/global-pooling.ts";
import { reductions } from "../../src/kernels/reduction.ts";
import { REDUCERS, reduce, rowOffsets } from "../reference/rows.ts";
import { expectWithin, ints, numericGradient, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

const OPERATORS = Object.keys(REDUCERS);
const infoOf = (t: HostTensor): ValueInfo => ({ type: t.type, shape: t.shape, value: t });
const nodeOf = (opType: string, attributes: Readonly<Record<string, AttributeValue>> = {}) => ({
  name: "reduce",
  opType,
  inputs: ["x", "axes"],
  outputs: ["y"],
  attributes: new Map(Object.entries(attributes)),
});

/** Positive, and away from each other and from 0: every reduction is smooth there, and extrema are single. */
const smooth = (shape: readonly number[]): HostTensor => {
  const t = randomTensor(shape, 11, 0.5, 1.5);
  return { ...t, data: t.data.map((v, i) => Math.fround(v + 1e-3 * (i % 7))) };
};

/**
 * Relative rounding of a reduction of n positive terms of size about 1. A sum: (n - 1) u. The others add a root, a
 * product, a division: few u. log(x) has an absolute error of 2^-21 in WGSL, exp one of (3 + 2 |x|) ulp.
 */
const tolerance = (n: number): number => (n + 8) * U + 2 ** -20;

onAdapters("reductions", (gpu) => {
  test.each(OPERATORS)("%s over every choice of axes, and its gradient", async (opType) => {
    const shapes = [
      { shape: [2, 3, 5], axes: [[2], [0], [1], [0, 2], [0, 1, 2], [-1, 1]] },
      { shape: [5, 1, 4, 3], axes: [[1], [2, 3], [0, 3]] },
    ];
    for (const { shape, axes } of shapes) {
      for (const chosen of axes) {
        const x = smooth(shape);
        const rows = rowOffsets(
          shape,
          chosen.map((a) => (a < 0 ? a + shape.length : a)),
        );
        const reference = (data: ArrayLike<number>) => reduce(opType, data, rows);
        const expected = reference(x.data);
        const seed = Float32Array.from(randomTensor([expected.length], 12).data);
        const got = await runOperator(gpu(), {
          opType,
          opset: 18,
          inputs: [x, ints(chosen)],
          constants: [1],
          gradient: { seed, wrt: [0] },
        });
        const n = rows[0]?.length ?? 1;
        const what = `[${shape.join()}] over [${chosen.join()}]`;
        expectWithin(
          got.outputs[0]?.data ?? [],
          expected,
          (i) => tolerance(n) * Math.max(1, Math.abs(expected[i] ?? 0)),
          what,
        );
        const dx = numericGradient(reference, x.data, seed);
        // Slopes are products and quotients of y and x, as exact as y relatively; PROD's is a product of n factors.
        const bound = (i: number) => 4 * tolerance(n) * Math.max(1, Math.abs(dx[i] ?? 0)) + 1e-9;
        expectWithin(got.gradients.get(0)?.data ?? [], dx, bound, `gradient, ${what}`);
      }
    }
  });

  test.each(OPERATORS.filter((o) => o !== "ReduceProd"))("%s of rows long enough for a tree", async (opType) => {
    for (const { shape, axes } of [
      { shape: [3, 1023], axes: [1] },
      { shape: [301, 5], axes: [0] },
    ]) {
      const x = smooth(shape);
      const rows = rowOffsets(shape, axes);
      const expected = reduce(opType, x.data, rows);
      const got = await runOperator(gpu(), { opType, opset: 18, inputs: [x, ints(axes)], constants: [1] });
      // A lane adds at most 16 numbers and the tree 6 more times.
      const bound = (i: number) => tolerance(22) * Math.max(1, Math.abs(expected[i] ?? 0));
      expectWithin(got.outputs[0]?.data ?? [], expected, bound);
    }
  });

  test("ties share the gradient of ReduceMax evenly, as PyTorch's amax", async () => {
    const got = await runOperator(gpu(), {
      opType: "ReduceMax",
      opset: 13,
      attributes: { axes: [1], keepdims: 0 },
      inputs: [tensor([2, 4], [1, 3, 3, 2, 5, 5, 5, 5])],
      gradient: { seed: Float32Array.from([1, 2]), wrt: [0] },
    });
    expect(got.outputs[0]).toEqual(tensor([2], [3, 5]));
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual([0, 0.5, 0.5, 0, 0.5, 0.5, 0.5, 0.5]);
  });

  test.each(["ReduceMax", "ReduceMin", "GlobalMaxPool"])(
    "%s: a NaN anywhere in a row is its result",
    async (opType) => {
      for (const length of [5, 700])
        for (const at of [0, 1, length - 1]) {
          const rows = Array.from({ length: 2 * length }, (_, i) => (i === at ? NaN : Math.sin(i)));
          const inputs = [tensor([1, 2, length], rows)];
          const attributes = opType === "GlobalMaxPool" ? {} : { axes: [2], keepdims: 0 };
          const got = await runOperator(gpu(), { opType, opset: 13, attributes, inputs });
          const row = rows.slice(length);
          const other = opType === "ReduceMin" ? Math.min(...row) : Math.max(...row);
          expect(Array.from(got.outputs[0]?.data ?? []), `${at} of ${length}`).toEqual([NaN, Math.fround(other)]);
        }
    },
  );

  test("zeros: norms have slope 0 where they are 0, and a product's slope needs no division", async () => {
    const slope = async (opType: string, x: HostTensor) => {
      const seed = Float32Array.from([1]);
      const got = await runOperator(gpu(), { opType, opset: 13, inputs: [x], gradient: { seed, wrt: [0] } });
      return Array.from(got.gradients.get(0)?.data ?? []);
    };
    expect(await slope("ReduceL2", tensor([3], [0, 0, 0]))).toEqual([0, 0, 0]);
    expect(await slope("ReduceL1", tensor([3], [0, -2, 3]))).toEqual([0, -1, 1]);
    expect(await slope("ReduceProd", tensor([3], [2, 0, 3]))).toEqual([0, 6, 0]);
    expect(await slope("ReduceProd", tensor([3], [0, 0, 3]))).toEqual([0, 0, 0]);
  });

  test("no axes: all, or with noop_with_empty_axes each element by itself", async () => {
    const x = tensor([2, 2], [1, -2, 3, -4]);
    const all = await runOperator(gpu(), { opType: "ReduceL1", opset: 18, attributes: { keepdims: 0 }, inputs: [x] });
    expect(all.outputs[0]).toEqual(tensor([], [10]));
    const none = await runOperator(gpu(), {
      opType: "ReduceL1",
      opset: 18,
      attributes: { noop_with_empty_axes: 1 },
      inputs: [x],
    });
    expect(none.outputs[0]).toEqual(tensor([2, 2], [1, 2, 3, 4]));
  });

  test("a large maximum does not overflow ReduceLogSumExp", async () => {
    const got = await runOperator(gpu(), {
      opType: "ReduceLogSumExp",
      opset: 13,
      inputs: [tensor([1, 2], [1000, 1000])],
    });
    expectWithin(got.outputs[0]?.data ?? [], [1000 + Math.log(2)], () => 1001 * 4 * U);
  });

  test("an empty row is the operation's neutral element", async () => {
    const run = async (opType: string) => {
      const x = tensor([2, 0, 3], []);
      const got = await runOperator(gpu(), { opType, opset: 18, inputs: [x, ints([1])], constants: [1] });
      return Array.from(got.outputs[0]?.data ?? []);
    };
    expect(await run("ReduceSum")).toEqual([0, 0, 0, 0, 0, 0]);
    expect(await run("ReduceMax")).toEqual(new Array(6).fill(-Infinity));
    expect(await run("ReduceProd")).toEqual([1, 1, 1, 1, 1, 1]);
  });

  const pools = [
    ["GlobalAveragePool", "ReduceMean"],
    ["GlobalMaxPool", "ReduceMax"],
    ["GlobalLpPool", "ReduceL2"],
  ] as const;
  test.each(pools)("%s of small and large planes", async (opType, reducer) => {
    for (const shape of [
      [5, 3, 7, 7],
      [1, 2, 33, 31],
      [2, 3, 5],
    ]) {
      const x = smooth(shape);
      const rows = rowOffsets(shape, [2, 3].slice(0, shape.length - 2));
      const reference = (data: ArrayLike<number>) => reduce(reducer, data, rows);
      const expected = reference(x.data);
      const seed = Float32Array.from(randomTensor([expected.length], 13).data);
      const got = await runOperator(gpu(), { opType, opset: 22, inputs: [x], gradient: { seed, wrt: [0] } });
      expect(got.outputs[0]?.shape).toEqual(shape.map((d, i) => (i < 2 ? d : 1)));
      // At most 49 numbers one after another, and 23 in the tree.
      expectWithin(
        got.outputs[0]?.data ?? [],
        expected,
        (i) => tolerance(49) * Math.max(1, Math.abs(expected[i] ?? 0)),
      );
      const dx = numericGradient(reference, x.data, seed);
      expectWithin(got.gradients.get(0)?.data ?? [], dx, () => 4 * tolerance(49) + 1e-9, "gradient");
    }
  });

  test.each([3, 1])("GlobalLpPool of norm %i", async (p) => {
    const x = smooth([2, 3, 4, 5]);
    const reference = (data: ArrayLike<number>) =>
      rowOffsets(x.shape, [2, 3]).map((r) => r.reduce((s, at) => s + Math.abs(data[at] ?? 0) ** p, 0) ** (1 / p));
    const expected = reference(x.data);
    const seed = Float32Array.from(randomTensor([6], 14).data);
    const attributes = { p };
    const got = await runOperator(gpu(), {
      opType: "GlobalLpPool",
      opset: 2,
      attributes,
      inputs: [x],
      gradient: { seed, wrt: [0] },
    });
    // pow twice, each within 2^-19 relative (see LpPool's test).
    expectWithin(got.outputs[0]?.data ?? [], expected, (i) => 2 ** -18 * (expected[i] ?? 0));
    expectWithin(got.gradients.get(0)?.data ?? [], numericGradient(reference, x.data, seed), () => 2 ** -16 + 1e-9);
  });

  test("GlobalMaxPool: ties go to the first, as PyTorch's", async () => {
    const got = await runOperator(gpu(), {
      opType: "GlobalMaxPool",
      opset: 1,
      inputs: [tensor([1, 2, 2, 2], [1, 4, 4, 0, 2, 2, 2, 2])],
      gradient: { seed: Float32Array.from([3, 5]), wrt: [0] },
    });
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual([0, 3, 0, 0, 5, 0, 0, 0]);
  });
});

test.each(OPERATORS)("%s of a constant on the host", (opType) => {
  const x = smooth([2, 3, 2, 4]);
  const [y] = reductions[opType]?.infer(nodeOf(opType), [infoOf(x), infoOf(ints([1, 3]))], 18) ?? [];
  expect(y?.shape).toEqual([2, 1, 2, 1]);
  // Stored as float32.
  const expected = reduce(opType, x.data, rowOffsets(x.shape, [1, 3]));
  expectWithin(y?.value?.data ?? [], expected, (i) => U * Math.abs(expected[i] ?? 0));
});

test("integers stay integers, and axes come from where the opset puts them", () => {
  const x: HostTensor = { type: "int64", shape: [3], data: Float64Array.from([2, 3, 2]) };
  const attributes = { axes: [0], keepdims: 0 };
  const infer = (opType: string, opset: number, axes?: ValueInfo) =>
    reductions[opType]?.infer(nodeOf(opType, attributes), [infoOf(x), axes], opset)[0]?.value;
  expect(infer("ReduceProd", 11)).toEqual({ type: "int64", shape: [], data: Float64Array.from([12]) });
  expect(infer("ReduceMean", 17)).toEqual({ type: "int64", shape: [], data: Float64Array.from([2]) });
  // From opset 13 on, ReduceSum's attribute says nothing: without input 1 all axes are reduced.
  expect(infer("ReduceSum", 13, infoOf(ints([])))?.data).toEqual(Float64Array.from([7]));
  expect(() => infer("ReduceMax", 18, infoOf(ints([1])))).toThrow(/axis 1 is outside/);
  expect(() => infer("ReduceMax", 18, { type: "int64", shape: [1] })).toThrow(/depends on the network's inputs/);
  expect(sizeOf(reductions.ReduceMax?.infer(nodeOf("ReduceMax"), [infoOf(x)], 18)[0]?.shape ?? [])).toBe(1);
  expect(() =>
    globalPooling.GlobalAveragePool?.infer(nodeOf("GlobalAveragePool"), [{ type: "float32", shape: [3] }], 1),
  ).toThrow(/is not \[N,C/);
});
