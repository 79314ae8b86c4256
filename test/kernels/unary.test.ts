/** Elementwise operators of one tensor, against float64. */
import { describe, expect, test } from "vitest";
import type { HostTensor } from "../../src/graph/graph.ts";
import { unary } from "../../src/kernels/unary.ts";
import { variadics } from "../../src/kernels/variadic.ts";
import type { Attributes } from "../reference/elementwise.ts";
import { sigmoid, unaryReference } from "../reference/elementwise.ts";
import { expectWithin, ints, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

interface Case {
  readonly op: string;
  readonly attributes?: Attributes;
  readonly opset?: number;
  /** Where the random inputs lie; -7 to 7 unless told. */
  readonly range?: readonly [number, number];
  /**
   * Rounding error of f(x) = y in units of u = 2^-24, from the list at the top of shaders/unary.wgsl: each rounding 1,
   * each division 5, exp 3, and what an error in an argument becomes in the result.
   */
  readonly units: (x: number, y: number) => number;
  /** Corners of f, where the central difference says nothing. */
  readonly corners?: readonly number[];
}

/** Exact: f only picks, or gives a whole number. */
const exact = (): number => 0;
const relative =
  (n: number) =>
  (_: number, y: number): number =>
    n * Math.abs(y);

const cases: readonly Case[] = [
  { op: "Relu", units: exact, corners: [0] },
  { op: "LeakyRelu", units: relative(2), corners: [0] },
  { op: "LeakyRelu", attributes: { alpha: 0.3 }, units: relative(2), corners: [0] },
  { op: "Elu", units: relative(10), corners: [0] },
  { op: "Elu", attributes: { alpha: 2.5 }, units: relative(11), corners: [0] },
  { op: "Selu", units: relative(12), corners: [0] },
  // x / alpha is rounded twice, and |x/alpha| e^(x/alpha) / (1 - e^(x/alpha)) is at most 1.
  { op: "Celu", attributes: { alpha: 1.7 }, units: relative(13), corners: [0] },
  { op: "Sigmoid", units: relative(12) },
  { op: "HardSigmoid", units: (x) => 2 * (0.2 * Math.abs(x) + 0.5), corners: [-2.5, 2.5] },
  {
    op: "HardSigmoid",
    attributes: { alpha: 1 / 6, beta: 0.5 },
    units: (x) => 3 * (Math.abs(x) / 6 + 0.5),
    corners: [-3, 3],
  },
  // x times a sum of x/6, within 5, and 1/2; rounded, and the product again.
  { op: "HardSwish", units: (x, y) => Math.abs(x) * (Math.abs(x) + 1) + Math.abs(y), corners: [-3, 3] },
  { op: "Swish", opset: 24, units: relative(13) },
  // The argument's rounding changes sigmoid by at most |z| of it.
  { op: "Swish", opset: 24, attributes: { alpha: 1.3 }, units: (x, y) => (13 + 2 * Math.abs(1.3 * x)) * Math.abs(y) },
  { op: "Mish", units: relative(18) },
  { op: "Gelu", units: (x, y) => 4 * Math.abs(x) + 2 * Math.abs(y) },
  // |z| sigmoid'(z) is at most 0.23, and z within 5.
  { op: "Gelu", attributes: { approximate: "tanh" }, units: (x, y) => 2 * Math.abs(x) + 13 * Math.abs(y) },
  { op: "Erf", units: relative(5) },
  { op: "Erf", range: [-1.2, 1.2], units: relative(5) },
  { op: "Tanh", units: relative(16) },
  { op: "Tanh", range: [-0.4, 0.4], units: relative(16) },
  { op: "Softplus", units: relative(8) },
  { op: "Softsign", units: relative(7) },
  { op: "ThresholdedRelu", units: exact, corners: [1] },
  { op: "ThresholdedRelu", attributes: { alpha: 2.25 }, units: exact, corners: [2.25] },
  { op: "Clip", opset: 6, attributes: { min: -2.5, max: 1.5 }, units: exact, corners: [-2.5, 1.5] },
  // WGSL: 1 / inverseSqrt, of 2 units in the last place, and a division.
  { op: "Sqrt", range: [0.01, 50], units: relative(9) },
  { op: "Exp", range: [-20, 20], units: relative(3) },
  { op: "Log", range: [1e-3, 3], units: relative(3) },
  { op: "Log", range: [0.5, 5000], units: relative(3) },
  { op: "Neg", units: exact },
  { op: "Abs", units: exact, corners: [0] },
  { op: "Reciprocal", range: [0.2, 9], units: relative(5) },
  { op: "Sign", units: exact },
  { op: "Floor", units: exact },
  { op: "Ceil", units: exact },
  { op: "Round", units: exact },
];

/** What may be flushed to zero. */
const TINY = 2 ** -126;

const title = (c: Case): string => `${c.op} ${JSON.stringify(c.attributes ?? {})} ${(c.range ?? []).join(" to ")}`;

const reference = (c: Case) => (x: number) => unaryReference[c.op]?.(x, c.attributes ?? {}) ?? NaN;

const input = (c: Case, shape: readonly number[], seed: number): HostTensor => {
  const [low, high] = c.range ?? [-7, 7];
  return randomTensor(shape, seed, low, high);
};

onAdapters("elementwise operators of one tensor", (gpu) => {
  test.each(cases.map((c, i) => ({ ...c, title: title(c), i })))("$title", async (c) => {
    const f = reference(c);
    const x = input(c, [5, 3, 7, 13], c.i + 1);
    const seed = Float32Array.from(randomTensor([x.data.length], 99).data);
    const got = await runOperator(gpu(), {
      opType: c.op,
      opset: c.opset ?? 20,
      inputs: [x],
      ...(c.attributes === undefined ? {} : { attributes: c.attributes }),
      gradient: { seed, wrt: [0] },
    });
    const y = Array.from(x.data, f);
    expectWithin(
      got.outputs[0]?.data ?? [],
      y,
      (i) => U * c.units(x.data[i] ?? 0, y[i] ?? 0) * (1 + 1e-5) + TINY,
      "forward",
    );

    // Central difference in float64: 1e-9 of error. The slope is a sum of at most two products of at most four factors,
    // each within 16 u, of the order of 1 and |x|; at a point within 2h of a corner it is left out.
    const h = 1e-5;
    const g = got.gradients.get(0)?.data ?? [];
    const near = (v: number): boolean => (c.corners ?? []).some((k) => Math.abs(v - k) < 2 * h);
    const stepped = ["Sign", "Floor", "Ceil", "Round"].includes(c.op);
    const slope = Array.from(x.data, (v) => (stepped ? 0 : (f(v + h) - f(v - h)) / (2 * h)));
    const expected = slope.map((s, i) => (near(x.data[i] ?? 0) ? (g[i] ?? 0) : s * (seed[i] ?? 0)));
    const bound = (i: number): number => {
      const [v, s] = [Math.abs(x.data[i] ?? 0), Math.abs(slope[i] ?? 0)];
      return (
        Math.abs(seed[i] ?? 0) * (U * (stepped ? 0 : 24 * s + 16 * Math.min(1, s + 0.1) * (1 + v)) + 2e-9 * (1 + s))
      );
    };
    expectWithin(g, expected, bound, "gradient");
  });

  test("elements beyond the last four, one element, none", async () => {
    for (const n of [1, 2, 3, 5, 257]) {
      const x = randomTensor([n], n);
      const { outputs } = await runOperator(gpu(), { opType: "Relu", opset: 14, inputs: [x] });
      expect(Array.from(outputs[0]?.data ?? [])).toEqual(Array.from(x.data, (v) => (v < 0 ? 0 : v)));
    }
  });

  test("more workgroups than one dimension holds", async () => {
    // 65535 workgroups of 64 lanes of 4 elements, and some.
    const n = 65535 * 256 + 1025;
    const x = { type: "float32" as const, shape: [n], data: new Float32Array(n).map((_, i) => (i % 7) - 3) };
    const { outputs } = await runOperator(gpu(), { opType: "Neg", opset: 13, inputs: [x] });
    const y = outputs[0]?.data ?? new Float32Array(0);
    let wrong = 0;
    for (let i = 0; i < n; i++) if (y[i] !== 3 - (i % 7)) wrong++;
    expect(wrong).toBe(0);
  });

  const far = [-1e30, -3e4, -200, -104, -88, -30, -1e-30, 0, 1e-30, 30, 88, 200, 3e4, 1e30];
  const limits: Record<string, (x: number) => number> = {
    Sigmoid: sigmoid,
    Tanh: Math.tanh,
    Softplus: (x) => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0),
    Gelu: (x) => (x < -25 ? 0 : (unaryReference.Gelu?.(x, {}) ?? NaN)),
    Mish: (x) => (x > 30 ? x : (unaryReference.Mish?.(x, {}) ?? NaN)),
    Swish: (x) => x * sigmoid(x),
    Elu: (x) => (x > 0 ? x : Math.expm1(x)),
    Erf: (x) => (Math.abs(x) > 6 ? Math.sign(x) : (unaryReference.Erf?.(x, {}) ?? NaN)),
    HardSwish: (x) => (Math.abs(x) < 3 ? (x * (x + 3)) / 6 : Math.max(x, 0)),
    Exp: (x) => (x > 88.7 ? Infinity : Math.exp(x)),
    Softsign: (x) => x / (1 + Math.abs(x)),
  };
  test.each(Object.keys(limits))("%s far from zero: neither overflow nor NaN on the way", async (op) => {
    const x = tensor([far.length], far);
    const got = await runOperator(gpu(), {
      opType: op,
      opset: 24,
      inputs: [x],
      gradient: { seed: new Float32Array(far.length).fill(1), wrt: [0] },
    });
    const y = Array.from(x.data, (v) => limits[op]?.(v) ?? NaN);
    // 18 u, the largest of the table above, and u times the argument's size within exp; a factor may be flushed to zero.
    expectWithin(
      got.outputs[0]?.data ?? [],
      y,
      (i) =>
        U * (18 + 5 * Math.min(100, Math.abs(x.data[i] ?? 0))) * Math.abs(y[i] ?? 0) +
        TINY * (1 + Math.abs(far[i] ?? 0)),
    );
    const slopes = Array.from(got.gradients.get(0)?.data ?? []).filter((_, i) => op !== "Exp" || (far[i] ?? 0) < 88.5);
    expect(slopes.every(Number.isFinite)).toBe(true);
  });

  // What PyTorch 2.13.0 and 2.14.1 give at these points (float32, CPU); for Clip their relu6 and hardtanh, and 2.14.1's clamp
  // (2.13.0's clamp has 1 at its limits).
  const corners: readonly [string, Attributes, number[], number[]][] = [
    ["Relu", {}, [-1, 0, 1], [0, 0, 1]],
    ["LeakyRelu", { alpha: 0.5 }, [0, -0, 1], [0.5, 0.5, 1]],
    ["Elu", { alpha: 2 }, [0], [2]],
    ["Celu", { alpha: 2 }, [0], [1]],
    ["Abs", {}, [0, -2], [0, -1]],
    ["HardSwish", {}, [-3, 0, 3], [0, 0.5, 1]],
    ["HardSigmoid", { alpha: 0.25, beta: 0.5 }, [-2, 0, 2], [0, 0.25, 0]],
    ["ThresholdedRelu", { alpha: 1 }, [1, 2], [0, 1]],
    ["Clip", { min: -1, max: 1 }, [-2, -1, 0, 1, 2], [0, 0, 1, 0, 0]],
    ["Sign", {}, [0, 3], [0, 0]],
    ["Sqrt", {}, [0], [Infinity]],
  ];
  test.each(corners)("the gradient of %s at its corners is PyTorch's", async (op, attributes, x, slopes) => {
    const got = await runOperator(gpu(), {
      opType: op,
      opset: op === "Clip" ? 6 : 14,
      attributes,
      inputs: [tensor([x.length], x)],
      gradient: { seed: new Float32Array(x.length).fill(1), wrt: [0] },
    });
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual(slopes);
  });

  test.each([
    "Relu",
    "LeakyRelu",
    "Elu",
    "Sigmoid",
    "HardSwish",
    "Mish",
    "Gelu",
    "Tanh",
    "Softplus",
    "Clip",
    "Exp",
    "Log",
  ])("%s lets NaN through", async (op) => {
    const { outputs } = await runOperator(gpu(), {
      opType: op,
      opset: op === "Clip" ? 6 : 20,
      inputs: [tensor([3], [1, NaN, 2])],
    });
    expect(Array.from(outputs[0]?.data ?? [], Number.isNaN)).toEqual([false, true, false]);
  });

  test("outside their domains: infinite or NaN, as numpy has it", async () => {
    const of = async (op: string, x: number[]) =>
      Array.from(
        (await runOperator(gpu(), { opType: op, opset: 13, inputs: [tensor([x.length], x)] })).outputs[0]?.data ?? [],
      );
    expect(await of("Log", [0, -1, Infinity, 1])).toEqual([-Infinity, NaN, Infinity, 0]);
    expect(await of("Sqrt", [-1, 0, Infinity])).toEqual([NaN, 0, Infinity]);
    expect(await of("Reciprocal", [0, Infinity])).toEqual([Infinity, 0]);
    expect(await of("Exp", [-Infinity, Infinity])).toEqual([0, Infinity]);
    expect(await of("Relu", [-Infinity, Infinity])).toEqual([0, Infinity]);
  });

  test("halves are rounded to even", async () => {
    const x = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 8388609];
    const { outputs } = await runOperator(gpu(), { opType: "Round", opset: 11, inputs: [tensor([x.length], x)] });
    expect(Array.from(outputs[0]?.data ?? [], (v) => v + 0)).toEqual([-2, -2, 0, 0, 2, 2, 0, 8388609]);
  });

  test("Clip with limits as inputs: constant, left out, computed", async () => {
    const x = tensor([5], [-3, -1, 0, 1, 3]);
    const [low, high] = [tensor([], [-2]), tensor([], [0.5])];
    const run = async (limits: (HostTensor | undefined)[], constants: number[]) =>
      Array.from(
        (await runOperator(gpu(), { opType: "Clip", opset: 13, inputs: [x, ...limits], constants })).outputs[0]?.data ??
          [],
      );
    expect(await run([low, high], [1, 2])).toEqual([-2, -1, 0, 0.5, 0.5]);
    expect(await run([undefined, high], [2])).toEqual([-3, -1, 0, 0.5, 0.5]);
    expect(await run([low, high], [])).toEqual([-2, -1, 0, 0.5, 0.5]);
    expect(await run([low], [])).toEqual([-2, -1, 0, 1, 3]);
    expect(await run([high, low], [1, 2]), "the upper limit wins").toEqual([-2, -2, -2, -2, -2]);
  });

  test("Clip's computed limits share with the data what ties, as in PyTorch 2.14.1's clamp of tensors", async () => {
    const x = tensor([6], [-3, -1, 0, 1, 3, 1]);
    const gradients = async (...limits: (HostTensor | undefined)[]) => {
      const wrt = [x, ...limits].flatMap((t, k) => (t === undefined ? [] : [k]));
      const seed = Float32Array.from([1, 2, 4, 8, 16, 32]);
      const inputs = [x, ...limits];
      const got = await runOperator(gpu(), { opType: "Clip", opset: 13, inputs, gradient: { seed, wrt } });
      return wrt.map((k) => Array.from(got.gradients.get(k)?.data ?? []));
    };
    const [low, high] = [tensor([], [-1]), tensor([], [1])];
    expect(await gradients(low, high)).toEqual([[0, 1, 4, 4, 0, 16], [2], [36]]);
    expect(await gradients(low)).toEqual([[0, 1, 4, 8, 16, 32], [2]]);
    expect(await gradients(undefined, high)).toEqual([[1, 2, 4, 4, 0, 16], [36]]);
    expect(await gradients(high, low), "the upper limit wins").toEqual([[0, 0, 0, 0, 0, 0], [0], [63]]);
  });
});

