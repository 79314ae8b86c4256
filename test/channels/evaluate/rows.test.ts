/** The parts of a split read back out of the split model. */
import { describe, expect, test } from "vitest";
import { splitChannel } from "../../../src/channels/evaluate/channel.ts";
import { linearRows } from "../../../src/channels/evaluate/rows.ts";
import { must } from "../../../src/errors.ts";
import { buildGraph } from "../../../src/graph/build.ts";
import { convLayers } from "../../../src/graph/conv-layers.ts";
import { inferShapes } from "../../../src/graph/infer.ts";
import { splitLayer, type ChannelSplit } from "../../../src/graph/surgery.ts";
import { inferRule } from "../../../src/kernels/table.ts";
import { decodeModel } from "../../../src/onnx/decode.ts";
import type { OnnxModel } from "../../../src/onnx/model.ts";
import { convIndex, layerModel, type LayerCase } from "../one-layer.ts";

const cases: readonly LayerCase[] = [
  { title: "1x1", size: [4, 4], inputs: 6, channels: 8, kernel: [1, 1] },
  { title: "3x3 with bias", size: [4, 4], inputs: 6, channels: 8, kernel: [3, 3], pads: [1, 1, 1, 1], bias: true },
  { title: "two groups with bias", size: [4, 4], inputs: 6, channels: 8, kernel: [3, 2], group: 2, bias: true },
  { title: "1-D, two groups", size: [9], inputs: 6, channels: 8, kernel: [3], group: 2 },
];

function shapedOf(model: OnnxModel, c: LayerCase) {
  return inferShapes(buildGraph(model), new Map([["x", [2, c.inputs, ...c.size]]]), inferRule);
}

/** [C][I, K] the layer's rows over all inputs, and its bias. */
function ownRows(model: OnnxModel, c: LayerCase) {
  const layer = must(convLayers(shapedOf(model, c))[0], "layer");
  const taps = c.kernel.reduce((n, k) => n * k, 1);
  const groups = c.group ?? 1;
  const size = (c.inputs / groups) * taps;
  const rows = Array.from({ length: c.channels }, (_, r) => {
    const row = new Float64Array(c.inputs * taps);
    row.set(
      must(layer.weights, "weights").data.subarray(r * size, (r + 1) * size),
      Math.floor(r / (c.channels / groups)) * size,
    );
    return row;
  });
  return { rows, taps, groups, input: layer.input, bias: layer.bias?.data ?? new Float32Array(c.channels) };
}

const split = (model: OnnxModel, nodeIndex: number, channels: readonly ChannelSplit[]) => {
  const made = splitLayer(model, { nodeIndex, channels });
  return { made, model: decodeModel(made.bytes) };
};

describe.each(cases)("$title", (c) => {
  const source = layerModel(c);
  const { rows, taps, groups, input, bias } = ownRows(source, c);
  const inputs = c.inputs / groups;
  const setsA = Uint32Array.from({ length: inputs }, (_, i) => [1, 2, 3][i % 3] ?? 3);
  const setsB = Uint32Array.from({ length: inputs }, (_, i) => [4, 7, 1][i % 3] ?? 7);
  const from = { input, inChannels: c.inputs, taps };

  test("parts by sets: the channel's own weights or nothing, and the output's rows are the layer's", () => {
    const { made, model } = split(source, convIndex(source), [
      { channel: 5, concepts: 2, sets: setsA },
      { channel: 1, concepts: 3, sets: setsB },
    ]);
    const shaped = shapedOf(model, c);
    const output = linearRows(shaped, made.output, from);
    const grown = linearRows(shaped, made.grown, from);
    expect(output.weights).toEqual(rows);
    expect([...output.bias]).toEqual([...bias]);
    const recordOf = (channel: number, concepts: number) => ({
      ...{
        channel,
        rho: 0.5,
        rule: "symmetric",
        classes: [0, 1, 2].slice(0, concepts),
        ids: [0, 1, 2].slice(0, concepts),
      },
      concepts: ["a", "b", "c"].slice(0, concepts),
      rows: made.parts.filter((part) => part.channel === channel).map((part) => part.row),
    });
    for (const [channel, concepts, sets] of [
      [5, 2, setsA],
      [1, 3, setsB],
    ] as const) {
      const found = splitChannel(recordOf(channel, concepts), {
        grown,
        output,
        sign: [1, 1, 1, 1, 1, -1],
        taps,
        groups,
      });
      expect(found.weights).toEqual(rows[channel]);
      expect(found.sets).toEqual(sets);
      expect(found.sign).toBe(channel === 5 ? -1 : 1);
      expect(found.bias).toBe(bias[channel]);
      expect([found.first, found.count]).toEqual([Math.floor(channel / (c.channels / groups)) * inputs, inputs]);
      found.parts.forEach((part, k) => {
        part.forEach((w, at) => {
          const i = Math.floor(at / taps) - found.first;
          const held = i >= 0 && i < inputs && ((sets[i] ?? 0) >>> k) & 1;
          expect(w).toBe(held === 1 ? rows[channel]?.[at] : 0);
        });
      });
    }
  });

  test("parts of any weights have no sets, and add up", () => {
    const own = must(rows[2], "row").subarray(0, inputs * taps);
    const e = Float32Array.from(own, (w, i) => w * Math.sin(i + 1));
    const parts = [own.map((w, i) => w / 2 + (e[i] ?? 0)), own.map((w, i) => w / 2 - (e[i] ?? 0))];
    const { made, model } = split(source, convIndex(source), [{ channel: 2, parts }]);
    const shaped = shapedOf(model, c);
    const [output, grown] = [made.output, made.grown].map((value) => linearRows(shaped, value, from));
    const record = { channel: 2, rho: null, rule: "additive", concepts: ["a", "b"], classes: [0, 1], ids: [0, 1] };
    const at = made.parts.filter((part) => part.channel === 2).map((part) => part.row);
    const layerRows = { grown: must(grown, "rows"), output: must(output, "rows"), sign: [], taps, groups };
    const found = splitChannel({ ...record, rows: at }, layerRows);
    expect(found.sets).toBeUndefined();
    // Parts are stored in float32: half an ulp of each of the two.
    const most = Math.max(...own.map(Math.abs)) * 2;
    found.weights.forEach((w, i) => {
      expect(Math.abs(w - (rows[2]?.[i] ?? 0))).toBeLessThanOrEqual(most * 2 ** -23);
    });
  });

  test("a layer that was split twice: the first split's parts are still found", () => {
    const first = split(source, convIndex(source), [{ channel: 5, concepts: 2, sets: setsA }]);
    const index = first.model.nodes.findIndex((n) => n.name === "conv");
    const second = split(first.model, index, [{ channel: 1, concepts: 2, sets: setsA }]);
    const shaped = shapedOf(second.model, c);
    expect(linearRows(shaped, first.made.output, from).weights).toEqual(rows);
    const before = linearRows(shapedOf(first.model, c), first.made.grown, from);
    expect(linearRows(shaped, first.made.grown, from)).toEqual(before);
  });
});

test("values that are no such rows are refused", () => {
  const c = must(cases[0], "case");
  const shaped = shapedOf(layerModel(c), c);
  const from = { input: "a", inChannels: c.inputs, taps: 1 };
  for (const value of ["y", "logits", "x", "nothing"])
    expect(() => linearRows(shaped, value, from)).toThrow(expect.objectContaining({ code: "SPLIT_ROWS" }) as Error);
});
