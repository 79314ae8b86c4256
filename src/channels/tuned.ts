/**
 * The additive split tuned on the layer itself. Sums of two of the layer's own channels are channels whose parts are known; on
 * such plants the weights of several directions, and with them the scale, are fitted by least squares, and then used on
 * any channel of the layer. Beyond METHOD.md B: its directions with two settings of their priors each, without what lies along
 * w itself, and each also times how strongly the channel responds to its two classes; and one of what the layer's other filters
 * say of the two kinds. docs/evidence.md has what it gains.
 */
import { invariant, UnbraidError } from "../errors.ts";
import { bySets, filterPrior, overAllImages, overConcepts, type UnitFilters } from "./additive-directions.ts";
import { constant, type AdditiveOptions, type AdditiveRequest } from "./additive.ts";
import { overKinds } from "./filter-kinds.ts";
import { addTo, dot, form, plus, scaled, times, type Vector } from "./linear-algebra.ts";
import type { GroupMoments } from "./moments.ts";
import { pause } from "./pause.ts";
import type { Random } from "./random.ts";

export interface TuningOptions {
  readonly moments: GroupMoments;
  readonly filters: UnitFilters;
  /** [C/groups][D] the group's weights in the layer's orientation. */
  readonly rows: readonly Vector[];
  readonly taps: number;
  readonly random: Random;
  /** Plants to fit on; unless given 240, fewer for large kernels. */
  readonly plants?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (share: number) => void;
}

/** What one plant adds to the normal equations. */
interface Equations {
  readonly members: readonly [number, number];
  /** Whether both parts have the same size. */
  readonly equal: boolean;
  readonly gram: Float64Array;
  readonly target: Float64Array;
}

const PRIORS = [
  { kappa: 10, lambda: 0.2, beta: 0 },
  { kappa: 3, lambda: 0.02, beta: 0 },
] as const;
const LAMBDAS = [0.03, 0.3] as const;
/**
 * Directions: two of each regression, one of sets; each as it is and times the channel's response to its classes; one of the
 * kinds of filters; and last what lies along w, by which of its classes it responds to more.
 */
const BASIS = 12;
/** In deviations over images: below it the two classes say little of which part is larger. */
const LEAST_RESPONSE = 0.3;
/** Added to the normal equations' diagonal, relative to its mean. */
const RIDGE = 3e-3;

/** Weights of the directions of a layer's group. */
export class Tuning {
  readonly #equations: readonly Equations[];

  constructor(equations: readonly Equations[]) {
    this.#equations = equations;
  }

  /** Plants that it was fitted on. */
  get plants(): number {
    return this.#equations.length;
  }

  /**
   * @param exclude channels whose plants are left out: those that a plant under test is made of
   * @param sizes "equal" where both parts are known to have the same variance over images
   */
  coefficients(exclude: readonly number[] = [], sizes: "any" | "equal" = "any"): Float64Array {
    const gram = new Float64Array(BASIS * BASIS);
    const target = new Float64Array(BASIS);
    for (const { members, equal, ...equations } of this.#equations) {
      if (members.some((c) => exclude.includes(c)) || (sizes === "equal" && !equal)) continue;
      addTo(gram, 1, equations.gram);
      addTo(target, 1, equations.target);
    }
    if (sizes === "equal") dropLast(gram, target);
    let trace = 0;
    for (let i = 0; i < BASIS; i++) trace += gram[i * BASIS + i] ?? 0;
    for (let i = 0; i < BASIS; i++)
      gram[i * BASIS + i] = (gram[i * BASIS + i] ?? 0) + (RIDGE * trace) / BASIS + Number.MIN_VALUE;
    return solveSmall(gram, target);
  }
}

/** What lies along w is no question where both parts have one size. */
function dropLast(gram: Float64Array, target: Float64Array): void {
  const last = BASIS - 1;
  for (let i = 0; i < BASIS; i++) gram[i * BASIS + last] = gram[last * BASIS + i] = 0;
  target[last] = 0;
}