describe("elementwise operators of constants", () => {
  const table = { ...unary, ...variadics };
  test.each(cases.map((c, i) => ({ ...c, title: title(c), i })))("$title", (c) => {
    const x = input(c, [3, 5], c.i + 1);
    const node = {
      name: "n",
      opType: c.op,
      inputs: ["x"],
      outputs: ["y"],
      attributes: new Map(Object.entries(c.attributes ?? {})),
    };
    const [y] = table[c.op]?.infer(node, [{ type: "float32", shape: x.shape, value: x }], c.opset ?? 20) ?? [];
    const f = reference(c);
    // One rounding to float32, of a float64 result good to 1e-12.
    expectWithin(y?.value?.data ?? [], Array.from(x.data, f), (i) => (U + 1e-12) * Math.abs(f(x.data[i] ?? 0)) + 1e-13);
    expect(y?.shape).toEqual([3, 5]);
  });

  test("integers stay integers, Not gives booleans", () => {
    const value = ints([-3, 0, 7]);
    const infer = (op: string) =>
      unary[op]?.infer(
        { name: "n", opType: op, inputs: ["x"], outputs: ["y"], attributes: new Map() },
        [{ ...value, value }],
        13,
      )[0];
    expect(infer("Neg")?.value).toEqual({ type: "int64", shape: [3], data: Float64Array.of(3, -0, -7) });
    expect(infer("Abs")?.value?.data).toEqual(Float64Array.of(3, 0, 7));
    expect(infer("Not")?.value).toEqual({ type: "bool", shape: [3], data: Float64Array.of(0, 1, 0) });
  });

  test("a wrong attribute is named", () => {
    const node = {
      name: "act",
      opType: "Elu",
      inputs: ["x"],
      outputs: ["y"],
      attributes: new Map([["alpha", "much"]]),
    };
    expect(() => unary.Elu?.infer(node, [{ type: "float32", shape: [2] }], 6)).toThrow(/Elu "act".*alpha.*"much"/);
  });
});
