/** The additive split against its formulas, written with dense matrices and elimination. */
import { describe, expect, test } from "vitest";
import { additiveSplit, UnitFilters, type AdditiveOptions } from "../../src/channels/additive.ts";
import { tune, tunedSplit } from "../../src/channels/tuned.ts";
import { Random as SeededRandom } from "../../src/channels/random.ts";
import { additiveCase, CHANNELS, COUNTS, SIZE, TAPS } from "./additive-case.ts";
import { combine, identity, inner, multiply, outer, product, solve, vector, type Matrix } from "./dense.ts";

const given = additiveCase();
const { moments, filters, patches } = given;
const unitFilters = new UnitFilters(moments, filters);
const channel = 2;
const weights = filters[channel] ?? new Float64Array(0);
const split = (classes: readonly number[], options: AdditiveOptions = {}, w: ArrayLike<number> = weights, sign = 1) =>
  additiveSplit({ moments, filters: unitFilters, exclude: [channel], weights: w, sign, classes, taps: TAPS, options });

const mean = (rows: readonly (readonly number[])[]): number[] =>
  Array.from({ length: SIZE }, (_, j) => rows.reduce((s, r) => s + (r[j] ?? 0), 0) / rows.length);
const less = (a: readonly number[], b: readonly number[]): number[] => a.map((x, j) => x - (b[j] ?? 0));
const second = (rows: readonly (readonly number[])[], about: readonly number[]): number[][] =>
  combine(...rows.map((r) => [1 / rows.length, outer(less(r, about), less(r, about))] as const));
const scale = (f: number, v: readonly number[]): number[] => v.map((x) => f * x);
const add = (...vs: readonly (readonly number[])[]): number[] =>
  vs.reduce<number[]>((sum, v) => sum.map((x, j) => x + (v[j] ?? 0)), new Array<number>(SIZE).fill(0));
const size = (m: Matrix, v: readonly number[]): number => Math.sqrt(inner(v, multiply(m, v)));

/** METHOD.md B, "Beyond partitions", word for word, for two classes. */
function byFormula(
  t1: number,
  t2: number,
  kappa = 10,
  lambda = 0.2,
  lambdaPair = 0.03,
  beta = 0.2,
  g = 0.75,
): number[] {
  const all = patches.flat(2);
  const means = patches.map((images) => images.map(mean));
  const centre = mean(all);
  const R = second(all, centre);
  const V = second(means.flat(), centre);
  const C = (t: number): number[][] => second(patches[t]?.flat() ?? [], centre);
  const Vt = (t: number): number[][] => second(means[t] ?? [], centre);
  const unit = filters.filter((_, c) => c !== channel).map((f) => scale(1 / size(R, vector(f)), vector(f)));
  const W = combine(...unit.map((u) => [1, outer(u, u)] as const));
  const trace = W.reduce((s, row, i) => s + (row[i] ?? 0), 0);
  const S = combine([(0.7 * SIZE) / trace, W], [0.3, identity(SIZE)]);
  const w = vector(weights);
  const q = inner(w, w) / SIZE;
  const Q = (l: number): number[][] => combine([q / (l * inner(w, multiply(R, w))), S]);
  const regress = (Ql: Matrix, M: Matrix, target: readonly number[]): number[] =>
    solve(combine([1, identity(SIZE)], [1, product(Ql, M)]), multiply(Ql, target));

  const n = COUNTS.reduce((a, b) => a + b, 0);
  const y = means.flatMap((images, t) => images.map(() => (t === t1 ? 1 : t === t2 ? -1 : 0)));
  const ybar = y.reduce<number>((a, b) => a + b, 0) / n;
  const b = scale(1 / n, add(...means.flat().map((x, i) => scale((y[i] ?? 0) - ybar, less(x, centre)))));
  const M = combine(
    [2 * (1 - beta), R],
    [2 * (1 - beta) * kappa, V],
    ...[t1, t2].flatMap((t) => [[beta, C(t)] as const, [beta * kappa, Vt(t)] as const]),
  );
  const eL = regress(Q(lambda), M, b);
  const classMeans = patches.map((images) => mean(images.flat()));
  const ofClasses = mean(classMeans);
  const Cj = [t1, t2].map((t) => {
    const d = less(classMeans[t] ?? [], ofClasses);
    return combine([1, second(patches[t]?.flat() ?? [], classMeans[t] ?? [])], [10, outer(d, d)]);
  });
  const [C1 = [], C2 = []] = Cj;
  const el = regress(Q(lambdaPair), combine([1, C1], [1, C2]), scale(0.5, multiply(combine([1, C1], [-1, C2]), w)));
  const es = w.map((x, j) => {
    const from = TAPS * Math.floor(j / TAPS);
    const arv = (t: number): number =>
      w.slice(from, from + TAPS).reduce((s, v, k) => s + v * (classMeans[t]?.[from + k] ?? NaN), 0);
    return (arv(t1) > arv(t2) ? x : -x) / 2;
  });
  const star = add(scale(1 / size(R, eL), eL), scale(0.5 / size(R, el), el), scale(0.5 / size(R, es), es));
  const k = Math.sqrt(inner(w, multiply(V, w)) / (4 * inner(star, multiply(V, star))));
  return scale(g * k, star);
}

