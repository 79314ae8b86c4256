/** Dispatches that follow a plan's own: where they stand, and that what they read gives its memory back. */
import type { KernelCall } from "../../src/kernels/operator.ts";
import { describe, expect, test } from "vitest";
import { makePlan, type Extension, type Plan, type PlanRequest } from "../../src/engine/plan.ts";
import { exactNumbers, IMAGE, residualNetwork } from "./network.ts";

const draw = exactNumbers(1);
const network = residualNetwork(draw.weights, draw.fine, draw.scales);
const inputs = new Map([["image", [2, ...IMAGE]]]);
const wrt = ["z1", "z2", "z3"];

/** Reads `name` or its gradient, and leaves one number. */
function reader(what: "value" | "gradient", seen: string[]) {
  return (name: string, x: Extension): void => {
    seen.push(`${what} ${name}`);
    const { slot } = x[what](name);
    x.dispatch({
      shader: "accumulate",
      params: [1],
      reads: [slot, slot],
      writes: [x.result(`${what} ${name}`, [1]).slot],
      workgroups: [1, 1, 1],
      label: `${what} ${name}`,
    });
  };
}

const plan = (more: Partial<PlanRequest>): Plan =>
  makePlan(network, { inputs, outputs: [], gradient: { of: "logits", wrt, read: false }, ...more });

describe("dispatches behind a value or a gradient", () => {
  const seen: string[] = [];
  const follow = { value: reader("value", seen), gradient: reader("gradient", seen) };
  const followed = plan({ visible: ["image", ...wrt], follow });
  const labels = followed.calls.map((c) => c.label);
  const own = (label: string): boolean => /^(value|gradient) \w+$/.test(label);

  test("each is told once, in the order in which they are made", () => {
    // The network's order, then backwards.
    const values = ["value image", "value z1", "value z2", "value z3", "value logits"];
    expect(seen).toEqual([...values, "gradient z3", "gradient z2", "gradient z1"]);
    expect(labels.filter(own)).toEqual(seen);
  });

  test("they stand right behind what makes their operand, before anything else", () => {
    followed.calls.forEach((call, i) => {
      if (!own(call.label) || call.label === "value image") return;
      let before = i - 1;
      while (own(followed.calls[before]?.label ?? "")) before--;
      const operand = call.reads[0]?.id ?? -1;
      const makers = followed.calls.flatMap((c, k) => (c.writes.some((s) => s.id === operand) ? [k] : []));
      expect(makers.at(-1), call.label).toBe(before);
    });
  });

  test("and the network's own dispatches are the same", () => {
    // But for conversions of what the readers want in rows.
    const labels = (calls: readonly KernelCall[]) => calls.filter((c) => c.shader !== "fours").map((c) => c.label);
    expect(labels(followed.calls.filter((c) => !own(c.label)))).toEqual(labels(plan({ visible: wrt }).calls));
  });

  test("memory: gradients consumed where they are made do not live to the end", () => {
    const late = plan({
      visible: ["image", ...wrt],
      extend: (x) => {
        for (const name of wrt) reader("gradient", [])(name, x);
        for (const name of ["image", ...wrt]) reader("value", [])(name, x);
      },
    });
    expect(followed.liveBytes).toBeLessThan(late.liveBytes);
  });

  test("a value that is neither an output nor visible is refused, and named", () => {
    const unseen = (): Plan => plan({ extend: (x) => void x.value("z1") });
    expect(unseen).toThrow(expect.objectContaining({ kind: "usage", code: "VALUE_NOT_VISIBLE" }));
    expect(unseen).toThrow(/"z1"/);
  });
});
