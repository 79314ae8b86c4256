import { describe, expect, it } from "vitest";
import { AverageRelevance, inputsOf, relevanceVector } from "../../src/relevance/arv.ts";
import { roundToHalf } from "../../src/onnx/half.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";

import { Random } from "../support/random.ts";
import { batchOf, emptyStudy, INPUTS, OUTPUTS, TAPS } from "./synthetic.ts";

const [HEIGHT, WIDTH] = [5, 7];
const study = emptyStudy();
const { layer } = study.meta;
const [KH, KW] = layer.kernel;
const [SH, SW] = layer.strides;
const [DH, DW] = layer.dilations;
const [TOP, LEFT, BOTTOM, RIGHT] = layer.pads;
const OUT_H = Math.floor((HEIGHT + TOP + BOTTOM - DH * (KH - 1) - 1) / SH) + 1;
const OUT_W = Math.floor((WIDTH + LEFT + RIGHT - DW * (KW - 1) - 1) / SW) + 1;

/** x[i] at a position, zero outside the image. */
type Image = (i: number, y: number, x: number) => number;

/** S[i,k] by its definition. */
function tapSums(image: Image): Float64Array {
  return Float64Array.from({ length: INPUTS * TAPS }, (_, at) => {
    const [i, k] = [Math.floor(at / TAPS), at % TAPS];
    let sum = 0;
    for (let py = 0; py < OUT_H; py++)
      for (let px = 0; px < OUT_W; px++)
        sum += image(i, SH * py + DH * Math.floor(k / KW) - TOP, SW * px + DW * (k % KW) - LEFT);
    return sum;
  });
}

/** sum over positions of z[c], without bias, for an input of which only channel i is there. */
function response(image: Image, channel: number, only: number): number {
  const perGroup = INPUTS / layer.groups;
  const group = Math.floor(channel / (OUTPUTS / layer.groups));
  let sum = 0;
  for (let py = 0; py < OUT_H; py++)
    for (let px = 0; px < OUT_W; px++)
      for (let j = 0; j < perGroup; j++)
        for (let k = 0; k < TAPS; k++) {
          if (group * perGroup + j !== only) continue;
          const w = layer.weights[(channel * perGroup + j) * TAPS + k] ?? NaN;
          sum += w * image(only, SH * py + DH * Math.floor(k / KW) - TOP, SW * px + DW * (k % KW) - LEFT);
        }
  return sum;
}

describe("average relevance vectors", () => {
  it("are each input channel's share of the channel's sum, in its group, with strides, dilations and pads", () => {
    const random = new Random(9);
    const pixels = Float64Array.from({ length: INPUTS * HEIGHT * WIDTH }, () => random.normal());
    const image: Image = (i, y, x) =>
      y < 0 || y >= HEIGHT || x < 0 || x >= WIDTH ? 0 : (pixels[(i * HEIGHT + y) * WIDTH + x] ?? NaN);
    const sums = tapSums(image);
    for (let c = 0; c < OUTPUTS; c++) {
      const { first, count } = inputsOf(layer, c);
      expect([first, count]).toEqual([c < 2 ? 0 : 3, 3]);
      // z is linear in its input: x . d(sum z)/dx over one channel is the sum of z with that channel alone.
      const expected = Float64Array.from({ length: count }, (_, i) => response(image, c, first + i));
      const oriented = relevanceVector(layer, sums, c, "oriented");
      const sign = c === 1 ? -1 : 1;
      expected.forEach((r, i) => {
        expect(oriented[i]).toBeCloseTo(sign * r, 10);
      });
      const official = relevanceVector(layer, sums, c, "official");
      oriented.forEach((v, i) => {
        expect(official[i]).toBe(roundToHalf(sign * v));
      });
    }
  });

  it("are means over the images accumulated, and undefined for a class without any", () => {
    const partial = emptyStudy();
    accumulate(partial, batchOf(0, 5, [1]));
    const arvs = new AverageRelevance(partial);
    const { tapSums: each } = batchOf(0, 4, [1]);
    const mean = Float64Array.from({ length: INPUTS * TAPS }, (_, k) =>
      [0, 1, 2].reduce((sum, n) => sum + (each[n * INPUTS * TAPS + k] ?? NaN) / 3, 0),
    );
    const expected = relevanceVector(layer, mean, 3, "oriented");
    const largest = Math.max(...mean.map(Math.abs)) * Math.max(...layer.weights.map(Math.abs));
    // exact-sum.ts loses up to 2^-31 of the largest contribution to a sum, and there are TAPS sums an element.
    arvs.vector(3, 0, "oriented")?.forEach((v, i) => {
      expect(Math.abs(v - (expected[i] ?? NaN))).toBeLessThanOrEqual(TAPS * 3 * 2 ** -31 * largest);
    });
    expect(arvs.vector(3, 1, "oriented")).toBeDefined();
    expect(arvs.vector(3, 2, "oriented")).toBeUndefined();
  });
});
