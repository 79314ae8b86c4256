/** Constants from scipy 1.17, stats.t. */
import { describe, expect, it } from "vitest";
import { studentCdf, studentQuantile } from "../../src/channels/student.ts";

describe("Student's t", () => {
  it.each([
    [-2.5, 4, 0.03338327240599407],
    [0, 3, 0.5],
    [1.3, 7.35, 0.8835585558582786],
    [4.2, 8, 0.9985017431494594],
    [-12, 4.7, 5.263836848337128e-5],
    [0.01, 1, 0.503182992764907],
    [30, 2, 0.9994453686590201],
    [-Infinity, 3, 0],
    [Infinity, 3, 1],
  ])("P(T <= %d) with %d degrees of freedom", (t, df, p) => {
    expect(Math.abs(studentCdf(t, df) - p)).toBeLessThan(1e-12);
  });

  it.each([
    [0.975, 4, 2.7764451051977934],
    [0.975, 8, 2.306004135204166],
    [0.05, 5.5, -1.9752797040389105],
  ])("quantile %d with %d degrees of freedom", (p, df, t) => {
    expect(Math.abs(studentQuantile(p, df) - t)).toBeLessThan(2e-10);
  });
});
