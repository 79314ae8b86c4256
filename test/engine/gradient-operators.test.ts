/** Every operator that has a gradient has it checked: against central differences of a float64 reference. */
import { describe, expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import type { GraphNode } from "../../src/graph/graph.ts";
import { operators } from "../../src/kernels/table.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";
import { gradientCases, type GradientCase } from "./gradient-cases.ts";
import { graphOf, node } from "./network.ts";

/** Operators to booleans: gradients end there. */
const TO_BOOLEAN = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not"];

test("every operator with a gradient has a case here, and every case an operator", () => {
  const withGradient = [...operators].filter(([, o]) => o.gradient !== undefined).map(([name]) => name);
  const covered = new Set([...gradientCases.map((c) => c.op), ...TO_BOOLEAN]);
  expect([...covered].sort()).toEqual(withGradient.sort());
});

const STEP = 1e-5;

/** d output[o] / d input[i] as [i][o], by central differences. */
function jacobian(c: GradientCase, k: number): Float64Array[] {
  const inputs = c.inputs.map((t) => Float64Array.from(t?.data ?? []));
  const x = inputs[k] ?? new Float64Array(0);
  return Array.from(x, (value, i) => {
    x[i] = value + STEP;
    const above = Float64Array.from(c.f(inputs));
    x[i] = value - STEP;
    const below = c.f(inputs);
    x[i] = value;
    return above.map((y, o) => (y - (below[o] ?? NaN)) / (2 * STEP));
  });
}

const titled = gradientCases.map((c) => ({ ...c, name: `${c.op}${c.title === undefined ? "" : `, ${c.title}`}` }));

onAdapters("gradients of all operators", (gpu) => {
  test.each(titled)("$name", async (c) => {
    const outputs = Float64Array.from(c.f(c.inputs.map((t) => t?.data ?? []))).length;
    const seed = Float32Array.from(randomTensor([outputs], 7).data);
    const constants = c.inputs.flatMap((t, k) => (t !== undefined && k > 0 ? [k] : []));
    const { gradients, outputs: got } = await runOperator(gpu(), {
      opType: c.op,
      opset: c.opset ?? 13,
      inputs: c.inputs,
      constants,
      ...(c.attributes === undefined ? {} : { attributes: c.attributes }),
      ...(c.op === "Split" ? { outputs: 2 } : {}),
      gradient: { seed, wrt: c.wrt },
    });
    expect(got[0]?.data.length).toBe(outputs);
    for (const k of c.wrt) {
      const columns = jacobian(c, k);
      const expected = columns.map((column) => column.reduce((s, d, o) => s + d * (seed[o] ?? NaN), 0));
      // A sum of `terms` products errs by at most terms u times the sum of their sizes; a slope is made of at most four
      // factors within 16 u each (shaders/unary.wgsl), what it is multiplied by included. Normalisations subtract sums
      // of the size of the largest. Differences err by 1e-9 of the outputs' size.
      const size = Math.max(
        ...columns.map((column) => column.reduce((s, d, o) => s + Math.abs(d * (seed[o] ?? 0)), 0)),
      );
      const bound = U * ((c.terms ?? 1) + 64) * size + 2e-9 * (1 + size);
      expect(gradients.get(k)?.shape).toEqual(c.inputs[k]?.shape);
      expectWithin(gradients.get(k)?.data ?? [], expected, () => bound, `input ${k}`);
    }
  });

  describe("to booleans", () => {
    test.each(TO_BOOLEAN)("%s passes none on", async (op) => {
      const logical = ["And", "Or", "Xor", "Not"].includes(op);
      const nodes: GraphNode[] = [
        ...(logical ? [node("Cast", ["image"], ["truth"], { to: 9 })] : []),
        node(op, op === "Not" ? ["truth"] : logical ? ["truth", "truth"] : ["image", "image"], ["bool"]),
        node("Cast", ["bool"], ["y"], { to: 1 }),
      ];
      using session = new Session(gpu(), graphOf(nodes, [3], ["y"]));
      const image = randomTensor([3], 1);
      const asked = session.gradient(new Map([["image", image]]), {
        of: "y",
        seed: new Float32Array(3),
        wrt: ["image"],
      });
      await expect(asked).rejects.toMatchObject({
        code: "GRADIENT_NONE",
        message: '"y" does not depend on "image" but through integers, comparisons or sizes',
      });
    });
  });
});
