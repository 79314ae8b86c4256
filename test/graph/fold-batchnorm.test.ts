/** BatchNormalization folded into the Conv before it: the same function, and only where nothing else needs the Conv. */
import { describe, expect, test } from "vitest";
import { foldBatchNorm } from "../../src/graph/fold-batchnorm.ts";
import type { AttributeValue, Graph, GraphNode, HostTensor, ShapedGraph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { interpret, type Value } from "../reference/interpret.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";

const node = (
  opType: string,
  inputs: readonly string[],
  output: string,
  attributes: Record<string, AttributeValue> = {},
): GraphNode => ({
  name: output,
  opType,
  inputs,
  outputs: [output],
  attributes: new Map(Object.entries(attributes)),
});
const bn = node("BatchNormalization", ["z", "scale", "beta", "mean", "variance"], "n", { epsilon: 0.01 });
const constants: Record<string, HostTensor> = {
  w: randomTensor([6, 4, 3, 3], 1),
  b: randomTensor([6], 2),
  scale: randomTensor([6], 3, -2, 2),
  beta: randomTensor([6], 4),
  mean: randomTensor([6], 5),
  variance: randomTensor([6], 6, 0.1, 3),
};

function network(nodes: readonly GraphNode[], outputs: readonly string[], inputs: readonly string[] = []): ShapedGraph {
  const graph: Graph = {
    ...{
      opset: 17,
      nodes,
      outputs,
      constants: new Map(Object.entries(constants).filter(([n]) => !inputs.includes(n))),
    },
    inputs: [
      { name: "image", type: "float32", shape: [2, 4, 5, 6] },
      ...inputs.map((name) => ({ name, type: "float32", shape: constants[name]?.shape }) as const),
    ],
  };
  const shapes = new Map([["image", [2, 4, 5, 6]], ...inputs.map((n) => [n, constants[n]?.shape ?? []] as const)]);
  return inferShapes(graph, shapes, inferRule);
}
const types = (g: Graph): string[] => g.nodes.map((n) => n.opType);

describe.each([
  { title: "with bias", conv: node("Conv", ["image", "w", "b"], "z") },
  { title: "without bias", conv: node("Conv", ["image", "w"], "z") },
])("a Conv $title", ({ conv }) => {
  test("and its BatchNormalization become one Conv that computes the same", () => {
    const before = network([conv, bn, node("Relu", ["n"], "y")], ["y"]);
    const after = foldBatchNorm(before, new Set());
    expect(types(after)).toEqual(["Conv", "Relu"]);
    const image = randomTensor([2, 4, 5, 6], 7);
    const given = new Map<string, Value>([["image", { shape: image.shape, data: Float64Array.from(image.data) }]]);
    const [expected, got] = [before, after].map((g) => interpret(g, given).get("n")?.data ?? []);
    // Folded weights and bias are rounded once each: u times the sum of the terms' sizes, of which the scale is at most
    // 2 / sqrt(0.11) and the sum of |w||x| at most 36.
    const bound = 2 * U * (2 / Math.sqrt(0.11)) * (36 + 2);
    expectWithin(got ?? [], expected ?? [], () => bound, "n");
    expect(after.constants.get("w")).toBe(before.constants.get("w"));
  });

  test("stays where something else must see what lies between", () => {
    const relu = node("Relu", ["n"], "y");
    const kept = ["Conv", "BatchNormalization", "Relu"];
    expect(types(foldBatchNorm(network([conv, bn, relu], ["y"]), new Set(["z"])))).toEqual(kept);
    expect(types(foldBatchNorm(network([conv, bn, relu], ["y", "z"]), new Set()))).toEqual(kept);
    const other = network([conv, bn, relu, node("Relu", ["z"], "side")], ["y", "side"]);
    expect(types(foldBatchNorm(other, new Set()))).toEqual([...kept, "Relu"]);
    for (const name of ["w", "scale", "variance"]) {
      expect(types(foldBatchNorm(network([conv, bn, relu], ["y"]), new Set([name])))).toEqual(kept);
    }
    // The output itself may be visible: it keeps its name.
    expect(types(foldBatchNorm(network([conv, bn, relu], ["y"]), new Set(["n", "image"])))).toEqual(["Conv", "Relu"]);
  });

  test("stays where a parameter is not constant", () => {
    for (const name of ["w", "mean", "scale"]) {
      expect(types(foldBatchNorm(network([conv, bn], ["n"], [name]), new Set()))).toEqual([
        "Conv",
        "BatchNormalization",
      ]);
    }
  });

  test("gives the same tensors every time, so that they are uploaded once", () => {
    const shaped = network([conv, bn], ["n"]);
    const [one, two] = [foldBatchNorm(shaped, new Set()), foldBatchNorm(network([conv, bn], ["n"]), new Set(["n"]))];
    const weight = one.nodes[0]?.inputs[1] ?? "";
    expect(one.constants.get(weight)).toBeDefined();
    expect(two.constants.get(weight)).toBe(one.constants.get(weight));
  });
});

test("a weight that two layers share is folded for each with its own statistics", () => {
  const graph = network(
    [
      node("Conv", ["image", "w"], "z"),
      bn,
      node("Conv", ["image", "w"], "z2"),
      node("BatchNormalization", ["z2", "beta", "scale", "mean", "variance"], "n2"),
      node("Add", ["n", "n2"], "sum"),
    ],
    ["sum"],
  );
  const after = foldBatchNorm(graph, new Set());
  expect(types(after)).toEqual(["Conv", "Conv", "Add"]);
  const [a, b] = after.nodes.slice(0, 2).map((n) => after.constants.get(n.inputs[1] ?? "")?.data);
  expect(a).not.toEqual(b);
});
