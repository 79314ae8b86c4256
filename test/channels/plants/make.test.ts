import { describe, expect, test } from "vitest";
import { makePlants } from "../../../src/channels/plants/make.ts";
import {
  checkPlants,
  decodePlants,
  encodePlants,
  TIERS,
  truthOf,
  weightsOfPlant,
  type Plant,
  type PlantFile,
} from "../../../src/channels/plants/plant.ts";
import { form } from "../../../src/channels/linear-algebra.ts";
import { topClass } from "../../../src/channels/tuned.ts";
import { additiveCase, CHANNELS, INPUTS, SIZE, TAPS } from "../additive-case.ts";

const { layer, moments } = additiveCase();
const groups = new Map([[0, moments]]);
const make = (options: Partial<Parameters<typeof makePlants>[0]> = {}) =>
  makePlants({ layer, moments: groups, tiers: TIERS, plants: 8, seeds: [1, 2], ...options });
const of = (plants: readonly Plant[], tier: string): Plant[] => plants.filter((p) => p.tier === tier);
const deviation = (row: Float64Array): number => Math.sqrt(form(row, moments.imageMeans, row));

describe("plants", () => {
  const { plants } = make();

  test("of every tier and seed, the same for the same seed whatever other tiers there are", () => {
    for (const tier of TIERS)
      for (const seed of [1, 2]) expect(of(plants, tier).filter((p) => p.seed === seed)).toHaveLength(8);
    expect(make().plants).toEqual(plants);
    expect(make({ tiers: ["P2"] }).plants).toEqual(of(plants, "P2"));
    expect(of(make({ seeds: [2] }).plants, "P2")).toEqual(of(plants, "P2").filter((p) => p.seed === 2));
  });

  test("P2 and P5: parts of unit deviation over images, of different top classes; the plant is their sum", () => {
    for (const plant of [...of(plants, "P2"), ...of(plants, "P5")]) {
      const truth = truthOf(layer, plant);
      expect(new Set(plant.classes).size).toBe(2);
      truth.forEach((row, k) => {
        expect(deviation(row)).toBeCloseTo(1, 9);
        expect(topClass(moments, row)).toBe(plant.classes[k]);
      });
      const whole = weightsOfPlant(truth);
      expect(Array.from(whole)).toEqual(Array.from(whole, (_, j) => (truth[0]?.[j] ?? NaN) + (truth[1]?.[j] ?? NaN)));
    }
  });

  test("P1: each part on its own half of the inputs", () => {
    for (const plant of of(plants, "P1")) {
      const [a = "", b = ""] = plant.parts.map((p) => p.inputs);
      expect(Array.from(a, (x, i) => Number(x) + Number(b[i]))).toEqual(new Array(INPUTS).fill(1));
      expect(a.split("1")).toHaveLength(INPUTS / 2 + 1);
      truthOf(layer, plant).forEach((row, k) => {
        expect(deviation(row)).toBeCloseTo(1, 9);
        expect(topClass(moments, row)).toBe(plant.classes[k]);
        row.forEach((w, j) => {
          expect(w !== 0).toBe(plant.parts[k]?.inputs?.[Math.floor(j / TAPS)] === "1");
        });
      });
    }
  });

  test("P0: channels as they are, and sums of one top class; P3: one part half as large; P4: three concepts", () => {
    const controls = of(plants, "P0");
    expect(controls.filter((p) => p.control === "channel").every((p) => p.parts.length === 1)).toBe(true);
    for (const { parts } of controls.filter((p) => p.control === "one concept")) {
      const tops = parts.map(({ channel }) =>
        topClass(moments, truthOf(layer, single(channel))[0] ?? new Float64Array()),
      );
      expect(tops).toHaveLength(2);
      expect(new Set(tops).size).toBe(1);
    }
    for (const plant of of(plants, "P3")) {
      const [a = NaN, b = NaN] = truthOf(layer, plant).map(deviation);
      expect(a).toBeCloseTo(0.5, 9);
      expect(b).toBeCloseTo(1, 9);
    }
    for (const plant of of(plants, "P4")) expect(new Set(plant.classes).size).toBe(3);
  });

  test("in the layer's orientation: a negated channel gives the same plant", () => {
    const weights = layer.weights.map((w, at) => (Math.floor(at / SIZE) % 2 === 0 ? -w : w));
    const negated = { ...layer, weights, sign: layer.sign.map((s, c) => (c % 2 === 0 ? -s : s)) };
    expect(make({ layer: negated }).plants).toEqual(plants);
  });

  test("without channels that do not vary", () => {
    const weights = layer.weights.slice().fill(0, 0, SIZE);
    const some = make({ layer: { ...layer, weights } });
    expect(some.leftOut).toEqual([0]);
    expect(some.plants.some((p) => p.parts.some((part) => part.channel === 0))).toBe(false);
  });

  test("refuses what no plants can be made of", () => {
    const zero = { ...layer, weights: new Float32Array(layer.weights.length) };
    expect(() => make({ layer: zero })).toThrow(expect.objectContaining({ code: "PLANT_CHANNELS" }));
    // All channels alike: one top class.
    const alike = { ...layer, weights: layer.weights.map((_, at) => layer.weights[at % SIZE] ?? 0) };
    expect(() => make({ layer: alike, tiers: ["P2"] })).toThrow(expect.objectContaining({ code: "PLANT_CHANNELS" }));
    expect(() => make({ layer: alike, tiers: ["P0"] })).not.toThrow();
  });
});

describe("files of plants", () => {
  const file: PlantFile = {
    ...{ model: { path: "a.onnx", sha256: "00" }, layer: "layer", node: "conv", classes: ["a", "b"], preprocess: "{}" },
    ...{ images: { path: "images", digest: "11", length: 30 }, plants: make().plants },
  };

  test("are read as they were written", () => {
    expect(decodePlants(encodePlants(file), "plants.json")).toEqual(file);
  });

  test.each([
    ["not JSON", "{"],
    ["something else", "[]"],
    ["another format", '{"format":"x"}'],
    ["a newer version", encodePlants(file).replace('"version":1', '"version":9')],
    ["a tier that there is not", encodePlants(file).replace('"tier":"P0"', '"tier":"P9"')],
    ["a channel that is no number", encodePlants(file).replace(/"channel":\d+/, '"channel":"x"')],
    ["no plants", encodePlants(file).replace('"plants":', '"none":')],
  ])("%s: refused", (_, text) => {
    expect(() => decodePlants(text, "plants.json")).toThrow(expect.objectContaining({ code: "PLANTS_FORMAT" }));
  });

  test("must fit the layer", () => {
    expect(() => {
      checkPlants(layer, file.plants, 4, "f");
    }).not.toThrow();
    expect(() => {
      checkPlants(layer, file.plants, 2, "f");
    }).toThrow(expect.objectContaining({ code: "PLANTS_FORMAT" }));
    const few = { ...layer, outChannels: CHANNELS - 3 };
    expect(() => {
      checkPlants(few, file.plants, 4, "f");
    }).toThrow(expect.objectContaining({ code: "PLANTS_FORMAT" }));
  });
});

const single = (channel: number): Plant => ({ tier: "P0", seed: 0, parts: [{ channel, scale: 1 }], classes: [] });
