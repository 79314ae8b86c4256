/** Polysemantic channels: those relevant for two classes by different inputs (METHOD.md A2, A4). */
import { UnbraidError } from "../errors.ts";
import { AverageRelevance } from "../relevance/arv.ts";
import { countsOf, imagesOf } from "../relevance/study.ts";
import type { Study } from "../relevance/study.ts";
import { calibrate, LEAST_FOLDS, RandomPairs } from "./calibrate.ts";
import type { ChannelPair, NullCosines, Significance } from "./calibrate.ts";
import { cosine, officialCosine } from "./cosine.ts";

export interface FindOptions {
  /** Share of an image's positive relevance that makes a channel important; one of the study's. */
  readonly tau: number;
  /** Share of a class's images on which a channel must be important to be relevant for it. Default 0.75. */
  readonly p?: number;
  /** Pairs have 0 <= cosine < gamma. Unless it is given the study's own nulls decide (docs/find.md). */
  readonly gamma?: number;
  /** Share of false ones among the pairs found significant. Default 0.05. */
  readonly fdr?: number;
  /** Counts, ARVs and cosines in the original's float16 steps, and its gamma of 0.5. */
  readonly compat?: "official";
}

/** A channel and two of its classes; indices from 0, class1 < class2. */
export interface Pair extends ChannelPair {
  /** NaN among the undefined. */
  readonly cosine: number;
  /** Images on which the channel is important, of images of the class. */
  readonly count1: number;
  readonly images1: number;
  readonly count2: number;
  readonly images2: number;
  /** Compat: a float16 overflowed, so that the cosine means nothing (the original lists the pair all the same). */
  readonly overflow: boolean;
  /** Share of random pairs of classes, of any channel of the layer, whose cosine is as low. */
  readonly randomPlace: number;
  /** null where the study holds no null for the pair: fewer than 4 folds, a class with a fold without images. */
  readonly significance: Significance | null;
}

/** How `pairs` were chosen among the candidates. */
export interface Decision {
  /** "gamma": cosine below the threshold. "calibrated": significantly so, and unlike beyond noise; cosine at least 0. */
  readonly rule: "gamma" | "calibrated";
  /** gamma, or the median cosine of random pairs (0.5 where fewer than three classes have images). */
  readonly threshold: number;
  readonly fdr: number;
}

export interface Findings {
  /** By falling cosine, then channel, class1, class2. */
  readonly pairs: readonly Pair[];
  /** Pairs of relevant classes without a cosine: an ARV is zero, or not finite. */
  readonly undefinedPairs: readonly Pair[];
  /** [C] the classes that each channel is relevant for, ascending. */
  readonly relevant: readonly (readonly number[])[];
  /** Pairs of relevant classes of a channel, whatever their cosine. */
  readonly candidates: number;
  /** Those of them that have a cosine, in the order of `pairs`. */
  readonly candidatePairs: readonly Pair[];
  readonly decision: Decision;
  /** Cosines of random pairs of classes, and the share of them below the threshold. */
  readonly randomPairs: NullCosines & { readonly below: number };
  /** Cosines of half-splits of one class, likewise; null for a study with fewer than 4 folds. */
  readonly sameClass: (NullCosines & { readonly below: number }) | null;
}

/** The original's. */
export const DEFAULT_GAMMA = 0.5;
const DEFAULT_FDR = 0.05;

/**
 * The polysemantic channels of a study, with their pairs of classes.
 * @throws UnbraidError STUDY_TAU when the study was not made with this tau; OPTION_RANGE
 */
