import { describe, expect, it } from "vitest";
import { splitWeights } from "../../src/channels/parts.ts";
import { RHOS } from "../../src/channels/rho.ts";
import { setsFromStudy, setsFromText, setsToText, sourceSets } from "../../src/channels/sets.ts";
import { Random } from "../support/random.ts";
import { sharedInputsStudy } from "./vectors.ts";

const random = new Random(5);
const vector = (n: number): Float64Array => Float64Array.from({ length: n }, () => random.normal());
const text = (v1: ArrayLike<number>, v2: ArrayLike<number>, rho: number, rule: "symmetric" | "official"): string =>
  setsToText(sourceSets([Float64Array.from(v1), Float64Array.from(v2)], rho, rule), 2);

describe("source sets", () => {
  it("symmetric: equal to A5 in float64 where at most one of the two is negative", () => {
    for (const rho of RHOS) {
      const v1 = vector(200);
      const v2 = vector(200).map((v, i) => ((v1[i] ?? 0) < 0 ? Math.abs(v) : v));
      const a5 = Array.from(v1, (a, i) => (a * rho > (v2[i] ?? 0) ? "1" : (v2[i] ?? 0) * rho > a ? "2" : "0"));
      expect(text(v1, v2, rho, "symmetric")).toBe(a5.join(""));
    }
  });

  it("symmetric: swapping the concepts swaps the sets and nothing else; scale changes nothing", () => {
    for (const rho of RHOS) {
      const [v1, v2] = [vector(300), vector(300)];
      const digits = text(v1, v2, rho, "symmetric");
      const exchange: Record<string, string> = { "0": "0", "1": "2", "2": "1" };
      expect(Array.from(text(v2, v1, rho, "symmetric"), (d) => exchange[d]).join("")).toBe(digits);
      const scaled = [v1, v2].map((v) => v.map((x) => x * 2 ** -40));
      expect(text(scaled[0] ?? v1, scaled[1] ?? v2, rho, "symmetric")).toBe(digits);
    }
  });

  it("symmetric: both negative are shared unless they differ; the original never shares them", () => {
    expect(text([-1, -1, -1], [-1.1, -3, -1], 0.5, "symmetric")).toBe("010");
    expect(text([-1, -1, -1], [-1.1, -3, -1], 0.5, "official")).toBe("111");
    expect(text([-1.1, -3, -1], [-1, -1, -1], 0.5, "official")).toBe("121");
  });

  it("official: rounds ARVs and products to float16, in the original's order", () => {
    // 1.0004 rounds to 1, so at rho 1 neither exceeds the other.
    expect(text([1.0004], [1], 1, "official")).toBe("0");
    expect(text([1.0006], [1], 1, "official")).toBe("1");
    // f16(2^-24 * 0.55) is 2^-24: rounded up past the other, which is half of it and rounds to 0.
    expect(text([2 ** -24], [2 ** -25], 0.55, "official")).toBe("1");
  });

  it("shares an input that serves neither", () => {
    for (const rule of ["symmetric", "official"] as const)
      for (const rho of RHOS) expect(text([0, -0], [0, 0], rho, rule)).toBe("00");
  });

  it("with more concepts, does not depend on their order", () => {
    const vectors = [vector(100), vector(100), vector(100)];
    for (const rho of [0.1, 0.5, 1]) {
      const sets = sourceSets(vectors, rho, "symmetric");
      const turned = sourceSets(
        [1, 2, 0].map((k) => vectors[k] ?? vector(1)),
        rho,
        "symmetric",
      );
      // Bit k of `turned` is concept (k + 1) % 3.
      expect(Array.from(turned, (s) => ((s << 1) & 7) | (s >>> 2))).toEqual(Array.from(sets));
      expect(sets.every((s) => s > 0 && s < 8)).toBe(true);
    }
    expect(() => sourceSets(vectors, 0.5, "official")).toThrow(expect.objectContaining({ code: "RULE_CONCEPTS" }));
  });

  it("reads and writes digits", () => {
    expect(Array.from(setsFromText("0120", 2))).toEqual([3, 1, 2, 3]);
    for (const concepts of [2, 3, 5]) {
      const all = Uint32Array.from({ length: 2 ** concepts - 1 }, (_, k) => k + 1);
      const written = setsToText(all, concepts);
      expect(new Set(written).size).toBe(all.length);
      expect(setsFromText(written, concepts)).toEqual(all);
    }
    expect(() => setsFromText("013", 2)).toThrow(expect.objectContaining({ code: "SETS_TEXT" }));
  });

  it("does not depend on the layer's sign by default; the official rule swaps the concepts", () => {
    const vectors = [
      [1, 0.2, 0.5],
      [0.2, 1, 0.5],
    ];
    const request = { channel: 0, classes: [0, 1], rho: 0.5 };
    const [plus, minus] = [1, -1].map((sign) => sharedInputsStudy({ vectors, images: 3, sign }));
    if (plus === undefined || minus === undefined) throw new Error("two studies");
    const symmetric = [plus, minus].map((s) => setsToText(setsFromStudy(s, { ...request, rule: "symmetric" }), 2));
    expect(symmetric).toEqual(["120", "120"]);
    const official = [plus, minus].map((s) => setsToText(setsFromStudy(s, { ...request, rule: "official" }), 2));
    expect(official).toEqual(["120", "211"]);
  });

  it.each([
    [{ channel: 2 }, "CHANNEL_RANGE"],
    [{ channel: 0.5 }, "CHANNEL_RANGE"],
    [{ classes: [0, 9] }, "CLASS_RANGE"],
    [{ classes: [1, 1] }, "CLASS_RANGE"],
    [{ classes: [1] }, "CLASS_RANGE"],
    [{ rho: 1.5 }, "OPTION_RANGE"],
    [{ rho: NaN }, "OPTION_RANGE"],
  ])("refuses %o", (changes, code) => {
    const study = sharedInputsStudy({
      vectors: [
        [1, 0],
        [0, 1],
      ],
      images: 2,
    });
    const request = { channel: 0, classes: [0, 1], rho: 0.5, rule: "symmetric", ...changes } as const;
    expect(() => setsFromStudy(study, request)).toThrow(expect.objectContaining({ code }));
  });

  it("refuses classes without images, and layers of one input a channel", () => {
    const request = { channel: 0, classes: [0, 1], rho: 0.5, rule: "symmetric" } as const;
    expect(() =>
      setsFromStudy(
        sharedInputsStudy({
          vectors: [
            [1, 0],
            [0, 1],
          ],
          images: 0,
        }),
        request,
      ),
    ).toThrow(expect.objectContaining({ code: "CLASS_EMPTY" }));
    expect(() => setsFromStudy(sharedInputsStudy({ vectors: [[1], [2]], images: 2 }), request)).toThrow(
      expect.objectContaining({ code: "CHANNEL_DEPTHWISE" }),
    );
  });
});

