/**
 * Choosing rho, how much stronger an input must act for one concept than for the other to be that concept's own
 * (METHOD.md A7, and B "rho on held-out images"). Pure functions on the responses of parts.
 */
import { invariant, UnbraidError } from "../errors.ts";
import type { SourceSets } from "./sets.ts";
import { mean, sum } from "./statistics.ts";

/** 0.05, 0.10 ... 1.00: the nearest float64 to each decimal, as the original's numpy rounds them. */
export const RHOS: readonly number[] = Array.from({ length: 20 }, (_, k) => (5 * (k + 1)) / 100);

/**
 * [rho][part][image] over the images of one class: the sum over positions of max(part's response, 0). By default parts
 * respond in the layer's orientation (times its sign), in compat mode as the file's weights give them.
 */
export type Responses = readonly (readonly ArrayLike<number>[])[];

export interface RhoChoice {
  readonly rho: number;
  /** Of `rho` among those tried. */
  readonly index: number;
  /** One for each rho tried. */
  readonly scores: readonly number[];
}

/** What the original adds to its denominators. */
const OFFICIAL_EPSILON = 1e-5;
/** What is added to both responses before their logarithms, relative to the mean response. */
const RELATIVE_EPSILON = 1e-3;

/**
 * The original's choice: the first rho that maximises the mean over images of class 1 of q1 / (q2 + 1e-5) plus the mean
 * over images of class 2 of q2 / (q1 + 1e-5), on the images that made the ARVs.
 * @param byClass responses of the two parts on images of class 1, and on images of class 2
 * @throws UnbraidError RHO_IMAGES for a class without images
 */
export function chooseOfficialRho(byClass: readonly [Responses, Responses], rhos = RHOS): RhoChoice {
  check(byClass, rhos, 1);
  const meanRatio = (over: ArrayLike<number>, under: ArrayLike<number>): number =>
    mean(Array.from(over, (q, n) => q / ((under[n] ?? NaN) + OFFICIAL_EPSILON)));
  return firstMaximum(
    rhos,
    rhos.map((_, r) => {
      const [onClass1, onClass2] = [pick(byClass[0], r), pick(byClass[1], r)];
      return meanRatio(part(onClass1, 0), part(onClass1, 1)) + meanRatio(part(onClass2, 1), part(onClass2, 0));
    }),
  );
}

/**
 * Unbraid's choice, on images that did not make the ARVs: the first rho that maximises the mean log ratio above its
 * permuted-label null. With l = log(q1 + e) - log(q2 + e) and e a thousandth of the mean response, the statistic is the
 * mean of l over images of class 1 less its mean over images of class 2. Over all permutations of the labels it has
 * mean 0 and variance s^2 (1/n1 + 1/n2), s^2 the variance of l over all n1 + n2 images: the score is the statistic in
 * units of that standard deviation. (These are the exact moments: no permutation needs to be drawn, so no seed matters.)
 *
 * Invariant, bit for bit, under a swap of the two concepts; and under a positive scale of all responses up to rounding,
 * so a folded BatchNormalization changes nothing. On planted mixtures (METHOD.md C) of three layers this chose better
 * parts than the original's ratio, or than the statistic without its null: mean correlation with the truth 0.79 against
 * 0.76, 0.75 against 0.73, and 0.65 against 0.61.
 * @param byClass responses of K parts on images of each of the K classes; with K > 2 the scores of all pairs are averaged
 * @throws UnbraidError RHO_IMAGES for a class of fewer than 2 images
 */
export function chooseRho(byClass: readonly Responses[], rhos = RHOS): RhoChoice {
  invariant(byClass.length >= 2, "responses on two or more classes");
  check(byClass, rhos, 2);
  return firstMaximum(
    rhos,
    rhos.map((_, r) => separationScore(byClass.map((responses) => pick(responses, r)))),
  );
}

/**
 * `logRatioScore`, averaged over all pairs of concepts. The pairs are added in the order of their scores, so that another
 * order of the concepts gives the same bits.
 * @param byConcept [concepts][parts][images] responses of each part on the images of each concept
 */
