/** Dense linear algebra for tests, as one would write it on paper. */
export type Matrix = readonly (readonly number[])[];

export const vector = (a: ArrayLike<number>): number[] => Array.from(a);
export const multiply = (m: Matrix, v: readonly number[]): number[] =>
  m.map((row) => row.reduce((sum, x, j) => sum + x * (v[j] ?? NaN), 0));
export const product = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => (b[0] ?? []).map((_, j) => row.reduce((sum, x, k) => sum + x * (b[k]?.[j] ?? NaN), 0)));
export const combine = (...terms: readonly (readonly [number, Matrix])[]): number[][] =>
  (terms[0]?.[1] ?? []).map((row, i) =>
    row.map((_, j) => terms.reduce((sum, [f, m]) => sum + f * (m[i]?.[j] ?? NaN), 0)),
  );
export const outer = (a: readonly number[], b: readonly number[]): number[][] => a.map((x) => b.map((y) => x * y));
export const identity = (n: number): number[][] =>
  Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)));
export const inner = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((s, x, i) => s + x * (b[i] ?? NaN), 0);

/** x of M x = b by Gaussian elimination with partial pivoting. */
export function solve(m: Matrix, b: readonly number[]): number[] {
  const rows = m.map((row, i) => [...row, b[i] ?? NaN]);
  const n = rows.length;
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k; i < n; i++) if (Math.abs(rows[i]?.[k] ?? 0) > Math.abs(rows[pivot]?.[k] ?? 0)) pivot = i;
    const [a = [], c = []] = [rows[pivot], rows[k]];
    rows[pivot] = c;
    rows[k] = a;
    for (let i = k + 1; i < n; i++) {
      const row = rows[i] ?? [];
      const factor = (row[k] ?? NaN) / (a[k] ?? NaN);
      for (let j = k; j <= n; j++) row[j] = (row[j] ?? NaN) - factor * (a[j] ?? NaN);
    }
  }
  const x = new Array<number>(n).fill(0);
  for (let k = n - 1; k >= 0; k--) {
    const row = rows[k] ?? [];
    let rest = row[n] ?? NaN;
    for (let j = k + 1; j < n; j++) rest -= (row[j] ?? NaN) * (x[j] ?? NaN);
    x[k] = rest / (row[k] ?? NaN);
  }
  return x;
}
