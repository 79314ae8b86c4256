import { describe, expect, test } from "vitest";
import { UnitFilters } from "../../src/channels/additive.ts";
import { overKinds } from "../../src/channels/filter-kinds.ts";
import { dot, form, plus, scaled } from "../../src/channels/linear-algebra.ts";
import { solveSmall } from "../../src/channels/tuned.ts";
import { additiveCase, SIZE } from "./additive-case.ts";

const { moments, filters } = additiveCase();
const unitFilters = new UnitFilters(moments, filters);
const w = plus(filters[0] ?? new Float64Array(SIZE), 1, filters[1] ?? new Float64Array(SIZE));
const unit = scaled(1 / Math.sqrt(form(w, moments.imageMeans, w)), w);
const at = (m: Float64Array, i: number, j: number): number => m[i * SIZE + j] ?? NaN;

/** The kinds' means and covariances written out, and their matrices inverted. */
function written(classes: readonly number[], exclude: readonly number[]): Float64Array {
  const units = filters.flatMap((f, c) =>
    exclude.includes(c) ? [] : [scaled(1 / Math.sqrt(form(f, moments.imageMeans, f)), f)],
  );
  const ridge = (0.3 * units.reduce((s, u) => s + dot(u, u), 0)) / (units.length * SIZE);
  const kinds = classes.map((t) => {
    const answers = units.map((u) => dot(u, moments.meanOf(t)) - dot(u, moments.mean));
    const centre = answers.reduce((s, a) => s + a, 0) / answers.length;
    const deviation = Math.sqrt(answers.reduce((s, a) => s + (a - centre) ** 2, 0) / answers.length);
    const factors = answers.map((a) => Math.exp((0.7 * a) / deviation));
    const total = factors.reduce((s, f) => s + f, 0);
    const over = (of: (u: Float64Array) => number): number =>
      units.reduce((s, u, c) => s + ((factors[c] ?? NaN) / total) * of(u), 0);
    const mean = Float64Array.from({ length: SIZE }, (_, i) => over((u) => u[i] ?? NaN));
    const covariance = Float64Array.from({ length: SIZE * SIZE }, (_, k) => {
      const [i, j] = [Math.floor(k / SIZE), k % SIZE];
      const own = over((u) => ((u[i] ?? NaN) - (mean[i] ?? NaN)) * ((u[j] ?? NaN) - (mean[j] ?? NaN)));
      return own + (i === j ? ridge : 0);
    });
    return { mean, covariance };
  });
  const [one, other] = kinds;
  if (one === undefined || other === undefined) throw new Error("two kinds");
  const left = plus(plus(scaled(Math.SQRT2, unit), -1, one.mean), -1, other.mean);
  const x = solveSmall(plus(one.covariance, 1, other.covariance), left);
  // The first part as expected, less half of the sum.
  return Float64Array.from({ length: SIZE }, (_, i) => {
    const moved = x.reduce((s, v, j) => s + at(one.covariance, i, j) * v, 0);
    return (one.mean[i] ?? NaN) + moved - (Math.SQRT2 * (unit[i] ?? NaN)) / 2;
  });
}

describe("parts expected of two kinds of filters", () => {
  test("are the conditional mean of normal vectors, of the filters that are not left out", () => {
    for (const [classes, exclude] of [
      [[0, 1], []],
      [
        [2, 1],
        [0, 3],
      ],
    ] as const) {
      const got = overKinds(moments, unitFilters, unit, classes, exclude);
      const wanted = written(classes, exclude);
      const size = Math.sqrt(dot(wanted, wanted));
      expect(size).toBeGreaterThan(0.01);
      got.forEach((v, j) => {
        expect(Math.abs(v - (wanted[j] ?? NaN))).toBeLessThan(1e-8 * size);
      });
    }
  });

  test("are negated bit for bit when the concepts change places, and nothing without other filters", () => {
    const got = overKinds(moments, unitFilters, unit, [0, 2], [1]);
    expect(overKinds(moments, unitFilters, unit, [2, 0], [1])).toEqual(got.map((v) => -v));
    const everyOne = Array.from(filters.keys());
    expect(overKinds(moments, unitFilters, unit, [0, 2], everyOne)).toEqual(new Float64Array(SIZE));
  });

  test("follow what filters of the class share: the part that they have is given to it", () => {
    // Half of the filters are along one direction, by which class 0 lies away from all, the rest along that of class 1.
    const towards = [0, 1].map((t) => plus(moments.meanOf(t), -1, moments.mean));
    const [a = new Float64Array(SIZE), b = new Float64Array(SIZE)] = towards;
    const of = new UnitFilters(moments, [a, a, b, b]);
    const sum = plus(scaled(1 / Math.sqrt(dot(a, a)), a), 1 / Math.sqrt(dot(b, b)), b);
    const e = overKinds(moments, of, scaled(1 / Math.sqrt(form(sum, moments.imageMeans, sum)), sum), [0, 1], []);
    expect(dot(e, a)).toBeGreaterThan(0);
    expect(dot(e, b)).toBeLessThan(0);
  });
});
