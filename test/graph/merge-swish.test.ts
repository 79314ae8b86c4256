/** x * Sigmoid(x) as one node: where it is merged, where not, and that forward and gradient stay what they are. */
import { expect, test } from "vitest";
import { makePlan } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import type { Graph, GraphNode } from "../../src/graph/graph.ts";
import { graphOf, node } from "../engine/network.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";

const gated = (...rest: GraphNode[]): Graph =>
  graphOf([node("Sigmoid", ["image"], ["gate"]), ...rest], [2, 5], ["y"], {});
const inputs = new Map([["image", [2, 5]]]);
const labels = (graph: Graph, outputs: readonly string[]): string[] =>
  makePlan(graph, { inputs, outputs }).calls.map((c) => c.label.replace(/^.*: /, ""));

test("merged in either order of the factors, not where the gate is read by another or asked for", () => {
  expect(labels(gated(node("Mul", ["image", "gate"], ["y"])), ["y"])).toEqual(["Swish"]);
  expect(labels(gated(node("Mul", ["gate", "image"], ["y"])), ["y"])).toEqual(["Swish"]);
  expect(labels(gated(node("Mul", ["image", "gate"], ["y"])), ["y", "gate"])).toEqual(["Sigmoid", "Mul"]);
  expect(labels(gated(node("Mul", ["gate", "gate"], ["y"])), ["y"])).toEqual(["Sigmoid", "Mul"]);
  const twice = gated(node("Mul", ["image", "gate"], ["t"]), node("Add", ["t", "gate"], ["y"]));
  expect(labels(twice, ["y"])).toEqual(["Sigmoid", "Mul", "Add"]);
});

onAdapters("merged Swish", (gpu) => {
  test("forward and gradient are those of the two nodes", async () => {
    const x = randomTensor([2, 5], 1, -3, 3);
    const seed = Float32Array.from(randomTensor([2, 5], 2).data);
    using session = new Session(gpu(), gated(node("Mul", ["image", "gate"], ["y"])));
    const feeds = new Map([["image", x]]);
    const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
    const y = Float64Array.from(x.data, (v) => v * sigmoid(v));
    const dx = Float64Array.from(x.data, (v, i) => (seed[i] ?? 0) * sigmoid(v) * (1 + v * (1 - sigmoid(v))));
    // Sigmoid 12 u (shaders/unary.wgsl), a handful of products and sums; |x| is 3 at the most.
    const bound = 20 * U * 4;
    expectWithin((await session.run(feeds)).get("y")?.data ?? [], y, () => bound);
    const got = await session.gradient(feeds, { of: "y", seed, wrt: ["image"] });
    expectWithin(got.get("image")?.data ?? [], dx, () => bound);
  });
});
