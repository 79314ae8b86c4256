import { describe, expect, it } from "vitest";
import { countImportant, importantChannels } from "../../src/relevance/importance.ts";

const R = (...values: number[]): Float32Array => Float32Array.from(values);

describe("importance", () => {
  it("compares with tau of the total positive relevance", () => {
    // Positive total 10: 0.3 is exactly the threshold at tau 0.03 in neither precision, so stand clear of it.
    expect(importantChannels(R(6, 3.69, 0.31, -5), 0.03, "exact")).toEqual([true, true, true, false]);
    expect(importantChannels(R(6, 3.71, 0.29, -5), 0.03, "exact")).toEqual([true, true, false, false]);
    expect(importantChannels(R(6, 3.69, 0.31, -5), 0.03, "half")).toEqual([true, true, true, false]);
  });

  it("counts nothing on an image without positive relevance, where the original counts every zero", () => {
    expect(importantChannels(R(0, -1, 0), 0.03, "exact")).toEqual([false, false, false]);
    expect(importantChannels(R(0, -1, 0), 0.03, "half")).toEqual([true, false, true]);
    // -1e-9 rounds to zero in float16.
    expect(importantChannels(R(-1e-9, -1), 0.03, "half")).toEqual([true, false]);
    // Positive, but below half of float16's smallest.
    expect(importantChannels(R(1e-9, -1), 0.03, "exact")).toEqual([true, false]);
  });

  it("rounds in the original's places", () => {
    // f16 makes both 2048; the total 4096; the threshold f16(f32(4096 * f32(0.5))) = 2048.
    expect(importantChannels(R(2048.4, 2047.6), 0.5, "half")).toEqual([true, true]);
    expect(importantChannels(R(2048.4, 2047.6), 0.5, "exact")).toEqual([true, false]);
    // float16 overflows: the total is infinite, and only an infinite relevance reaches it.
    expect(importantChannels(R(70000, 60000), 0.03, "half")).toEqual([true, false]);
    expect(importantChannels(R(40000, 40000), 0.03, "half")).toEqual([false, false]);
  });

  it("adds up by variant, tau and channel", () => {
    const counts = new Uint16Array(2 * 2 * 3);
    countImportant(R(6, 3, 1), [0.05, 0.5], counts);
    countImportant(R(0, 0, -1), [0.05, 0.5], counts);
    expect(Array.from(counts)).toEqual([1, 1, 1, 1, 0, 0, 2, 2, 1, 2, 1, 0]);
  });
});
