/**
 * How sure a low cosine is (METHOD.md B, "Calibrated, not assumed"): its place among cosines of half-splits of one class and
 * among those of random pairs of classes, p- and q-values, and an interval. docs/find.md has the derivation.
 */
import { invariant } from "../errors.ts";
import { cosine } from "./cosine.ts";
import {
  FoldArvs,
  groupCosine,
  halfSplits,
  innerProducts,
  relativeNoise,
  unlikeness,
  weightsOver,
  type FoldVectors,
  type Table,
} from "./fold-vectors.ts";
import { Random } from "./random.ts";
import { benjaminiHochberg, mean, median, quantileOfSorted, sum, type Figure } from "./statistics.ts";
import { studentCdf, studentQuantile } from "./student.ts";
import { AverageRelevance } from "../relevance/arv.ts";
import { imagesOf, type Study } from "../relevance/study.ts";

/** Two folds on each side are the least from which a half's own noise can be told. */
export const LEAST_FOLDS = 4;
/** Channels and classes whose half-splits make a null: filled up to the first, never more than the second. */
const [ENOUGH_UNITS, MOST_UNITS] = [200, 2000];
/** Random pairs that make a null: all of a layer's, or so many drawn. */
const MOST_RANDOM_PAIRS = 20_000;

/** A channel and two classes. */
export interface ChannelPair {
  readonly channel: number;
  readonly class1: number;
  readonly class2: number;
}

export interface Significance {
  /**
   * The cosine without the attenuation that noise brings (by the jackknife over folds), and its interval; n is the number
   * of folds, of both classes together.
   */
  readonly cosine: Figure;
  /** Chance that two halves of one class's images are as unlike, beside their noise. */
  readonly pSameClass: number;
  /** Chance of so low a cosine if the true one were the threshold or above. */
  readonly pThreshold: number;
  /** The larger of the two: both must be small. */
  readonly p: number;
  /**
   * The larger of Benjamini and Hochberg's q-values of the two, over the candidates of the layer: a pair is significant
   * where it stands in both lists, each with its share of false ones controlled. (Not the q-value of `p`: pSameClass is
   * never below one over the number of half-splits, and many candidates would then hide the surest.)
   */
  readonly q: number;
  /** q is at most the level. */
  readonly significant: boolean;
  /** The interval holds the threshold. */
  readonly nearThreshold: boolean;
}

/** A null as it is reported: quantiles of its cosines. */
export interface NullCosines {
  readonly n: number;
  readonly low: number;
  readonly median: number;
  readonly high: number;
}

/** Cosines of random pairs of classes, both ARVs of the same channel. */
export class RandomPairs {
  readonly #sorted: Float64Array;

  constructor(study: Study) {
    const { classes, layer } = study.meta;
    const arvs = new AverageRelevance(study);
    const there = classes.flatMap((_, t) => (imagesOf(study, t) > 0 ? [t] : []));
    const all = layer.outChannels * ((there.length * (there.length - 1)) / 2);
    const pairs = all <= MOST_RANDOM_PAIRS ? everyPair(layer.outChannels, there) : drawnPairs(layer.outChannels, there);
    const cosines = pairs.map(({ channel, class1, class2 }) => {
      const [a, b] = [arvs.vector(channel, class1, "oriented"), arvs.vector(channel, class2, "oriented")];
      return a === undefined || b === undefined ? NaN : cosine(a, b);
    });
    this.#sorted = Float64Array.from(cosines.filter(Number.isFinite)).sort();
  }

