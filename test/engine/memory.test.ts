/** Which slots share memory. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { assignBuffers, largestLiveSet, type Lifetime } from "../../src/engine/memory.ts";

const lifetimes = fc.array(
  fc
    .record({ bytes: fc.integer({ min: 4, max: 1000 }), first: fc.integer({ min: -1, max: 30 }), length: fc.nat(12) })
    .map(({ bytes, first, length }): Lifetime => ({ bytes, first, last: first + length })),
  { maxLength: 40 },
);

const total = (bytes: readonly number[]): number => bytes.reduce((a, b) => a + b, 0);

test("no two slots that live at once share a buffer, and every slot fits into its own", () => {
  fc.assert(
    fc.property(lifetimes, (slots) => {
      const { bufferOf, bufferBytes } = assignBuffers(slots);
      expect(bufferOf.length).toBe(slots.length);
      slots.forEach((a, i) => {
        expect(bufferBytes[bufferOf[i] ?? -1]).toBeGreaterThanOrEqual(a.bytes);
        slots.forEach((b, j) => {
          if (i < j && bufferOf[i] === bufferOf[j]) expect(a.last < b.first || b.last < a.first).toBe(true);
        });
      });
      // Every buffer has a slot of its own size: none is larger than needed.
      bufferBytes.forEach((bytes, k) => {
        expect(Math.max(...slots.filter((_, i) => bufferOf[i] === k).map((s) => s.bytes))).toBe(bytes);
      });
    }),
    { seed: 1, numRuns: 300 },
  );
});

test("the largest live set is what is alive at the worst moment, and no assignment goes below it", () => {
  fc.assert(
    fc.property(lifetimes, (slots) => {
      const moments = Array.from({ length: 45 }, (_, at) =>
        total(slots.filter((s) => s.first <= at - 1 && at - 1 <= s.last).map((s) => s.bytes)),
      );
      expect(largestLiveSet(slots)).toBe(Math.max(...moments));
      expect(total(assignBuffers(slots).bufferBytes)).toBeGreaterThanOrEqual(largestLiveSet(slots));
    }),
    { seed: 2, numRuns: 300 },
  );
});

test("a chain of equal slots needs two buffers", () => {
  const chain = Array.from({ length: 10 }, (_, i): Lifetime => ({ bytes: 100, first: i, last: i + 1 }));
  expect(assignBuffers(chain).bufferBytes).toEqual([100, 100]);
  expect(assignBuffers([])).toEqual({ bufferOf: [], bufferBytes: [] });
});
