/** Matrices made of sums of patches: what rules by weights ask of the moments of a group of channels. */
import { UnbraidError } from "../errors.ts";
import type { Vector } from "./linear-algebra.ts";

/** What a rule by weights reads: moments over all images, and of the concepts that it splits between, by their numbers. */
export interface ConceptMoments {
  /** D */
  readonly size: number;
  readonly images: number;
  /** [D] the mean patch. */
  readonly mean: Vector;
  /** [D] mean of the classes' mean patches. */
  readonly meanOfClasses: Vector;
  /** R: [D, D] covariance of patches. */
  readonly patches: Float64Array;
  /** V: [D, D] covariance of the images' mean patches. */
  readonly imageMeans: Float64Array;
  /** [D, D] R + kappa V; not to be changed. */
  pooled(kappa: number): Float64Array;
  /** What messages call a concept. */
  nameOf(concept: number): string;
  /** Images of a concept. */
  countOf(concept: number): number;
  /** [D] a concept's mean patch; zeros where it has no image. */
  meanOf(concept: number): Vector;
  /**
   * [D, D] C_t + kappa V_t: second moments of a concept's patches and mean patches about the mean over all images;
   * not to be changed.
   * @throws UnbraidError MOMENTS_CLASS
   */
  aboutMean(concept: number, kappa: number): Float64Array;
  /**
   * [D, D] covariance of a concept's patches about its own mean, and `means` d d^T of how far that is from the mean of the
   * classes' means; not to be changed.
   * @throws UnbraidError MOMENTS_CLASS
   */
  withinClass(concept: number, means?: number): Float64Array;
}

/** Sums of outer products over patches and over images: upper triangles of [D, D]. */
export interface SecondSums {
  readonly patches: Float64Array;
  readonly images: Float64Array;
}

/** What was summed over some images. */
export interface Summed {
  readonly second: SecondSums;
  readonly images: number;
  /** P: patches of an image. */
  readonly positions: number;
}

type Outer = readonly (readonly [number, Vector, Vector])[];

/** patchFactor E[x x^T] + imageFactor E[xbar xbar^T] + sum of factor a b^T, which together must be symmetric. */
export function momentMatrix(
  size: number,
  { second, images, positions }: Summed,
  patchFactor: number,
  imageFactor: number,
  outer: Outer,
): Float64Array {
  const p = patchFactor / (images * positions);
  const q = imageFactor / (images * positions ** 2);
  const matrix = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = i; j < size; j++) {
      const at = i * size + j;
      let value = p * (second.patches[at] ?? 0) + q * (second.images[at] ?? 0);
      for (const [factor, a, b] of outer) value += factor * ((a[i] ?? 0) * (b[j] ?? 0));
      matrix[at] = value;
      matrix[j * size + i] = value;
    }
  return matrix;
}

/** `ConceptMoments.aboutMean`. @param m the concept's mean patch @param g that of all images */
export function aboutMean(of: Summed, m: Vector, g: Vector, kappa: number): Float64Array {
  const times = 1 + kappa;
  return momentMatrix(m.length, of, 1, kappa, [
    [-times, m, g],
    [-times, g, m],
    [times, g, g],
  ]);
}

/** `ConceptMoments.withinClass`. @param m the concept's mean patch @param centre mean of the classes' */
export function withinMean(of: Summed, m: Vector, centre: Vector, means: number): Float64Array {
  const d = m.map((x, i) => x - (centre[i] ?? 0));
  return momentMatrix(m.length, of, 1, 0, [
    [-1, m, m],
    [means, d, d],
  ]);
}

/** What matrices made of the sums may take while they wait to be asked for again. */
const KEPT_BYTES = 2 ** 28;

/** Matrices that were asked for last: splits between the same concepts ask again. */
export class KeptMatrices {
  readonly #kept = new Map<string, Float64Array>();

  get(key: string, make: () => Float64Array): Float64Array {
    const matrix = this.#kept.get(key) ?? make();
    this.#kept.delete(key);
    this.#kept.set(key, matrix);
    const room = Math.max(2, Math.floor(KEPT_BYTES / matrix.byteLength));
    for (const old of this.#kept.keys()) {
      if (this.#kept.size <= room) break;
      this.#kept.delete(old);
    }
    return matrix;
  }
}

export const noMoments = (name: string, why: string): UnbraidError =>
  new UnbraidError(
    "input",
    "MOMENTS_CLASS",
    `There are no moments of ${name}: ${why}.`,
    "Give images of every concept that the split is between.",
  );
