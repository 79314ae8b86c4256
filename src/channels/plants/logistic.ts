/** Logistic regression with a ridge, by Newton's method: a handful of features, a few hundred items. */
import { solveSmall } from "../tuned.ts";

export interface LabelledItem {
  readonly features: readonly number[];
  readonly positive: boolean;
  readonly weight: number;
}

/** Features are standardised over the items, and cut at 3 deviations. */
export class Logistic {
  readonly #mean: readonly number[];
  readonly #deviation: readonly number[];
  readonly #coefficients: Float64Array;

  constructor(items: readonly LabelledItem[], ridge = 3) {
    const count = items[0]?.features.length ?? 0;
    const column = (j: number): number[] => items.map((item) => item.features[j] ?? 0);
    const columns = Array.from({ length: count }, (_, j) => column(j));
    this.#mean = columns.map((c) => c.reduce((a, b) => a + b, 0) / c.length);
    this.#deviation = columns.map((c, j) =>
      Math.sqrt(c.reduce((sum, x) => sum + (x - (this.#mean[j] ?? 0)) ** 2, 0) / c.length),
    );
    const rows = items.map((item) => this.#row(item.features));
    const size = count + 1;
    // Both sides weigh 100 in all, so that the ridge means the same for any number of items.
    const total = (positive: boolean): number =>
      items.reduce((sum, item) => sum + (item.positive === positive ? item.weight : 0), 0);
    const [positives, negatives] = [total(true), total(false)];
    const b = new Float64Array(size);
    for (let step = 0; step < 30; step++) {
      const gradient = new Float64Array(size);
      const hessian = new Float64Array(size * size);
      items.forEach((item, n) => {
        const x = rows[n] ?? [];
        const weight = (100 * item.weight) / (item.positive ? positives : negatives);
        const p = 1 / (1 + Math.exp(-x.reduce((sum, v, j) => sum + v * (b[j] ?? 0), 0)));
        for (let i = 0; i < size; i++) {
          gradient[i] = (gradient[i] ?? 0) + weight * (p - (item.positive ? 1 : 0)) * (x[i] ?? 0);
          for (let j = 0; j < size; j++)
            hessian[i * size + j] = (hessian[i * size + j] ?? 0) + weight * p * (1 - p) * (x[i] ?? 0) * (x[j] ?? 0);
        }
      });
      for (let i = 0; i < size; i++) {
        hessian[i * size + i] = (hessian[i * size + i] ?? 0) + (i === 0 ? 1e-6 : ridge);
        if (i > 0) gradient[i] = (gradient[i] ?? 0) + ridge * (b[i] ?? 0);
      }
      const move = solveSmall(hessian, gradient);
      for (let i = 0; i < size; i++) b[i] = (b[i] ?? 0) - (move[i] ?? 0);
    }
    this.#coefficients = b;
  }

  /** The log odds. */
  score(features: readonly number[]): number {
    return this.#row(features).reduce((sum, v, j) => sum + v * (this.#coefficients[j] ?? 0), 0);
  }

  #row(features: readonly number[]): number[] {
    return [
      1,
      ...features.map((x, j) => {
        const deviation = this.#deviation[j] ?? 0;
        return deviation > 0 ? Math.max(-3, Math.min(3, (x - (this.#mean[j] ?? 0)) / deviation)) : 0;
      }),
    ];
  }
}
