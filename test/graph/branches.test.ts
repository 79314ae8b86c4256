/** If whose condition follows from constants and shapes: its branch takes its place, whatever names it uses. */
import { describe, expect, test } from "vitest";
import type { onnx as Onnx } from "onnx-proto";
import { Session } from "../../src/engine/session.ts";
import { UnbraidError } from "../../src/errors.ts";
import { inlineBranches } from "../../src/graph/branches.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { channelsFirst } from "../../src/graph/channels-first.ts";
import { convLayers } from "../../src/graph/conv-layers.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { floats, modelBytes, node, noise, TYPE, valueInfo, type ModelParts } from "../onnx/make.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { onnx } from "../support/onnx-proto.ts";
import { runOrt } from "./surgery-reference.ts";

type Part = Partial<Onnx.IGraphProto>;
const GRAPH = onnx.AttributeProto.AttributeType.GRAPH;

const ifNode = (condition: string, output: string[], yes: Part, no: Part, name = "if"): Onnx.INodeProto => ({
  ...node("If", [condition], output, {}, name),
  attribute: [
    { name: "then_branch", type: GRAPH, g: { name: "yes", ...yes } },
    { name: "else_branch", type: GRAPH, g: { name: "no", ...no } },
  ],
});
const whole = (name: string, values: number[], dims = [values.length]) => ({
  ...{ name, dims, dataType: TYPE.int64, int64Data: values },
});
const out = (...names: string[]) => names.map((name) => ({ name }));

/** Of x [n, C, H, W]: whether its width is 4, as Gather(Shape(x), 3) == 4. */
const widthIsFour = [
  node("Shape", ["x"], ["shape"]),
  node("Gather", ["shape", "three"], ["width"], { axis: 0 }),
  node("Equal", ["width", "four"], ["is four"]),
];
const model = (parts: ModelParts): ModelParts => ({
  input: [valueInfo("x", ["n", 3, 5, "w"])],
  output: [valueInfo("y", ["n", "c", "h", "v"])],
  ...parts,
  initializer: [whole("three", [3], []), whole("four", [4], []), ...(parts.initializer ?? [])],
});

/** In the branches: names of the outer graph and of one another, weights of their own and from outside, an If. */
const nested = model({
  node: [
    ...widthIsFour,
    node("Relu", ["x"], ["r"]),
    ifNode(
      "is four",
      ["u", "v"],
      {
        node: [
          node("Conv", ["r", "w"], ["z"], {}, "conv"),
          node("Shape", ["z"], ["s"]),
          node("Gather", ["s", "one"], ["k"], { axis: 0 }),
          node("Equal", ["k", "own"], ["is own"]),
          ifNode(
            "is own",
            ["inner"],
            { node: [node("Sigmoid", ["z"], ["h"])], output: out("h") },
            { node: [node("Neg", ["x"], ["h"])], output: out("h") },
          ),
        ],
        initializer: [whole("one", [1], []), whole("own", [3], [])],
        output: out("inner", "z"),
      },
      {
        node: [
          node("Constant", [], ["c"], { value: floats("", [], Float32Array.of(2)) }),
          node("Mul", ["r", "c"], ["z"]),
          node("Identity", ["r"], ["q"]),
        ],
        output: out("z", "q"),
      },
    ),
    node("Add", ["u", "v"], ["y"], {}, "conv"),
  ],
  initializer: [floats("w", [3, 3, 1, 1], noise(1, 9))],
});

const graphOf = (parts: ModelParts) => buildGraph(decodeModel(modelBytes(parts)));
const at = (width: number) => new Map([["x", [2, 3, 5, width]]]);
const error = (work: () => unknown): UnbraidError => {
  try {
    work();
  } catch (e) {
    if (e instanceof UnbraidError) return e;
    throw e;
  }
  throw new Error("no error");
};

