/**
 * How far sampling noise alone can move ARVs: their inner products by fold. A fold's ARV is the mean over that fold's
 * images, so the ARV of any group of folds is a weighted sum of them, and every norm and cosine below is a quadratic form
 * of an F x F table: no vector is made twice.
 */
import { must } from "../errors.ts";
import { AverageRelevance } from "../relevance/arv.ts";
import { imagesOf, type Study } from "../relevance/study.ts";

/** ARVs of one channel and class by fold. */
export interface FoldVectors {
  /** [F] each [I/groups], oriented. */
  readonly vectors: readonly Float64Array[];
  /** [F] images of each. */
  readonly images: readonly number[];
  /** [F][F] inner products of the vectors. */
  readonly inner: Table;
}

export type Table = readonly (readonly number[])[];

/** A group of folds as weights [F] that sum to 1: each fold by its number of images. */
export type Weights = readonly number[];

/** Gives the fold vectors of a study; keeps those of the channel that was asked for last. */
export class FoldArvs {
  readonly #study: Study;
  readonly #arvs: AverageRelevance;
  #channel = -1;
  readonly #kept = new Map<number, FoldVectors | undefined>();

  constructor(study: Study) {
    this.#study = study;
    this.#arvs = new AverageRelevance(study);
  }

  get folds(): number {
    return this.#study.meta.folds;
  }

  /** undefined where a fold of the class holds no image (fewer images than folds, or some could not be read). */
  of(channel: number, label: number): FoldVectors | undefined {
    if (channel !== this.#channel) this.#kept.clear();
    this.#channel = channel;
    if (!this.#kept.has(label)) this.#kept.set(label, this.#make(channel, label));
    return this.#kept.get(label);
  }

  #make(channel: number, label: number): FoldVectors | undefined {
    const vectors: Float64Array[] = [];
    const images: number[] = [];
    for (let fold = 0; fold < this.folds; fold++) {
      const vector = this.#arvs.vector(channel, label, "oriented", [fold]);
      if (vector === undefined) return undefined;
      vectors.push(vector);
      images.push(imagesOf(this.#study, label, [fold]));
    }
    return { vectors, images, inner: innerProducts(vectors, vectors) };
  }
}

/** [F][F] a_f . b_g */
export function innerProducts(a: readonly Float64Array[], b: readonly Float64Array[]): Table {
  return a.map((x) =>
    b.map((y) => {
      let sum = 0;
      for (let i = 0; i < x.length; i++) sum += (x[i] ?? 0) * (y[i] ?? 0);
      return sum;
    }),
  );
}

/** Weights of the mean over some folds. */
export function weightsOver(images: readonly number[], folds: readonly number[]): Weights {
  const total = folds.reduce((n, f) => n + must(images[f], "fold"), 0);
  return images.map((n, f) => (folds.includes(f) ? n / total : 0));
}

/** sum_fg a_f T_fg b_g */
export function form(a: Weights, table: Table, b: Weights): number {
  let sum = 0;
  for (const [f, row] of table.entries())
    for (const [g, value] of row.entries()) sum += (a[f] ?? 0) * value * (b[g] ?? 0);
  return sum;
}

/** The cosine of the mean ARVs of two groups of folds, given the inner products within each and across. */
export function groupCosine(a: Weights, aa: Table, b: Weights, bb: Table, ab: Table): number {
  const norms = Math.sqrt(form(a, aa, a)) * Math.sqrt(form(b, bb, b));
  return norms > 0 ? form(a, ab, b) / norms : NaN;
}

/** What rounding leaves of numbers that are zero: inner products lose no more than 1e-13 of themselves here. */
const ZERO = 1e-12;

/**
 * The noise of a group's mean ARV, relative to it: the estimated variance of the mean (all inputs together) over the mean's
 * squared length. With folds f of n_f images and mean u: sum_f n_f |u_f - u|^2 / ((h - 1) sum_f n_f |u|^2).
 * @param folds h of them, two or more
 */
export function relativeNoise({ images, inner }: FoldVectors, folds: readonly number[]): number {
  const weights = weightsOver(images, folds);
  const length = form(weights, inner, weights);
  const spread = folds.reduce((sum, f) => sum + (weights[f] ?? 0) * (inner[f]?.[f] ?? 0), 0) - length;
  const noise = spread / ((folds.length - 1) * length);
  return noise < ZERO ? 0 : noise;
}

/** 1 - cosine, without what rounding leaves of equal directions. */
export const unlikeness = (cosine: number): number => (1 - cosine < ZERO ? 0 : 1 - cosine);

/** Pairs of disjoint groups of floor(F/2) folds each: all of them up to six folds, the first few in a fixed order beyond. */
export function halfSplits(folds: number): (readonly [readonly number[], readonly number[]])[] {
  const size = Math.floor(folds / 2);
  const splits: (readonly [readonly number[], readonly number[]])[] = [];
  if (folds > 6) {
    // Folds 0 to F-1 around a circle: each split is a run of them against the run that follows.
    for (let start = 0; start < Math.min(folds, MOST_SPLITS); start++) {
      const at = (k: number): number => (start + k) % folds;
      const run = (from: number): number[] => Array.from({ length: size }, (_, k) => at(from + k));
      splits.push([run(0), run(size)]);
    }
    return splits;
  }
  const groups = Array.from({ length: 2 ** folds }, (_, bits) =>
    Array.from({ length: folds }, (__, f) => f).filter((f) => ((bits >>> f) & 1) === 1),
  ).filter((group) => group.length === size);
  for (const [k, a] of groups.entries())
    for (const b of groups.slice(k + 1)) if (!a.some((f) => b.includes(f))) splits.push([a, b]);
  return splits;
}

const MOST_SPLITS = 15;
