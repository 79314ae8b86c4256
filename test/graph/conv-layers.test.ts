/** What users may call a Conv layer, and what is said of it. */
import { expect, test } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { assertSplittable, convLayers, findLayer, modulePath } from "../../src/graph/conv-layers.ts";
import type { AttributeValue, Graph, GraphNode, HostTensor, ShapedGraph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { nearest } from "../../src/graph/names.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { randomTensor, tensor } from "../support/numbers.ts";

const node = (
  opType: string,
  name: string,
  inputs: readonly string[],
  output: string,
  attributes: Readonly<Record<string, AttributeValue>> = {},
): GraphNode => ({ name, opType, inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });

const shaped = (nodes: readonly GraphNode[], constants: Readonly<Record<string, HostTensor>>): ShapedGraph => {
  const graph: Graph = {
    ...{ opset: 17, nodes, constants: new Map(Object.entries(constants)), outputs: [nodes.at(-1)?.outputs[0] ?? ""] },
    inputs: [{ name: "image", type: "float32", shape: [null, 8, 6, 6] }],
  };
  return inferShapes(graph, new Map([["image", [2, 8, 6, 6]]]), inferRule);
};

const bn = (channels: number, scale: readonly number[]): Record<string, HostTensor> => ({
  scale: tensor([channels], scale),
  zero: tensor([channels], new Array<number>(channels).fill(0)),
  one: tensor([channels], new Array<number>(channels).fill(1)),
});

const network = shaped(
  [
    node(
      "Conv",
      "/layer4/layer4.2/conv3/Conv",
      ["image", "onnx::Conv_123", "layer4.bias"],
      "/layer4/layer4.2/conv3/Conv_output_0",
    ),
    node("Relu", "/relu/Relu", ["/layer4/layer4.2/conv3/Conv_output_0"], "r"),
    node("Conv", "node_conv2d_7", ["r", "stem.conv.weight"], "val_7", { group: 2, strides: [2, 1] }),
    node("BatchNormalization", "bn", ["val_7", "scale", "zero", "zero", "one"], "n"),
    node("Conv", "depth", ["n", "depth.weight"], "d", { group: 4 }),
    node("Identity", "copy", ["shared"], "shared again"),
    node("Conv", "first user", ["d", "shared again"], "s1"),
    node("Conv", "second user", ["s1", "shared"], "s2"),
    node("Add", "sum", ["shared", "shared"], "computed"),
    node("Conv", "computed", ["s2", "computed"], "s3"),
  ],
  {
    "onnx::Conv_123": randomTensor([10, 8, 1, 1], 1),
    "layer4.bias": randomTensor([10], 2),
    "stem.conv.weight": randomTensor([4, 5, 3, 3], 3),
    "depth.weight": randomTensor([4, 1, 1, 1], 4),
    shared: randomTensor([4, 4, 1, 1], 5),
    ...bn(4, [1, -2, 0, 3]),
  },
);

const refusal = (make: () => unknown): UnbraidError => {
  try {
    make();
  } catch (e) {
    if (e instanceof UnbraidError) return e;
    throw e;
  }
  throw new Error("nothing was refused");
};

test("every name of a layer finds it, the module path first", () => {
  const [first, second] = convLayers(network);
  for (const name of [
    ...["layer4.2.conv3", "onnx::Conv_123"],
    ...["/layer4/layer4.2/conv3/Conv", "/layer4/layer4.2/conv3/Conv_output_0"],
  ]) {
    expect(findLayer(network, name).node, name).toBe(first?.node);
  }
  expect(first?.name).toBe("layer4.2.conv3");
  for (const name of ["stem.conv", "stem.conv.weight", "node_conv2d_7", "val_7"]) {
    expect(findLayer(network, name).node, name).toBe(second?.node);
  }
  expect(second?.name).toBe("stem.conv");
  expect(findLayer(network, "last").output).toBe("s3");
});

test("layers that share weights: the names that are shown are each layer's own, and find it", () => {
  const twice = shaped(
    [node("Conv", "/c2/Conv", ["image", "c2.weight"], "x"), node("Conv", "/c2_1/Conv", ["x", "c2.weight"], "y")],
    { "c2.weight": randomTensor([8, 8, 1, 1], 1) },
  );
  const layers = convLayers(twice);
  expect(layers.map((l) => l.name)).toEqual(["c2", "c2_1"]);
  for (const layer of layers) expect(findLayer(twice, layer.name).output).toBe(layer.output);
  expect(refusal(() => findLayer(twice, "c2.weight")).code).toBe("LAYER_AMBIGUOUS");
  const inOneModule = shaped(
    [node("Conv", "/c2/Conv", ["image", "c2.weight"], "x"), node("Conv", "/c2/Conv_1", ["x", "c2.weight"], "y")],
    { "c2.weight": randomTensor([8, 8, 1, 1], 1) },
  );
  expect(convLayers(inOneModule).map((l) => l.name)).toEqual(["c2", "/c2/Conv_1"]);
});

test("module paths of exporters' node names", () => {
  expect(modulePath("/conv1/Conv")).toBe("conv1");
  expect(modulePath("/features/features.0/features.0.1/Conv")).toBe("features.0.1");
  expect(modulePath("/layer1/layer1.0/downsample/downsample.0/Conv")).toBe("layer1.0.downsample.0");
  expect(modulePath("/layer1/layer10/conv/Conv")).toBe("layer1.layer10.conv"); // a longer name is no child
  expect(modulePath("/Conv_3")).toBe("");
  expect(modulePath("Conv_3")).toBe("");
  expect(modulePath("")).toBe("");
});

test("sizes, groups, bias, orientation", () => {
  const [first, second, depth, shared] = convLayers(network);
  expect(first).toMatchObject({ inChannels: 8, outChannels: 10, groups: 1, kernel: [1, 1], splittable: true, why: "" });
  expect(first?.bias?.shape).toEqual([10]);
  expect(second).toMatchObject({
    inChannels: 10,
    outChannels: 4,
    groups: 2,
    kernel: [3, 3],
    input: "r",
    output: "val_7",
  });
  expect(second).toMatchObject({ inputShape: [2, 10, 6, 6], outputShape: [2, 4, 2, 4] });
  // A scale of 0 or more keeps the orientation; only a BatchNormalization that is the one reader counts.
  expect(Array.from(second?.sign ?? [])).toEqual([1, -1, 1, 1]);
  expect(Array.from(first?.sign ?? [])).toEqual(new Array(10).fill(1));
  expect(depth?.splittable).toBe(false);
  expect(shared?.splittable).toBe(true); // an Identity of a stored tensor is that tensor
});

test("what cannot be split says why", () => {
  const why = (name: string) =>
    refusal(() => {
      assertSplittable(findLayer(network, name));
    });
  expect(why("depth")).toMatchObject({ kind: "input", code: "LAYER_NOT_SPLITTABLE" });
  expect(why("depth").message).toContain("depthwise");
  expect(why("s3").message).toContain("computed");
  expect(() => {
    assertSplittable(findLayer(network, "stem.conv"));
  }).not.toThrow();
});

test("names that are wrong: unknown with the nearest, not a Conv, ambiguous", () => {
  const unknown = refusal(() => findLayer(network, "layer4.2.conv2"));
  expect(unknown).toMatchObject({ kind: "input", code: "LAYER_UNKNOWN" });
  expect(unknown.remedy).toMatch(/^Nearest names: layer4\.2\.conv3,/);
  expect(refusal(() => findLayer(network, "bn"))).toMatchObject({ code: "LAYER_NOT_CONV" });
  expect(refusal(() => findLayer(network, "bn")).message).toContain("BatchNormalization");
  expect(refusal(() => findLayer(network, "r")).message).toContain('Relu node "/relu/Relu"');
  const twice = shaped([node("Conv", "a", ["image", "w"], "x"), node("Conv", "b", ["x", "w"], "y")], {
    w: randomTensor([8, 8, 1, 1], 1),
  });
  expect(refusal(() => findLayer(twice, "w"))).toMatchObject({ code: "LAYER_AMBIGUOUS" });
  expect(findLayer(twice, "b").output).toBe("y");
  expect(convLayers(twice).map((l) => l.name)).toEqual(["a", "b"]);
  const none = shaped([node("Relu", "r", ["image"], "y")], {});
  expect(refusal(() => findLayer(none, "last")).code).toBe("LAYER_UNKNOWN");
});

test("suggestions: names that contain the wanted one first, then the nearest", () => {
  const known = ["layer1.conv1", "layer1.conv2", "head", "layer2.conv1.weight"];
  expect(nearest("conv1", known, 2)).toEqual(["layer1.conv1", "layer2.conv1.weight"]);
  expect(nearest("Layer1.Conv3", known, 2)).toEqual(["layer1.conv1", "layer1.conv2"]);
  expect(nearest("hed", known, 1)).toEqual(["head"]);
  expect(nearest("anything", [])).toEqual([]);
});