  /** Share of random pairs whose cosine is at most this; NaN where no two classes can be compared. */
  place(value: number): number {
    return countBelow(this.#sorted, value, true) / this.#sorted.length;
  }

  /** Share of random pairs whose cosine is below this. */
  below(value: number): number {
    return countBelow(this.#sorted, value, false) / this.#sorted.length;
  }

  get summary(): NullCosines {
    return summarise(this.#sorted);
  }
}

function everyPair(channels: number, classes: readonly number[]): ChannelPair[] {
  return Array.from({ length: channels }, (_, channel) =>
    classes.flatMap((class1, k) => classes.slice(k + 1).map((class2) => ({ channel, class1, class2 }))),
  ).flat();
}

function drawnPairs(channels: number, classes: readonly number[]): ChannelPair[] {
  const random = new Random(1);
  return Array.from({ length: MOST_RANDOM_PAIRS }, () => {
    const channel = random.below(channels);
    const first = random.below(classes.length);
    const second = (first + 1 + random.below(classes.length - 1)) % classes.length;
    return { channel, class1: classes[first] ?? 0, class2: classes[second] ?? 0 };
  });
}

export interface Calibration {
  /** [candidates] null where a class has no image in some fold, or a vector is zero. */
  readonly pairs: readonly (Significance | null)[];
  /** Cosines of half-splits of one class: what they would be without a second concept. */
  readonly sameClass: NullCosines;
  /** Share of those half-splits with a cosine below the threshold. */
  readonly sameClassBelow: number;
}

export interface CalibrationRequest {
  readonly study: Study;
  readonly candidates: readonly ChannelPair[];
  /** [C] the classes that each channel is relevant for. */
  readonly relevant: readonly (readonly number[])[];
  /** Pairs should be below this. */
  readonly threshold: number;
  /** Share of false ones among the significant. */
  readonly fdr: number;
  /** Of the intervals; 0.95 unless given. */
  readonly level?: number;
}

/** @returns undefined for a study with fewer than LEAST_FOLDS folds: it holds no null */
export function calibrate(request: CalibrationRequest): Calibration | undefined {
  const { study, candidates, relevant, threshold, fdr, level = 0.95 } = request;
  const { folds } = study.meta;
  if (folds < LEAST_FOLDS) return undefined;
  const arvs = new FoldArvs(study);
  const splits = halfSplits(folds);
  const nulls = sameClassNull(study, relevant, arvs, splits);
  const measured = candidates.map(({ channel, class1, class2 }) => {
    const [a, b] = [arvs.of(channel, class1), arvs.of(channel, class2)];
    if (a === undefined || b === undefined) return undefined;
    const ab = innerProducts(a.vectors, b.vectors);
    const values = splits.flatMap(([x, y]) => [studentised(a, b, ab, x, y), studentised(a, b, ab, y, x)]);
    const estimate = jackknife(a, b, ab);
    if (!values.every((v) => !Number.isNaN(v)) || !Number.isFinite(estimate.value)) return undefined;
    const pSameClass =
      (1 + nulls.unlikeness.length - countBelow(nulls.unlikeness, median(values), false)) /
      (1 + nulls.unlikeness.length);
    const pThreshold = belowThreshold(estimate, threshold);
    return { estimate, pSameClass, pThreshold, p: Math.max(pSameClass, pThreshold) };
  });
  const known = measured.filter((m) => m !== undefined);
  const qSameClass = benjaminiHochberg(known.map(({ pSameClass }) => pSameClass));
  const qThreshold = benjaminiHochberg(known.map(({ pThreshold }) => pThreshold));
  let next = 0;
  const pairs = measured.map((m): Significance | null => {
    if (m === undefined) return null;
    const { estimate, ...ps } = m;
    const q = Math.max(qSameClass[next] ?? NaN, qThreshold[next] ?? NaN);
    next++;
    const figure = interval(estimate, level, 2 * folds);
    const nearThreshold = figure.low < threshold && threshold < figure.high;
    return { cosine: figure, ...ps, q, significant: q <= fdr, nearThreshold };
  });
  invariant(next === known.length, "a q-value for each p-value");
  return {
    pairs,
    sameClass: summarise(nulls.cosines),
    sameClassBelow: countBelow(nulls.cosines, threshold, false) / nulls.cosines.length,
  };
}

type Splits = ReturnType<typeof halfSplits>;

/**
 * Unlikeness of two halves in units of what their noise brings: (1 - cos(a, b)) / ((noise_a + noise_b) / 2). For equal
 * directions and small noise 1 - cos is half the squared distance of the two unit vectors, whose mean is that denominator
 * (but for the noise along the vector itself). The noise is estimated inside each half, so that the same estimate, with
 * the same error and the same freedom, stands below halves of one class and halves of two.
 */
function studentised(a: FoldVectors, b: FoldVectors, ab: Table, x: readonly number[], y: readonly number[]): number {
  const value = groupCosine(weightsOver(a.images, x), a.inner, weightsOver(b.images, y), b.inner, ab);
  const noise = (relativeNoise(a, x) + relativeNoise(b, y)) / 2;
  const distance = unlikeness(value);
  return distance === 0 ? 0 : distance / noise; // NaN for a zero vector, Infinity without noise
}

/** Half-splits of single classes: of every channel and class that are relevant, and of others where these are few. */
function sameClassNull(
  study: Study,
  relevant: readonly (readonly number[])[],
  arvs: FoldArvs,
  splits: Splits,
): { unlikeness: Float64Array; cosines: Float64Array } {
  const random = new Random(2);
  const units = relevant.flatMap((classes, channel) => classes.map((label) => ({ channel, label })));
  const some = units.length > MOST_UNITS ? random.shuffle(units).slice(0, MOST_UNITS) : [...units];
  if (some.length < ENOUGH_UNITS) {
    const taken = new Set(units.map(({ channel, label }) => `${channel},${label}`));
    const others = relevant.flatMap((_, channel) =>
      study.meta.classes.flatMap((__, label) => (taken.has(`${channel},${label}`) ? [] : [{ channel, label }])),
    );
    some.push(...random.shuffle(others).slice(0, ENOUGH_UNITS - some.length));
  }
  some.sort((a, b) => a.channel - b.channel || a.label - b.label);
  const values: number[] = [];
  const cosines: number[] = [];
  for (const { channel, label } of some) {
    const unit = arvs.of(channel, label);
    if (unit === undefined) continue;
    for (const [x, y] of splits) {
      const value = studentised(unit, unit, unit.inner, x, y);
      const [wx, wy] = [weightsOver(unit.images, x), weightsOver(unit.images, y)];
      if (Number.isNaN(value)) continue;
      values.push(value);
      cosines.push(groupCosine(wx, unit.inner, wy, unit.inner, unit.inner));
    }
  }
  return { unlikeness: Float64Array.from(values).sort(), cosines: Float64Array.from(cosines).sort() };
}

interface Estimate {
  readonly value: number;
  readonly se: number;
  readonly df: number;
}

/**
 * The cosine of two classes' ARVs by the grouped jackknife over folds (Quenouille 1956, Tukey 1958), each class's folds left
 * out one at a time: t' = t + (F - 1) sum_classes (t - mean_f t_(-f)), which takes away the bias of order 1/N that noise in
 * the norms brings (attenuation), and variance sum_classes (F - 1)/F sum_f (t_(-f) - mean)^2, with Satterthwaite's degrees
 * of freedom.
 */
function jackknife(a: FoldVectors, b: FoldVectors, ab: Table): Estimate {
  const folds = a.vectors.map((_, f) => f);
  const [allA, allB] = [weightsOver(a.images, folds), weightsOver(b.images, folds)];
  const without = (f: number): number[] => folds.filter((g) => g !== f);
  const whole = groupCosine(allA, a.inner, allB, b.inner, ab);
  const left = [
    folds.map((f) => groupCosine(weightsOver(a.images, without(f)), a.inner, allB, b.inner, ab)),
    folds.map((f) => groupCosine(allA, a.inner, weightsOver(b.images, without(f)), b.inner, ab)),
  ];
  const n = folds.length;
  const variances = left.map((values) => {
    const centre = mean(values);
    return ((n - 1) / n) * sum(values.map((v) => (v - centre) ** 2));
  });
  const total = sum(variances);
  const value = whole + (n - 1) * sum(left.map((values) => whole - mean(values)));
  const df = total > 0 ? (total * total * (n - 1)) / sum(variances.map((v) => v * v)) : 2 * (n - 1);
  return { value: Math.max(-1, Math.min(1, value)), se: Math.sqrt(total), df };
}

/** One-sided: the hypothesis is that the true cosine is the threshold or above. */
function belowThreshold({ value, se, df }: Estimate, threshold: number): number {
  if (se > 0) return studentCdf((value - threshold) / se, df);
  return value < threshold ? 0 : 1;
}

function interval({ value, se, df }: Estimate, level: number, n: number): Figure {
  const half = se > 0 ? studentQuantile((1 + level) / 2, df) * se : 0;
  return { value, low: Math.max(-1, value - half), high: Math.min(1, value + half), n };
}

/** How many of the sorted values are below, or at most, this. */
function countBelow(sorted: Float64Array, value: number, orEqual: boolean): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const at = sorted[middle] ?? Infinity;
    if (orEqual ? at <= value : at < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

const summarise = (sorted: Float64Array): NullCosines => ({
  n: sorted.length,
  low: quantileOfSorted(sorted, 0.05),
  median: quantileOfSorted(sorted, 0.5),
  high: quantileOfSorted(sorted, 0.95),
});
