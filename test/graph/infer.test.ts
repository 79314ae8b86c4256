/** Shapes, constants and what depends on what. */
import { describe, expect, test } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import type { AttributeValue, Graph, GraphNode } from "../../src/graph/graph.ts";
import { inferShapes, unsupportedError, unsupportedNodes } from "../../src/graph/infer.ts";
import { neededNodes, readers } from "../../src/graph/prune.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { ints } from "../support/numbers.ts";

const node = (
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Record<string, AttributeValue> = {},
): GraphNode => ({
  name: outputs[0] ?? opType,
  opType,
  inputs,
  outputs,
  attributes: new Map(Object.entries(attributes)),
});
const graph = (nodes: readonly GraphNode[], outputs: readonly string[]): Graph => ({
  ...{
    opset: 17,
    nodes,
    outputs,
    constants: new Map([
      ["minus one", ints([-1])],
      ["zero", ints([0])],
    ]),
  },
  inputs: [{ name: "image", type: "float32", shape: [null, 3, 4, 4] }],
});
const infer = (g: Graph, shape: readonly number[]) => inferShapes(g, new Map([["image", shape]]), inferRule);

describe("inferShapes", () => {
  // x.reshape(x.shape[0], -1), as the older exporter writes it.
  const flatten = graph(
    [
      node("Relu", ["image"], ["x"]),
      node("Shape", ["x"], ["shape"]),
      node("Gather", ["shape", "zero"], ["batch"]),
      node("Concat", ["batch", "minus one"], ["target"], { axis: 0 }),
      node("Reshape", ["x", "target"], ["flat"]),
    ],
    ["flat"],
  );

  test("computes what does not depend on the image, and keeps only what does", () => {
    const shaped = infer(flatten, [5, 3, 4, 4]);
    expect(shaped.nodes.map((n) => n.opType)).toEqual(["Relu", "Reshape"]);
    expect(Array.from(shaped.constants.get("target")?.data ?? [])).toEqual([5, -1]);
    expect(shaped.values.get("flat")).toEqual({ type: "float32", shape: [5, 48] });
    expect(infer(flatten, [2, 3, 4, 4]).values.get("flat")?.shape).toEqual([2, 48]);
    expect([...shaped.stored.keys()]).toEqual(["minus one", "zero"]);
  });

  test("refuses shapes that contradict the file", () => {
    for (const shape of [[5, 4, 4, 4], [5, 3, 4], []]) {
      expect(() => infer(flatten, shape)).toThrow(/declared as \?x3x4x4, given/);
    }
    expect(() => inferShapes(flatten, new Map(), inferRule)).toThrow(UnbraidError);
  });

  test("lists every operator that is not known, with node names", () => {
    const odd = graph(
      [node("Foo", ["image"], ["a"]), node("Relu", ["a"], ["b"]), node("Bar", ["b"], ["c"]), node("Foo", ["c"], ["d"])],
      ["d"],
    );
    expect(unsupportedNodes(odd, inferRule).map((u) => [u.node, u.type])).toEqual([
      ["a", "Foo"],
      ["c", "Bar"],
      ["d", "Foo"],
    ]);
    expect(() => infer(odd, [1, 3, 4, 4])).toThrow(/^3 nodes use operators that are not supported \(Bar, Foo\)/);
  });

  test("what only one of PyTorch's exporters writes: the error names the other", () => {
    const remedy = (...types: string[]): string =>
      unsupportedError(types.map((type) => ({ node: "n", type, why: "" }))).remedy;
    expect(remedy("If")).toMatch(/dynamo=True.*features\.md/);
    expect(remedy("SequenceAt", "SplitToSequence")).toMatch(/optimize=True/);
    expect(remedy("LSTM")).not.toMatch(/PyTorch/);
  });
});

describe("pruning", () => {
  const nodes = [
    node("MaxPool", ["image"], ["m", ""]),
    node("Conv", ["image", "w", ""], ["z"]),
    node("Relu", ["z"], ["y"]),
    node("Add", ["y", "y"], ["twice"]),
    node("Relu", ["m"], ["other"]),
  ];
  const g = graph(nodes, ["twice", "other"]);

  test("keeps what the wanted values need, in order; names left out need nothing", () => {
    const names = (wanted: readonly string[]) => neededNodes(g, wanted).map((n) => n.name);
    expect(names(["twice"])).toEqual(["z", "y", "twice"]);
    expect(names(["other", "z"])).toEqual(["m", "z", "other"]);
    expect(names(["image"])).toEqual([]);
    expect(names(["", "z"])).toEqual(["z"]);
  });

  test("counts readers, graph outputs among them", () => {
    const count = readers(g);
    expect([count.get("y"), count.get("z"), count.get("image"), count.get("twice"), count.get("m")]).toEqual([
      2, 1, 2, 1, 1,
    ]);
  });
});
