/** The rows that splits are stored as: exact for source sets in every type, rounded in one place for parts by weights. */
import { describe, expect, it } from "vitest";
import { must } from "../../src/errors.ts";
import { ELEMENTS, type ElementType } from "../../src/graph/elements.ts";
import { partRows, type PartRow } from "../../src/graph/membership.ts";
import { roundToHalf } from "../../src/onnx/half.ts";
import { noise } from "../onnx/make.ts";
import { bitsOf, subsets } from "./surgery-case.ts";

const TYPES = ["float32", "float64", "float16", "bfloat16"] as const;
const typeOf = (name: string): ElementType => must(ELEMENTS[name], name);
const INPUTS = 40;
const TAPS = 3;

/** Weights of many sizes, subnormal ones of float16 too, as the type stores them. */
const stored = (elements: ElementType, seed = 1): Uint8Array =>
  elements.encode(noise(seed, INPUTS * TAPS).map((v, k) => v * 2 ** ((k % 30) - 24)));

const sum = (rows: readonly PartRow[], elements: ElementType): Float64Array => {
  const total = new Float64Array(INPUTS * TAPS);
  for (const { factor, weights } of rows)
    elements.decode(weights).forEach((w, j) => (total[j] = (total[j] ?? 0) + factor * w));
  return total;
};

describe("types of weights", () => {
  it("float16: every number survives, and rounding is IEEE 754's (against the host's own float16)", () => {
    const { decode, encode } = typeOf("float16");
    const all = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, k) => k).buffer);
    const numbers = decode(all);
    const again = new Uint16Array(encode(numbers).slice().buffer);
    again.forEach((bits, k) => {
      if (!Number.isNaN(numbers[k])) expect(bits).toBe(k);
    });
    const between = noise(3, 4000).map((v, k) => v * 2 ** ((k % 48) - 28));
    const halves = numbers.slice(1, 2000).map((v, k) => (v + (numbers[k + 2] ?? 0)) / 2); // ties
    for (const value of [...between, ...halves, 65519, 65520, -70000, 2 ** -25, 2 ** -26])
      expect(decode(encode([value]))[0]).toBe(roundToHalf(value));
  });

  it("bfloat16: the nearest of the two neighbours, ties to even", () => {
    const { decode, encode } = typeOf("bfloat16");
    expect([...decode(encode([1, -1, 0, 256, 257, 1 + 2 ** -8, 1 + 3 * 2 ** -8]))]).toEqual([
      1,
      -1,
      0,
      256,
      256,
      1,
      1 + 2 ** -6,
    ]);
    noise(4, 500).forEach((v) => {
      const got = must(decode(encode([v]))[0], "a number");
      expect(Math.abs(got - v)).toBeLessThanOrEqual(2 ** -8 * Math.abs(v));
    });
  });

  it.each(TYPES)("%s: rounding errs by no more than the unit roundoff", (name) => {
    const { decode, encode, roundoff, spacing } = typeOf(name);
    const values = Float64Array.from(noise(5, 500), (v, k) => (v + v * 1e-9) * 2 ** ((k % 20) - 10));
    decode(encode(values)).forEach((v, k) => {
      const exact = values[k] ?? NaN;
      expect(Math.abs(v - exact)).toBeLessThanOrEqual(roundoff * Math.abs(exact) + spacing / 2);
    });
  });
});

describe("rows of source sets", () => {
  it.each(TYPES)("%s: any subsets of 2 to 7 concepts add up to the weights and the bias exactly", (name) => {
    const elements = typeOf(name);
    for (const concepts of [2, 3, 4, 5, 7])
      for (const bias of [undefined, elements.encode([0.3125])]) {
        const weights = stored(elements);
        const bits = { weights, bias, tapBytes: TAPS * elements.bytes, elements };
        const split = { channel: 0, concepts, sets: subsets(INPUTS, concepts, 60 + concepts) };
        const rows = partRows(bits, split);
        expect([...sum(rows, elements)]).toEqual(Array.from(elements.decode(weights), (v) => v + 0)); // -0 is 0
        rows.slice(0, concepts).forEach((row, k) => {
          expect(row).toMatchObject({ concept: k + 1, factor: 1 });
          split.sets.forEach((set, i) => {
            const at = [i * bits.tapBytes, (i + 1) * bits.tapBytes] as const;
            const own = ((set >>> k) & 1) === 1 ? weights.slice(...at) : new Uint8Array(bits.tapBytes);
            expect(row.weights.slice(...at)).toEqual(own);
          });
        });
        if (bias === undefined) continue;
        const added = rows.reduce((s, r) => s + r.factor * must(elements.decode(r.bias ?? bias)[0], "bias"), 0);
        expect(added).toBe(elements.decode(bias)[0]);
      }
  });

  it("one residual up to three concepts and for partitions, of factor -(K-1) where all is shared or alone", () => {
    const elements = typeOf("float32");
    const bits = { weights: stored(elements), bias: undefined, tapBytes: TAPS * 4, elements };
    const residuals = (concepts: number, sets: Uint32Array): number[] =>
      partRows(bits, { channel: 0, concepts, sets })
        .slice(concepts)
        .map((row) => row.factor);
    for (const concepts of [2, 3, 4, 5]) {
      const partition = bitsOf(
        Array.from({ length: INPUTS }, (_, i) => i % (concepts + 1)),
        concepts,
      );
      expect(residuals(concepts, partition)).toEqual([1 - concepts]);
    }
    expect(residuals(3, subsets(INPUTS, 3, 7))).toEqual([-1]);
    expect(residuals(4, subsets(INPUTS, 4, 7))).toEqual([-1, -3]);
    expect(residuals(5, subsets(INPUTS, 5, 7))).toEqual([-1, -3]);
    // Nothing shared: a row of zeros all the same, so that every split has its residual.
    const alone = bitsOf(
      Array.from({ length: INPUTS }, (_, i) => 1 + (i % 2)),
      2,
    );
    expect(residuals(2, alone)).toEqual([-1]);
  });

  it("a weight that cannot be doubled, or is not a number, gets a residual row of its own", () => {
    const elements = typeOf("float16");
    const weights = elements.encode([60000, 1, 2, NaN]);
    const bits = { weights, bias: undefined, tapBytes: 2, elements };
    const rows = partRows(bits, { channel: 0, concepts: 3, sets: Uint32Array.of(7, 3, 1, 2) });
    expect(rows.map((row) => row.factor)).toEqual([1, 1, 1, -1, -2]);
    expect(rows.map((row) => [...elements.decode(row.weights)].slice(0, 3))).toEqual([
      [60000, 1, 2],
      [60000, 1, 0],
      [60000, 0, 0],
      [0, 1, 0],
      [60000, 0, 0],
    ]);
  });
});

