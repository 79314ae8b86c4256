import { describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { buildGraph, nodeNames } from "../../src/graph/build.ts";
import { onnx } from "../support/onnx-proto.ts";
import { attribute, floats, makeModel, node, TYPE, valueInfo } from "./make.ts";
import type { ModelParts } from "./make.ts";

const ends = { input: [valueInfo("x", ["n", 2])], output: [valueInfo("y", ["n", 2])] };

function errorOf(parts: ModelParts): { code: string; message: string } {
  const model = makeModel(parts);
  try {
    buildGraph(model);
  } catch (error) {
    if (error instanceof UnbraidError) return error;
    throw error;
  }
  return { code: "none", message: "" };
}

describe("buildGraph", () => {
  it("sorts nodes that stand out of order and keeps the order of those that do not", () => {
    const graph = buildGraph(
      makeModel({
        ...ends,
        node: [
          node("Relu", ["h2"], ["y"], {}, "last"),
          node("Relu", ["x"], ["h1"], {}, "a"),
          node("Relu", ["x"], ["side"], {}, "b"),
          node("Add", ["h1", "side"], ["h2"], {}, "c"),
        ],
      }),
    );
    expect(graph.nodes.map((n) => n.name)).toEqual(["a", "b", "c", "last"]);
  });

  it("turns initialisers and Constant nodes of every kind into constants, and leaves unused ones out", () => {
    const T = onnx.AttributeProto.AttributeType;
    const constant = (
      output: string,
      a: NonNullable<ReturnType<typeof node>["attribute"]>[number],
    ): ReturnType<typeof node> => ({ opType: "Constant", output: [output], attribute: [a] });
    const names = ["t", "f", "fs", "i", "is", "w"];
    const graph = buildGraph(
      makeModel({
        ...ends,
        node: [
          constant("t", attribute("value", { dims: [1], dataType: TYPE.bool, int32Data: [1] })),
          constant("f", { name: "value_float", f: 0.5, type: T.FLOAT }),
          constant("fs", { name: "value_floats", floats: [1, 2], type: T.FLOATS }),
          constant("i", attribute("value_int", -3)),
          constant("is", attribute("value_ints", [4, 5])),
          node("Custom", ["x", ...names], ["y"]),
        ],
        initializer: [floats("w", [1, 2], Float32Array.of(1, 2)), floats("unused", [], Float32Array.of(0))],
      }),
    );
    expect(graph.nodes.map((n) => n.opType)).toEqual(["Custom"]);
    expect(Object.fromEntries(graph.constants)).toEqual({
      t: { type: "bool", shape: [1], data: Float64Array.of(1) },
      f: { type: "float32", shape: [], data: Float32Array.of(0.5) },
      fs: { type: "float32", shape: [2], data: Float32Array.of(1, 2) },
      i: { type: "int64", shape: [], data: Float64Array.of(-3) },
      is: { type: "int64", shape: [2], data: Float64Array.of(4, 5) },
      w: { type: "float32", shape: [1, 2], data: Float32Array.of(1, 2) },
    });
  });

  it("types inputs, and leaves open what the file leaves open", () => {
    const input = [
      valueInfo("x", ["n", 3, -1, 0], TYPE.float16),
      valueInfo("k", [], TYPE.int32),
      valueInfo("b", [1], TYPE.bool),
      { name: "r", type: { tensorType: { elemType: TYPE.float64 } } },
    ];
    const graph = buildGraph(
      makeModel({ node: [node("Custom", ["x", "k", "b", "r"], ["y"])], input, output: ends.output }),
    );
    expect(graph.inputs).toEqual([
      { name: "x", type: "float32", shape: [null, 3, null, null] },
      { name: "k", type: "int64", shape: [] },
      { name: "b", type: "bool", shape: [1] },
      { name: "r", type: "float32", shape: undefined },
    ]);
  });

  it("names nodes uniquely, and operators of other domains in full", () => {
    const model = makeModel({
      ...ends,
      node: [
        node("Relu", ["x"], ["a"]),
        node("Relu", ["a"], ["b"], {}, "r"),
        node("Relu", ["b"], ["c"], {}, "r"),
        { ...node("Gelu", ["c"], ["y"], {}, "Relu_0"), domain: "com.microsoft" },
      ],
    });
    const names = nodeNames(model);
    expect(new Set(names).size).toBe(4);
    expect([names[1], names[3]]).toEqual(["r", "Relu_0"]);
    expect(buildGraph(model).nodes.map((n) => n.name)).toEqual(names);
    expect(buildGraph(model).nodes[3]?.opType).toBe("com.microsoft.Gelu");
  });

  it.each<[string, ModelParts, string, string]>([
    [
      "a cycle",
      {
        ...ends,
        node: [
          node("Add", ["x", "b"], ["a"], {}, "one"),
          node("Relu", ["a"], ["b"], {}, "two"),
          node("Relu", ["x"], ["y"]),
        ],
      },
      "GRAPH_CYCLE",
      '"one", "two"',
    ],
    [
      "a node that reads itself",
      { ...ends, node: [node("Add", ["x", "y"], ["y"], {}, "self")] },
      "GRAPH_CYCLE",
      '"self"',
    ],
    [
      "an input that nothing gives",
      { ...ends, node: [node("Add", ["x", "z"], ["y"], {}, "sum")] },
      "GRAPH_INPUT_MISSING",
      '"sum" (Add) reads "z"',
    ],
    ["an output that nothing gives", { ...ends, node: [node("Relu", ["x"], ["z"])] }, "GRAPH_OUTPUT_MISSING", '"y"'],
    [
      "two nodes with one output name",
      { ...ends, node: [node("Relu", ["x"], ["y"], {}, "p"), node("Abs", ["x"], ["y"], {}, "q")] },
      "DUPLICATE_NAME",
      'the node "p" and by the node "q"',
    ],
    [
      "a node that overwrites an input",
      { ...ends, node: [node("Relu", ["x"], ["x"]), node("Relu", ["x"], ["y"])] },
      "DUPLICATE_NAME",
      '"x"',
    ],
    [
      "an input of strings",
      { ...ends, node: [node("Relu", ["x"], ["y"])], input: [valueInfo("x", [1], TYPE.string)] },
      "TYPE_UNSUPPORTED",
      "string",
    ],
    [
      "an input that is no tensor",
      { ...ends, node: [node("Relu", ["x"], ["y"])], input: [{ name: "x", type: { sequenceType: {} } }] },
      "TYPE_UNSUPPORTED",
      "other than tensor",
    ],
    [
      "a constant of strings",
      { ...ends, node: [node("Constant", [], ["c"], { value_string: "s" }, "text"), node("Add", ["x", "c"], ["y"])] },
      "TYPE_UNSUPPORTED",
      '"text"',
    ],
    [
      "a constant of nothing",
      { ...ends, node: [node("Constant", [], ["c"], {}, "void"), node("Add", ["x", "c"], ["y"])] },
      "CONSTANT_EMPTY",
      '"void"',
    ],
  ])("refuses %s", (_, parts, code, text) => {
    const error = errorOf(parts);
    expect(error.code).toBe(code);
    expect(error.message).toContain(text);
  });
});
