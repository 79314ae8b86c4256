/** Gemm and MatMul, forward and gradients, on the device and on the host, against float64. */
import { expect, test } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import type { GraphNode, HostTensor, ValueInfo } from "../../src/graph/graph.ts";
import { matrix } from "../../src/kernels/matmul.ts";
import type { Sums } from "../reference/conv.ts";
import { gemmForward, gemmGradients, gemmProducts, matmulProducts } from "../reference/matmul.ts";
import { expectWithin, randomTensor, tensor, U } from "../support/numbers.ts";
import { testAdapters } from "../support/gpu.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

/**
 * n terms, each a product rounded once and added with at most n roundings after it, as test/kernels/conv.test.ts derives
 * it. Gemm scales by alpha or beta once more, and what is summed along C's repeated axes goes through two such sums at
 * most: (n + 3) u of the terms' sizes; 1.01 for the second order.
 */
function expectSums(actual: ArrayLike<number> | undefined, expected: Sums, what: string): void {
  const bound = (i: number) => 1.01 * ((expected.counts[i] ?? 0) + 3) * U * (expected.sizes[i] ?? 0);
  expectWithin(actual ?? [], expected.values, bound, what);
}

const nodeOf = (opType: string, attributes: object = {}): GraphNode => ({
  name: "n",
  opType,
  inputs: ["a", "b", "c"],
  outputs: ["y"],
  attributes: new Map(Object.entries(attributes)) as GraphNode["attributes"],
});

/** What infer says of inputs of which some are constant. */
function inferred(opType: string, attributes: object, inputs: readonly (ValueInfo | undefined)[]): ValueInfo {
  const [info] = matrix[opType]?.infer(nodeOf(opType, attributes), inputs, 13) ?? [];
  if (info === undefined) throw new Error("no output");
  return info;
}
const constant = (value: HostTensor | undefined): ValueInfo | undefined =>
  value === undefined ? undefined : { type: value.type, shape: value.shape, value };

interface GemmCase {
  readonly title: string;
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly c?: readonly number[];
  readonly attributes?: { transA?: number; transB?: number; alpha?: number; beta?: number };
}

const gemmCases: readonly GemmCase[] = [
  { title: "no C", a: [3, 5], b: [5, 7] },
  { title: "a classifier's last layer", a: [5, 64], b: [10, 64], c: [10], attributes: { transB: 1 } },
  { title: "transA", a: [6, 4], b: [6, 9], c: [9], attributes: { transA: 1 } },
  {
    title: "transA, transB, alpha, beta",
    a: [7, 5],
    b: [3, 7],
    c: [5, 3],
    attributes: { transA: 1, transB: 1, alpha: 0.25, beta: -0.35 },
  },
  { title: "C a scalar", a: [4, 3], b: [3, 6], c: [], attributes: { beta: 2 } },
  { title: "C one element", a: [4, 3], b: [3, 6], c: [1] },
  { title: "C [1,1]", a: [4, 3], b: [3, 6], c: [1, 1], attributes: { beta: 0.5 } },
  { title: "C a row", a: [5, 3], b: [3, 6], c: [1, 6], attributes: { beta: 3 } },
  { title: "C a column", a: [5, 3], b: [3, 6], c: [5, 1], attributes: { beta: -1 } },
  { title: "C whole", a: [5, 3], b: [3, 6], c: [5, 6], attributes: { alpha: -2, beta: 0.1 } },
  { title: "one row, C whole", a: [1, 9], b: [9, 4], c: [1, 4] },
  { title: "one column, C a column", a: [6, 9], b: [9, 1], c: [6, 1], attributes: { beta: 4 } },
  { title: "one column, C one element", a: [6, 9], b: [9, 1], c: [1], attributes: { beta: 4 } },
  { title: "one element", a: [1, 1], b: [1, 1], c: [1], attributes: { alpha: 2 } },
  { title: "alpha 0", a: [2, 3], b: [3, 5], c: [2, 5], attributes: { alpha: 0 } },
];

const matmulCases: readonly (readonly [a: readonly number[], b: readonly number[]])[] = [
  [
    [3, 4],
    [4, 5],
  ],
  [[7], [7]],
  [[4], [4, 5]],
  [[3, 4], [4]],
  [[4], [2, 4, 3]],
  [[2, 3, 4], [4]],
  [
    [2, 3, 4],
    [2, 4, 5],
  ],
  [
    [5, 3, 4],
    [4, 2],
  ],
  [
    [3, 4],
    [6, 4, 5],
  ],
  [
    [2, 1, 3, 4],
    [3, 4, 5],
  ],
  [
    [2, 3, 2, 4],
    [2, 1, 4, 3],
  ],
  [
    [1, 2, 1, 3, 4],
    [3, 1, 2, 4, 2],
  ],
];

