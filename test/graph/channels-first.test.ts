/** Graphs whose images have channels last, taken with channels first. */
import { describe, expect, it } from "vitest";
import { buildGraph } from "../../src/graph/build.ts";
import { channelsFirst, channelsLast } from "../../src/graph/channels-first.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { makeModel, node, valueInfo, type ModelParts } from "../onnx/make.ts";

describe("channels last", () => {
  it.each([
    [[null, 224, 224, 3], true],
    [[null, null, null, 3], true],
    [[1, 28, 28, 1], true],
    [[null, 3, 224, 224], false],
    [[null, 3, null, null], false],
    [[null, 3, 3, 3], false],
    [[null, 3, 64, 1], false],
    [[null, 64, 64, 64], false],
    [[null, 224, 3], false],
  ])("%j: %s", (shape, expected) => {
    expect(channelsLast(shape)).toBe(expected);
  });
});

describe("taken with channels first", () => {
  const parts: ModelParts = {
    input: [valueInfo("x", ["n", 6, 8, 3])],
    output: [valueInfo("y", ["n", 6, 8, 3]), valueInfo("s", [4])],
    // Two readers, and a name that the pass would choose.
    node: [
      node("Relu", ["x"], ["y"], {}, "channels last"),
      node("Shape", ["x"], ["s"]),
      node("Abs", ["y"], ["x with channels last"]),
    ],
  };

  it("every reader has the transposed images, whose shape is the file's", () => {
    const graph = channelsFirst(buildGraph(makeModel(parts)));
    expect(graph.inputs).toEqual([{ name: "x", type: "float32", shape: [null, 3, 6, 8] }]);
    expect(new Set(graph.nodes.map((n) => n.name)).size).toBe(4);
    const shaped = inferShapes(graph, new Map([["x", [2, 3, 6, 8]]]), inferRule);
    expect(shaped.values.get("y")?.shape).toEqual([2, 6, 8, 3]);
    expect(shaped.values.get("s")?.value?.data).toEqual(Float64Array.of(2, 6, 8, 3));
  });

  it("a graph of channels first, and one of two inputs, is returned as it is", () => {
    const usual = buildGraph(makeModel({ ...parts, input: [valueInfo("x", ["n", 3, 6, 8])] }));
    expect(channelsFirst(usual)).toBe(usual);
    const two = buildGraph(makeModel({ ...parts, input: [valueInfo("x", ["n", 6, 8, 3]), valueInfo("z", [1])] }));
    expect(channelsFirst(two)).toBe(two);
  });
});
