/**
 * The additive split (METHOD.md B, "Beyond partitions"): parts w/K + e_k whose e_k add up to nothing. No input belongs to one
 * part, nothing has to be taken away again, and another order of the concepts only reorders the parts.
 */
import { invariant, UnbraidError } from "../errors.ts";
import { addTo, dot, form, plus, scaled, solveRegularised, times, type Vector } from "./linear-algebra.ts";
import type { GroupMoments } from "./moments.ts";

export interface AdditiveOptions {
  /** How far the parts are moved apart: 1 makes them uncorrelated, less leaves them nearer to w/K. 0.75. */
  readonly g?: number;
  /** Uncorrelated over what: mean patches of images, or all patches, which gives the least leakage. "images". */
  readonly over?: "images" | "patches";
  /** Weight of the mean patches of images beside that of all patches. 10. */
  readonly kappa?: number;
  /** Strength of the prior on filters, in the regression over all images. 0.2. */
  readonly lambda?: number;
  /** The same, in the regression over the images of the concepts. 0.03. */
  readonly lambdaPair?: number;
  /** Share of the concepts' own images in the moments of the regression over all images. 0.2. */
  readonly beta?: number;
  /** Weights of the three directions: regression over all images, over the concepts' images, symmetric sets. 1, 1/2, 1/2. */
  readonly mix?: readonly [number, number, number];
}

/** Filters at unit response (u^T R u = 1), so that neither folding a BatchNormalization nor a negative scale changes them. */
export class UnitFilters {
  /** [C/groups][D]; undefined where a filter's response is constant. */
  readonly rows: readonly (Vector | undefined)[];

  /** @param rows [C/groups][D] the weights of the group's channels, in order */
  constructor(moments: GroupMoments, rows: readonly ArrayLike<number>[]) {
    this.rows = rows.map((row) => {
      const w = Float64Array.from(row);
      const power = form(w, moments.patches, w);
      return power > 0 ? scaled(1 / Math.sqrt(power), w) : undefined;
    });
  }
}

export interface AdditiveRequest {
  /** Of the channel's group, with second moments of the concepts' classes. */
  readonly moments: GroupMoments;
  /** [D] the channel's weights as the file has them. */
  readonly weights: ArrayLike<number>;
  /** -1 where larger outputs of the layer mean less active (METHOD.md B, "Folded BatchNorm"). */
  readonly sign: number;
  /** The filters of the group. */
  readonly filters: UnitFilters;
  /** Which of them say nothing of the channel: itself. */
  readonly exclude: readonly number[];
  /** A class for each concept, two or more. */
  readonly classes: readonly number[];
  /** Taps of the kernel: D is input channels times taps. */
  readonly taps: number;
  readonly options?: AdditiveOptions;
}

export interface AdditiveSplit {
  /** [K][D] rows in the file's orientation; their sum is the channel's weights up to rounding of float64. */
  readonly parts: readonly Float64Array[];
  /** [D] parts[0] - w/K: for two concepts D1 = w/2 + e, D2 = w/2 - e. */
  readonly e: Float64Array;
  /**
   * The factor at which the parts are uncorrelated, for a channel of unit response (w^T R w = 1): to be held against that
   * of random filters. It does not change with the size of w.
   */
  readonly k: number;
  readonly g: number;
  /** Steps that the two regressions took. */
  readonly iterations: number;
}

const DEFAULTS = { g: 0.75, over: "images", kappa: 10, lambda: 0.2, lambdaPair: 0.03, beta: 0.2 } as const;
const MIX = [1, 0.5, 0.5] as const;
/** S = 0.7 (second moment of the other filters, trace D) + 0.3 I. */
const PRIOR = 0.7;
/** Weight of the class means' spread in the regression over the concepts' images. */
const MEANS = 10;

/**
 * @throws UnbraidError MOMENTS_CLASS where a class has no images; SPLIT_CONSTANT where the channel, or the difference between
 * the classes, is constant over the images
 */
