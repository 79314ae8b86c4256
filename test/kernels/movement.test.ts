/** Operators that move elements: on the device, and their gradients, all exact but for repeated elements. */
import { expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import type { AttributeValue, Graph, GraphNode } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import * as reference from "../reference/movement.ts";
import { expectWithin, ints, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";
import { cases, expected, expectedGradient, inputsOf, tupleCases, type Case } from "./movement-cases.ts";

onAdapters("operators that move elements", (gpu) => {
  // An empty result has no memory to read; those cases run on the host (movement-host.test.ts).
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
