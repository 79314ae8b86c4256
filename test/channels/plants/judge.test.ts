import { describe, expect, test } from "vitest";
import { UnitFilters } from "../../../src/channels/additive.ts";
import { LayerImages } from "../../../src/channels/plants/images.ts";
import { judge } from "../../../src/channels/plants/judge.ts";
import { Logistic } from "../../../src/channels/plants/logistic.ts";
import { makePlants } from "../../../src/channels/plants/make.ts";
import {
  energyOf,
  oracleSets,
  partsBySets,
  plantedCase,
  RULES,
  type PlantedCase,
} from "../../../src/channels/plants/rules.ts";
import { summarise } from "../../../src/channels/plants/summary.ts";
import { FilterBank, skewness } from "../../../src/channels/plants/traits.ts";
import { Random } from "../../../src/channels/random.ts";
import { solveSmall, tune } from "../../../src/channels/tuned.ts";
import { additiveCase, COUNTS, POSITIONS, SIZE, TAPS } from "../additive-case.ts";

const { layer, moments, filters, patches } = additiveCase();
const unitFilters = new UnitFilters(moments, filters);
const tuning = await tune({
  moments,
  filters: unitFilters,
  rows: filters,
  taps: TAPS,
  random: new Random(1),
  plants: 20,
});
const evidence = { moments, filters: unitFilters, tuning };
const labels = Uint32Array.from(COUNTS.flatMap((n, t) => new Array<number>(n).fill(t)));
const tapSums = Float32Array.from(
  patches.flat().flatMap((p) => Array.from({ length: SIZE }, (_, j) => p.reduce((s, x) => s + (x[j] ?? 0), 0))),
);
const images = new LayerImages(layer, POSITIONS, labels, tapSums);
const { plants } = makePlants({
  ...{ layer, moments: new Map([[0, moments]]), tiers: ["P1", "P2", "P4"], plants: 6, seeds: [1] },
});
const caseOf = (tier: string, k = 0): PlantedCase => {
  const plant = plants.filter((p) => p.tier === tier)[k];
  if (plant === undefined) throw new Error("no such plant");
  const halfMeans = plant.classes.map((t) => moments.classMeans[t] ?? new Float64Array(SIZE));
  const rhos = plant.classes.length === 2 ? { rhos: { official: 1, symmetric: 1, tuned: 0.7 }, half: evidence } : {};
  return plantedCase(plant, layer, evidence, { positions: POSITIONS, halfMeans, ...rhos });
};

describe("images of a layer", () => {
  test("responses are means over positions of the filter's outputs", () => {
    const row = filters[1] ?? new Float64Array(SIZE);
    const got = images.responses(0, row);
    patches.flat().forEach((p, n) => {
      const mean = p.reduce((s, x) => s + x.reduce((t, v, j) => t + v * (row[j] ?? 0), 0), 0) / POSITIONS;
      expect(got[n]).toBeCloseTo(mean, 4);
    });
    expect(images.ofClass(1)).toEqual(Array.from({ length: COUNTS[1] ?? 0 }, (_, k) => k + (COUNTS[0] ?? 0)));
    const patch = images.meanPatch(0, images.ofClass(2));
    patch.forEach((v, j) => {
      expect(v).toBeCloseTo(moments.classMeans[2]?.[j] ?? NaN, 5);
    });
  });
});

describe("marks", () => {
  test("of parts by disjoint supports: the oracle is right, and random partitions are not", () => {
    for (let k = 0; k < 6; k++) {
      const c = caseOf("P1", k);
      const marks = judge(c, images, new Random(2), true);
      expect(marks.oracle.correlation).toBeCloseTo(1, 9);
      expect(marks.oracle.error).toBeCloseTo(0, 9);
      expect(marks.random.error).toBeGreaterThan(0.1);
      for (const [name, m] of marks.rules) {
        expect(Math.abs(m.correlation), name).toBeLessThanOrEqual(1 + 1e-12);
        expect(m.setAccuracy, name).toBeGreaterThanOrEqual(0);
        expect(m.setAccuracy, name).toBeLessThanOrEqual(1 + 1e-12);
        if (name !== "official") expect(m.swapInvariant, name).toBe(true);
      }
      // Every input in its own set: what the accuracy of the oracle's sets would be.
      const kept = c.plant.parts[0]?.inputs ?? "";
      expect(Array.from(oracleSets(c))).toEqual(Array.from(kept, (x) => (x === "1" ? 1 : 2)));
    }
  });

  test("of w/2 the error is 1, whatever the rule is called", () => {
    const c = caseOf("P2");
    // At g near 0 both parts are w/2.
    const rule = RULES.find((r) => r.name === "additive");
    const split = rule?.split(c, [0, 1]);
    expect(split?.parts).toHaveLength(2);
    const half = c.weights.map((w) => w / 2);
    const error = (part: Float64Array): number => {
      const [d, t] = [images.responses(0, part), images.responses(0, c.truth[0] ?? half)];
      const difference = d.map((x, n) => x - (t[n] ?? NaN));
      const mean = difference.reduce((a, b) => a + b, 0) / difference.length;
      return difference.reduce((s, x) => s + (x - mean) ** 2, 0);
    };
    const marks = judge(c, images, new Random(2), false).rules.get("additive");
    // Both parts err by the same: their sum is right.
    expect(marks?.error).toBeCloseTo(error(split?.parts[0] ?? half) / error(half), 6);
    expect(marks?.swapInvariant).toBeUndefined();
  });

  test("of the tuned rule's sets: at rho 1 an input is one part's, below it more are shared", () => {
    const shared = (name: string): number => {
      const sets = RULES.find((r) => r.name === name)?.split(caseOf("P2"), [0, 1]).sets ?? [];
      expect(sets.length).toBe(SIZE / TAPS);
      return Array.from(sets).filter((set) => set === 3).length;
    };
    expect(shared("tuned_sets")).toBe(0);
    expect(shared("tuned_sets_chosen")).toBeGreaterThan(0);
  });

  test("of three concepts, by the rules that take them", () => {
    const c = caseOf("P4");
    const marks = judge(c, images, new Random(2), true);
    expect([...marks.rules.keys()]).toEqual(RULES.filter((r) => r.takes(c)).map((r) => r.name));
    expect(marks.rules.get("additive")?.swapInvariant).toBe(true);
    expect(marks.rules.has("official")).toBe(false);
  });

  test("as figures: medians over plants with n, and each seed's", () => {
    const judged = [0, 1, 2, 3, 4, 5].map((k) => {
      const c = caseOf("P2", k);
      return { plant: { ...c.plant, seed: k % 2 }, marks: judge(c, images, new Random(k), k === 0) };
    });
    const { P2 } = summarise(judged, new Random(1));
    expect(P2).toMatchObject({ plants: 6, seeds: [0, 1] });
    const figure = P2?.rules.additive;
    expect(figure?.correlation.n).toBe(6);
    expect(figure?.correlation.seeds).toHaveLength(2);
    const sorted = judged.map((j) => j.marks.rules.get("additive")?.error ?? NaN).sort((a, b) => a - b);
    expect(figure?.squared_error.value).toBeCloseTo(((sorted[2] ?? NaN) + (sorted[3] ?? NaN)) / 2, 12);
    expect(figure?.squared_error.low).toBeLessThanOrEqual(figure?.squared_error.value ?? NaN);
    expect(figure?.squared_error.high).toBeGreaterThanOrEqual(figure?.squared_error.value ?? NaN);
    expect(figure?.swap_invariant).toMatchObject({ value: 1, n: 1 });
    expect(figure?.set_accuracy).toBeUndefined();
  });
});

