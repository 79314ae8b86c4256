import { expect, test } from "vitest";
import { form, solveRegularised, times } from "../../src/channels/linear-algebra.ts";
import { Random } from "../support/random.ts";
import { combine, identity, inner, multiply, outer, product, solve, type Matrix } from "./dense.ts";

const random = new Random(3);
const normals = (n: number): number[] => Array.from({ length: n }, () => random.normal());
/** Of rank at most `rank`, symmetric and at least `least`. */
function positive(n: number, rank: number, least: number): number[][] {
  const terms = Array.from({ length: rank }, () => normals(n)).map((v) => [1, outer(v, v)] as const);
  return combine([least, identity(n)], ...terms);
}
const flat = (m: Matrix): Float64Array => Float64Array.from(m.flat());

test.each([1, 4, 7, 13])("products with a matrix of %i", (n) => {
  const matrix = positive(n, 3, 0.1);
  const [x, y] = [normals(n), normals(n)];
  const expected = multiply(matrix, x);
  Array.from(times(flat(matrix), Float64Array.from(x))).forEach((v, i) => {
    expect(v).toBeCloseTo(expected[i] ?? NaN, 10);
  });
  expect(form(Float64Array.from(y), flat(matrix), Float64Array.from(x))).toBeCloseTo(inner(y, expected), 9);
});

test("conjugate gradients solve (1 + Q C) x = Q b, for C without full rank too", () => {
  const n = 12;
  for (const rank of [3, 20]) {
    const [q, c] = [positive(n, 5, 0.3), positive(n, rank, 0)];
    const b = normals(n);
    const expected = solve(combine([1, identity(n)], [1, product(q, c)]), multiply(q, b));
    const solved = solveRegularised(
      (x) => times(flat(q), x),
      (x) => times(flat(c), x),
      Float64Array.from(b),
    );
    expect(solved.residual).toBeLessThan(1e-9);
    // In exact arithmetic they end after as many steps as 1 + C Q has different eigenvalues.
    expect(solved.iterations).toBeLessThanOrEqual(2 * (rank + 1));
    Array.from(solved.x).forEach((v, i) => {
      expect(Math.abs(v - (expected[i] ?? NaN))).toBeLessThan(1e-8 * Math.max(1, Math.abs(expected[i] ?? 0)));
    });
    const negated = solveRegularised(
      (x) => times(flat(q), x),
      (x) => times(flat(c), x),
      Float64Array.from(b, (v) => -v),
    );
    expect(Array.from(negated.x, (v) => -v)).toEqual(Array.from(solved.x));
  }
});

test("nothing to solve for gives zeros", () => {
  const solved = solveRegularised(
    (x) => x,
    (x) => x,
    new Float64Array(3),
  );
  expect(Array.from(solved.x)).toEqual([0, 0, 0]);
});
