import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { must } from "../../src/errors.ts";
import { readModelFile, writeFileAtomic } from "../../src/files.ts";
import { conceptsOf } from "../../src/graph/membership.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import type { ChannelSplit } from "../../src/graph/surgery.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { bytesOf, floats, makeModel, modelBytes, noise, node, TYPE, valueInfo } from "../onnx/make.ts";
import { onnx } from "../support/onnx-proto.ts";
import { bitsOf, oneConv, plain, split, subsets } from "./surgery-case.ts";
import type { Case } from "./surgery-case.ts";
import { conv64, runOrt, splitBound } from "./surgery-reference.ts";

const U = 2 ** -24;

async function checkSame(c: Case, channels: readonly ChannelSplit[]): Promise<void> {
  const { parts, w, b } = oneConv(c);
  const model = makeModel(parts);
  const result = splitLayer(model, { nodeIndex: 0, channels });
  const xDims = [2, c.inputs, ...c.size];
  const x = noise(
    13,
    xDims.reduce((n, d) => n * d, 1),
  );
  const before = await runOrt(model.bytes, "x", x, xDims);
  const after = await runOrt(result.bytes, "x", x, xDims);
  const sums = conv64(x.map(Math.abs), xDims, w.map(Math.abs), c.channels, b?.map(Math.abs), c);
  const exact = conv64(x, xDims, w, c.channels, b, c);
  const n = (c.inputs / c.groups) * c.kernel.reduce((k, d) => k * d, 1);
  const concepts = Math.max(...channels.map(conceptsOf));
  expect(after.z?.dims).toEqual(before.z?.dims);
  expect(after.z?.data.length).toBe(exact.length);
  exact.forEach((value, k) => {
    const bound = splitBound(n, concepts, U, sums[k] ?? 0);
    const [old, now] = [before.z?.data[k] ?? NaN, after.z?.data[k] ?? NaN];
    expect(Math.abs(now - old)).toBeLessThanOrEqual(bound);
    expect(Math.abs(now - value)).toBeLessThanOrEqual(bound);
    expect(after.y?.data[k]).toBe(Math.max(now, 0));
  });
}

describe("a split layer computes what it did (onnxruntime, against float64)", () => {
  it.each<[string, Partial<Case>]>([
    ["3x3 with bias", {}],
    ["1x1 without bias", { kernel: [1, 1], pads: [0, 0, 0, 0], bias: false }],
    [
      "strided, dilated, unevenly padded",
      { kernel: [3, 2], strides: [2, 1], dilations: [1, 2], pads: [1, 0, 0, 2], size: [7, 6] },
    ],
    ["1-D", { kernel: [3], strides: [2], dilations: [1], pads: [1, 1], size: [9] }],
    ["3-D", { kernel: [2, 1, 2], strides: [1, 1, 1], dilations: [1, 1, 1], pads: [0, 0, 0, 0, 0, 0], size: [3, 3, 3] }],
    ["two groups", { groups: 2 }],
    ["two groups, strided, no bias", { groups: 2, strides: [2, 2], bias: false }],
    ["two groups, 1-D", { groups: 2, kernel: [3], strides: [1], dilations: [1], pads: [1, 1], size: [9] }],
    ["two groups, opset 9 (Slice with attributes)", { groups: 2, opset: 9, ir: 4 }],
    ["two groups, opset 10", { groups: 2, opset: 10, ir: 5 }],
    ["IR version 3, opset 7", { opset: 7, ir: 3 }],
    ["IR version 3, opset 8, groups", { opset: 8, ir: 3, groups: 2 }],
    ["opset 22", { opset: 22, ir: 10, groups: 2 }],
  ])("%s", async (_, change) => {
    const c = { ...plain, ...change };
    const inputs = c.inputs / c.groups;
    await checkSame(c, [split(4, 2, inputs), split(1, 3, inputs), split(5, 2, inputs)]);
  });

  it.each([{}, { groups: 2 }, { bias: false }])("among any subsets of three to five concepts, %o", async (change) => {
    const c = { ...plain, ...change };
    const inputs = c.inputs / c.groups;
    await checkSame(c, [
      { channel: 4, concepts: 5, sets: subsets(inputs, 5, 1) },
      { channel: 0, concepts: 3, sets: subsets(inputs, 3, 2) },
      { channel: 5, concepts: 4, sets: subsets(inputs, 4, 3) },
    ]);
  });

  it.each([{}, { groups: 2 }, { bias: false }])("by weights, beside splits by sets, %o", async (change) => {
    const c = { ...plain, ...change };
    const inputs = c.inputs / c.groups;
    const { w } = oneConv(c);
    const size = inputs * 9;
    const parts = (channel: number, K: number) =>
      Array.from({ length: K }, (_, k) =>
        w.slice(channel * size, (channel + 1) * size).map((v, j) => v / K + (k === j % K ? 0.2 * (K - 1) : -0.2)),
      );
    await checkSame(c, [{ channel: 3, parts: parts(3, 2) }, split(1, 3, inputs), { channel: 5, parts: parts(5, 3) }]);
  });

  it("with a channel all shared, and one with nothing shared", async () => {
    await checkSame(plain, [
      { channel: 0, concepts: 2, sets: bitsOf(new Uint8Array(8), 2) },
      { channel: 2, concepts: 4, sets: bitsOf([1, 2, 3, 4, 4, 3, 2, 1], 4) },
    ]);
  });

  it("when it is split again", async () => {
    const { parts, w, b } = oneConv(plain);
    const once = splitLayer(makeModel(parts), { nodeIndex: 0, channels: [split(1, 2, 8)] });
    const twice = splitLayer(decodeModel(once.bytes), { nodeIndex: 0, channels: [split(1, 2, 8), split(6, 2, 8)] });
    expect(twice.channels).toBe(8);
    const x = noise(14, 8 * 20);
    const after = await runOrt(twice.bytes, "x", x, [1, 8, 5, 4]);
    const sums = conv64(x.map(Math.abs), [1, 8, 5, 4], w.map(Math.abs), 6, b?.map(Math.abs), plain);
    // Two merges, each with magnitudes three times those that go in.
    conv64(x, [1, 8, 5, 4], w, 6, b, plain).forEach((value, k) => {
      expect(Math.abs((after.z?.data[k] ?? NaN) - value)).toBeLessThanOrEqual(3 * splitBound(72, 2, U, sums[k] ?? 0));
    });
  });

  it("with auto_pad", async () => {
    const { parts } = oneConv(plain);
    const conv = node(
      "Conv",
      ["x", "layer.weight"],
      ["z"],
      { auto_pad: "SAME_UPPER", strides: [2, 2], group: 2 },
      "conv",
    );
    const model = makeModel({
      ...parts,
      node: [conv, node("Relu", ["z"], ["y"])],
      initializer: [floats("layer.weight", [6, 4, 3, 3], noise(15, 216))],
    });
    const result = splitLayer(model, { nodeIndex: 0, channels: [split(4, 2, 4)] });
    const x = noise(16, 160);
    const [before, after] = [
      await runOrt(model.bytes, "x", x, [1, 8, 5, 4]),
      await runOrt(result.bytes, "x", x, [1, 8, 5, 4]),
    ];
    expect(after.z?.dims).toEqual([1, 6, 3, 2]);
    // |w| and |x| are below 1: no sum of 36 products exceeds 36.
    before.z?.data.forEach((value, k) => {
      expect(Math.abs(value - (after.z?.data[k] ?? NaN))).toBeLessThanOrEqual(splitBound(36, 2, U, 36));
    });
  });
});

