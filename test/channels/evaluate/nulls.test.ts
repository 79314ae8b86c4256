/** Random parts and random filters: what of a split they keep, and what they draw. */
import { describe, expect, test } from "vitest";
import { contributions, type SplitChannel } from "../../../src/channels/evaluate/channel.ts";
import { drawRows, drawSum, filterRule, randomDraw, randomFilter } from "../../../src/channels/evaluate/nulls.ts";
import { Random } from "../../../src/channels/random.ts";
import { randomTensor } from "../../support/numbers.ts";

/** Eight inputs of two taps each, four of them the channel's group. */
const TAPS = 2;
const [FIRST, COUNT] = [3, 4];
const values = (seed: number): Float64Array => {
  const row = Float64Array.from(randomTensor([8 * TAPS], seed).data);
  return row.map((v, at) => (at >= FIRST * TAPS && at < (FIRST + COUNT) * TAPS ? v : 0));
};
const weights = values(1);
const kept = (inputs: readonly number[]): Float64Array =>
  weights.map((w, at) => (inputs.includes(Math.floor(at / TAPS) - FIRST) ? w : 0));

const base = {
  ...{ channel: 0, concepts: ["a", "b"], classes: [0, 1], ids: [0, 1], rho: 0.5, rule: "symmetric", rows: [] },
  ...{ weights, sign: 1, bias: 0, first: FIRST, count: COUNT, taps: TAPS },
};
/** Inputs 0 and 1 of concept 1, input 2 of concept 2, input 3 of both. */
const hard: SplitChannel = { ...base, parts: [kept([0, 1, 3]), kept([2, 3])], sets: Uint32Array.of(1, 1, 2, 3) };
const e = values(2);
const soft: SplitChannel = {
  ...base,
  ...{ rule: "additive", rho: null, sets: undefined },
  parts: [weights.map((w, i) => w / 2 + (e[i] ?? 0)), weights.map((w, i) => w / 2 - (e[i] ?? 0))],
};

const inputsHeld = (row: Float64Array): number[] =>
  Array.from({ length: COUNT }, (_, i) => i).filter((i) => row[(FIRST + i) * TAPS] !== 0);

describe("random parts", () => {
  test("of whole inputs hold as many as the split's own, alone and shared", () => {
    const random = new Random(1);
    const seen = new Set<string>();
    for (let k = 0; k < 200; k++) {
      const rows = drawRows(hard, randomDraw(hard, random));
      const [a, b] = rows.map(inputsHeld);
      expect([a?.length, b?.length]).toEqual([3, 2]);
      expect(a?.filter((i) => b?.includes(i))).toHaveLength(1);
      rows.forEach((row) => {
        row.forEach((w, at) => {
          expect(w === 0 || w === weights[at]).toBe(true);
        });
      });
      seen.add(JSON.stringify([a, b]));
    }
    expect(seen.size).toBe(12); // 4! / 2!: which is shared, which is concept 2's
  });

  test("of any weights add up to the same, and keep what is held of an input together", () => {
    const random = new Random(1);
    const seen = new Set<string>();
    for (let k = 0; k < 100; k++) {
      const [a, b] = drawRows(soft, randomDraw(soft, random));
      let signs = "";
      for (let i = 0; i < COUNT; i++) {
        const at = (FIRST + i) * TAPS;
        const held = [a, b].map((row) => row?.slice(at, at + TAPS));
        const own = soft.parts.map((part) => part.slice(at, at + TAPS));
        const same = held[0]?.every((w, j) => w === own[0]?.[j]) === true;
        expect(held).toEqual(same ? own : own.toReversed());
        signs += same ? "+" : "-";
      }
      seen.add(signs);
    }
    expect(seen.size).toBe(2 ** COUNT);
  });

  test.each([
    ["whole inputs", hard],
    ["any weights", soft],
  ])("respond as their rows do: %s", (_, channel) => {
    const tapSums = Float64Array.from(randomTensor([8 * TAPS], 5).data);
    const draw = randomDraw(channel, new Random(4));
    const parts = [channel.weights, ...channel.parts].map((row) => contributions(channel, row, tapSums));
    drawRows(channel, draw).forEach((row, k) => {
      const direct = row.reduce((sum, w, at) => sum + w * (tapSums[at] ?? 0), 0);
      expect(drawSum(draw[k] ?? new Uint8Array(0), parts)).toBeCloseTo(direct, 12);
    });
  });
});

describe("random filters", () => {
  const means = [Float64Array.from(randomTensor([16], 8).data), Float64Array.from(randomTensor([16], 9).data)];

  test("have the channel's norm, and no weight outside its group", () => {
    const norm = (row: Float64Array): number => Math.hypot(...row);
    const { weights: noise, draw } = randomFilter(hard, means, new Random(2));
    expect(norm(noise)).toBeCloseTo(norm(weights), 12);
    expect(noise.every((w, at) => w === 0 || weights[at] !== 0)).toBe(true);
    expect(draw).toHaveLength(2);
    // Every input serves somebody.
    for (let i = 0; i < COUNT; i++) expect((draw[0]?.[i] ?? 0) + (draw[1]?.[i] ?? 0)).toBeGreaterThan(0);
  });

  test("are split by the channel's rule where ARVs suffice for it", () => {
    expect(filterRule(hard)).toEqual({ rule: "symmetric", rho: 0.5 });
    expect(filterRule({ ...hard, rule: "official", rho: 0.3 })).toEqual({ rule: "official", rho: 0.3 });
    expect(filterRule(soft)).toEqual({ rule: "symmetric", rho: 1 });
  });
});
