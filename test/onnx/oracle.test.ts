/**
 * What decodeModel and editModel's new messages say, held against onnx-proto, which has its own decoder and encoder: on
 * the network that ships, on those of ../shared, and on built models with every kind of field.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { onnx as Onnx } from "onnx-proto";
import { expect, it } from "vitest";
import { decodeModel } from "../../src/onnx/decode.ts";
import { encodeInput, encodeNode, encodeTensor } from "../../src/onnx/encode.ts";
import type { NewNode, NewTensor } from "../../src/onnx/encode.ts";
import type { OnnxAttribute } from "../../src/onnx/model.ts";
import { root } from "../cli/built.ts";
import { onnx } from "../support/onnx-proto.ts";
import { sharedDir } from "../support/shared.ts";
import { attribute, floats, modelBytes, node, TYPE, valueInfo } from "./make.ts";

const T = onnx.AttributeProto.AttributeType;
const int = (value: unknown): number => Math.max(-(2 ** 53), Math.min(2 ** 53, Number(String(value))));
const utf8 = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** An attribute as onnx-proto reads it; of a tensor its header. */
function attributeOf(given: Onnx.IAttributeProto): unknown {
  const bytes = onnx.AttributeProto.create(given);
  switch (bytes.type) {
    case T.INT:
      return int(bytes.i);
    case T.FLOAT:
      return bytes.f;
    case T.STRING:
      return utf8(bytes.s);
    case T.INTS:
      return bytes.ints.map(int);
    case T.FLOATS:
      return bytes.floats;
    case T.STRINGS:
      return bytes.strings.map(utf8);
    case T.TENSOR:
      return [bytes.t?.name ?? "", (bytes.t?.dims ?? []).map(int)];
    case T.GRAPH:
      return graphOf(onnx.GraphProto.create(bytes.g ?? {}));
    default:
      return bytes.type;
  }
}

/** A subgraph as onnx-proto reads it. */
const graphOf = (graph: Onnx.GraphProto): unknown => [
  graph.node.map((n) => [n.opType, n.input, n.output, (n.attribute ?? []).map((a) => [a.name, attributeOf(a)])]),
  graph.initializer.map((t) => t.name),
  graph.output.map(({ name }) => name),
];

function mine(a: OnnxAttribute): unknown {
  if (a.type === "tensor") return [a.value.name, a.value.dims];
  if (a.type !== "graph") return a.value;
  const { nodes, initializers, outputs } = a.value;
  return [
    nodes.map((n) => [n.opType, n.inputs, n.outputs, [...n.attributes].map(([name, inner]) => [name, mine(inner)])]),
    [...initializers.keys()],
    outputs.map(({ name }) => name),
  ];
}

function compare(bytes: Uint8Array): void {
  const model = decodeModel(bytes, () => new Uint8Array());
  const oracle = onnx.ModelProto.decode(bytes);
  expect(model.irVersion).toBe(int(oracle.irVersion));
  expect(model.producer).toBe(`${oracle.producerName} ${oracle.producerVersion}`.trim());
  expect(model.opset).toBe(int(oracle.opsetImport.find(({ domain }) => (domain ?? "") === "")?.version));
  expect([...model.metadata]).toEqual(oracle.metadataProps.map(({ key, value }) => [key, value]));
  const graph = onnx.GraphProto.create(oracle.graph ?? {});
  expect(model.nodes.map((n) => [n.name, n.opType, n.domain, n.inputs, n.outputs])).toEqual(
    graph.node.map((n) => [n.name, n.opType, n.domain, n.input, n.output]),
  );
  expect(model.nodes.map((n) => [...n.attributes].map(([name, a]) => [name, mine(a)]))).toEqual(
    graph.node.map((n) => (n.attribute ?? []).map((a) => [a.name, attributeOf(a)])),
  );
  expect([...model.initializers.values()].map((t) => [t.name, t.dims])).toEqual(
    graph.initializer.map((t) => [t.name, (t.dims ?? []).map(int)]),
  );
  const dense = graph.input.filter(({ name }) => !model.initializers.has(name ?? ""));
  for (const [infos, theirs] of [
    [model.inputs, dense],
    [model.outputs, graph.output],
  ] as const)
    expect(infos.map(({ name, dims }) => [name, dims])).toEqual(
      theirs.map(({ name, type }) => [
        name,
        type?.tensorType?.shape?.dim?.map((d) =>
          Object.hasOwn(d, "dimValue") ? int(d.dimValue) : (d.dimParam ?? "") === "" ? null : d.dimParam,
        ),
      ]),
    );
}

it("the network that ships reads as onnx-proto reads it", () => {
  compare(readFileSync(join(root, "models", "demo.onnx")));
});

