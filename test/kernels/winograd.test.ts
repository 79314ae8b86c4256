/** Winograd's convolution and its gradient against float64, within the bound that its own terms give. */
import { expect, test } from "vitest";
import { makePlan } from "../../src/engine/plan.ts";
import { winogradTile } from "../../src/kernels/conv-winograd.ts";
import { sizeOf, type HostTensor } from "../../src/graph/graph.ts";
import { graphOf, node } from "../engine/network.ts";
import { convForward, convGradients, convTerms } from "../reference/conv.ts";
import { winogradRoundings, winogradSizes } from "../reference/winograd.ts";
import { testAdapters } from "../support/gpu.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

const cases = [
  { title: "4x4 tiles, pad 1", x: [2, 16, 9, 11], w: [20, 16, 3, 3], pads: [1, 1, 1, 1], tile: 4 },
  { title: "4x4 tiles, no padding, 18 channels", x: [1, 18, 14, 12], w: [17, 18, 3, 3], pads: [0, 0, 0, 0], tile: 4 },
  { title: "2x2 tiles, pad 1", x: [3, 20, 7, 7], w: [16, 20, 3, 3], pads: [1, 1, 1, 1], tile: 2 },
  { title: "2x2 tiles, uneven pads", x: [1, 16, 6, 5], w: [33, 16, 3, 3], pads: [0, 2, 1, 1], tile: 2 },
] as const;

onAdapters("Winograd's convolution", (gpu) => {
  test.each(cases)("$title", async (c) => {
    const [x, w, bias] = [randomTensor(c.x, 1), randomTensor(c.w, 2), randomTensor([c.w[0]], 3)];
    const attributes = { pads: c.pads };
    const list = convTerms(c.x, c.w, attributes);
    const [, outputs = 0, height = 0, width = 0] = list.shape;
    const seed = randomTensor(list.shape, 4);
    const expected = convForward(list, x.data, w.data, bias.data);
    const [dx] = convGradients(list, x.data, w.data, seed.data);

    const sizes = winogradSizes(c.tile, x, w, [c.pads[0], c.pads[1]], [height, width]);
    const bound = (i: number): number => {
      const size = (sizes[i] ?? NaN) + Math.abs(bias.data[Math.floor(i / (height * width)) % outputs] ?? NaN);
      return 1.01 * winogradRoundings(c.w[1]) * U * size;
    };
    // The gradient is the convolution with channels exchanged and kernels turned round.
    const [channels, taps] = [c.w[1], 9];
    const turned = new Float32Array(w.data.length);
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < channels; i++)
        for (let k = 0; k < taps; k++)
          turned[(i * outputs + o) * taps + k] = w.data[(o * channels + i) * taps + taps - 1 - k] ?? 0;
    const back = winogradSizes(
      winogradTile({
        ...{ batch: c.x[0], groups: 1, channels: outputs, outputs: channels, kernel: [3, 3], strides: [1, 1] },
        ...{ dilations: [1, 1], pads: [0, 0], transposed: true, input: [height, width], output: [c.x[2], c.x[3]] },
      }) ?? 4,
      seed,
      { shape: [channels, outputs, 3, 3], data: turned },
      [2 - c.pads[0], 2 - c.pads[1]],
      [c.x[2], c.x[3]],
    );
    const backBound = (i: number): number => 1.01 * winogradRoundings(outputs) * U * (back[i] ?? NaN);

    for (const subgroups of [0, 4, 8, 32].filter((n) => n % 32 === 0 || n <= gpu().subgroups)) {
      const got = await runOperator(gpu(), {
        ...{ opType: "Conv", opset: 22, attributes, inputs: [x, w, bias], constants: [1, 2], subgroups },
        gradient: { seed: Float32Array.from(seed.data), wrt: [0] },
      });
      expect(got.entries).toContain(`winograd: input_${c.tile}`);
      expectWithin(got.outputs[0]?.data ?? [], expected.values, bound, `subgroups ${subgroups}`);
      expectWithin(got.gradients.get(0)?.data ?? [], dx.values, backBound, `gradient, subgroups ${subgroups}`);
    }
  });
});

onAdapters(
  "Winograd's convolution of many tiles",
  (gpu) => {
    test("tiles whose components no buffer can hold are computed in slices, to the same bits", async () => {
      // 36 components of 3 x 140 x 140 tiles: two slices, the second of which begins within the second image.
      const shape = [16, 560, 560];
      const x = randomTensor([3, ...shape], 1);
      const [w, bias] = [randomTensor([16, 16, 3, 3], 2), randomTensor([16], 3)];
      const run = async (input: HostTensor, slices: number) => {
        const { outputs, calls } = await runOperator(gpu(), {
          ...{ opType: "Conv", opset: 22, attributes: { pads: [1, 1, 1, 1] }, constants: [1, 2] },
          inputs: [input, w, bias],
        });
        expect(calls.filter((label) => label.endsWith("tiles of the input"))).toHaveLength(slices);
        return outputs[0]?.data ?? new Float32Array(0);
      };
      const [from, to] = [sizeOf(shape), 2 * sizeOf(shape)];
      const all = await run(x, 2);
      const alone = await run({ type: "float32", shape: [1, ...shape], data: x.data.slice(from, to) }, 1);
      expect(Buffer.from(alone.buffer).equals(Buffer.from(all.slice(from, to).buffer))).toBe(true);
    });
  },
  testAdapters.slice(0, 1),
);

test.each([
  [384, 7, 1024],
  [320, 17, 233],
  [256, 9, 809],
])("no slice of %i channels, %i pixels a side, batch %i is larger than a binding may be", (channels, side, batch) => {
  const weights = { type: "float32", shape: [channels, channels, 3, 3], data: new Float32Array(0) } as const;
  const graph = graphOf(
    [node("Conv", ["image", "w"], ["y"], { pads: [1, 1, 1, 1] })],
    [null, channels, side, side],
    ["y"],
    { w: weights },
  );
  const { calls, slots } = makePlan(graph, {
    inputs: new Map([["image", [batch, channels, side, side]]]),
    outputs: ["y"],
  });
  expect(calls.filter((call) => call.label.endsWith("tiles of the input")).length).toBeGreaterThan(1);
  expect(Math.max(...slots.map((slot) => slot.bytes))).toBeLessThanOrEqual(2 ** 27);
});
