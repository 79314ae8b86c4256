/** Plans: what they compute and what they leave out, without a device. */
import { describe, expect, test } from "vitest";
import { makePlan, type Plan, type PlanRequest } from "../../src/engine/plan.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import { UnbraidError } from "../../src/errors.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { exactNumbers, graphOf, IMAGE, node, residualNetwork } from "./network.ts";

const draw = exactNumbers(1);
const network = residualNetwork(draw.weights, draw.fine, draw.scales);
const inputs = new Map([["image", [2, ...IMAGE]]]);
const plan = (request: Omit<PlanRequest, "inputs">, graph: Graph = network): Plan =>
  makePlan(graph, { inputs, ...request });
/** Conversions between rows and fours left out: they depend on which operators take fours. */
const computing = (p: Plan): Plan["calls"] => p.calls.filter((c) => c.shader !== "fours");
const shaders = (p: Plan): string[] =>
  computing(p).map((c) => nameOf(c.shader).replace(/^conv_fours .*/, "conv_fours"));

function refusal(make: () => unknown): UnbraidError {
  try {
    make();
  } catch (e) {
    if (e instanceof UnbraidError) return e;
    throw e;
  }
  throw new Error("nothing was refused");
}

describe("forward", () => {
  test("computes what the wanted values need, and nothing else", () => {
    expect(shaders(plan({ outputs: ["z1"] }))).toEqual(["conv_fours"]);
    expect(shaders(plan({ outputs: ["side"] }))).toEqual(["conv_fours", "unary"]);
    const logits = shaders(plan({ outputs: ["logits"] }));
    expect(logits.filter((s) => s === "conv_fours").length).toBe(3);
    // The Relus are done as what comes before them is written; the Sigmoid and the fourth Relu are not needed.
    expect(logits.filter((s) => s === "unary").length).toBe(0);
    expect(plan({ outputs: ["image", "w1"] }).calls).toEqual([]);
  });

  test("a BatchNormalization is folded unless its Conv, or a weight of the two, must stay visible", () => {
    const norms = (request: Omit<PlanRequest, "inputs">) =>
      plan(request).calls.filter((c) => c.shader === "batch_norm" || c.entry === "affine").length;
    expect(norms({ outputs: ["n2", "logits"] })).toBe(1); // z1 is read by `side` too
    expect(norms({ outputs: ["logits"], visible: ["z2"] })).toBe(2);
    const wrt = (name: string) => ({ outputs: [], gradient: { of: "s", wrt: [name] } });
    expect(norms(wrt("a"))).toBe(1);
    expect(norms(wrt("w2"))).toBe(3); // forward twice, backward once
  });

  test("an input or output that is left out connects nothing", () => {
    const graph = graphOf(
      [
        node("MaxPool", ["image"], ["pooled", ""], { kernel_shape: [8, 8] }),
        node("Conv", ["other", "w", ""], ["t"]),
        node("ArgMax", ["t"], ["index"], { axis: 1 }),
        node("Cast", ["index"], ["number"], { to: 1 }),
        node("Add", ["pooled", "number"], ["sum"]),
      ],
      [2, 3, 8, 8],
      ["sum"],
      { w: draw.weights([8, 3, 1, 1]) },
    );
    const two: Graph = { ...graph, inputs: [...graph.inputs, { name: "other", type: "float32", shape: [2, 3, 1, 1] }] };
    const shapes = new Map([...inputs, ["other", [2, 3, 1, 1]]]);
    // MaxPool's missing output and Conv's missing bias have the same name, "": no path from the image to ArgMax.
    const gradient = { of: "sum", wrt: ["image"] };
    expect(() => makePlan(two, { inputs: shapes, outputs: [], gradient })).not.toThrow();
    expect(shaders(makePlan(two, { inputs: shapes, outputs: ["t"] }))).toEqual(["conv_fours"]);
  });
});

describe("memory", () => {
  test("values that are not asked for share buffers; results do not", () => {
    const lean = plan({ outputs: ["logits"] });
    const sum = (p: Plan) => p.bufferBytes.reduce((a, b) => a + b, 0);
    expect(lean.liveBytes).toBeLessThanOrEqual(sum(lean));
    const whole = plan({ outputs: ["z1", "n1", "a", "z2", "n2", "s", "c", "m", "v", "joined", "z3", "r", "logits"] });
    expect(sum(lean)).toBeLessThan(sum(whole) / 2);
    const buffers = [...whole.results.values()].map((t) => whole.slots[t.slot.id]?.buffer);
    expect(new Set(buffers).size).toBe(buffers.length);
  });

  test("no dispatch writes a buffer that it reads, or that still holds another value", () => {
    const p = plan({ outputs: ["logits", "side"], gradient: { of: "logits", wrt: ["image", "w1", "w2", "b3", "w4"] } });
    const bufferOf = (id: number) => p.slots[id]?.buffer ?? -1;
    const holder = new Map<number, number>(); // buffer -> slot that wrote it last
    for (const t of p.inputs.values()) holder.set(bufferOf(t.slot.id), t.slot.id);
    for (const call of p.calls) {
      for (const s of call.reads) {
        if (p.slots[s.id]?.kind !== "constant") expect(holder.get(bufferOf(s.id)), call.label).toBe(s.id);
      }
      for (const s of call.writes) {
        expect(
          call.reads.map((r) => bufferOf(r.id)),
          call.label,
        ).not.toContain(bufferOf(s.id));
        holder.set(bufferOf(s.id), s.id);
      }
    }
    for (const t of p.results.values()) expect(holder.get(bufferOf(t.slot.id))).toBe(t.slot.id);
  });
});