it.skipIf(sharedDir === undefined)("so do those of ../shared (skipped where it is absent)", () => {
  const folder = join(sharedDir ?? "", "models");
  const files = readdirSync(folder).filter((file) => file.endsWith(".onnx"));
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) compare(readFileSync(join(folder, file)));
});

it("so do extreme values, every kind of attribute, symbols and names beyond ASCII", () => {
  const extremes = [0, -1, 127, 128, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 53 - 1, -(2 ** 53), 2 ** 62, -(2 ** 62)];
  const all = node("Custom", ["x", "", "é\u{1f600}"], ["y", ""], { ints: extremes, text: "ü" }, "\ufeffname");
  const inner = { name: "g", initializer: [floats("u", [1], Float32Array.of(1))], output: [valueInfo("z", [])] };
  const deep = { name: "deep", g: { ...inner, node: [node("Neg", ["x"], ["z"], { ints: [1] })] }, type: T.GRAPH };
  all.attribute?.push(
    ...extremes.map((i, k) => ({ name: `i${k}`, i, type: T.INT })),
    { name: "f", f: Math.fround(0.1), type: T.FLOAT },
    { name: "floats", floats: [1.5, -0, 2 ** -149], type: T.FLOATS },
    { name: "strings", strings: [new Uint8Array(), Uint8Array.of(0xc3, 0xa9)], type: T.STRINGS },
    { name: "empty", g: { name: "g" }, type: T.GRAPH },
    {
      name: "graph",
      g: { ...inner, node: [node("If", ["x"], ["z"]), { ...node("If", [], []), attribute: [deep] }] },
      type: T.GRAPH,
    },
    { ...attribute("tensor", floats("t", [0, 3], new Float32Array())), docString: "d" },
  );
  compare(
    modelBytes({
      node: [{ ...all, domain: "com.example", docString: "nothing" }],
      input: [valueInfo("x", ["n", 3, "", -1]), valueInfo("scalar", []), { name: "none", type: {} }],
      output: [{ name: "y", type: { tensorType: { elemType: TYPE.int64 } } }],
      initializer: [floats("w", [2, 1], Float32Array.of(1, 2))],
    }),
  );
});

it("new nodes, tensors and inputs are byte for byte what onnx-proto writes", () => {
  const nodes: NewNode[] = [
    { name: "", opType: "Relu", inputs: ["x"], outputs: ["y"] },
    { name: "né", opType: "Slice", inputs: ["x", "", "z"], outputs: ["y", "w"], attributes: { axis: -1, to: 2 ** 40 } },
    { name: "n", opType: "Pad", inputs: [], outputs: [], attributes: { pads: [0, -3, 2 ** 53], none: [] } },
  ];
  for (const made of nodes) {
    const { name, opType, inputs, outputs, attributes = {} } = made;
    const wanted = onnx.NodeProto.encode({
      ...{ name, opType, input: [...inputs], output: [...outputs] },
      attribute: Object.entries(attributes).map(([key, value]) =>
        typeof value === "number"
          ? { name: key, i: value, type: T.INT }
          : { name: key, ints: [...value], type: T.INTS },
      ),
    });
    expect(Buffer.from(encodeNode(made))).toEqual(Buffer.from(wanted.finish()));
  }
  const tensors: NewTensor[] = [
    { name: "w", dataType: "float32", dims: [2, 300], raw: new Uint8Array(2400).fill(7) },
    { name: "scalar", dataType: "int64", dims: [], raw: new Uint8Array(8) },
  ];
  for (const made of tensors) {
    const { name, raw, dims } = made;
    const dataType = made.dataType === "float32" ? TYPE.float32 : TYPE.int64;
    const tensor = onnx.TensorProto.encode({ name, dataType, dims: [...dims], rawData: raw });
    expect(Buffer.from(encodeTensor(made))).toEqual(Buffer.from(tensor.finish()));
    const shape = { dim: dims.map((dimValue) => ({ dimValue })) };
    const input = onnx.ValueInfoProto.encode({ name, type: { tensorType: { elemType: dataType, shape } } });
    expect(Buffer.from(encodeInput(made))).toEqual(Buffer.from(input.finish()));
  }
});

it("a field of another wire type than it should have is damage, wherever it stands", () => {
  const bytes = modelBytes({ node: [node("Relu", ["x"], ["y"], { a: 1 })], input: [valueInfo("x", [3])] });
  // The declared size of x: tag 0x08 (dim_value, varint), 3, made a field of bytes of length 3 (0x0a), which overruns.
  const at = Buffer.from(bytes).lastIndexOf(Buffer.from([0x08, 3]));
  const damaged = Uint8Array.from(bytes);
  damaged[at] = 0x0d;
  expect(() => decodeModel(damaged)).toThrow(/damaged/);
});