export function findPairs(study: Study, options: FindOptions): Findings {
  const p = inRange("p", options.p ?? 0.75, 0, 1);
  const fdr = inRange("fdr", options.fdr ?? DEFAULT_FDR, 0, 1);
  const gamma = options.gamma === undefined ? undefined : inRange("gamma", options.gamma, 0, Infinity);
  const official = options.compat === "official";
  const relevant = relevantClasses(study, tauIndex(study, options.tau), p, official);
  const random = new RandomPairs(study);
  const decision = decide(study, random, { gamma, fdr, official });
  const measured = candidatesOf(study, relevant, tauIndex(study, options.tau), official);
  const defined = measured.filter(({ cosine }) => Number.isFinite(cosine));
  const { threshold } = decision;
  const calibration = calibrate({ study, candidates: defined, relevant, threshold, fdr });
  // Array.sort is stable, and pairs were made in the order of channel, class1, class2.
  const candidatePairs = defined
    .map((pair, k): Pair => ({
      ...pair,
      randomPlace: random.place(pair.cosine),
      significance: calibration?.pairs[k] ?? null,
    }))
    .sort((a, b) => b.cosine - a.cosine);
  const isFound =
    decision.rule === "gamma"
      ? ({ cosine }: Pair): boolean => cosine >= 0 && cosine < threshold
      : ({ cosine, significance }: Pair): boolean => cosine >= 0 && significance?.significant === true;
  return {
    pairs: candidatePairs.filter(isFound),
    undefinedPairs: measured
      .filter(({ cosine }) => !Number.isFinite(cosine))
      .map((pair) => ({ ...pair, randomPlace: NaN, significance: null })),
    relevant,
    candidates: measured.length,
    candidatePairs,
    decision,
    randomPairs: { ...random.summary, below: random.below(threshold) },
    sameClass: calibration === undefined ? null : { ...calibration.sameClass, below: calibration.sameClassBelow },
  };
}

function decide(
  study: Study,
  random: RandomPairs,
  { gamma, fdr, official }: { gamma: number | undefined; fdr: number; official: boolean },
): Decision {
  if (gamma !== undefined || official || study.meta.folds < LEAST_FOLDS)
    return { rule: "gamma", threshold: gamma ?? DEFAULT_GAMMA, fdr };
  const { n, median } = random.summary;
  // Two classes make one pair: the same in every channel, and not a random one.
  const classes = study.meta.classes.filter((_, t) => imagesOf(study, t) > 0).length;
  return { rule: "calibrated", threshold: classes < 3 || n === 0 ? DEFAULT_GAMMA : median, fdr };
}

type Measured = Omit<Pair, "randomPlace" | "significance">;

/** Pairs of relevant classes with their cosines. */
function candidatesOf(
  study: Study,
  relevant: readonly (readonly number[])[],
  tau: number,
  official: boolean,
): Measured[] {
  const arvs = new AverageRelevance(study);
  const counts = study.meta.classes.map((_, t) => countsOf(study, official ? "half" : "exact", tau, t));
  return relevant.flatMap((classes, channel) => {
    if (classes.length < 2) return [];
    const vectors = classes.map((t) => arvs.vector(channel, t, official ? "official" : "oriented"));
    return classes.flatMap((class1, a) =>
      classes.flatMap((class2, b): Measured[] => {
        const [v1, v2] = [vectors[a], vectors[b]];
        if (a >= b || v1 === undefined || v2 === undefined) return [];
        return [
          {
            channel,
            class1,
            class2,
            ...(official ? officialCosine(v1, v2) : { cosine: cosine(v1, v2), overflow: false }),
            count1: counts[class1]?.[channel] ?? 0,
            images1: imagesOf(study, class1),
            count2: counts[class2]?.[channel] ?? 0,
            images2: imagesOf(study, class2),
          },
        ];
      }),
    );
  });
}

/** [C] classes t with count >= p N_t. */
function relevantClasses(study: Study, tau: number, p: number, official: boolean): number[][] {
  const relevant = Array.from({ length: study.meta.layer.outChannels }, (): number[] => []);
  study.meta.classes.forEach((_, t) => {
    const images = imagesOf(study, t);
    if (images === 0) return;
    // 0.55 * 100 exceeds 55 in floating point; the original compares all the same, and loses such a class.
    const least = official ? p * images : p * images * (1 - 1e-12);
    countsOf(study, official ? "half" : "exact", tau, t).forEach((count, c) => {
      if (count >= least) relevant[c]?.push(t);
    });
  });
  return relevant;
}

/** Where `tau` stands among the study's. */
export function tauIndex(study: Study, tau: number): number {
  const index = study.meta.taus.indexOf(tau);
  if (index >= 0) return index;
  throw new UnbraidError(
    "usage",
    "STUDY_TAU",
    `The study was not made with tau ${tau}; it has ${study.meta.taus.join(", ")}.`,
    "Choose one of these, or make a study with --tau.",
  );
}

function inRange(name: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  const range = most === Infinity ? `at least ${least}` : `from ${least} to ${most}`;
  throw new UnbraidError(
    "usage",
    "OPTION_RANGE",
    `${name} must be ${range}, not ${value}.`,
    `Pass --${name} in that range.`,
  );
}