describe("other forms of file, in onnxruntime", () => {
  it("float16 weights", async () => {
    const half = Uint16Array.from(noise(22, 48), (v, k) => (v < 0 ? 0x8000 : 0) | (0x2c00 + 37 * k));
    const model = makeModel({
      node: [
        node("Cast", ["x"], ["x16"], { to: TYPE.float16 }),
        node("Conv", ["x16", "w"], ["z16"], {}, "conv"),
        node("Cast", ["z16"], ["z"], { to: TYPE.float32 }),
      ],
      input: [valueInfo("x", ["n", 8, 5, 4])],
      output: [valueInfo("z", ["n", 6, 5, 4])],
      initializer: [{ name: "w", dims: [6, 8, 1, 1], dataType: TYPE.float16, rawData: bytesOf(half) }],
    });
    const x = noise(23, 160);
    const after = await runOrt(
      splitLayer(model, { nodeIndex: 1, channels: [split(2, 2, 8), split(4, 3, 8)] }).bytes,
      "x",
      x,
      [1, 8, 5, 4],
    );
    const w = must(model.initializers.get("w"), "w").numbers();
    const c = { ...plain, kernel: [1, 1], pads: [0, 0, 0, 0] };
    const sums = conv64(x.map(Math.abs), [1, 8, 5, 4], w.map(Math.abs), 6, undefined, c);
    // Every value passes through float16, x included: one rounding more a product, hence n + 1 terms.
    conv64(x, [1, 8, 5, 4], w, 6, undefined, c).forEach((value, k) => {
      expect(Math.abs((after.z?.data[k] ?? NaN) - value)).toBeLessThanOrEqual(splitBound(9, 3, 2 ** -11, sums[k] ?? 0));
    });
  });

  it("external data, written beside it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "unbraid-split-"));
    const { parts, w, b } = oneConv(plain);
    writeFileSync(join(folder, "w.bin"), bytesOf(w));
    const beside = {
      name: "layer.weight",
      dims: [6, 8, 3, 3],
      dataType: TYPE.float32,
      dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
      externalData: [{ key: "location", value: "w.bin" }],
    };
    const bias = must(parts.initializer?.[1], "bias");
    const second = node("Conv", ["x", "layer.weight"], ["y"], { pads: [1, 1, 1, 1] });
    writeFileAtomic(
      join(folder, "m.onnx"),
      modelBytes({ ...parts, node: [must(parts.node?.[0], "conv"), second], initializer: [beside, bias] }),
    );
    const result = splitLayer(readModelFile(join(folder, "m.onnx")), { nodeIndex: 0, channels: [split(1, 2, 8)] });
    writeFileAtomic(join(folder, "split.onnx"), result.bytes);
    const x = noise(24, 160);
    const after = await runOrt(join(folder, "split.onnx"), "x", x, [1, 8, 5, 4]);
    const sums = conv64(x.map(Math.abs), [1, 8, 5, 4], w.map(Math.abs), 6, b?.map(Math.abs), plain);
    conv64(x, [1, 8, 5, 4], w, 6, b, plain).forEach((value, k) => {
      expect(Math.abs((after.z?.data[k] ?? NaN) - value)).toBeLessThanOrEqual(splitBound(72, 2, U, sums[k] ?? 0));
      expect(after.y?.data[k]).not.toBe(0);
    });
    rmSync(folder, { recursive: true });
  });
});