describe("gradients", () => {
  const extra = (wrt: readonly string[]): number =>
    computing(plan({ outputs: [], gradient: { of: "logits", wrt } })).length -
    computing(plan({ outputs: ["logits"], visible: wrt })).length;

  test("go as far back as needed and no further", () => {
    expect(extra(["logits"])).toBe(0);
    expect(extra(["f"])).toBe(1); // Gemm
    expect(extra(["g"])).toBe(1); // Flatten passes it on
    expect(extra(["r"])).toBe(2); // the mean's
    expect(extra(["z3"])).toBe(2); // which does Relu as well
    expect(extra(["b3"])).toBe(3);
    expect(extra(["joined"])).toBe(3); // Conv
    expect(extra(["joined", "z3", "f"])).toBe(3);
    // Concat cuts one of two slices, one pool's gradient.
    expect(extra(["m"])).toBe(4);
    expect(extra(["w4"])).toBe(1);
    const stopped = plan({ outputs: [], gradient: { of: "logits", wrt: ["z3"] } });
    expect(stopped.calls.map((c) => c.label).filter((l) => /maxpool|conv2/i.test(l))).toEqual([]);
  });

  test("what is not computed forward is not needed backward", () => {
    const labels = plan({ outputs: [], gradient: { of: "c", wrt: ["image"] } }).calls.map((c) => c.shader);
    expect(labels).not.toContain("matmul");
    expect(labels).not.toContain("max_pool");
  });

  test("none, unsupported, unknown: errors with names", () => {
    const gradient = (of: string, wrt: string) => refusal(() => plan({ outputs: [], gradient: { of, wrt: [wrt] } }));
    expect(gradient("logits", "side")).toMatchObject({ kind: "input", code: "GRADIENT_NONE" });
    expect(gradient("logits", "side").message).toContain('"logits" does not depend on "side"');
    expect(gradient("z1", "logits").code).toBe("GRADIENT_NONE");
    expect(gradient("logits", "joint")).toMatchObject({ kind: "input", code: "VALUE_UNKNOWN" });
    expect(gradient("logits", "joint").remedy).toMatch(/^Nearest names: joined,/);
    expect(gradient("logit", "image").remedy).toMatch(/^Nearest names: logits/);
    expect(refusal(() => plan({ outputs: ["nothing"] })).code).toBe("VALUE_UNKNOWN");

    const hard = graphOf(
      [
        node("Conv", ["image", "w"], ["z"]),
        node("ArgMax", ["z"], ["first"], { axis: 1 }),
        node("ArgMin", ["z"], ["last"], { axis: 1 }),
        node("Cast", ["first"], ["f"], { to: 1 }),
        node("Cast", ["last"], ["l"], { to: 1 }),
        node("Add", ["f", "l"], ["sum"]),
      ],
      [2, 3, 8, 8],
      ["sum"],
      { w: draw.weights([4, 3, 1, 1]) },
    );
    const unsupported = refusal(() => plan({ outputs: [], gradient: { of: "sum", wrt: ["z"] } }, hard));
    expect(unsupported).toMatchObject({ kind: "unsupported", code: "GRADIENT_UNSUPPORTED" });
    expect(unsupported.message).toMatch(/ArgMax "first".*ArgMin "last"|ArgMin "last".*ArgMax "first"/);
    expect(refusal(() => plan({ outputs: [], gradient: { of: "f", wrt: ["z"] } }, hard)).message).not.toContain("last");
  });

  test("shapes that contradict the file, and operators that are not known, all at once", () => {
    const shaped = (shape: number[]) =>
      refusal(() => makePlan(network, { inputs: new Map([["image", shape]]), outputs: ["logits"] }));
    expect(shaped([2, 4, 8, 8])).toMatchObject({ kind: "input", code: "INPUT_SHAPE" });
    expect(shaped([2, 4, 8, 8]).message).toContain("?x3x8x8, given 2x4x8x8");
    expect(refusal(() => makePlan(network, { inputs: new Map(), outputs: ["logits"] })).message).toContain(
      "given nothing",
    );
    const odd = graphOf([node("Foo", ["image"], ["y"]), node("Bar", ["y"], ["z"])], [2, 3, 8, 8], ["z"]);
    const error = refusal(() => plan({ outputs: ["z"] }, odd));
    expect(error.code).toBe("OPERATORS_UNSUPPORTED");
    expect(error.message).toContain("Foo");
    expect(error.message).toContain("Bar");
  });
});
