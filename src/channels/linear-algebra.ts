/** The little linear algebra that the additive split needs, in float64. Matrices are dense, row-major and symmetric. */
import { invariant } from "../errors.ts";

export type Vector = Float64Array;

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

/** y + factor x, a new vector. */
export const plus = (y: Vector, factor: number, x: Vector): Vector => y.map((v, i) => v + factor * (x[i] ?? 0));

export const scaled = (factor: number, x: Vector): Vector => x.map((v) => factor * v);

/** y += factor x */
export function addTo(y: Vector, factor: number, x: Vector): void {
  for (let i = 0; i < y.length; i++) y[i] = (y[i] ?? 0) + factor * (x[i] ?? 0);
}

/** M x for a matrix [D, D]. */
export function times(matrix: Vector, x: Vector): Vector {
  const size = x.length;
  invariant(matrix.length === size * size, "a matrix that fits the vector");
  const y = new Float64Array(size);
  for (let i = 0, at = 0; i < size; i++) {
    // Four sums: one alone would wait for each addition to end.
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    let j = 0;
    for (; j + 3 < size; j += 4, at += 4) {
      s0 += (matrix[at] ?? 0) * (x[j] ?? 0);
      s1 += (matrix[at + 1] ?? 0) * (x[j + 1] ?? 0);
      s2 += (matrix[at + 2] ?? 0) * (x[j + 2] ?? 0);
      s3 += (matrix[at + 3] ?? 0) * (x[j + 3] ?? 0);
    }
    for (; j < size; j++, at++) s0 += (matrix[at] ?? 0) * (x[j] ?? 0);
    y[i] = s0 + s1 + (s2 + s3);
  }
  return y;
}

/** x^T M y */
export const form = (x: Vector, matrix: Vector, y: Vector): number => dot(x, times(matrix, y));

export interface Solution {
  readonly x: Vector;
  readonly iterations: number;
  /** |residual| over |right-hand side| in the norm of Q when it stopped. */
  readonly residual: number;
}

/**
 * (1 + Q C)^-1 Q b for Q symmetric and positive definite, C symmetric and positive semidefinite, by conjugate gradients:
 * the answer is Q u with (1 + C Q) u = b, and 1 + C Q is self-adjoint and positive definite in the inner product u^T Q v
 * (Hestenes and Stiefel 1952). Negating b negates every step bit for bit.
 * @param timesQ, timesC multiply a vector [D]
 * @param tolerance at which |residual| / |b| it stops; 1e-10 unless given
 */
export function solveRegularised(
  timesQ: (x: Vector) => Vector,
  timesC: (x: Vector) => Vector,
  b: Vector,
  tolerance = 1e-10,
): Solution {
  const answer = new Float64Array(b.length); // Q u
  let residual: Vector = Float64Array.from(b);
  let qResidual = timesQ(residual);
  const first = dot(residual, qResidual);
  if (!(first > 0)) return { x: answer, iterations: 0, residual: 0 };
  let direction: Vector = Float64Array.from(residual);
  let qDirection: Vector = Float64Array.from(qResidual);
  let norm = first;
  const most = 10 * b.length;
  let iterations = 0;
  while (iterations < most && norm > tolerance * tolerance * first) {
    const image = plus(direction, 1, timesC(qDirection));
    const step = norm / dot(qDirection, image);
    addTo(answer, step, qDirection);
    residual = plus(residual, -step, image);
    qResidual = timesQ(residual);
    const next = dot(residual, qResidual);
    direction = plus(residual, next / norm, direction);
    qDirection = plus(qResidual, next / norm, qDirection);
    norm = next;
    iterations++;
  }
  return { x: answer, iterations, residual: Math.sqrt(Math.max(0, norm) / first) };
}
