/** Source sets made of the parts of rules by weights, on a channel whose inputs are known to be of one concept each. */
import { describe, expect, test } from "vitest";
import { additiveSplit, UnitFilters } from "../../src/channels/additive.ts";
import { MomentSums } from "../../src/channels/moments.ts";
import { heldWeights, setsByHeld, shares } from "../../src/channels/parts.ts";
import { Random as SeededRandom } from "../../src/channels/random.ts";
import { sourceSets } from "../../src/channels/sets.ts";
import { tune, tunedSplit } from "../../src/channels/tuned.ts";
import type { StudyLayer } from "../../src/relevance/study.ts";
import { Random } from "../support/random.ts";

const INPUTS = 16;
const CHANNELS = 12;
const PER_CLASS = 60;
/** Inputs 0 to 7 speak of class 0, the others of class 1: so they do together, and two of them speak louder on the other's images. */
const DECEPTIVE = [2, 11];
const conceptOf = (i: number): number => (i < INPUTS / 2 ? 0 : 1);

const random = new Random(11);
/** Channels read the inputs of one concept; the last four read all. */
const filters = Array.from({ length: CHANNELS }, (_, c) =>
  Float64Array.from({ length: INPUTS }, (__, i) =>
    c < 8 ? (conceptOf(i) === c % 2 ? 1 + 0.3 * random.normal() : 0.05 * random.normal()) : 0.3 * random.normal(),
  ),
);
/** Four classes: two that one concept each is of, and two of neither. One patch an image. */
const patches = Array.from({ length: 4 }, (_, t) =>
  Array.from({ length: PER_CLASS }, () => {
    const strengths = [0, 1].map((k) => (t === k ? 3 : 0.5) + random.normal());
    return Array.from({ length: INPUTS }, (__, i) => {
      const loud = DECEPTIVE.includes(i) && t === 1 - conceptOf(i) ? 5 : 0;
      return Math.fround(Math.max(0, (strengths[conceptOf(i)] ?? 0) + loud + 0.5 * random.normal()));
    });
  }),
);
const layer: StudyLayer = {
  ...{ name: "layer", nodeName: "conv", output: "z", kernel: [1, 1], strides: [1, 1], dilations: [1, 1] },
  ...{ pads: [0, 0, 0, 0], groups: 1, inChannels: INPUTS, outChannels: CHANNELS, hasBias: false },
  weights: Float32Array.from(filters.flatMap((f) => Array.from(f))),
  sign: new Int8Array(CHANNELS).fill(1),
};
const sums = new MomentSums({ layer, positions: 1, classes: 4, kept: [0, 1, 2, 3] });
patches.forEach((rows, t) => {
  const second = Float32Array.from({ length: INPUTS ** 2 }, (_, at) =>
    rows.reduce((s, x) => s + (x[Math.floor(at / INPUTS)] ?? 0) * (x[at % INPUTS] ?? 0), 0),
  );
  const tapSums = Float32Array.from(rows.flat());
  sums.add(t, { images: rows.length, tapSums, groups: [{ patches: second, images: second }] });
});
const moments = sums.group(0);
const unitFilters = new UnitFilters(moments, filters);
const tuning = await tune({
  ...{ moments, filters: unitFilters, rows: filters, taps: 1, random: new SeededRandom(1), plants: 60 },
});
const coefficients = tuning.coefficients();
/** Of neither of the layer's channels: positive on all inputs. */
const weights = Float64Array.from({ length: INPUTS }, (_, i) => 1 + 0.1 * Math.cos(i));
const request = (classes: readonly number[], w = weights, sign = 1) => ({
  ...{ moments, filters: unitFilters, exclude: [], weights: w, sign, classes, taps: 1 },
});
const truth = Array.from({ length: INPUTS }, (_, i) => 1 << conceptOf(i));
const rules = {
  additive: (classes: readonly number[], w?: Float64Array<ArrayBuffer>, sign?: number) =>
    additiveSplit(request(classes, w, sign)).parts,
  tuned: (classes: readonly number[], w?: Float64Array<ArrayBuffer>, sign?: number) =>
    tunedSplit(request(classes, w, sign), coefficients).parts,
};

describe("sets of parts by weights", () => {
  test("relevance of each input alone is deceived by those that speak louder on the other's images", () => {
    const vectors = [0, 1].map((t) => weights.map((w, i) => w * (moments.classMeans[t]?.[i] ?? NaN)));
    const wrong = Array.from(sourceSets(vectors, 1, "symmetric")).flatMap((set, i) => (set === truth[i] ? [] : [i]));
    expect(wrong).toEqual(DECEPTIVE);
  });

  test("what inputs do together finds all, by the rule that was fitted on the layer's channels", () => {
    expect(Array.from(shares(rules.tuned([0, 1]), 1))).toEqual(truth);
  });

  test.each(Object.entries(rules))("%s: the same in any order, orientation and size", (_, partsOf) => {
    const sets = shares(partsOf([0, 1]), 1);
    expect(Array.from(shares(partsOf([1, 0]), 1))).toEqual(Array.from(sets, (set) => 3 - set));
    const turned = partsOf(
      [0, 1],
      weights.map((w) => -w),
      -1,
    );
    expect(shares(turned, 1)).toEqual(sets);
    const larger = partsOf(
      [0, 1],
      weights.map((w) => 2.5 * w),
    );
    expect(shares(larger, 1)).toEqual(sets);
  });

  test("of three concepts in any order, by the additive rule", () => {
    const sets = shares(rules.additive([0, 1, 2]), 1);
    const turned = shares(rules.additive([2, 0, 1]), 1);
    expect(Array.from(turned, (set) => ((set << 2) & 4) | (set >> 1))).toEqual(Array.from(sets));
  });

  test("rho shares what parts hold nearly as much of; an input of no weight is all concepts'", () => {
    const parts = [Float64Array.of(3, -1, 0.4, -0.4, 0, 0), Float64Array.of(1, 1, 0.3, 0.5, 0, 0)];
    const held = heldWeights(parts, 2);
    expect(held.map((h) => Array.from(h))).toEqual([
      [4, 0.8, 0],
      [2, 0.8, 0],
    ]);
    expect(Array.from(setsByHeld(held, 1))).toEqual([1, 3, 3]);
    expect(Array.from(setsByHeld(held, 0.51))).toEqual([1, 3, 3]);
    expect(Array.from(setsByHeld(held, 0.49))).toEqual([3, 3, 3]);
  });
});