export function separationScore(byConcept: readonly (readonly ArrayLike<number>[])[]): number {
  const pairs: number[] = [];
  for (const [a, onA] of byConcept.entries())
    for (const [b, onB] of byConcept.entries())
      if (a < b) pairs.push(logRatioScore([part(onA, a), part(onA, b)], [part(onB, a), part(onB, b)]));
  return mean(pairs.sort((x, y) => x - y));
}

type TwoParts = readonly [ArrayLike<number>, ArrayLike<number>];

/** Standard deviations of the permuted-label null by which the statistic exceeds 0; 0 where the parts do not differ. */
export function logRatioScore(onClass1: TwoParts, onClass2: TwoParts): number {
  const n1 = onClass1[0].length;
  const n2 = onClass2[0].length;
  // Sums are paired so that swapping both parts and classes adds the same numbers: a + b is b + a, but (a + b) + c is
  // not a + (b + c).
  const own = total(onClass1[0]) + total(onClass2[1]);
  const other = total(onClass1[1]) + total(onClass2[0]);
  const epsilon = (RELATIVE_EPSILON * (own + other)) / (2 * (n1 + n2));
  if (!(epsilon > 0)) return 0;
  const logs = ([first, second]: TwoParts): number[] =>
    Array.from(first, (q, n) => Math.log(q + epsilon) - Math.log((second[n] ?? NaN) + epsilon));
  const [logs1, logs2] = [logs(onClass1), logs(onClass2)];
  const centre = (sum(logs1) + sum(logs2)) / (n1 + n2);
  const squares = (values: readonly number[]): number => sum(values.map((l) => (l - centre) ** 2));
  const variance = (squares(logs1) + squares(logs2)) / (n1 + n2 - 1);
  if (!(variance > 0)) return 0;
  return (mean(logs1) - mean(logs2)) / Math.sqrt(variance * (1 / n1 + 1 / n2));
}

/** Three disjoint parts of a class's n images, as positions among them: for ARVs, for choosing rho, for reporting. */
export interface Folds {
  readonly arv: readonly number[];
  readonly choose: readonly number[];
  readonly report: readonly number[];
}

/**
 * Every third image each: sorted file names often group what looks alike, and so each part sees of every group.
 */
export function threeFolds(n: number): Folds {
  const every = (first: number): number[] =>
    Array.from({ length: Math.max(0, Math.ceil((n - first) / 3)) }, (_, k) => first + 3 * k);
  return { arv: every(0), choose: every(1), report: every(2) };
}

/** The different ones among the source sets of several rho: only their parts need to be run. */
export function distinctSets(sets: readonly SourceSets[]): {
  readonly distinct: readonly SourceSets[];
  /** For each rho, which of `distinct`. */
  readonly index: readonly number[];
} {
  const seen = new Map<string, number>();
  const distinct: SourceSets[] = [];
  const index = sets.map((set) => {
    const key = set.join();
    const at = seen.get(key) ?? distinct.length;
    if (at === distinct.length) {
      distinct.push(set);
      seen.set(key, at);
    }
    return at;
  });
  return { distinct, index };
}

function check(byClass: readonly Responses[], rhos: readonly number[], least: number): void {
  for (const [k, responses] of byClass.entries()) {
    invariant(responses.length === rhos.length, "responses for each rho");
    const images = responses[0]?.[0]?.length ?? 0;
    invariant(
      responses.every((parts) => parts.length === byClass.length && parts.every((q) => q.length === images)),
      "responses of each part on each image",
    );
    if (images < least)
      throw new UnbraidError(
        "input",
        "RHO_IMAGES",
        `Choosing rho needs ${least} or more images of each class; concept ${k + 1} has ${images}.`,
        "Give more images of its class, or pass --rho.",
      );
  }
}

function pick(responses: Responses | undefined, rho: number): readonly ArrayLike<number>[] {
  return responses?.[rho] ?? [];
}

const total = (values: ArrayLike<number>): number => sum(Array.from(values));
const part = (parts: readonly ArrayLike<number>[], k: number): ArrayLike<number> => parts[k] ?? [];

/** Responses are finite, so no score is NaN. */
function firstMaximum(rhos: readonly number[], scores: readonly number[]): RhoChoice {
  const index = scores.indexOf(Math.max(...scores));
  const rho = rhos[index];
  invariant(rho !== undefined, "responses that are not finite");
  return { rho, index, scores };
}