/** The class to which a filter responds most, of those whose moments are kept; undefined where there is none. */
export function topClass(moments: GroupMoments, w: Vector): number | undefined {
  let [top, most] = [-1, -Infinity];
  moments.classMeans.forEach((m, t) => {
    if ((moments.imagesOf[t] ?? 0) === 0) return;
    const response = dot(w, m);
    if (response > most) [top, most] = [t, response];
  });
  return top >= 0 && moments.hasClass(top) ? top : undefined;
}

/** Fitting costs with the fourth power of the kernel's width and the square of the channels. */
const plantsFor = (size: number): number => Math.max(24, Math.min(240, Math.floor(240 * (576 / size) ** 2)));

/**
 * Plants sums of two channels of different top classes and fits.
 * @throws UnbraidError PLANT_CHANNELS where no two channels have different top classes
 */
export async function tune(options: TuningOptions): Promise<Tuning> {
  const { moments, filters, rows, taps, random, signal, onProgress } = options;
  const plants = options.plants ?? plantsFor(moments.size);
  const channels = rows.flatMap((row, channel) => {
    const variance = form(row, moments.imageMeans, row);
    const top = topClass(moments, row);
    return variance > 0 && top !== undefined ? [{ channel, top, unit: scaled(1 / Math.sqrt(variance), row) }] : [];
  });
  if (new Set(channels.map((c) => c.top)).size < 2)
    throw new UnbraidError(
      "input",
      "PLANT_CHANNELS",
      `Of ${rows.length} channels no two respond most to different classes, so no plant can be made.`,
      "Give images of more classes, or choose a layer with more channels.",
    );
  const equations: Equations[] = [];
  while (equations.length < plants) {
    await pause();
    signal?.throwIfAborted();
    onProgress?.(equations.length / plants);
    const [a, b] = [channels[random.below(channels.length)], channels[random.below(channels.length)]];
    if (a === undefined || b === undefined || a.top === b.top) continue;
    const members = [a.channel, b.channel] as const;
    // Half of the plants have parts of one size, half up to twice as large a one as the other.
    const equal = equations.length % 2 === 0;
    const first = equal ? a.unit : scaled(2 ** (2 * random.uniform() - 1), a.unit);
    const { vectors, size } = tunedDirections({
      ...{ moments, filters, exclude: members, taps, sign: 1 },
      ...{ weights: plus(first, 1, b.unit), classes: [a.top, b.top] },
    });
    const truth = scaled(1 / (2 * size), plus(first, -1, b.unit));
    const images = vectors.map((v) => times(moments.imageMeans, v));
    const weight = 1 / Math.max(form(truth, moments.imageMeans, truth), 1e-12);
    const gram = Float64Array.from({ length: BASIS * BASIS }, (_, at) => {
      const [x, y] = [vectors[Math.floor(at / BASIS)], images[at % BASIS]];
      return x === undefined || y === undefined ? 0 : weight * dot(x, y);
    });
    equations.push({ members, equal, gram, target: Float64Array.from(images, (x) => weight * dot(x, truth)) });
  }
  return new Tuning(equations);
}

export interface TunedSplit {
  /** [2][D] rows in the file's orientation. */
  readonly parts: readonly Float64Array[];
  readonly e: Float64Array;
  /** The factor by which e would have to be multiplied for the parts to be uncorrelated over images. */
  readonly k: number;
}

/**
 * D1 = w/2 + e, D2 = w/2 - e for two concepts.
 * @param coefficients of `Tuning`
 * @param scale how far the parts are moved apart along e, as `AdditiveOptions` has it; as far as was fitted unless given
 */
