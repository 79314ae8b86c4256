/** Guards on a layer whose truth is known: inputs that speak for one class each, channels made of them. */
import { describe, expect, it } from "vitest";
import { evidenceParts } from "../../src/channels/evidence.ts";
import { EXCEEDS, FILTERS, guardsOf, Standings, uncorrelating, type Guards } from "../../src/channels/guards.ts";
import { randomFilters } from "../../src/channels/random-filters.ts";
import { must } from "../../src/errors.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { evidenceFolds } from "../../src/relevance/folds.ts";
import { createStudy, type Study } from "../../src/relevance/study.ts";
import { Random } from "../support/random.ts";

const CLASSES = 12;
const INPUTS = 24;
const IMAGES = 20;
/** Input i is bright on images of class i modulo the number of classes. */
const speaksFor = (i: number, t: number): boolean => i % CLASSES === t;

function imageOf(t: number, random: Random): Float32Array {
  return Float32Array.from({ length: INPUTS }, (_, i) => Math.abs(random.normal()) + (speaksFor(i, t) ? 4 : 0));
}

/** Channel 0 answers to classes 0 and 1, channel 1 to class 0 alone, the others to noise. */
function weights(flip: readonly number[], scale: readonly number[]): Float32Array {
  const random = new Random(4);
  const rows = Array.from({ length: 16 }, (_, c) =>
    Float32Array.from({ length: INPUTS }, (__, i) => {
      const own = (c === 0 && (speaksFor(i, 0) || speaksFor(i, 1))) || (c === 1 && speaksFor(i, 0));
      return ((own ? 3 : 0) + random.normal() * (c < 2 ? 0.3 : 1)) * (flip[c] ?? 1) * (scale[c] ?? 1);
    }),
  );
  return Float32Array.from(rows.flatMap((row) => [...row]));
}

function makeStudy(flip: readonly number[] = [], scale: readonly number[] = []): Study {
  const labels = Array.from({ length: CLASSES * IMAGES }, (_, n) => Math.floor(n / IMAGES));
  const random = new Random(7);
  const study = createStudy({
    model: { file: "m.onnx", sha256: "00" },
    layer: {
      ...{ name: "conv", nodeName: "conv", output: "z", kernel: [1, 1], strides: [1, 1], dilations: [1, 1] },
      ...{ pads: [0, 0, 0, 0], groups: 1, inChannels: INPUTS, outChannels: 16, hasBias: false },
      weights: weights(flip, scale),
      sign: Int8Array.from({ length: 16 }, (_, c) => flip[c] ?? 1),
    },
    classes: Array.from({ length: CLASSES }, (_, t) => `class ${t}`),
    labels: Array.from({ length: CLASSES }, (_, t) => t),
    images: { digest: "00", length: labels.length, perClass: new Array<number>(CLASSES).fill(IMAGES) },
    ...{ preprocess: "", taus: [0.03], folds: 1, settings: {} },
  });
  accumulate(study, {
    range: [0, labels.length],
    labels,
    tapSums: Float32Array.from(labels.flatMap((t) => [...imageOf(t, random)])),
    importance: { relevance: new Float32Array(labels.length * 16).fill(1) },
  });
  return study;
}

/** Guards of a channel split between the inputs that speak for each class, on fresh images. */
function guards(study: Study, channel: number, classes: readonly number[]): Guards {
  const standings = new Standings(study);
  const row = standings.row(channel);
  const parts = classes.map((t) => row.map((w, i) => (classes.some((u) => u !== t && speaksFor(i, u)) ? 0 : w)));
  const heldOut = classes.map((t) => {
    const random = new Random(11 + t);
    return Array.from({ length: 6 }, () => imageOf(t, random));
  });
  const respond = (w: Float64Array, x: Float32Array): number => w.reduce((s, v, i) => s + v * (x[i] ?? 0), 0);
  return guardsOf(standings, {
    channel,
    concepts: classes.map((t) => `class ${t}`),
    responses: heldOut.map((images) => {
      const signed = [...parts, row].map((w) => images.map((x) => respond(w, x)));
      return { signed, positive: signed.map((values) => values.map((v) => Math.max(v, 0))) };
    }),
    means: heldOut.map((images) =>
      Float64Array.from({ length: INPUTS }, (_, i) => images.reduce((s, x) => s + (x[i] ?? 0) / images.length, 0)),
    ),
    filterK: [1, 2, 3],
  });
}