export function additiveSplit(request: AdditiveRequest): AdditiveSplit {
  const { moments, sign, classes } = request;
  const options = { ...DEFAULTS, mix: MIX, ...request.options };
  const w = Float64Array.from(request.weights, (v) => v * sign);
  invariant(w.length === moments.size && classes.length >= 2, `${classes.length} concepts, ${w.length} weights`);
  const power = form(w, moments.patches, w);
  if (!(power > 0)) throw constant("The channel's response", classes);
  const unit = scaled(1 / Math.sqrt(power), w);
  const prior = filterPrior(moments, request.filters, request.exclude);

  const all = overAllImages(moments, unit, classes, prior, options);
  const pair = overConcepts(moments, unit, classes, prior, options.lambdaPair);
  const sets = bySets(moments, unit, classes, request.taps);
  const directions = classes.map(() => new Float64Array(w.length));
  [all.e, pair.e, sets].forEach((e, d) => {
    const length = Math.sqrt(sumOver(e, (v) => form(v, moments.patches, v)) / e.length);
    if (!(length > 0)) return;
    e.forEach((v, k) => {
      addTo(directions[k] ?? v, (options.mix[d] ?? 0) / length, v);
    });
  });

  const matrix = options.over === "images" ? moments.imageMeans : moments.patches;
  const spread = sumOver(directions, (v) => form(v, matrix, v));
  if (!(spread > 0)) throw constant("The difference between the classes", classes);
  // Parts w/K + k e_k are uncorrelated on the whole where Var(w) = sum_k Var(w/K + k e_k), and the e_k add up to 0.
  const k = Math.sqrt((form(unit, matrix, unit) * (1 - 1 / classes.length)) / spread);
  const factor = sign * options.g * k * Math.sqrt(power);
  const parts = directions.map((v) => w.map((x, i) => (sign * x) / classes.length + factor * (v[i] ?? 0)));
  return {
    parts,
    e: scaled(factor, directions[0] ?? w),
    k,
    g: options.g,
    iterations: all.iterations + pair.iterations,
  };
}

type TimesVector = (x: Vector) => Vector;
interface Directions {
  readonly e: readonly Vector[];
  readonly iterations: number;
}

const sumOver = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((s, item) => s + of(item), 0);

/** S x: what the other filters of the group, each at unit response, say of where weights are large. */
function filterPrior(moments: GroupMoments, filters: UnitFilters, exclude: readonly number[]): TimesVector {
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
function overAllImages(
  moments: GroupMoments,
  w: Vector,
  classes: readonly number[],
  prior: TimesVector,
  { kappa, lambda, beta }: Required<Pick<AdditiveOptions, "kappa" | "lambda" | "beta">>,
): Directions {
  const K = classes.length;
  const matrix = moments.patches.map((r, i) => 2 * (1 - beta) * (r + kappa * (moments.imageMeans[i] ?? 0)));
  // In the order of the classes, so that another order of the concepts adds the same numbers.
  if (beta > 0)
    for (const t of classes.toSorted((a, b) => a - b)) addTo(matrix, (2 * beta) / K, moments.aboutMean(t, kappa));
  const q = regularised(prior, w, lambda);
  const deviations = classes.map((t) =>
    scaled((moments.imagesOf[t] ?? 0) / moments.images, plus(moments.classMeans[t] ?? w, -1, moments.mean)),
  );
  return solve(q, matrix, contrasts(deviations));
}

/** e_l: least squares on the concepts' classes for a part that is w on its own class and nothing on the others. */
function overConcepts(
  moments: GroupMoments,
  w: Vector,
  classes: readonly number[],
  prior: TimesVector,
  lambda: number,
): Directions {
  const size = moments.size;
  const matrices = new Map(
    classes
      .toSorted((a, b) => a - b)
      .map((t) => {
        const matrix = moments.withinClass(t);
        const d = plus(moments.classMeans[t] ?? w, -1, moments.meanOfClasses);
        for (let i = 0; i < size; i++)
          for (let j = 0, at = i * size; j < size; j++, at++)
            matrix[at] = (matrix[at] ?? 0) + MEANS * ((d[i] ?? 0) * (d[j] ?? 0));
        return [t, matrix];
      }),
  );
  const total = new Float64Array(size * size);
  for (const matrix of matrices.values()) addTo(total, 1, matrix);
  const images = classes.map((t) => times(matrices.get(t) ?? total, w));
  // C_k w - (1/K) sum_j C_j w is (K-1)/K of the contrast of C_k w with the mean of the others.
  const K = classes.length;
  return solve(
    regularised(prior, w, lambda),
    total,
    contrasts(images).map((c) => scaled((K - 1) / K, c)),
  );
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
function bySets(moments: GroupMoments, w: Vector, classes: readonly number[], taps: number): Vector[] {
  const K = classes.length;
  const parts = classes.map(() => w.map((v) => -v / K));
  for (let from = 0; from < w.length; from += taps) {
    const relevance = classes.map((t) => {
      const m = moments.classMeans[t];
      let sum = 0;
      for (let i = from; i < from + taps; i++) sum += (w[i] ?? 0) * (m?.[i] ?? 0);
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

const constant = (what: string, classes: readonly number[]): UnbraidError =>
  new UnbraidError(
    "input",
    "SPLIT_CONSTANT",
    `${what} does not vary over the images (classes ${classes.join(", ")}), so there is nothing to divide.`,
    "Choose another channel or other classes, or give more images.",
  );
