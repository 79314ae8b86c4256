/**
 * The additive split (METHOD.md B, "Beyond partitions"): parts w/K + e_k whose e_k add up to nothing. No input belongs to one
 * part, nothing has to be taken away again, and another order of the concepts only reorders the parts.
 */
import { invariant, UnbraidError } from "../errors.ts";
import { bySets, filterPrior, overAllImages, overConcepts, sumOver, type UnitFilters } from "./additive-directions.ts";
import { addTo, form, scaled, type Vector } from "./linear-algebra.ts";
import type { ConceptMoments } from "./moment-matrices.ts";

export { UnitFilters } from "./additive-directions.ts";

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

export interface AdditiveRequest {
  /** Of the channel's group, with second moments of the concepts. */
  readonly moments: ConceptMoments;
  /** [D] the channel's weights as the file has them. */
  readonly weights: ArrayLike<number>;
  /** -1 where larger outputs of the layer mean less active (METHOD.md B, "Folded BatchNorm"). */
  readonly sign: number;
  /** The filters of the group. */
  readonly filters: UnitFilters;
  /** Which of them say nothing of the channel: itself. */
  readonly exclude: readonly number[];
  /** Which concepts, two or more, as `moments` numbers them: classes, or clusters. */
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
/** What the evidence says of how to part a channel, before options say how far. */
export interface AdditiveDirections {
  /** [3][K][D] regression over all images, over the concepts' images, symmetric sets; in the layer's orientation, of unit response. */
  readonly directions: readonly (readonly Vector[])[];
  readonly iterations: number;
}

/**
 * @throws UnbraidError MOMENTS_CLASS where a class has no images; SPLIT_CONSTANT where the channel, or the difference between
 * the classes, is constant over the images
 */
export function additiveSplit(request: AdditiveRequest): AdditiveSplit {
  return splitAlong(request, additiveDirections(request));
}

/** The costly half of `additiveSplit`: the same for every g, `over` and `mix`. @throws as it */
export function additiveDirections(request: AdditiveRequest): AdditiveDirections {
  const { moments, classes } = request;
  const options = { ...DEFAULTS, ...request.options };
  const { unit } = unitOf(request);
  const prior = filterPrior(moments, request.filters, request.exclude);
  const all = overAllImages(moments, unit, classes, prior, options);
  const [pair] = overConcepts(moments, unit, classes, prior, [options.lambdaPair]);
  const directions = [all.e, pair?.e ?? [], bySets(moments, unit, classes, request.taps)].map((e) => {
    const length = Math.sqrt(sumOver(e, (v) => form(v, moments.patches, v)) / e.length);
    return length > 0 ? e.map((v) => scaled(1 / length, v)) : e;
  });
  return { directions, iterations: all.iterations + (pair?.iterations ?? 0) };
}

/** The other half: how far the parts are moved apart. @throws as `additiveSplit` */
export function splitAlong(request: AdditiveRequest, { directions, iterations }: AdditiveDirections): AdditiveSplit {
  const { moments, sign, classes } = request;
  const options = { ...DEFAULTS, mix: MIX, ...request.options };
  const { w, unit, power } = unitOf(request);
  const mixed = classes.map(() => new Float64Array(w.length));
  directions.forEach((e, d) => {
    e.forEach((v, k) => {
      addTo(mixed[k] ?? v, options.mix[d] ?? 0, v);
    });
  });
  // More than two are solved for one by one: what their errors leave is taken off evenly.
  const left = sumOf(mixed);
  for (const v of mixed) addTo(v, -1 / classes.length, left);
  const matrix = options.over === "images" ? moments.imageMeans : moments.patches;
  const spread = sumOver(mixed, (v) => form(v, matrix, v));
  if (!(spread > 0)) throw constant("The difference between the concepts", request);
  // Parts w/K + k e_k are uncorrelated on the whole where Var(w) = sum_k Var(w/K + k e_k), and the e_k add up to 0.
  const k = Math.sqrt((form(unit, matrix, unit) * (1 - 1 / classes.length)) / spread);
  const factor = sign * options.g * k * Math.sqrt(power);
  return {
    parts: mixed.map((v) => w.map((x, i) => (sign * x) / classes.length + factor * (v[i] ?? 0))),
    e: scaled(factor, mixed[0] ?? w),
    k,
    g: options.g,
    iterations,
  };
}

function sumOf(vectors: readonly Vector[]): Vector {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  for (const v of vectors) addTo(sum, 1, v);
  return sum;
}

/** The channel in the layer's orientation, and at unit response. */
function unitOf(request: AdditiveRequest) {
  const { moments, weights, sign, classes } = request;
  const w = Float64Array.from(weights, (v) => v * sign);
  invariant(w.length === moments.size && classes.length >= 2, `${classes.length} concepts, ${w.length} weights`);
  const power = form(w, moments.patches, w);
  if (!(power > 0)) throw constant("The channel's response", request);
  return { w, power, unit: scaled(1 / Math.sqrt(power), w) };
}

/** That nothing can be divided. */
export const constant = (what: string, { moments, classes }: AdditiveRequest): UnbraidError =>
  new UnbraidError(
    "input",
    "SPLIT_CONSTANT",
    `${what} does not vary over the images (${classes.map((t) => moments.nameOf(t)).join(", ")}), so there is nothing to divide.`,
    "Choose another channel or other concepts, or give more images.",
  );