describe("guards", () => {
  it("pass where the channel answers to both classes, and refuse where it answers to one", () => {
    const study = makeStudy();
    const both = guards(study, 0, [0, 1]);
    expect(both).toMatchObject({ passed: true, why: [], images: [6, 6], second: { filters: FILTERS } });
    expect(both.second?.value).toBe(Math.min(...both.standing));
    expect(both.second?.p).toBeLessThan(1 - EXCEEDS);
    // Each part is at home on its own images.
    expect(both.activity[0]?.[0]).toBeGreaterThan(both.activity[0]?.[1] ?? Infinity);
    expect(both.activity[1]?.[1]).toBeGreaterThan(both.activity[1]?.[0] ?? Infinity);
    expect(both.k.filters).toEqual({ low: 1.1, median: 2, high: 2.9, n: 3 });
    for (const t of [1, 4, 9]) {
      const one = guards(study, 1, [0, t]);
      expect(one.passed).toBe(false);
      expect(one.why[0]).toContain(`on "class ${t}"`);
      expect(one.why[0]).toContain((one.second?.value ?? NaN).toFixed(2));
    }
  });

  it("of three concepts the weakest counts", () => {
    const study = makeStudy();
    expect(guards(study, 0, [0, 1, 5])).toMatchObject({ passed: false });
  });

  it("refuse few filters of noise between random classes more often than not", () => {
    const study = makeStudy();
    const random = new Random(3);
    const refused = Array.from({ length: 40 }, () => {
      const a = random.below(CLASSES);
      const b = (a + 1 + random.below(CLASSES - 1)) % CLASSES;
      return guards(study, 2 + random.below(14), [a, b]).passed ? 0 : 1;
    });
    // At 90 % a tenth passes; of 40, more than 12 would have a probability of 0.0003 (binomial).
    expect(refused.filter((r) => r === 1).length).toBeGreaterThanOrEqual(28);
  });

  it("are the same whatever the scale and the sign of each filter, and whichever class comes first", () => {
    const plain = guards(makeStudy(), 0, [0, 1]);
    const flip = Array.from({ length: 16 }, (_, c) => (c % 3 === 0 ? -1 : 1));
    const scale = Array.from({ length: 16 }, (_, c) => 2 ** ((c % 5) - 2));
    const other = guards(makeStudy(flip, scale), 0, [0, 1]);
    const swapped = guards(makeStudy(), 0, [1, 0]);
    expect(swapped.second).toEqual(plain.second);
    expect(swapped.standing).toEqual(plain.standing.toReversed());
    expect(other.second?.threshold).toBeCloseTo(plain.second?.threshold ?? NaN, 12);
    other.standing.forEach((v, j) => {
      expect(v).toBeCloseTo(plain.standing[j] ?? NaN, 12);
    });
    other.activity.flat().forEach((v, j) => {
      expect(v).toBeCloseTo(plain.activity.flat()[j] ?? NaN, 12);
    });
  });
});

it("k makes parts of the same difference uncorrelated", () => {
  const random = new Random(5);
  const parts = [0, 1].map(() => Array.from({ length: 500 }, () => random.normal()));
  const [a, b] = parts.map((s) => s.map((v, n) => v + (n % 7)));
  const whole = must(a, "a").map((v, n) => v + (b?.[n] ?? 0));
  const k = uncorrelating([must(a, "a"), must(b, "b")], whole);
  const difference = must(a, "a").map((v, n) => (v - (b?.[n] ?? 0)) / 2);
  const [one, two] = [1, -1].map((sign) => whole.map((w, n) => w / 2 + sign * k * (difference[n] ?? 0)));
  const centred = (s: readonly number[]) => s.map((v) => v - s.reduce((x, y) => x + y, 0) / s.length);
  const [c, d] = [centred(must(one, "one")), centred(must(two, "two"))];
  const covariance = c.reduce((s, v, n) => s + v * (d[n] ?? 0), 0);
  expect(Math.abs(covariance)).toBeLessThan(1e-10 * c.reduce((s, v) => s + v * v, 0));
});

it("random filters lie in the span of the layer's own, have norm 1, and are the same again", () => {
  const { layer } = makeStudy().meta;
  const filters = randomFilters(layer, 3, 5);
  expect(randomFilters(layer, 9, 5)).toEqual(filters);
  for (const filter of filters) expect(Math.hypot(...filter)).toBeCloseTo(1, 12);
  // 16 rows of 24 weights, less their mean, span 15 dimensions: 30 filters have no more.
  const basis: number[][] = [];
  for (const filter of randomFilters(layer, 0, 30)) {
    let rest = Array.from(filter);
    for (const b of basis) {
      const along = rest.reduce((s, v, i) => s + v * (b[i] ?? 0), 0);
      rest = rest.map((v, i) => v - along * (b[i] ?? 0));
    }
    const norm = Math.hypot(...rest);
    if (norm > 1e-6) basis.push(rest.map((v) => v / norm));
  }
  expect(basis.length).toBe(15);
});

it("evidence is of three disjoint parts that hold every image, by the study's folds where they are known", () => {
  for (const n of [3, 4, 17, 50])
    for (const folds of [undefined, 3, 5, 8]) {
      const { arv, choose, report } = evidenceParts(n, folds);
      const all = [...arv, ...choose, ...report].sort((a, b) => a - b);
      expect(all).toEqual(Array.from({ length: n }, (_, k) => k));
      if (folds !== undefined) expect(arv.every((k) => evidenceFolds(folds).arv.includes(k % folds))).toBe(true);
    }
});
