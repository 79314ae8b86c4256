import { describe, expect, it } from "vitest";
import { Random } from "../../src/channels/random.ts";

const take = <T>(n: number, draw: () => T): T[] => Array.from({ length: n }, draw);

describe("Random", () => {
  // From the reference recurrence in Python, with integers of any size.
  it.each([
    [1, [2442144158, 3238099751, 3819917871, 2104621829]],
    [2 ** 40 + 7, [1856336786, 1478424141, 493679596]],
    [-3, [3435402962, 381594621, 932153338]],
  ])("repeats xoshiro128** from seed %d", (seed, expected) => {
    const random = new Random(seed);
    expect(take(expected.length, () => random.uint32())).toEqual(expected);
  });

  it("takes whole numbers only", () => {
    expect(() => new Random(0.5)).toThrow(/seed 0.5/);
    expect(() => new Random(1).below(0)).toThrow(/below 0/);
  });

  it("draws every number below a limit about as often", () => {
    const random = new Random(2);
    const counts = new Float64Array(7);
    for (let k = 0; k < 70_000; k++) {
      const x = random.below(7);
      counts[x] = (counts[x] ?? 0) + 1;
    }
    // Chi-squared with 6 degrees of freedom: 22.46 is exceeded once in a thousand.
    expect(counts.reduce((chi, n) => chi + (n - 10_000) ** 2 / 10_000, 0)).toBeLessThan(22.46);
    // Three quarters of 2^32: without drawing again, the lower third would come up half of the time.
    const limit = 3 * 2 ** 30;
    const low = take(20_000, () => random.below(limit)).filter((x) => x < 2 ** 30).length;
    expect(Math.abs(low - 20_000 / 3)).toBeLessThan(4 * Math.sqrt((20_000 * 2) / 9));
  });

  it("has uniform and normal numbers with their moments", () => {
    const random = new Random(3);
    const n = 50_000;
    const uniform = take(n, () => random.uniform());
    expect(Math.min(...uniform.slice(0, 1000))).toBeGreaterThanOrEqual(0);
    expect(Math.max(...uniform.slice(0, 1000))).toBeLessThan(1);
    const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    // Four standard errors each: of the mean sd / sqrt(n), of the second moment sqrt(var x^2 / n), of the fourth likewise.
    expect(Math.abs(mean(uniform) - 1 / 2)).toBeLessThan(4 / Math.sqrt(12 * n));
    expect(Math.abs(mean(uniform.map((x) => x * x)) - 1 / 3)).toBeLessThan(4 * Math.sqrt(4 / 45 / n));
    const normal = take(n, () => random.normal());
    expect(Math.abs(mean(normal))).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(mean(normal.map((x) => x ** 2)) - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    expect(Math.abs(mean(normal.map((x) => x ** 4)) - 3)).toBeLessThan(4 * Math.sqrt(96 / n));
  });

  it("permutes: every order of three about as often, nothing lost", () => {
    const random = new Random(4);
    const counts = new Map<string, number>();
    for (let k = 0; k < 12_000; k++) {
      const order = random.permutation(3).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(["012", "021", "102", "120", "201", "210"]);
    // Chi-squared with 5 degrees of freedom: 20.5 is exceeded once in a thousand.
    expect([...counts.values()].reduce((chi, n) => chi + (n - 2000) ** 2 / 2000, 0)).toBeLessThan(20.5);
    const items = ["a", undefined, "c", "d"];
    expect(random.shuffle(items)).toHaveLength(4);
    expect(new Set(random.shuffle(items))).toEqual(new Set(items));
    expect(items).toEqual(["a", undefined, "c", "d"]);
  });

  it("resamples with replacement: 1 - 1/e of the units are there", () => {
    const random = new Random(5);
    const drawn = random.resample(10_000);
    expect(drawn).toHaveLength(10_000);
    // The number of distinct units has variance n (e^-1 - 2 e^-2) nearly.
    expect(Math.abs(new Set(drawn).size - 10_000 * (1 - 1 / Math.E))).toBeLessThan(4 * Math.sqrt(10_000 * 0.0972));
  });

  it("forks generators that differ from each other, and repeats them", () => {
    const [first, second] = [new Random(6), new Random(6)].map((r) => [r.fork(), r.fork()].map((f) => f.uint32()));
    expect(first).toEqual(second);
    expect(new Set(first).size).toBe(2);
  });
});
