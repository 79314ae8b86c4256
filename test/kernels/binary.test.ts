/** Elementwise operators of two and more tensors, and Where, with broadcasting, against float64. */
import { describe, expect, test } from "vitest";
import type { HostTensor, ValueInfo } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { operators } from "../../src/kernels/table.ts";
import { binaryReference, broadcastPositions } from "../reference/elementwise.ts";
import { expectWithin, numericGradient, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

type Shape = readonly number[];

/** Shapes of both inputs and of the output. */
const patterns: readonly (readonly [title: string, a: Shape, b: Shape, out: Shape])[] = [
  ["equal shapes", [2, 3, 5, 7], [2, 3, 5, 7], [2, 3, 5, 7]],
  ["a number", [5, 3, 7], [], [5, 3, 7]],
  ["a channel's numbers", [5, 3, 4, 3], [3, 1, 1], [5, 3, 4, 3]],
  ["rows", [1, 6, 5], [5], [1, 6, 5]],
  ["both ways", [2, 1, 5, 1], [3, 1, 4], [2, 3, 5, 4]],
  ["one image for a batch", [5, 2, 3], [1, 2, 3], [5, 2, 3]],
  ["a smaller first input", [3], [2, 4, 3], [2, 4, 3]],
  // 1200 terms for each of two elements: sums in segments.
  ["long sums", [2, 600, 2], [2], [2, 600, 2]],
];

const at = (t: { readonly data: ArrayLike<number> }, i: number): number => t.data[i] ?? NaN;

/** f of both inputs at every element of the output, in float64. */
function apply(f: (x: number, y: number) => number, a: Shape, b: Shape, out: Shape) {
  const [p, q] = [broadcastPositions(a, out), broadcastPositions(b, out)];
  return (x: ArrayLike<number>, y: ArrayLike<number>): number[] => p.map((i, k) => f(x[i] ?? NaN, y[q[k] ?? 0] ?? NaN));
}

/** Rounding error of f(a, b) = y in units of u, as shaders/binary.wgsl says. */
const operations: readonly {
  readonly op: string;
  readonly units: (a: number, b: number, y: number) => number;
  readonly range?: readonly [number, number];
  readonly exponents?: boolean;
}[] = [
  { op: "Add", units: (_, __, y) => Math.abs(y) },
  { op: "Sub", units: (_, __, y) => Math.abs(y) },
  { op: "Mul", units: (_, __, y) => Math.abs(y) },
  { op: "Div", units: (_, __, y) => 5 * Math.abs(y), range: [0.25, 3] },
  { op: "Pow", units: (a, b, y) => (8 + 4 * Math.abs(b * Math.log(a))) * Math.abs(y), range: [0.25, 4] },
  { op: "PRelu", units: (_, __, y) => Math.abs(y) },
  { op: "Min", units: () => 0 },
  { op: "Max", units: () => 0 },
];

const inputs = (a: Shape, b: Shape, [low, high]: readonly [number, number], seed: number): [HostTensor, HostTensor] => [
  randomTensor(a, seed, low, high),
  randomTensor(b, seed + 1, low, high),
];

onAdapters("elementwise operators of two tensors", (gpu) => {
  describe.each(operations)("$op", ({ op, units, range = [-2, 2] }) => {
    test.each(patterns)("%s", async (_, shapeA, shapeB, out) => {
      if (op === "PRelu" && sizeOf(out) !== sizeOf(shapeA)) return;
      const f = binaryReference[op] ?? (() => NaN);
      const [a, b] = inputs(shapeA, shapeB, range, 11);
      const reference = apply(f, shapeA, shapeB, out);
      const y = reference(a.data, b.data);
      const seed = Float32Array.from(randomTensor([y.length], 5).data);
      const got = await runOperator(gpu(), {
        opType: op,
        opset: 14,
        inputs: [a, b],
        constants: [1],
        gradient: { seed, wrt: [0, 1] },
      });
      const [p, q] = [broadcastPositions(shapeA, out), broadcastPositions(shapeB, out)];
      const [left, right] = [(i: number) => at(a, p[i] ?? 0), (i: number) => at(b, q[i] ?? 0)];
      expect(got.outputs[0]?.shape).toEqual(out);
      expectWithin(
        got.outputs[0]?.data ?? [],
        y,
        (i) => U * units(left(i), right(i), y[i] ?? 0) * (1 + 1e-6),
        "forward",
      );

      // Elementwise slopes by central differences (error 1e-9), summed over what was broadcast. Each slope is a product of at
      // most three factors within the forward bound; a sum in segments of 256 and then of segments adds at most 256 + 5 u.
      const h = 1e-5;
      for (const side of [0, 1] as const) {
        const shape = side === 0 ? shapeA : shapeB;
        const place = side === 0 ? p : q;
        const size = sizeOf(shape);
        const terms = y.length / size;
        const expected = new Float64Array(size);
        const mass = new Float64Array(size);
        y.forEach((_, i) => {
          const [v, w] = [left(i), right(i)];
          const slope = side === 0 ? (f(v + h, w) - f(v - h, w)) / (2 * h) : (f(v, w + h) - f(v, w - h)) / (2 * h);
          const k = place[i] ?? 0;
          expected[k] = (expected[k] ?? 0) + slope * (seed[i] ?? 0);
          const error =
            3 * units(v, w, slope) + 8 * Math.abs(slope) + (terms > 1 ? Math.min(terms, 261) : 0) * Math.abs(slope);
          mass[k] = (mass[k] ?? 0) + Math.abs(seed[i] ?? 0) * (U * error + 3e-9 * (1 + Math.abs(slope)));
        });
        expectWithin(got.gradients.get(side)?.data ?? [], expected, (i) => mass[i] ?? 0, `gradient of input ${side}`);
      }
    });
  });

  test.each(["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"])("%s", async (op) => {
    const whole = (t: HostTensor): HostTensor => ({ ...t, data: t.data.map((x) => Math.round(x)) });
    const range = ["And", "Or", "Xor"].includes(op) ? ([0, 1] as const) : ([-2, 2] as const);
    for (const [, a, b, out] of patterns) {
      const [x, y] = inputs(a, b, range, 3).map(whole);
      if (x === undefined || y === undefined) throw new Error("two inputs");
      const { outputs } = await runOperator(gpu(), { opType: op, opset: 16, inputs: [x, y] });
      expect(Array.from(outputs[0]?.data ?? [])).toEqual(
        apply(binaryReference[op] ?? (() => NaN), a, b, out)(x.data, y.data),
      );
    }
  });

  test("Pow: negative bases, zeros, large whole exponents", async () => {
    const pairs: [number, number][] = [
      [-2, 3], [-2, 2], [-2, 0.5], [-1.5, -3], [0, 0], [0, 2], [0, 0.5], [-3, 0], [1, 1e30], [2, 100], [-2, 101],
      [1.0001, 5000], [3, -2], [10, 30], [10, -30], [-0.5, 63], [NaN, 0], [1, NaN], [0, -1], [7, 1],
    ]; // prettier-ignore
    const [a, b] = [0, 1].map((k) => tensor([pairs.length], pairs.map((p) => p[k] ?? 0))); // prettier-ignore
    const { outputs } = await runOperator(gpu(), { opType: "Pow", opset: 13, inputs: [a, b] });
    const y = Array.from(a?.data ?? [], (x, i) => (x === 1 ? 1 : x ** at(b ?? tensor([], []), i)));
    const bound = (i: number): number => {
      const [x, e] = [Math.abs(pairs[i]?.[0] ?? 0), Math.abs(pairs[i]?.[1] ?? 0)];
      return U * (8 + Math.min(e, 64) + 4 * Math.abs(e * Math.log(x || 1))) * Math.abs(y[i] ?? 0);
    };
    expectWithin(outputs[0]?.data ?? [], y, bound);
  });

  test("the gradient of Pow where PyTorch makes it zero or NaN", async () => {
    const a = tensor([4], [0, 0, -2, 0]);
    const b = tensor([4], [0, 2, 3, 1]);
    const got = await runOperator(gpu(), {
      opType: "Pow",
      opset: 13,
      inputs: [a, b],
      gradient: { seed: new Float32Array(4).fill(1), wrt: [0, 1] },
    });
    expectWithin(got.gradients.get(0)?.data ?? [], [0, 0, 12, 1], () => 12 * 8 * U);
    expect(Array.from(got.gradients.get(1)?.data ?? [])).toEqual([0, 0, NaN, 0]);
  });

  test("integers are divided towards zero", async () => {
    const pairs = [[7, 2], [-7, 2], [7, -2], [-7, -2], [6, 3], [1, 3], [0, 5], [16777215, 5], [16777213, 16777214], [99999, 1]]; // prettier-ignore
    const column = (k: number): HostTensor => ({
      type: "int64",
      shape: [pairs.length],
      data: Float64Array.from(pairs, (p) => p[k] ?? 0),
    });
    const { outputs } = await runOperator(gpu(), { opType: "Div", opset: 14, inputs: [column(0), column(1)] });
    expect(Array.from(outputs[0]?.data ?? [], (x) => x + 0)).toEqual(
      pairs.map(([x = 0, y = 1]) => Math.trunc(x / y) + 0),
    );
  });

  test.each(["Min", "Max"])("%s: NaN from either side, ties halve the gradient", async (op) => {
    const [a, b] = [tensor([4], [NaN, 1, 2, NaN]), tensor([4], [1, NaN, 2, NaN])];
    const nan = await runOperator(gpu(), { opType: op, opset: 13, inputs: [a, b] });
    expect(Array.from(nan.outputs[0]?.data ?? [])).toEqual([NaN, NaN, 2, NaN]);
    const got = await runOperator(gpu(), {
      opType: op,
      opset: 13,
      inputs: [tensor([3], [1, 2, 3]), tensor([3], [1, 3, 2])],
      gradient: { seed: Float32Array.of(1, 1, 1), wrt: [0, 1] },
    });
    const left = op === "Max" ? [0.5, 0, 1] : [0.5, 1, 0];
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual(left);
    expect(Array.from(got.gradients.get(1)?.data ?? [])).toEqual(left.map((x) => 1 - x));
  });

  test.each([
    ["Sum", (v: number[]) => v.reduce((a, b) => a + b)],
    ["Mean", (v: number[]) => v.reduce((a, b) => a + b) / v.length],
    ["Min", (v: number[]) => Math.min(...v)],
    ["Max", (v: number[]) => Math.max(...v)],
  ] as const)("%s of one, two, three and four tensors", async (op, f) => {
    const shapes = [[2, 3, 5], [3, 1], [1], [2, 1, 5]];
    for (const n of [1, 2, 3, 4]) {
      const used = shapes.slice(0, n).map((s, k) => randomTensor(s, 20 + k));
      const out = [2, 3, 5];
      const places = used.map((t) => broadcastPositions(t.shape, out));
      const reference = (values: readonly ArrayLike<number>[]): number[] =>
        Array.from({ length: 30 }, (_, i) => f(values.map((v, k) => v[places[k]?.[i] ?? 0] ?? NaN)));
      const data = used.map((t) => t.data);
      const y = reference(data);
      const seed = Float32Array.from(randomTensor([30], 7).data);
      const wrt = used.map((_, k) => k);
      const got = await runOperator(gpu(), { opType: op, opset: 13, inputs: used, gradient: { seed, wrt } });
      // n - 1 additions and a factor that is itself rounded; terms of at most 1.
      const exact = op === "Min" || op === "Max";
      expectWithin(got.outputs[0]?.data ?? [], y, () => (exact ? 0 : n * (n + 1) * U), `${n} inputs`);
      for (const k of wrt) {
        const g = numericGradient((x) => reference(data.map((d, i) => (i === k ? x : d))), used[k]?.data ?? [], seed);
        // At most 30 terms of at most 1, each within 12 u (a division, by the number of ties, among them).
        expectWithin(got.gradients.get(k)?.data ?? [], g, () => 30 * 42 * U, `${n} inputs, gradient ${k}`);
      }
    }
  });

  test("inputs of Max that tie share the gradient", async () => {
    const t = (...v: number[]) => tensor([2], v);
    const got = await runOperator(gpu(), {
      opType: "Max",
      opset: 13,
      inputs: [t(3, 1), t(3, 2), t(1, 0), t(3, 2)],
      gradient: { seed: Float32Array.of(6, 6), wrt: [0, 1, 2, 3] },
    });
    expectWithin(
      [0, 1, 2, 3].flatMap((k) => Array.from(got.gradients.get(k)?.data ?? [])),
      [2, 0, 2, 3, 0, 0, 2, 3],
      () => 30 * U,
    );
  });

  test.each([
    ["equal shapes", [2, 3, 5], [2, 3, 5], [2, 3, 5], [2, 3, 5]],
    ["all broadcast", [4, 1], [3, 1, 5], [2, 1, 1, 1], [2, 3, 4, 5]],
    ["a number and a condition for each row", [3, 1], [3, 4], [], [3, 4]],
  ] as const)("Where: %s", async (_, c, a, b, out) => {
    const condition: HostTensor = { type: "bool", shape: c, data: randomTensor(c, 8).data.map((x) => (x > 0 ? 1 : 0)) };
    const [x, z] = inputs(a, b, [-1, 1], 31);
    const [pc, pa, pb] = [c, a, b].map((s) => broadcastPositions(s, out));
    const f = (u: ArrayLike<number>, v: ArrayLike<number>): number[] =>
      Array.from({ length: sizeOf(out) }, (_, i) =>
        at(condition, pc?.[i] ?? 0) === 1 ? (u[pa?.[i] ?? 0] ?? NaN) : (v[pb?.[i] ?? 0] ?? NaN),
      );
    const seed = Float32Array.from(randomTensor([sizeOf(out)], 9).data);
    const got = await runOperator(gpu(), {
      opType: "Where",
      opset: 16,
      inputs: [condition, x, z],
      gradient: { seed, wrt: [1, 2] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual(f(x.data, z.data));
    // At most 60 terms of at most 1; 1e-9 for the differences.
    const first = numericGradient((u) => f(u, z.data), x.data, seed);
    const second = numericGradient((v) => f(x.data, v), z.data, seed);
    expectWithin(got.gradients.get(1)?.data ?? [], first, () => 60 * 59 * U + 1e-9);
    expectWithin(got.gradients.get(2)?.data ?? [], second, () => 60 * 59 * U + 1e-9);
    // The same on the host.
    const known = [condition, x, z].map((t): ValueInfo => ({ type: t.type, shape: t.shape, value: t }));
    const node = { name: "w", opType: "Where", inputs: ["c", "x", "y"], outputs: ["o"], attributes: new Map() };
    const [host] = operators.get("Where")?.infer(node, known, 16) ?? [];
    expect(host?.shape).toEqual(out);
    expect(Array.from(host?.value?.data ?? [])).toEqual(f(x.data, z.data));
  });
});

describe("two constants", () => {
  const infer = (op: string, ...tensors: HostTensor[]): ValueInfo[] => {
    const node = {
      name: "node",
      opType: op,
      inputs: tensors.map((_, k) => `in${k}`),
      outputs: ["y"],
      attributes: new Map(),
    };
    const known = tensors.map((t): ValueInfo => ({ type: t.type, shape: t.shape, value: t }));
    return operators.get(op)?.infer(node, known, 14) ?? [];
  };
  const whole = (shape: Shape, ...data: number[]): HostTensor => ({
    type: "int64",
    shape,
    data: Float64Array.from(data),
  });

  test.each([...operations.map((o) => o.op), "Sum", "Mean"])("%s", (op) => {
    const f = binaryReference[op] ?? ((a: number, b: number) => (op === "Sum" ? a + b : (a + b) / 2));
    for (const [, a, b, out] of patterns) {
      if (op === "PRelu" && sizeOf(out) !== sizeOf(a)) continue;
      const [x, y] = inputs(a, b, [0.25, 3], 41);
      const [host] = infer(op, x, y);
      const expected = apply(f, a, b, out)(x.data, y.data);
      expect(host?.shape).toEqual(out);
      // Float64, rounded once.
      expectWithin(host?.value?.data ?? [], expected, (i) => U * (1 + 1e-6) * Math.abs(expected[i] ?? 0));
    }
  });

  test("integers", () => {
    expect(infer("Div", whole([3], 7, -7, 9), whole([], 2))[0]?.value?.data).toEqual(Float64Array.of(3, -3, 4));
    expect(infer("Mul", whole([2], 2 ** 40, 3), whole([2], 2, 3))[0]?.value?.data).toEqual(Float64Array.of(2 ** 41, 9));
    expect(infer("Less", whole([2], 1, 2), whole([], 2))[0]).toMatchObject({
      type: "bool",
      value: { data: Float64Array.of(1, 0) },
    });
    expect(infer("Max", whole([2], 1, 5), whole([1], 2))[0]?.value?.data).toEqual(Float64Array.of(2, 5));
  });

  test("what does not fit is refused with both shapes or types", () => {
    const [a, b] = [tensor([2, 3], [1, 2, 3, 4, 5, 6]), tensor([2], [1, 2])];
    expect(() => infer("Add", a, b)).toThrow(/Add "node".*\[2,3\] and \[2\]/);
    expect(() => infer("Mul", a, whole([], 1))).toThrow(/float32 and int64/);
    expect(() => infer("PRelu", b, a)).toThrow(/\[2,3\]/);
  });

  test("a small file does not make the host allocate what it only declares", () => {
    const big = (n: number): ValueInfo => ({
      type: "float32",
      shape: n === 0 ? [2 ** 15, 1] : [1, 2 ** 15],
      value: tensor([2 ** 15], []),
    });
    const node = { name: "node", opType: "Add", inputs: ["a", "b"], outputs: ["y"], attributes: new Map() };
    expect(operators.get("Add")?.infer(node, [big(0), big(1)], 14)).toEqual([
      { type: "float32", shape: [2 ** 15, 2 ** 15] },
    ]);
    const huge: ValueInfo = { type: "float32", shape: [2 ** 20, 1] };
    const wide: ValueInfo = { type: "float32", shape: [1, 2 ** 20] };
    expect(() => operators.get("Add")?.infer(node, [huge, wide], 14)).toThrow(/1099511627776 elements/);
  });
});