describe("rows of parts by weights", () => {
  it.each(TYPES)("%s: miss the weights by the unit roundoff of the smallest part at most", (name) => {
    const elements = typeOf(name);
    const weights = stored(elements);
    const w = elements.decode(weights);
    for (const scale of [0, 0.1, 1, 30])
      for (const K of [2, 3, 5]) {
        const shifts = Array.from({ length: K }, (_, k) => noise(80 + k, w.length));
        const parts = shifts.map((e) =>
          Float64Array.from(
            w,
            (v, j) => v / K + scale * ((e[j] ?? 0) - shifts.reduce((s, f) => s + (f[j] ?? 0), 0) / K),
          ),
        );
        const rows = partRows(
          { weights, bias: undefined, tapBytes: TAPS * elements.bytes, elements },
          { channel: 0, parts },
        );
        expect(rows.map((row) => row.factor)).toEqual(parts.map(() => 1));
        const held = rows.map((row) => elements.decode(row.weights));
        sum(rows, elements).forEach((total, j) => {
          const smallest = Math.min(...held.map((part) => Math.abs(part[j] ?? NaN)));
          // The sums above are float64, which float64 parts do not fit exactly.
          const size = held.reduce((s, part) => s + Math.abs(part[j] ?? 0), 0);
          const slack = name === "float64" ? 2 * K * 2 ** -53 * size : 0;
          expect(Math.abs(total - (w[j] ?? NaN))).toBeLessThanOrEqual(
            elements.roundoff * smallest + elements.spacing / 2 + slack,
          );
        });
        held.forEach((part, k) => {
          part.forEach((v, j) => {
            const wanted = parts[k]?.[j] ?? NaN;
            const others = parts.reduce((s, p) => s + Math.abs(p[j] ?? 0), 0);
            expect(Math.abs(v - wanted)).toBeLessThanOrEqual(
              2 * elements.roundoff * others + K * elements.spacing + K * scale * 2 ** -52, // the parts' own rounding
            );
          });
        });
      }
  });

  it("exact where no part is larger than the weight; the same rows in another order", () => {
    const elements = typeOf("float32");
    const weights = stored(elements);
    const w = elements.decode(weights);
    const e = noise(9, w.length);
    const part = (sign: number, scale: number) =>
      Float64Array.from(w, (v, j) => v / 2 + sign * scale * Math.abs(v) * (e[j] ?? 0));
    const bias = elements.encode([0.7]);
    const bits = { weights, bias, tapBytes: TAPS * 4, elements };
    const rows = partRows(bits, { channel: 0, parts: [part(1, 0.5), part(-1, 0.5)] });
    expect([...sum(rows, elements)]).toEqual([...w]);
    for (const scale of [0.5, 5]) {
      const [one, two] = partRows(bits, { channel: 0, parts: [part(1, scale), part(-1, scale)] });
      const [second, first] = partRows(bits, { channel: 0, parts: [part(-1, scale), part(1, scale)] });
      expect([one?.weights, two?.weights]).toEqual([first?.weights, second?.weights]);
      expect(one?.bias).toEqual(two?.bias);
    }
  });

  it("parts that the type cannot hold are refused", () => {
    const elements = typeOf("float16");
    const bits = { weights: elements.encode([1]), bias: undefined, tapBytes: 2, elements };
    const parts = [Float64Array.of(70000), Float64Array.of(-69999)];
    expect(() => partRows(bits, { channel: 3, parts })).toThrow(expect.objectContaining({ code: "PARTS_RANGE" }));
  });
});