onAdapters("matrices", (gpu) => {
  test.each(gemmCases)("Gemm, $title", async ({ a: shapeA, b: shapeB, c: shapeC, attributes = {} }) => {
    const [a, b] = [randomTensor(shapeA, 1), randomTensor(shapeB, 2)];
    const c = shapeC === undefined ? undefined : randomTensor(shapeC, 3);
    const products = gemmProducts(shapeA, shapeB, attributes.transA === 1, attributes.transB === 1);
    // float32, as the file stores them and the shader gets them.
    const alpha = Math.fround(attributes.alpha ?? 1);
    const beta = Math.fround(attributes.beta ?? 1);
    const expected = gemmForward(products, a.data, b.data, { alpha, beta, ...(c === undefined ? {} : { c }) });
    const seed = Float32Array.from(randomTensor([expected.values.length], 4).data);
    const wanted = gemmGradients(products, a.data, b.data, seed, {
      ...{ alpha, beta },
      ...(shapeC === undefined ? {} : { c: shapeC }),
    });
    for (const constants of [[], [1, 2]]) {
      const got = await runOperator(gpu(), {
        opType: "Gemm",
        opset: 13,
        attributes: { ...attributes },
        inputs: [a, b, c],
        constants,
        gradient: { seed, wrt: c === undefined ? [0, 1] : [0, 1, 2] },
      });
      expect(got.outputs[0]?.shape).toEqual(products.shape);
      expectSums(got.outputs[0]?.data, expected, "forward");
      got.gradients.forEach((g, k) => {
        const sums = wanted[k];
        if (sums !== undefined) expectSums(g.data, sums, `gradient of input ${k}`);
      });
    }
  });

  test.each(matmulCases)("MatMul of %j and %j", async (shapeA, shapeB) => {
    const [a, b] = [randomTensor(shapeA, 1), randomTensor(shapeB, 2)];
    const products = matmulProducts(shapeA, shapeB);
    const expected = gemmForward(products, a.data, b.data);
    const seed = Float32Array.from(randomTensor([expected.values.length], 4).data);
    const [da, db] = gemmGradients(products, a.data, b.data, seed);
    const got = await runOperator(gpu(), {
      ...{ opType: "MatMul", opset: 13, inputs: [a, b] },
      gradient: { seed, wrt: [0, 1] },
    });
    expect(got.outputs[0]?.shape).toEqual(products.shape);
    expectSums(got.outputs[0]?.data, expected, "forward");
    expectSums(got.gradients.get(0)?.data, da, "gradient of a");
    expectSums(got.gradients.get(1)?.data, db, "gradient of b");
  });

  // Enough columns and rows for four columns a lane, the last block of rows and the last quarter of columns not full.
  test.each([
    ["Gemm", [70, 19], [263, 19], [263]],
    ["Gemm", [70, 19], [263, 19], [70, 1]],
    ["MatMul", [7, 10, 19], [19, 263], undefined],
    ["MatMul", [3, 27, 19], [3, 19, 263], undefined],
  ] as const)("%s of %j and %j, wide", async (opType, shapeA, shapeB, shapeC) => {
    const [a, b] = [randomTensor(shapeA, 1), randomTensor(shapeB, 2)];
    const c = shapeC === undefined ? undefined : randomTensor(shapeC, 3);
    const gemm = opType === "Gemm";
    const products = gemm ? gemmProducts(shapeA, shapeB, false, true) : matmulProducts(shapeA, shapeB);
    const expected = gemmForward(products, a.data, b.data, c === undefined ? {} : { c });
    const seed = Float32Array.from(randomTensor([expected.values.length], 4).data);
    const wanted = gemmGradients(products, a.data, b.data, seed);
    const got = await runOperator(gpu(), {
      ...{ opType, opset: 13, inputs: [a, b, c], attributes: gemm ? { transB: 1 } : {} },
      gradient: { seed, wrt: [0, 1] },
    });
    expect(got.entries).toContain("matmul: wide");
    expectSums(got.outputs[0]?.data, expected, "forward");
    expectSums(got.gradients.get(0)?.data, wanted[0], "gradient of a");
    expectSums(got.gradients.get(1)?.data, wanted[1], "gradient of b");
  });

  test("the same row alone and in a batch of 5 gives the same bits", async () => {
    const [a, b, c] = [randomTensor([5, 37], 1), randomTensor([10, 37], 2), randomTensor([10], 3)];
    const run = async (x: HostTensor) => {
      const attributes = { transB: 1 };
      const got = await runOperator(gpu(), { opType: "Gemm", opset: 13, attributes, inputs: [x, b, c] });
      return Array.from(got.outputs[0]?.data ?? []);
    };
    const together = await run(a);
    expect(together.length).toBe(50);
    for (const i of [0, 2, 4]) {
      expect(await run(tensor([1, 37], Array.from(a.data.slice(37 * i, 37 * (i + 1)))))).toEqual(
        together.slice(10 * i, 10 * (i + 1)),
      );
    }
  });

  test("nothing to sum: zeros, or C alone", async () => {
    const got = await runOperator(gpu(), {
      ...{ opType: "Gemm", opset: 13, inputs: [tensor([2, 0], []), tensor([0, 3], []), tensor([3], [1, 2, 3])] },
      gradient: { seed: Float32Array.of(1, 2, 3, 4, 5, 6), wrt: [2] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual([1, 2, 3, 1, 2, 3]);
    expect(Array.from(got.gradients.get(2)?.data ?? [])).toEqual([5, 7, 9]);
  });
});

/** Numbers of -1, 0 and 1: every sum below 2^24 of their products is exact in any order. */
function whole(shape: readonly number[], step: number): HostTensor {
  const data = new Float32Array(shape.reduce((n, d) => n * d, 1));
  for (let i = 0; i < data.length; i++) data[i] = (((i * step) % 7) % 3) - 1;
  return { type: "float32", shape, data };
}

// Weights of more bytes than every adapter can bind at once (2^27) are cut along their rows, which are a Gemm's columns
// or a MatMul's depth. On one adapter: what differs between adapters is the kernel, tested above.
const [LONG, SHORT] = [2 ** 19 + 5, 64];
onAdapters(
  "weights too large for one binding",
  (gpu) => {
    const weights = whole([LONG, SHORT], 5);
    const along = (by: (i: number, k: number, w: number) => void): void => {
      for (let i = 0; i < LONG; i++) for (let k = 0; k < SHORT; k++) by(i, k, weights.data[i * SHORT + k] ?? NaN);
    };
    const add = (sums: Float32Array, at: number, x: number): void => {
      sums[at] = (sums[at] ?? NaN) + x;
    };
    const same = (x: ArrayLike<number> | undefined, y: Float32Array): boolean =>
      x?.length === y.length && y.every((v, k) => v === x[k]);

    test("cut along a Gemm's columns", async () => {
      const [x, c, dy] = [whole([1, SHORT], 3), whole([LONG], 2), whole([1, LONG], 4)];
      const [y, dx] = [Float32Array.from(c.data, (v) => -2 * v), new Float32Array(SHORT)];
      along((i, k, w) => {
        add(y, i, 3 * w * (x.data[k] ?? NaN));
        add(dx, k, 3 * w * (dy.data[i] ?? NaN));
      });
      const got = await runOperator(gpu(), {
        ...{ opType: "Gemm", opset: 13, attributes: { transB: 1, alpha: 3, beta: -2 } },
        ...{ inputs: [x, weights, c], constants: [1] },
        gradient: { seed: Float32Array.from(dy.data), wrt: [0] },
      });
      expect(same(got.outputs[0]?.data, y)).toBe(true);
      expect(same(got.gradients.get(0)?.data, dx)).toBe(true);
    });

    test.each([
      ["MatMul", [1, 1], {}, undefined],
      ["Gemm", [1], { alpha: 3, beta: -2 }, whole([SHORT], 2)],
    ] as const)("cut along the depth of a %s", async (opType, rows, attributes, c) => {
      const [x, dy] = [whole([...rows, LONG], 3), whole([...rows, SHORT], 4)];
      const alpha = c === undefined ? 1 : 3;
      const [y, dx] = [Float32Array.from({ length: SHORT }, (_, k) => -2 * (c?.data[k] ?? 0)), new Float32Array(LONG)];
      along((i, k, w) => {
        add(y, k, alpha * w * (x.data[i] ?? NaN));
        add(dx, i, alpha * w * (dy.data[k] ?? NaN));
      });
      const got = await runOperator(gpu(), {
        ...{ opType, opset: 13, attributes, inputs: [x, weights, c], constants: [1] },
        gradient: { seed: Float32Array.from(dy.data), wrt: [0] },
      });
      expect(same(got.outputs[0]?.data, y)).toBe(true);
      expect(same(got.gradients.get(0)?.data, dx)).toBe(true);
    });
  },
  testAdapters.slice(0, 1),
);

test("constant operands are multiplied on the host, rounded once", () => {
  for (const { a: shapeA, b: shapeB, c: shapeC, attributes = {} } of gemmCases) {
    const [a, b] = [randomTensor(shapeA, 1), randomTensor(shapeB, 2)];
    const c = shapeC === undefined ? undefined : randomTensor(shapeC, 3);
    const products = gemmProducts(shapeA, shapeB, attributes.transA === 1, attributes.transB === 1);
    const expected = gemmForward(products, a.data, b.data, { ...attributes, ...(c === undefined ? {} : { c }) });
    const info = inferred("Gemm", attributes, [constant(a), constant(b), constant(c)]);
    expect(info.shape).toEqual(products.shape);
    expectWithin(info.value?.data ?? [], expected.values, (i) => 1.01 * U * (expected.sizes[i] ?? 0), "Gemm");
    // One operand that is not constant leaves the product to the device.
    expect(inferred("Gemm", attributes, [{ type: "float32", shape: shapeA }, constant(b), constant(c)]).value).toBe(
      undefined,
    );
  }
  for (const [shapeA, shapeB] of matmulCases) {
    const [a, b] = [randomTensor(shapeA, 1), randomTensor(shapeB, 2)];
    const products = matmulProducts(shapeA, shapeB);
    const expected = gemmForward(products, a.data, b.data);
    const info = inferred("MatMul", {}, [constant(a), constant(b)]);
    expect(info.shape).toEqual(products.shape);
    expectWithin(info.value?.data ?? [], expected.values, (i) => 1.01 * U * (expected.sizes[i] ?? 0), "MatMul");
  }
  const int64: HostTensor = { type: "int64", shape: [2, 2], data: Float64Array.of(1, 2, 3, 2 ** 40) };
  const info = inferred("MatMul", {}, [constant(int64), constant(int64)]);
  expect(info.type).toBe("int64");
  expect(Array.from(info.value?.data ?? [])).toEqual([7, 2 + 2 ** 41, 3 + 3 * 2 ** 40, 6 + 2 ** 80]);
});

test("a large product of constants is left to the device", () => {
  const large = randomTensor([1024, 8], 1);
  const across = randomTensor([8, 1024], 2);
  expect(inferred("MatMul", {}, [constant(large), constant(across)])).toEqual({ type: "float32", shape: [1024, 1024] });
});

test("bad shapes are refused, with the numbers", () => {
  const refusal = (opType: string, shapes: readonly (readonly number[])[], attributes: object = {}): string => {
    try {
      inferred(
        opType,
        attributes,
        shapes.map((shape) => ({ type: "float32", shape })),
      );
    } catch (e) {
      if (e instanceof UnbraidError) return `${e.code}: ${e.message}`;
      throw e;
    }
    return "accepted";
  };
  const A = [2, 3];
  expect(refusal("Gemm", [A, [4, 5]])).toMatch(/^SHAPE: .*\[2,3\] and B \[4,5\] do not fit/);
  expect(refusal("Gemm", [A, [3, 5]], { transA: 1 })).toMatch(/^SHAPE/);
  expect(
    refusal("Gemm", [
      [1, 2, 3],
      [3, 5],
    ]),
  ).toMatch(/^SHAPE: .*must be matrices/);
  expect(refusal("Gemm", [A, [3, 5], [5, 2]])).toMatch(/^SHAPE/);
  expect(refusal("Gemm", [A, [3, 5], [1, 1, 5]])).toMatch(/^SHAPE: .*C \[1,1,5\] cannot be broadcast to \[2,5\]/);
  expect(
    refusal("Gemm", [
      [1, 3],
      [3, 5],
      [2, 5],
    ]),
  ).toMatch(/^SHAPE: .*C \[2,5\] cannot be broadcast to \[1,5\]/);
  expect(refusal("Gemm", [A])).toMatch(/^INPUT_MISSING/);
  expect(
    refusal("Gemm", [
      [2 ** 20, 1],
      [1, 2 ** 20],
    ]),
  ).toMatch(/^SHAPE: .*more than the 4294967295/);
  expect(refusal("MatMul", [A, [4, 5]])).toMatch(/^SHAPE: .*do not fit together/);
  expect(refusal("MatMul", [[], [4, 5]])).toMatch(/^SHAPE: .*scalar/);
  expect(
    refusal("MatMul", [
      [2, 3, 4],
      [3, 4, 5],
    ]),
  ).toMatch(/^SHAPE: .*cannot be broadcast/);
  expect(
    refusal("MatMul", [
      [2 ** 20, 1],
      [1, 2 ** 20],
    ]),
  ).toMatch(/^SHAPE: .*more than the 4294967295/);
});
