/** What is fused with a convolution, forward and backward, gives what the nodes give one by one. */
import { expect, test } from "vitest";
import { makePlan, type PlanRequest } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import type { Graph, HostTensor } from "../../src/graph/graph.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { exactNumbers, graphOf, node } from "./network.ts";

const between = ["z1", "z2", "s", "z3", "z4", "z5", "t"];

/**
 * Convolutions whose sums are exact in any order (exactNumbers), so that fused and unfused runs agree bit by bit.
 * @param apart every value has another reader: nothing is fused
 */
function network(seed: number, apart = false): Graph {
  const { weights, fine } = exactNumbers(seed);
  const same = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  return graphOf(
    [
      node("Conv", ["image", "w1", "b1"], ["z1"], same),
      node("Relu", ["z1"], ["a"]),
      node("Conv", ["a", "w2", "b2"], ["z2"], same),
      node("Add", ["a", "z2"], ["s"]),
      node("Relu", ["s"], ["r"]),
      node("Conv", ["r", "w3"], ["z3"], { ...same, group: 8 }),
      node("Clip", ["z3", "low", "high"], ["k"]),
      node("Conv", ["k", "w4"], ["z4"], { kernel_shape: [1, 1], strides: [2, 2] }),
      node("Conv", ["r", "w5"], ["z5"], { kernel_shape: [1, 1], strides: [2, 2] }),
      node("Add", ["z4", "z5"], ["t"]),
      node("Relu", ["t"], ["u"]),
      node("GlobalAveragePool", ["u"], ["g"]),
      node("Flatten", ["g"], ["logits"]),
      ...(apart ? between.map((name) => node("Identity", [name], [`copy of ${name}`])) : []),
    ],
    [null, 3, 8, 8],
    ["logits"],
    {
      ...{ w1: weights([8, 3, 3, 3]), b1: fine([8]), w2: weights([8, 8, 3, 3]), b2: fine([8]) },
      ...{ w3: weights([8, 1, 3, 3]), w4: weights([8, 8, 1, 1]), w5: weights([8, 8, 1, 1]) },
      low: { type: "float32", shape: [], data: Float32Array.of(-2) },
      high: { type: "float32", shape: [], data: Float32Array.of(3) },
    },
  );
}

const shape = [2, 3, 8, 8];
const kinds = (request: Omit<PlanRequest, "inputs">, graph = network(1)): string[] =>
  makePlan(graph, { inputs: new Map([["image", shape]]), ...request }).calls.map((c) => nameOf(c.shader));

test("Add, Relu and Clip behind a convolution are dispatches of their own only where a value in between is asked for", () => {
  const apart = (names: readonly string[]): string[] => names.filter((n) => n === "unary" || n === "binary");
  expect(apart(kinds({ outputs: ["logits"] }))).toEqual([]);
  expect(apart(kinds({ outputs: ["logits", "s"] }))).toEqual(["unary"]);
  expect(apart(kinds({ outputs: ["logits", ...between] }, network(1, true))).length).toBe(6);
});

test("a convolution writes its own output as well where it is asked for", () => {
  const calls = (outputs: readonly string[]) =>
    makePlan(network(1), { inputs: new Map([["image", shape]]), outputs }).calls;
  const [one, two] = [calls(["logits"]), calls(["logits", "z1", "z2", "z3", "z4", "z5"])];
  const computing = (list: typeof one): string[] => list.map((c) => c.label).filter((l) => !l.endsWith("to rows"));
  expect(computing(two)).toEqual(computing(one));
  expect(two.filter((c) => c.constants?.SUMS === 1).length).toBe(4);
});

test("a gradient through a Clip needs what went into it: that Clip is not fused", () => {
  const gradient = { of: "logits", wrt: ["image"] };
  // Forward and backward.
  const steps = (outputs: string[]): number => kinds({ outputs, gradient }).filter((n) => n === "unary").length;
  expect(steps([])).toBe(2);
  // Where it is asked for, the convolution writes it beside the clipped one.
  expect(steps(["z3"])).toBe(1);
});

onAdapters("fusion", (gpu) => {
  test.each([1, 2, 3])("fused and unfused runs give the same bits, forward and backward, draw %i", async (seed) => {
    const { images, fine } = exactNumbers(seed + 10);
    const image = images(shape);
    const inputs = new Map<string, HostTensor>([["image", image]]);
    using session = new Session(gpu(), network(seed));
    using unfused = new Session(gpu(), network(seed, true));
    const fused = await session.run(inputs, ["logits"]);
    const both = await session.run(inputs, ["logits", ...between]);
    const whole = await unfused.run(inputs, ["logits", ...between]);
    expect(whole.get("logits")?.data).toEqual(fused.get("logits")?.data);
    for (const name of ["logits", ...between]) expect(both.get(name)?.data, name).toEqual(whole.get(name)?.data);
    expect(fused.get("logits")?.data.some((v) => v !== 0)).toBe(true);
    const request = { of: "logits", seed: Float32Array.from(fine([2, 8]).data) };
    const back = await session.gradient(inputs, { ...request, wrt: ["image"] });
    const names = ["image", "a", "r", "k", ...between];
    const all = await session.gradient(inputs, { ...request, wrt: names });
    const apart = await unfused.gradient(inputs, { ...request, wrt: names });
    expect(all.get("image")?.data).toEqual(back.get("image")?.data);
    for (const name of names) expect(all.get(name)?.data, name).toEqual(apart.get(name)?.data);
    expect(back.get("image")?.data.some((v) => v !== 0)).toBe(true);
  });
});