const near = (got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void => {
  const norm = Math.sqrt(Array.from(expected).reduce((s, x) => s + x * x, 0));
  expect(got.length).toBe(expected.length);
  Array.from(got).forEach((x, i) => {
    expect(Math.abs(x - (expected[i] ?? NaN))).toBeLessThanOrEqual(tolerance * norm);
  });
};

describe("the additive split", () => {
  test("is METHOD.md's", () => {
    // Sums came in float32: 30 images of 3 patches, relative error below 2e-5 before the regressions amplify it.
    near(split([0, 1]).e, byFormula(0, 1), 1e-3);
    near(split([3, 1], { beta: 0, g: 0.5 }).e, byFormula(3, 1, 10, 0.2, 0.03, 0, 0.5), 1e-3);
    near(split([2, 0], { kappa: 3, lambda: 0.1, lambdaPair: 0.2 }).e, byFormula(2, 0, 3, 0.1, 0.2), 1e-3);
  });

  test("its parts add up to the channel, and at g = 1 are uncorrelated over images, or over patches", () => {
    for (const classes of [
      [0, 1],
      [3, 0, 2],
    ]) {
      const { parts } = split(classes);
      near(
        parts.reduce((sum, p) => sum.map((x, j) => x + (p[j] ?? 0))),
        weights,
        1e-14,
      );
    }
    const covariance = (parts: readonly Float64Array[], m: Float64Array): number => {
      const rows: Matrix = Array.from({ length: SIZE }, (_, i) => Array.from(m.subarray(i * SIZE, (i + 1) * SIZE)));
      const [a, b] = parts.map((p) => vector(p));
      return inner(a ?? [], multiply(rows, b ?? [])) / size(rows, vector(weights)) ** 2;
    };
    expect(Math.abs(covariance(split([0, 1], { g: 1 }).parts, moments.imageMeans))).toBeLessThan(1e-12);
    expect(Math.abs(covariance(split([0, 1], { g: 1, over: "patches" }).parts, moments.patches))).toBeLessThan(1e-12);
    expect(Math.abs(covariance(split([0, 1]).parts, moments.imageMeans))).toBeGreaterThan(1e-3);
  });

  test("another order of the concepts reorders the parts and nothing else", () => {
    const [first, second] = [split([1, 3]), split([3, 1])];
    expect(second.parts.map(vector)).toEqual(first.parts.toReversed().map(vector));
    expect(second.k).toBe(first.k);
    const three = split([0, 1, 2]);
    const turned = split([2, 0, 1]);
    [2, 0, 1].forEach((k, at) => {
      near(turned.parts[at] ?? [], three.parts[k] ?? [], 1e-9);
    });
  });

  test("a folded scale scales the parts, a negated one with its sign gives the same answer, k stays", () => {
    const plain = split([0, 2]);
    const folded = split(
      [0, 2],
      {},
      weights.map((v) => 3.7 * v),
    );
    folded.parts.forEach((part, k) => {
      near(
        part,
        (plain.parts[k] ?? weights).map((v) => 3.7 * v),
        1e-9,
      );
    });
    expect(folded.k).toBeCloseTo(plain.k, 9);
    const negated = split(
      [0, 2],
      {},
      weights.map((v) => -v),
      -1,
    );
    negated.parts.forEach((part, k) => {
      near(
        part,
        (plain.parts[k] ?? weights).map((v) => -v),
        1e-12,
      );
    });
    // The other filters' scales and signs do not matter either.
    const others = filters.map((f, c) => f.map((v) => (c % 2 === 0 ? -2 : 5) * v));
    const unlike = additiveSplit({
      ...{ moments, filters: new UnitFilters(moments, others), exclude: [channel], weights, sign: 1 },
      ...{ classes: [0, 2], taps: TAPS },
    });
    near(unlike.e, plain.e, 1e-9);
  });

  test("refuses what does not vary, and classes without moments", () => {
    expect(() => split([0, 1], {}, new Float64Array(SIZE))).toThrow(
      expect.objectContaining({ code: "SPLIT_CONSTANT" }),
    );
    const some = additiveCase(5, [0, 1]);
    const request = {
      ...{ moments: some.moments, filters: new UnitFilters(some.moments, filters), exclude: [channel], weights },
      ...{ sign: 1, taps: TAPS },
    };
    expect(() => additiveSplit({ ...request, classes: [0, 3] })).toThrow(
      expect.objectContaining({ code: "MOMENTS_CLASS" }),
    );
    expect(() => additiveSplit({ ...request, classes: [0, 1] })).not.toThrow();
  });
});

describe("the tuned split", async () => {
  const rows = filters;
  const tuning = await tune({
    moments,
    filters: unitFilters,
    rows,
    taps: TAPS,
    random: new SeededRandom(1),
    plants: 30,
  });
  const request = (classes: readonly number[], w = weights, sign = 1) => ({
    ...{ moments, filters: unitFilters, exclude: [channel], weights: w, sign, classes, taps: TAPS },
  });

  test("lets an abort in while it fits", async () => {
    const controller = new AbortController();
    setTimeout(() => {
      controller.abort(new Error("enough"));
    }, 20);
    const endless = { plants: Infinity, random: new SeededRandom(2), signal: controller.signal };
    await expect(tune({ moments, filters: unitFilters, rows, taps: TAPS, ...endless })).rejects.toThrow("enough");
  });

  test("adds up, swaps, scales and turns with the channel", () => {
    for (const sizes of ["any", "equal"] as const) {
      const coefficients = tuning.coefficients([channel], sizes);
      const { parts, e } = tunedSplit(request([0, 1]), coefficients);
      near(
        (parts[0] ?? e).map((v, j) => v + (parts[1]?.[j] ?? NaN)),
        weights,
        1e-14,
      );
      const swapped = tunedSplit(request([1, 0]), coefficients);
      expect(vector(swapped.e)).toEqual(vector(e).map((v) => -v));
      near(
        tunedSplit(
          request(
            [0, 1],
            weights.map((v) => 2.5 * v),
          ),
          coefficients,
        ).e,
        e.map((v) => 2.5 * v),
        1e-9,
      );
      near(
        tunedSplit(
          request(
            [0, 1],
            weights.map((v) => -v),
            -1,
          ),
          coefficients,
        ).e,
        e.map((v) => -v),
        1e-9,
      );
    }
  });

  test("leaves out the plants of excluded channels, and is nearer than w/2 to the plants it was fitted on", () => {
    expect(vector(tuning.coefficients([0]))).not.toEqual(vector(tuning.coefficients()));
    const coefficients = tuning.coefficients([], "equal");
    const response = (w: readonly number[]): number => {
      const rowsOf: Matrix = Array.from({ length: SIZE }, (_, i) =>
        Array.from(moments.imageMeans.subarray(i * SIZE, (i + 1) * SIZE)),
      );
      return inner(w, multiply(rowsOf, w));
    };
    let [own, half] = [0, 0];
    for (let a = 0; a < CHANNELS; a++)
      for (let b = 0; b < CHANNELS; b++) {
        const [wa, wb] = [vector(filters[a] ?? []), vector(filters[b] ?? [])];
        const [ua, ub] = [scale(1 / Math.sqrt(response(wa)), wa), scale(1 / Math.sqrt(response(wb)), wb)];
        const top = (w: readonly number[]): number => {
          const responses = moments.classMeans.map((m) => inner(w, vector(m)));
          return responses.indexOf(Math.max(...responses));
        };
        if (top(ua) === top(ub)) continue;
        const w = Float64Array.from(add(ua, ub));
        const { parts } = tunedSplit({ ...request([top(ua), top(ub)], w), exclude: [a, b] }, coefficients);
        own += response(less(vector(parts[0] ?? []), ua));
        half += response(less(scale(0.5, vector(w)), ua));
      }
    expect(own).toBeLessThan(half);
  });
});