describe("If", () => {
  test("the branch taken depends on the shape; no name is given twice", () => {
    const graph = graphOf(nested);
    for (const [width, operators] of [
      [4, ["Relu", "Conv", "Sigmoid", "Identity", "Identity", "Identity", "Add"]],
      [7, ["Relu", "Mul", "Identity", "Identity", "Identity", "Add"]],
    ] as const) {
      const inlined = inlineBranches(graph, at(width), inferRule);
      const made = inlined.nodes.flatMap((n) => n.outputs);
      expect(new Set(made).size).toBe(made.length);
      expect(new Set(inlined.nodes.map((n) => n.name)).size).toBe(inlined.nodes.length);
      expect(inferShapes(graph, at(width), inferRule).nodes.map((n) => n.opType)).toEqual(operators);
    }
  });

  test("a Conv in a branch is a layer that cannot be split", () => {
    const [layer] = convLayers(inferShapes(graphOf(nested), at(4), inferRule));
    expect(layer).toMatchObject({ outChannels: 3, splittable: false });
    expect(layer?.why).toContain('the If node "if"');
  });

  test("channels last: what the branches read of the image is renamed too", () => {
    const image = { input: [valueInfo("x", ["n", 5, "w", 3])] };
    const graph = channelsFirst(graphOf({ ...nested, ...image }));
    const y = (w: number) => inferShapes(graph, new Map([["x", [2, 3, 5, w]]]), inferRule).values.get("y")?.shape;
    expect(y(9)).toEqual([2, 5, 9, 3]);
  });

  const branches: readonly [Part, Part] = [
    { node: [node("Neg", ["x"], ["a"])], output: out("a") },
    { output: out("x") },
  ];
  test("a condition that depends on data is refused, beside all else that is", () => {
    const data = model({
      node: [
        node("ReduceSum", ["x"], ["sum"], { keepdims: 0 }),
        node("Cast", ["sum"], ["positive"], { to: TYPE.bool }),
        ifNode("positive", ["y"], ...branches),
        node("Foo", ["y"], ["z"], {}, "odd"),
      ],
    });
    const refused = error(() => inferShapes(graphOf(data), at(4), inferRule));
    expect(refused.code).toBe("OPERATORS_UNSUPPORTED");
    expect(refused.message).toMatch(/^2 nodes .*\(Foo, If\):\n {2}if: .*"positive".*\n {2}odd: /);
    expect(refused.remedy).toContain("dynamo=True");
  });

  test("what hides the condition is the error", () => {
    const wrong = model({
      node: [
        node("Concat", ["x", "four"], ["bad"], { axis: 0 }, "concat"),
        node("Shape", ["bad"], ["s"]),
        ifNode("s", ["y"], ...branches),
      ],
    });
    expect(error(() => inferShapes(graphOf(wrong), at(4), inferRule)).message).toContain("concat");
    const one = model({ node: [...widthIsFour, ifNode("is four", ["y"], ...branches)] });
    expect(error(() => inferShapes(graphOf(one), new Map(), inferRule)).code).toBe("INPUT_SHAPE");
  });

  test("files that are not valid: missing values, outputs, branches; names defined twice in a branch", () => {
    const code = (yes: Part) =>
      error(() => graphOf(model({ node: [...widthIsFour, ifNode("is four", ["y"], yes, branches[1])] }))).code;
    expect(code({ node: [node("Neg", ["nowhere"], ["a"])], output: out("a") })).toBe("GRAPH_INPUT_MISSING");
    expect(code({ node: [node("Neg", ["x"], ["a"])], output: out("b") })).toBe("GRAPH_INPUT_MISSING");
    expect(code({ node: [node("Neg", ["x"], ["a"])], output: out("a", "x") })).toBe("GRAPH_OUTPUT_MISSING");
    expect(code({ node: [node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["a"])], output: out("a") })).toBe(
      "GRAPH_CYCLE",
    );
    expect(code({ node: [node("Neg", ["x"], ["a"]), node("Abs", ["x"], ["a"])], output: out("a") })).toBe(
      "DUPLICATE_NAME",
    );
    const half = ifNode("is four", ["y"], ...branches);
    half.attribute?.pop();
    const lacking = model({ node: [...widthIsFour, half] });
    expect(error(() => inferShapes(graphOf(lacking), at(4), inferRule)).message).toContain(
      "operator If is not implemented",
    );
  });
});

onAdapters("If", (gpu) => {
  test.each([7, 9, 11, 13, 16, 19, 21, 22])(
    "opset %i: each branch gives what onnxruntime's does, and its gradient",
    async (opset) => {
      const bytes = modelBytes({ ...nested, opset });
      const graph = buildGraph(decodeModel(bytes));
      for (const width of [4, 7]) {
        const x = noise(2, 2 * 3 * 5 * width);
        const shape = [2, 3, 5, width];
        using session = new Session(gpu(), graph);
        const inputs = new Map([["x", { type: "float32" as const, shape, data: x }]]);
        const got = (await session.run(inputs)).get("y");
        const expected = (await runOrt(bytes, "x", x, shape)).y?.data;
        expect(got?.data.length).toBe(expected?.length);
        got?.data.forEach((v, k) => {
          expect(Math.abs(v - (expected?.[k] ?? NaN))).toBeLessThan(1e-6 * (1 + Math.abs(v)));
        });
        const seed = new Float32Array(got?.data.length ?? 0).fill(1);
        const gradient = (await session.gradient(inputs, { of: "y", seed, wrt: ["x"] })).get("x")?.data;
        // Beyond width 4, y = 3 relu(x).
        if (width === 7) expect(Array.from(gradient ?? [])).toEqual(Array.from(x, (v) => (v > 0 ? 3 : 0)));
      }
    },
  );
});

test("outputs and inputs left out before an If are not taken for one another", () => {
  const parts = model({
    node: [
      node("Dropout", ["x"], ["d"]),
      node("Clip", ["d", "", "high"], ["c"]),
      node("Shape", ["c"], ["shape"]),
      ...widthIsFour.slice(1),
      ifNode(
        "is four",
        ["y"],
        { node: [node("Relu", ["c"], ["yes"])], output: out("yes") },
        { node: [node("Neg", ["c"], ["no"])], output: out("no") },
      ),
    ],
    initializer: [floats("high", [], Float32Array.of(0.5))],
  });
  const graph = buildGraph(decodeModel(modelBytes(parts)));
  for (const [width, op] of [
    [4, "Relu"],
    [6, "Neg"],
  ] as const) {
    const inlined = inlineBranches(graph, new Map([["x", [1, 3, 5, width]]]), inferRule);
    expect(inlined.nodes.map((n) => n.opType)).toContain(op);
  }
});