test("parts by sets hold shared inputs twice; energies are of the mean responses", () => {
  const w = Float64Array.from({ length: SIZE }, (_, j) => j + 1);
  const [a, b] = partsBySets(w, Uint32Array.of(1, 2, 3, 1), 2, TAPS);
  expect(Array.from(a ?? [])).toEqual([1, 2, 0, 0, 5, 6, 7, 8]);
  expect(Array.from(b ?? [])).toEqual([0, 0, 3, 4, 5, 6, 0, 0]);
  const only = Float64Array.from({ length: SIZE }, (_, j) => (j === 3 ? 2 : 0));
  expect(energyOf(only, only, moments, 1, TAPS)).toBeCloseTo(4 * (moments.imageMeans[3 * SIZE + 3] ?? NaN), 12);
});

test("skewness", () => {
  expect(skewness([1, 1, 1])).toBe(0);
  expect(skewness([-1, 0, 1])).toBe(0);
  // Of one among n zeros: (n - 2) / sqrt(n - 1).
  expect(skewness([0, 0, 0, 0, 1])).toBeCloseTo(3 / 2, 12);
});

test("logistic regression: separates what differs, ignores what is constant, weighs both sides alike", () => {
  const random = new Random(5);
  const item = (positive: boolean) => ({
    features: [random.normal() + (positive ? 1.5 : 0), random.normal(), 7],
    positive,
    weight: positive ? 1 : 0.1,
  });
  const items = [...Array.from({ length: 60 }, () => item(true)), ...Array.from({ length: 200 }, () => item(false))];
  const model = new Logistic(items);
  expect(model.score([2, 0, 7])).toBeGreaterThan(1);
  expect(model.score([-0.5, 0, 7])).toBeLessThan(-1);
  expect(Math.abs(model.score([0.75, 0, 7]))).toBeLessThan(0.6);
  expect(model.score([1, 0, 9])).toBe(model.score([1, 0, 7]));
});

describe("traits", () => {
  const draw = new Random(9);
  const more = Array.from({ length: 3 }, () => Float64Array.from({ length: SIZE }, () => draw.normal()));

  test.each([
    ["fewer filters than weights", filters],
    ["more", [...filters, ...more]],
  ])("how far a filter is from where the others lie: %s", (_, rows) => {
    const bank = new FilterBank(0, moments, images, rows);
    const exclude = [2, 4];
    const row = Float64Array.from({ length: SIZE }, () => draw.normal());
    const kept = rows.filter((__, c) => !exclude.includes(c));
    const unit = (v: Float64Array): Float64Array => v.map((x) => x / Math.hypot(...v));
    // S of METHOD.md B with filters at unit norm, written out.
    const S = Float64Array.from({ length: SIZE * SIZE }, (__, at) => {
      const [i, j] = [Math.floor(at / SIZE), at % SIZE];
      const second = kept.reduce((sum, f) => sum + (unit(f)[i] ?? NaN) * (unit(f)[j] ?? NaN), 0);
      return (0.7 * SIZE * second) / kept.length + (i === j ? 0.3 : 0);
    });
    const solved = solveSmall(S, unit(row));
    const expected = Math.log(unit(row).reduce((sum, x, i) => sum + x * (solved[i] ?? NaN), 0));
    for (const scale of [1, 7]) {
      const traits = bank.traits(
        row.map((x) => scale * x),
        exclude,
      );
      expect(traits?.guard.at(-1)).toBeCloseTo(expected, 9);
      expect([...(traits?.guard ?? []), ...(traits?.detector ?? [])].every(Number.isFinite)).toBe(true);
    }
  });
});