describe("parts", () => {
  it("are the weights of the inputs that serve each concept", () => {
    const w = Float32Array.of(1, 2, 3, 4, 5, 6);
    const { concepts, residual } = splitWeights(w, setsFromText("012", 2), 2);
    expect(concepts.map((d) => Array.from(d))).toEqual([
      [1, 2, 3, 4, 0, 0],
      [1, 2, 0, 0, 5, 6],
    ]);
    expect(Array.from(residual)).toEqual([1, 2, 0, 0, 0, 0]);
  });

  it("add up to the channel, for any number of concepts and any sets", () => {
    for (const concepts of [2, 3, 4, 5]) {
      const w = Float32Array.from(vector(60));
      const sets = Uint32Array.from({ length: 20 }, () => 1 + random.below(2 ** concepts - 1));
      const { concepts: d, residual } = splitWeights(w, sets, concepts);
      w.forEach((weight, j) => {
        const total = d.reduce((s, row) => s + (row[j] ?? NaN), 0) - (residual[j] ?? NaN);
        // Float64 sums of at most 5 copies of a float32 number, and one product rounded to float32.
        expect(Math.abs(total - weight)).toBeLessThanOrEqual(4 * 2 ** -24 * Math.abs(weight));
      });
      expect([...d, residual].some((row) => row.some((x) => Object.is(x, -0)))).toBe(false);
    }
  });

  it("are exact for two and three concepts, where the residual holds a weight once or twice", () => {
    const w = Float32Array.from(vector(9));
    const { concepts, residual } = splitWeights(
      w,
      Uint32Array.from({ length: 9 }, () => 7),
      3,
    );
    w.forEach((x, j) => {
      expect(concepts.reduce((s, d) => s + (d[j] ?? NaN), 0) - (residual[j] ?? NaN)).toBe(x);
    });
  });
});
