/**
 * The three directions along which an additive split parts a channel (METHOD.md B, "Beyond partitions"), in the layer's
 * orientation and for a channel of unit response (w^T R w = 1). Each is a list of K vectors that add up to nothing, and another
 * order of the concepts only reorders them, bit for bit where there are two.
 */
import { addTo, dot, form, plus, scaled, solveRegularised, times, type Vector } from "./linear-algebra.ts";
import type { ConceptMoments } from "./moment-matrices.ts";

/** S = 0.7 (second moment of the other filters, trace D) + 0.3 I. */
const PRIOR = 0.7;
/** Weight of the class means' spread in the regression over the concepts' images. */
const MEANS = 10;

/** Filters at unit response (u^T R u = 1), so that neither folding a BatchNormalization nor a negative scale changes them. */
export class UnitFilters {
  /** [C/groups][D]; undefined where a filter's response is constant. */
  readonly rows: readonly (Vector | undefined)[];
  readonly #images: Float64Array;
  #overImages: readonly (Vector | undefined)[] | undefined;

  /** @param rows [C/groups][D] the weights of the group's channels, in order and in the layer's orientation */
  constructor(moments: ConceptMoments, rows: readonly ArrayLike<number>[]) {
    this.#images = moments.imageMeans;
    this.rows = rows.map((row) => atUnit(Float64Array.from(row), moments.patches));
  }

  /** [C/groups][D] at unit variance over images instead (u^T V u = 1). */
  get overImages(): readonly (Vector | undefined)[] {
    this.#overImages ??= this.rows.map((u) => (u === undefined ? undefined : atUnit(u, this.#images)));
    return this.#overImages;
  }
}

function atUnit(w: Vector, covariance: Float64Array): Vector | undefined {
  const power = form(w, covariance, w);
  return power > 0 ? scaled(1 / Math.sqrt(power), w) : undefined;
}

export type TimesVector = (x: Vector) => Vector;
export interface Directions {
  readonly e: readonly Vector[];
  readonly iterations: number;
}

export const sumOver = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((s, item) => s + of(item), 0);

/** S x: what the other filters of the group, each at unit response, say of where weights are large. */
export function filterPrior(moments: ConceptMoments, filters: UnitFilters, exclude: readonly number[]): TimesVector {
  const units = filters.rows.flatMap((u, c) => (u === undefined || exclude.includes(c) ? [] : [u]));
  const trace = sumOver(units, (u) => dot(u, u));
  if (!(trace > 0)) return (x) => x;
  const factor = (PRIOR * moments.size) / trace;
  return (x) => {
    const y = scaled(1 - PRIOR, x);
    for (const u of units) addTo(y, factor * dot(u, x), u);
    return y;
  };
}

/** Q x = S x q/lambda with q = |w|^2/D, for a channel of unit response. */
function regularised(prior: TimesVector, w: Vector, lambda: number): TimesVector {
  const factor = dot(w, w) / (w.length * lambda);
  return (x) => scaled(factor, prior(x));
}

/** e_L: for each concept the regression of its part on +1 for its class, -1/(K-1) for the others', 0 for all others. */
export function overAllImages(
  moments: ConceptMoments,
  w: Vector,
  classes: readonly number[],
  prior: TimesVector,
  { kappa, lambda, beta }: { readonly kappa: number; readonly lambda: number; readonly beta: number },
): Directions {
  const K = classes.length;
  let matrix = scaled(2 * (1 - beta), moments.pooled(kappa));
  // In the order of the classes, so that another order of the concepts adds the same numbers.
  if (beta > 0)
    for (const t of classes.toSorted((a, b) => a - b))
      matrix = plus(matrix, (2 * beta) / K, moments.aboutMean(t, kappa));
  const q = regularised(prior, w, lambda);
  const deviations = classes.map((t) =>
    scaled(moments.countOf(t) / moments.images, plus(moments.meanOf(t), -1, moments.mean)),
  );
  return solve(q, matrix, contrasts(deviations));
}

/**
 * e_l: least squares on the concepts' classes for a part that is w on its own class and nothing on the others.
 * @param lambdas strengths of the prior @returns for each
 */
export function overConcepts(
  moments: ConceptMoments,
  w: Vector,
  classes: readonly number[],
  prior: TimesVector,
  lambdas: readonly number[],
): Directions[] {
  let total: Vector = new Float64Array(moments.size ** 2);
  for (const t of classes.toSorted((a, b) => a - b)) total = plus(total, 1, moments.withinClass(t, MEANS));
  const images = classes.map((t) => times(moments.withinClass(t, MEANS), w));
  // C_k w - (1/K) sum_j C_j w is (K-1)/K of the contrast of C_k w with the mean of the others.
  const K = classes.length;
  const targets = contrasts(images).map((c) => scaled((K - 1) / K, c));
  return lambdas.map((lambda) => solve(regularised(prior, w, lambda), total, targets));
}

/** v_k less the mean of the others: sums to nothing, and for two is v_1 - v_2 and its negative bit for bit. */
function contrasts(vectors: readonly Vector[]): Vector[] {
  return vectors.map((v, k) => {
    const others = new Float64Array(v.length);
    vectors.forEach((u, j) => {
      if (j !== k) addTo(others, 1, u);
    });
    return v.map((x, i) => x - (others[i] ?? 0) / (vectors.length - 1));
  });
}

function solve(q: TimesVector, matrix: Float64Array, targets: readonly Vector[]): Directions {
  // For two concepts the second solution is the first one negated.
  const wanted = targets.length === 2 ? targets.slice(0, 1) : targets;
  const solved = wanted.map((b) => solveRegularised(q, (x) => times(matrix, x), b));
  const e = solved.map((s) => s.x);
  const [first] = e;
  if (targets.length === 2 && first !== undefined) e.push(first.map((v) => -v));
  return { e, iterations: sumOver(solved, (s) => s.iterations) };
}

/** e_s: the symmetric rule's parts at rho = 1, an input of several parts divided between them, less w/K. */
export function bySets(moments: ConceptMoments, w: Vector, classes: readonly number[], taps: number): Vector[] {
  const K = classes.length;
  const parts = classes.map(() => w.map((v) => -v / K));
  for (let from = 0; from < w.length; from += taps) {
    const relevance = classes.map((t) => {
      const m = moments.meanOf(t);
      let sum = 0;
      for (let i = from; i < from + taps; i++) sum += (w[i] ?? 0) * (m[i] ?? 0);
      return sum;
    });
    const highest = Math.max(...relevance);
    const winners = relevance.filter((v) => v === highest).length;
    parts.forEach((part, k) => {
      if (relevance[k] !== highest) return;
      for (let i = from; i < from + taps; i++) part[i] = (part[i] ?? 0) + (w[i] ?? 0) / winners;
    });
  }
  return parts;
}