export function tunedSplit(
  request: AdditiveRequest,
  coefficients: Float64Array,
  { vectors, size } = tunedDirections(request),
  scale?: { readonly g: number; readonly over?: AdditiveOptions["over"] },
): TunedSplit {
  const { moments, sign } = request;
  const fitted = new Float64Array(request.weights.length);
  vectors.forEach((v, j) => {
    addTo(fitted, (coefficients[j] ?? 0) * size * sign, v);
  });
  const half = Float64Array.from(request.weights, (w) => w / 2);
  const uncorrelated = (matrix: Float64Array): number => {
    const spread = form(fitted, matrix, fitted);
    if (!(spread > 0)) throw constant("The difference between the concepts", request);
    return Math.sqrt(form(half, matrix, half) / spread);
  };
  const k = uncorrelated(moments.imageMeans);
  const factor = scale === undefined ? 1 : scale.g * (scale.over === "patches" ? uncorrelated(moments.patches) : k);
  const e = scaled(factor, fitted);
  return { parts: [plus(half, 1, e), plus(half, -1, e)], e, k: k / factor };
}

/** The directions for a channel of unit variance over images, and the size by which they are to be multiplied. */
export interface TunedDirections {
  /** [12][D] in the layer's orientation. */
  readonly vectors: readonly Vector[];
  readonly size: number;
}

/** The costly half of `tunedSplit`. @throws UnbraidError SPLIT_CONSTANT, MOMENTS_CLASS */
export function tunedDirections(request: AdditiveRequest): TunedDirections {
  const { moments, filters, exclude, classes, taps, sign } = request;
  const [one, other] = classes;
  invariant(one !== undefined && other !== undefined && classes.length === 2, `${classes.length} concepts`);
  const w = Float64Array.from(request.weights, (v) => v * sign);
  const size = Math.sqrt(form(w, moments.imageMeans, w));
  const power = form(w, moments.patches, w);
  if (!(size > 0) || !(power > 0)) throw constant("The channel's response", request);
  const unit = scaled(1 / size, w);
  const atUnitResponse = scaled(1 / Math.sqrt(power), w);
  const prior = filterPrior(moments, filters, exclude);
  const directions = [
    ...PRIORS.map((priors) => overAllImages(moments, atUnitResponse, classes, prior, priors).e),
    ...overConcepts(moments, atUnitResponse, classes, prior, LAMBDAS).map(({ e }) => e),
    bySets(moments, unit, classes, taps),
  ].map((e) => e[0] ?? unit);
  const image = times(moments.imageMeans, unit);
  // What lies along w says which part is larger, not where they differ: it is a direction of its own.
  const apartFrom = (e: Vector): Vector => {
    const free = plus(e, -dot(e, image), unit);
    const length = Math.sqrt(form(free, moments.imageMeans, free));
    return length > 0 ? scaled(1 / length, free) : free;
  };
  const apart = directions.map(apartFrom);
  const kinds = apartFrom(overKinds(moments, filters, unit, [one, other], exclude));
  const [first = 0, second = 0] = classes.map((t) => dot(unit, moments.meanOf(t)) - dot(unit, moments.mean));
  const response = first + second;
  const larger = scaled((first - second) / Math.max(response, LEAST_RESPONSE), unit);
  return { vectors: [...apart, ...apart.map((v) => scaled(response, v)), kinds, larger], size };
}

/** x of A x = b for A [n, n] symmetric and positive definite, by Cholesky's decomposition. */
export function solveSmall(matrix: Float64Array, b: Float64Array): Float64Array {
  const n = b.length;
  const at = (m: Float64Array, i: number, j: number): number => m[i * n + j] ?? 0;
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = at(matrix, i, j);
      for (let k = 0; k < j; k++) sum -= at(lower, i, k) * at(lower, j, k);
      lower[i * n + j] = i === j ? Math.sqrt(Math.max(sum, Number.MIN_VALUE)) : sum / at(lower, j, j);
    }
  const y = b.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) y[i] = (y[i] ?? 0) - at(lower, i, k) * (y[k] ?? 0);
    y[i] = (y[i] ?? 0) / at(lower, i, i);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) y[i] = (y[i] ?? 0) - at(lower, k, i) * (y[k] ?? 0);
    y[i] = (y[i] ?? 0) / at(lower, i, i);
  }
  return y;
}
