/** Plants put into a network: the new channel at the old one's mean and variance, all others as they were. */
import { expect, test } from "vitest";
import { gatherImages } from "../../../src/channels/plants/images.ts";
import { networksOf, plantedGraph, slotOf } from "../../../src/channels/plants/insert.ts";
import { makePlants } from "../../../src/channels/plants/make.ts";
import { truthOf, weightsOfPlant } from "../../../src/channels/plants/plant.ts";
import { MomentPass, positionsOf } from "../../../src/channels/moments-pass.ts";
import { Session } from "../../../src/engine/session.ts";
import { must } from "../../../src/errors.ts";
import type { ClassImages } from "../../../src/channels/concepts.ts";
import { onAdapters } from "../../support/on-adapters.ts";
import { CLASSES, imagesFor, layerNetwork, type LayerCase } from "../one-layer.ts";

const cases: readonly LayerCase[] = [
  { title: "without a bias", size: [6, 5], inputs: 6, channels: 9, kernel: [3, 3], pads: [1, 1, 1, 1] },
  { title: "with a bias", size: [5, 5], inputs: 6, channels: 9, kernel: [1, 1], bias: true },
];
const EACH = 6;

onAdapters("planted networks", (gpu) => {
  test.each(cases)("$title", async (c) => {
    const { graph, layer, geometry, imageShape } = layerNetwork(c, EACH);
    const perClass = Array.from({ length: CLASSES }, (_, t) => imagesFor(c, EACH, 70 + t).map((v) => v + 0.3 * t));
    const images: ClassImages = {
      count: () => EACH,
      paths: () => [],
      async *batches(t) {
        const tensor = perClass[Number(t)] ?? new Float32Array(0);
        yield await Promise.resolve({
          tensor,
          labels: new Array<number>(EACH).fill(Number(t)),
          items: [],
          skipped: [],
          next: 0,
        });
      },
    };
    using session = new Session(gpu(), graph);
    using pass = await MomentPass.open(session, { layer, geometry, input: "x", imageShape, batch: EACH, groups: [0] });
    const kept = [0, 1, 2, 3];
    const { sums } = await gatherImages({
      ...{ layer: geometry, positions: positionsOf(layer), classes: CLASSES, kept, pass, groups: [0], images },
    });
    const moments = new Map([[0, must(sums, "moments").group(0)]]);
    const { plants } = makePlants({ layer: geometry, moments, tiers: ["P5"], plants: 6, seeds: [3] });
    const members = must(networksOf(plants, 3)[0], "network");
    expect(members.length).toBeGreaterThan(1);
    const slots = members.map((p) => slotOf(geometry, moments, p));
    const planted = plantedGraph(graph, layer, slots);

    const z = async (of: typeof graph): Promise<{ data: Float32Array; positions: number }> => {
      using own = new Session(gpu(), of);
      const data = Float32Array.from(perClass.flatMap((x) => Array.from(x)));
      const shape = [EACH * CLASSES, ...imageShape];
      const got = must((await own.run(new Map([["x", { type: "float32", shape, data }]]), ["z"])).get("z"), "z");
      return { data: Float32Array.from(got.data), positions: (got.shape[2] ?? 1) * (got.shape[3] ?? 1) };
    };
    const [before, after] = [await z(graph), await z(planted)];
    const channels = geometry.outChannels;
    const meansOf = ({ data, positions }: typeof before, channel: number): number[] =>
      Array.from({ length: EACH * CLASSES }, (_, n) => {
        const from = (n * channels + channel) * positions;
        return data.subarray(from, from + positions).reduce((s, v) => s + v, 0) / positions;
      });
    for (let channel = 0; channel < channels; channel++) {
      const [old, now] = [meansOf(before, channel), meansOf(after, channel)];
      const slot = members.findIndex((p) => p.parts[0]?.channel === channel);
      if (slot < 0) {
        expect(now).toEqual(old);
        continue;
      }
      const [a, b] = [old, now].map(momentsOf);
      expect(b?.deviation).toBeCloseTo(a?.deviation ?? NaN, 4);
      // Without a bias or a BatchNormalization nothing can take the change of the mean.
      const shift = c.bias === true ? 0 : (slots[slot]?.shift ?? NaN);
      expect((b?.mean ?? NaN) - (a?.mean ?? NaN)).toBeCloseTo(shift, 4);
      const whole = weightsOfPlant(truthOf(geometry, must(members[slot], "plant")));
      const row = slots[slot]?.row ?? new Float32Array(0);
      const factor = (row[0] ?? NaN) / (whole[0] ?? NaN);
      row.forEach((w, j) => {
        expect(w).toBeCloseTo(factor * (whole[j] ?? NaN), 5);
      });
    }
  });
});

function momentsOf(values: readonly number[]): { readonly mean: number; readonly deviation: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return { mean, deviation: Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length) };
}
