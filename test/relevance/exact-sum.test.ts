import { describe, expect, it } from "vitest";
import { ExactSums, MAX_CONTRIBUTIONS } from "../../src/relevance/exact-sum.ts";
import { Random } from "../support/random.ts";

/** A finite float32 as an integer number of 2^-149, its smallest unit. */
function units(x: number): bigint {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  const bits = view.getUint32(0);
  const exponent = (bits >>> 23) & 0xff;
  const fraction = BigInt(bits & 0x7fffff);
  const size = exponent === 0 ? fraction : (fraction + 0x800000n) << BigInt(exponent - 1);
  return bits >>> 31 === 0 ? size : -size;
}

function sumOf(vectors: readonly Float32Array[], length = vectors[0]?.length ?? 0): ExactSums {
  const sums = new ExactSums(length);
  for (const vector of vectors) sums.addVector(vector);
  return sums;
}

/** n vectors of 5: element e has its own spread of exponents. */
function vectors(n: number, seed: number): Float32Array[] {
  const random = new Random(seed);
  const spread = [1, 8, 40, 120, 250];
  return Array.from({ length: n }, () =>
    Float32Array.from(spread, (s) => Math.fround(random.normal() * 2 ** ((random.uniform() - 0.5) * s))),
  );
}

describe("ExactSums", () => {
  it("gives the same bits in any order, grouping and batch", () => {
    for (let seed = 0; seed < 20; seed++) {
      const all = vectors(50, seed);
      const expected = sumOf(all).state;
      const random = new Random(1000 + seed);
      const shuffled = random.shuffle(all);
      expect(sumOf(shuffled).state).toEqual(expected);
      const parts = [shuffled.slice(0, 7), shuffled.slice(7, 8), shuffled.slice(8, 8), shuffled.slice(8)];
      const merged = new ExactSums(5);
      for (const part of random.shuffle(parts)) merged.merge(sumOf(part, 5));
      expect(merged.state).toEqual(expected);
    }
  });

  it("stays within n 2^-31 m of the exact sum", () => {
    for (let seed = 0; seed < 20; seed++) {
      const n = 40;
      const all = vectors(n, 50 + seed);
      const sums = sumOf(all).toFloat64();
      sums.forEach((sum, e) => {
        const values = all.map((v) => v[e] ?? 0);
        const largest = Math.max(...values.map(Math.abs));
        const exact = values.reduce((a, x) => a + units(x), 0n);
        // sum is a float64: exact to the bit as an integer number of 2^-210 here, the finest grid below 2^-149.
        const got = BigInt(sum * 2 ** 200) * 2n ** 10n;
        const error = Math.abs(Number(got - (exact << 61n))) * 2 ** -210;
        // Plus the one rounding of high + low to float64, 2^-53 of a sum of at most n m.
        expect(error).toBeLessThanOrEqual(n * largest * (2 ** -31 + 2 ** -53));
      });
    }
  });

  it("is exact where contributions are of like size", () => {
    const random = new Random(3);
    const values = Array.from({ length: 1000 }, () => Math.fround(random.uniform() + 0.5));
    const sum = sumOf(values.map((x) => Float32Array.of(x))).toFloat64()[0] ?? NaN;
    expect(BigInt(sum * 2 ** 149)).toBe(values.reduce((a, x) => a + units(x), 0n));
  });

  it("takes the extremes of float32", () => {
    const largest = Math.fround((2 - 2 ** -23) * 2 ** 127);
    const smallest = 2 ** -149;
    expect(sumOf([Float32Array.of(largest), Float32Array.of(largest), Float32Array.of(-largest)]).toFloat64()[0]).toBe(
      largest,
    );
    expect(sumOf(Array.from({ length: 5 }, () => Float32Array.of(smallest))).toFloat64()[0]).toBe(5 * smallest);
  });

  it("never stores a negative zero, which would make equal sums differ in bytes", () => {
    const { high, low } = sumOf([Float32Array.of(-0), Float32Array.of(-(2 ** -149)), Float32Array.of(2 ** -149)]).state;
    expect([high[0], low[0]]).toEqual([0, 0]);
    const cancelled = sumOf([Float32Array.of(-3.3), Float32Array.of(3.3)]).state;
    expect([cancelled.high[0], cancelled.low[0]]).toEqual([0, 0]);
  });

  it("refuses more contributions than its integers can hold", () => {
    const nearlyFull = ExactSums.fromState({ ...new ExactSums(1).state, contributions: MAX_CONTRIBUTIONS });
    expect(() => nearlyFull?.addVector(Float32Array.of(1))).toThrow(expect.objectContaining({ code: "SUM_CAPACITY" }));
    // At the capacity the highest bin still holds exact integers: 2^23 slices of 2^29 units.
    expect(MAX_CONTRIBUTIONS * 2 ** 29).toBeLessThan(2 ** 53);
  });

  it("refuses states that no additions lead to", () => {
    const good = sumOf(vectors(3, 1)).state;
    expect(ExactSums.fromState(good)?.state).toEqual(good);
    const one = (bins: number, high: number, low: number): ExactSums | undefined =>
      ExactSums.fromState({
        contributions: 2,
        bins: Uint8Array.of(bins),
        high: Float64Array.of(high),
        low: Float64Array.of(low),
      });
    expect(one(5, 3, 0.5)).toBeDefined();
    expect(one(10, 0, 0)).toBeUndefined();
    expect(one(5, 0.5, 0)).toBeUndefined();
    expect(one(5, NaN, 0)).toBeUndefined();
    expect(one(5, -0, 0)).toBeUndefined();
    expect(one(5, 2 ** 31, 0)).toBeUndefined();
    expect(one(5, 0, 2 ** -31)).toBeUndefined();
  });
});
