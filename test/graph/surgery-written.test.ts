import { describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import type { SplitRequest } from "../../src/graph/surgery.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import { bytesOf, floats, makeModel, modelBytes, noise, node, TYPE } from "../onnx/make.ts";
import type { ModelParts } from "../onnx/make.ts";
import { occurrences, unknownFields, withUnknown } from "../onnx/unknown.ts";
import { bitsOf, oneConv, plain, split } from "./surgery-case.ts";
import { runOrt } from "./surgery-reference.ts";

/** Rows of the stored weight `name`, as arrays of bytes. */
function rowsOf(model: OnnxModel, name: string): Uint8Array[] {
  const tensor = model.initializers.get(name);
  const raw = tensor?.raw() ?? new Uint8Array(0);
  const n = raw.length / (tensor?.dims[0] ?? 1);
  return Array.from({ length: tensor?.dims[0] ?? 0 }, (_, k) => raw.slice(k * n, (k + 1) * n));
}

describe("what is written", () => {
  const { parts } = oneConv(plain);
  const model = makeModel(parts);
  const membership = Uint8Array.of(0, 1, 2, 0, 1, 2, 1, 2);
  const result = splitLayer(model, {
    nodeIndex: 0,
    channels: [{ channel: 3, concepts: 2, sets: bitsOf(membership, 2) }],
    metadata: { "unbraid.split": '{"v":1}' },
  });
  const after = decodeModel(result.bytes);

  it("D1 in place, D2 and the residual appended, bit for bit, +0 where zeroed", () => {
    const before = rowsOf(model, "layer.weight");
    const rows = rowsOf(after, result.weight);
    const kept = (concept: number): Uint8Array => {
      const row = (before[3] ?? new Uint8Array(0)).slice();
      // An input channel is 9 taps of 4 bytes.
      membership.forEach((set, i) => set !== 0 && set !== concept && row.fill(0, i * 36, (i + 1) * 36));
      return row;
    };
    expect(rows).toEqual([...before.slice(0, 3), kept(1), ...before.slice(4), kept(2), kept(0)]);
    const bias = model.initializers.get("layer.bias")?.numbers() ?? [];
    expect([...(after.initializers.get(result.bias ?? "")?.numbers() ?? [])]).toEqual([...bias, bias[3], bias[3]]);
    expect(result.parts).toEqual([
      { channel: 3, concept: 1, row: 3, factor: 1 },
      { channel: 3, concept: 2, row: 6, factor: 1 },
      { channel: 3, concept: 0, row: 7, factor: -1 },
    ]);
  });

  it("a merge layer of the identity, +1 and -1", () => {
    const merge = after.initializers.get(result.mergeWeight);
    expect(merge?.dims).toEqual([6, 8, 1, 1]);
    const expected: number[] = Array.from({ length: 48 }, (_, k) => (Math.floor(k / 8) === k % 8 ? 1 : 0));
    [expected[3 * 8 + 6], expected[3 * 8 + 7]] = [1, -1];
    expect([...(merge?.numbers() ?? [])]).toEqual(expected);
    expect(after.nodes.map((n) => [n.opType, n.outputs])).toEqual([
      ["Conv", [result.grown]],
      ["Conv", ["z"]],
      ["Relu", ["y"]],
    ]);
  });

  it("without the old weight and bias, with the metadata, and with names that were free", () => {
    expect([...after.initializers.keys()].sort()).toEqual([result.bias, result.mergeWeight, result.weight].sort());
    expect(after.metadata.get("unbraid.split")).toBe('{"v":1}');
    for (const name of [result.grown, result.weight, result.mergeNode, result.mergeWeight])
      expect(model.names.has(name)).toBe(false);
  });

  it("the same file whatever the order of the channels", () => {
    const channels = [split(4, 3, 8), split(0, 2, 8), split(2, 2, 8)];
    const files = [channels, channels.toReversed()].map((c) => splitLayer(model, { nodeIndex: 0, channels: c }).bytes);
    expect(files[0]).toEqual(files[1]);
  });

  it("fresh names even where a file uses ours", () => {
    const taken = [result.grown, result.mergeNode, result.weight, result.mergeWeight];
    const crowded = makeModel({
      ...parts,
      node: [...(parts.node ?? []), node("Sum", ["y"], [taken[0] ?? ""], {}, taken[1])],
      initializer: [
        ...(parts.initializer ?? []),
        floats(taken[2] ?? "", [], noise(1, 1)),
        floats(taken[3] ?? "", [], noise(1, 1)),
      ],
    });
    const r = splitLayer(crowded, { nodeIndex: 0, channels: [split(1, 2, 8)] });
    for (const name of [r.grown, r.mergeNode, r.weight, r.mergeWeight]) expect(taken).not.toContain(name);
    expect(decodeModel(r.bytes).names.size).toBeGreaterThan(crowded.names.size);
  });

  it("keeps unknown fields of every message, and onnxruntime still reads the file", async () => {
    const paths = [[], [7], [7, 1], [7, 1, 5], [7, 11], [7, 12], [8]];
    const { bytes, marks } = withUnknown(modelBytes(parts), paths);
    const r = splitLayer(decodeModel(bytes), { nodeIndex: 0, channels: [split(1, 2, 8)] });
    for (const mark of marks) expect(occurrences(r.bytes, unknownFields(mark)), `mark ${mark}`).toBe(1);
    const z = await runOrt(r.bytes, "x", noise(17, 160), [1, 8, 5, 4]);
    expect(z.z?.dims).toEqual([1, 6, 5, 4]);
  });
});

describe("weights", () => {
  const { parts } = oneConv({ ...plain, bias: false, kernel: [1, 1], pads: [0, 0, 0, 0] });
  const conv = (weight: string, output = "z"): ReturnType<typeof node> =>
    node("Conv", ["x", weight], [output], {}, `conv ${output}`);
  const channels = [split(2, 2, 8)];

  it("that another node uses stay", () => {
    const model = makeModel({ ...parts, node: [conv("layer.weight"), conv("layer.weight", "y")] });
    const after = decodeModel(splitLayer(model, { nodeIndex: 0, channels }).bytes);
    expect(after.nodes.at(-1)?.inputs).toEqual(["x", "layer.weight"]);
    expect(after.initializers.get("layer.weight")?.raw()).toEqual(model.initializers.get("layer.weight")?.raw());
  });

  it("behind Identity nodes are found; what is left without a reader is named", () => {
    const model = makeModel({
      ...parts,
      node: [
        node("Identity", ["layer.weight"], ["a"], {}, "i1"),
        node("Identity", ["a"], ["b"], {}, "i2"),
        conv("b"),
        node("Relu", ["z"], ["y"]),
      ],
    });
    const result = splitLayer(model, { nodeIndex: 2, channels });
    expect(result.unused).toEqual(["i2", "i1"]);
    const after = decodeModel(result.bytes);
    expect(rowsOf(after, result.weight)[0]).toEqual(rowsOf(model, "layer.weight")[0]);
    expect(after.initializers.has("layer.weight")).toBe(true);
  });

  it("behind an Identity that another node reads: nothing is left over", () => {
    const model = makeModel({ ...parts, node: [node("Identity", ["layer.weight"], ["a"]), conv("a"), conv("a", "y")] });
    expect(splitLayer(model, { nodeIndex: 1, channels }).unused).toEqual([]);
  });

  it("of a Constant node are found", async () => {
    const constant = node("Constant", [], ["c"], { value: floats("", [6, 8, 1, 1], noise(11, 48)) }, "weights");
    const model = makeModel({ ...parts, node: [constant, conv("c"), node("Relu", ["z"], ["y"])], initializer: [] });
    const result = splitLayer(model, { nodeIndex: 1, channels });
    expect(result.unused).toEqual(["weights"]);
    const z = await runOrt(result.bytes, "x", noise(18, 160), [1, 8, 5, 4]);
    expect(z.z?.dims).toEqual([1, 6, 5, 4]);
  });

  const bits16 = Uint16Array.from(noise(19, 48), (v, k) => (v < 0 ? 0x8000 : 0) | (0x2c00 + k));
  it.each<[string, NonNullable<ModelParts["initializer"]>[number], number, number[]]>([
    ["float16, raw", { dataType: TYPE.float16, rawData: bytesOf(bits16) }, 2, [0x00, 0xbc]],
    ["float16 in int32_data", { dataType: TYPE.float16, int32Data: [...bits16] }, 2, [0x00, 0xbc]],
    ["bfloat16", { dataType: TYPE.bfloat16, rawData: bytesOf(bits16) }, 2, [0x80, 0xbf]],
    [
      "float64",
      { dataType: TYPE.float64, rawData: bytesOf(Float64Array.from(noise(20, 48))) },
      8,
      [0, 0, 0, 0, 0, 0, 0xf0, 0xbf],
    ],
    ["float_data", { dataType: TYPE.float32, floatData: [...noise(21, 48)] }, 4, [0, 0, 0x80, 0xbf]],
  ])("of type %s stay what they are, bit for bit", (_, tensor, width, minusOne) => {
    const model = makeModel({
      ...parts,
      node: [conv("layer.weight"), node("Relu", ["z"], ["y"])],
      initializer: [{ name: "layer.weight", dims: [6, 8, 1, 1], ...tensor }],
    });
    const result = splitLayer(model, { nodeIndex: 0, channels });
    const after = decodeModel(result.bytes);
    expect(after.initializers.get(result.weight)?.dataType).toBe(model.initializers.get("layer.weight")?.dataType);
    const [before, rows] = [rowsOf(model, "layer.weight"), rowsOf(after, result.weight)];
    expect(rows[0]?.length).toBe(8 * width);
    expect([...rows.slice(0, 2), ...rows.slice(3, 6)]).toEqual([...before.slice(0, 2), ...before.slice(3)]);
    const residual = before[2]?.map((byte, k) => (channels[0]?.sets[Math.floor(k / width)] === 3 ? byte : 0));
    expect(rows[7]).toEqual(residual);
    const merge = after.initializers.get(result.mergeWeight)?.raw() ?? new Uint8Array(0);
    expect([...merge.subarray((2 * 8 + 7) * width, (2 * 8 + 8) * width)]).toEqual(minusOne);
  });

  it("a NaN's payload survives", () => {
    const w = new Uint8Array(48 * 4);
    w.set([0x01, 0x02, 0xa0, 0x7f], 5 * 8 * 4);
    const model = makeModel({
      ...parts,
      node: [conv("layer.weight"), node("Relu", ["z"], ["y"])],
      initializer: [{ name: "layer.weight", dims: [6, 8, 1, 1], dataType: TYPE.float32, rawData: w }],
    });
    const result = splitLayer(model, { nodeIndex: 0, channels });
    expect([...(rowsOf(decodeModel(result.bytes), result.weight)[5] ?? [])].slice(0, 4)).toEqual([
      0x01, 0x02, 0xa0, 0x7f,
    ]);
  });

  it("factors to -30 are exact in 8 and 11 bits of precision", () => {
    for (const dataType of [TYPE.float16, TYPE.bfloat16]) {
      const model = makeModel({
        ...parts,
        node: [conv("layer.weight"), node("Relu", ["z"], ["y"])],
        initializer: [{ name: "layer.weight", dims: [6, 8, 1, 1], dataType, rawData: new Uint8Array(96) }],
      });
      for (const concepts of [2, 3, 4, 9, 31]) {
        const result = splitLayer(model, {
          nodeIndex: 0,
          channels: [{ channel: 0, concepts, sets: bitsOf(new Uint8Array(8), concepts) }],
        });
        const merge = decodeModel(result.bytes).initializers.get(result.mergeWeight)?.numbers() ?? [];
        expect(merge[result.grownChannels - 1]).toBe(1 - concepts);
      }
    }
  });
});

describe("what cannot be split", () => {
  const { parts } = oneConv(plain);
  const good: SplitRequest = { nodeIndex: 0, channels: [split(1, 2, 8)] };
  const depthwise = oneConv({ ...plain, groups: 8, channels: 8 }).parts;
  const computed: ModelParts = {
    ...parts,
    node: [node("Relu", ["layer.weight"], ["w"]), node("Conv", ["x", "w"], ["z"]), node("Relu", ["z"], ["y"])],
  };
  it.each<[string, ModelParts, SplitRequest, string, string]>([
    ["a node that is no Conv", parts, { ...good, nodeIndex: 1 }, "LAYER_NOT_CONV", "Relu"],
    ["a node that is not there", parts, { ...good, nodeIndex: 9 }, "LAYER_NOT_CONV", "9"],
    [
      "a depthwise layer",
      depthwise,
      { ...good, channels: [split(1, 2, 1)] },
      "CHANNEL_DEPTHWISE",
      "8 channels in 8 groups",
    ],
    ["a channel out of range", parts, { ...good, channels: [split(6, 2, 8)] }, "CHANNEL_RANGE", "0 to 5"],
    ["a negative channel", parts, { ...good, channels: [split(-1, 2, 8)] }, "CHANNEL_RANGE", "-1"],
    ["a channel twice", parts, { ...good, channels: [split(1, 2, 8), split(1, 3, 8)] }, "CHANNEL_TWICE", "channel 1"],
    ["no channel", parts, { ...good, channels: [] }, "CHANNEL_NONE", "conv"],
    ["sets of another layer", parts, { ...good, channels: [split(1, 2, 7)] }, "SETS_LENGTH", "7 entries for 8"],
    [
      "sets beyond the concepts",
      parts,
      { ...good, channels: [{ channel: 1, concepts: 2, sets: new Uint32Array(8).fill(4) }] },
      "SETS_CONCEPTS",
      "concept 3 of 2",
    ],
    ["weights that are computed", computed, { ...good, nodeIndex: 1 }, "LAYER_WEIGHT_COMPUTED", '"w"'],
    [
      "integer weights",
      {
        ...parts,
        initializer: [
          { name: "layer.weight", dims: [6, 8, 3, 3], dataType: TYPE.int8, rawData: new Uint8Array(432) },
          floats("layer.bias", [6], noise(1, 6)),
        ],
      },
      good,
      "LAYER_WEIGHT_TYPE",
      "int8",
    ],
    [
      "a bias of another size",
      {
        ...parts,
        initializer: [floats("layer.weight", [6, 8, 3, 3], noise(1, 432)), floats("layer.bias", [5], noise(1, 5))],
      },
      good,
      "LAYER_WEIGHT_SHAPE",
      "[5]",
    ],
  ])("%s", (_, model, request, code, text) => {
    const read = makeModel(model);
    let error: unknown;
    try {
      splitLayer(read, request);
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(UnbraidError);
    expect(error).toMatchObject({ code });
    expect(String(error)).toContain(text);
  });
});
