/** Fractions of a channel's activation by hand. */
import { expect, test } from "vitest";
import { fractions, residuals } from "../../../src/channels/evaluate/fractions.ts";
import { Random } from "../../../src/channels/random.ts";

const random = () => new Random(3);

test("ratio of sums, median and the original's mean of ratios", () => {
  // D1 + D2 - R = z, image by image: R = 1, 0, 2, 0.
  const { parts, residual, near_zero } = fractions(
    {
      original: [4, 10, 2, 4],
      parts: [
        [4, 8, 1, 2],
        [1, 2, 3, 2],
      ],
    },
    { random: random() },
  );
  expect(parts[0]?.ratio_of_sums.value).toBeCloseTo(15 / 20, 14);
  expect(parts[1]?.ratio_of_sums.value).toBeCloseTo(8 / 20, 14);
  expect(residual.ratio_of_sums.value).toBeCloseTo(3 / 20, 14);
  expect(parts[0]?.median.value).toBeCloseTo((0.5 + 0.8) / 2, 14); // of 1, 0.8, 0.5, 0.5
  expect(parts[0]?.mean_of_ratios.value).toBeCloseTo((1 + 0.8 + 0.5 + 0.5) / 4, 14);
  expect(residual.mean_of_ratios.value).toBeCloseTo((0.25 + 0 + 1 + 0) / 4, 14);
  for (const figure of [parts[0]?.ratio_of_sums, parts[1]?.median]) {
    expect(figure?.n).toBe(4);
    expect(figure?.low).toBeLessThanOrEqual(figure?.value ?? NaN);
    expect(figure?.high).toBeGreaterThanOrEqual(figure?.value ?? NaN);
  }
  expect(near_zero).toMatchObject({ value: 0, n: 4 });
});

test("a denominator near zero is counted, and hardly moves what is reported", () => {
  const original = [10, 10, 10, 0.001];
  const { parts, near_zero } = fractions(
    { original, parts: [[5, 5, 5, 5], original.map((z) => z - 5)] },
    { random: random() },
  );
  expect(near_zero.value).toBe(0.25);
  expect(parts[0]?.mean_of_ratios.value).toBeGreaterThan(1000); // the original's: one image decides
  expect(parts[0]?.median.value).toBe(0.5);
  expect(parts[0]?.ratio_of_sums.value).toBeCloseTo(20 / 30.001, 12);
});

test("what rounding leaves of parts that add up is no residual", () => {
  const parts = [
    [0.1, 0.7],
    [0.2, 0.1],
  ];
  expect(residuals({ original: [0.3, 0.8], parts })).toEqual([0, 0]);
  expect(residuals({ original: [0.25, 0.8], parts })[0]).toBeCloseTo(0.05, 14);
});

test("without images there is nothing to report", () => {
  const { parts, near_zero } = fractions({ original: [], parts: [[], []] }, { random: random() });
  expect(parts[0]?.ratio_of_sums).toMatchObject({ value: NaN, n: 0 });
  expect(near_zero.n).toBe(0);
});

test("a channel that never responds is no division by zero, but not a number", () => {
  const { parts, near_zero } = fractions(
    {
      original: [0, 0],
      parts: [
        [1, 2],
        [-1, -2],
      ],
    },
    { random: random() },
  );
  expect(near_zero.value).toBe(1);
  expect(parts[0]?.ratio_of_sums.low).toBeNaN();
});
