/**
 * How much of a channel's activation each part takes (METHOD.md A9): part over original, on the images of a concept's
 * class on which the channel has its share of the relevance. The original averages single ratios, which a denominator near
 * zero throws to any size (-700 and 900 were seen); here stand ratios of sums and medians, and its mean for comparison.
 */
import { invariant } from "../../errors.ts";
import { mean, proportion, sum, type BootstrapOptions, type Figure } from "../statistics.ts";
import { bootstrapAll, weightedMean, weightedMedian, weightedSum, type WeightedStatistic } from "./resample.ts";

/** A denominator is near zero below this share of the root mean square of all of them. */
export const NEAR_ZERO = 0.1;

export interface Fraction {
  /** sum over images of the part over sum over images of the original. */
  readonly ratio_of_sums: Figure;
  /** Of the images' own ratios. */
  readonly median: Figure;
  /** The original's: the mean of the images' ratios. */
  readonly mean_of_ratios: Figure;
}

export interface Fractions {
  /** One a concept. */
  readonly parts: readonly Fraction[];
  /** What the parts hold too often together. */
  readonly residual: Fraction;
  /** Images whose denominator is near zero: there a single ratio means nothing. */
  readonly near_zero: Figure;
}

/** Sums over positions, image by image. */
export interface Activations {
  /** [n] */
  readonly original: readonly number[];
  /** [K][n] */
  readonly parts: readonly (readonly number[])[];
}

/** Intervals are over images. Without images every value is NaN, and n is 0. */
export function fractions({ original, parts }: Activations, options: BootstrapOptions): Fractions {
  const n = original.length;
  invariant(
    parts.every((part) => part.length === n),
    "a value of each part on each image",
  );
  const residual = residuals({ original, parts });
  const scale = Math.sqrt(mean(original.map((z) => z * z)));
  const near = original.filter((z) => Math.abs(z) <= NEAR_ZERO * scale).length;
  return {
    parts: parts.map((part) => fraction(part, original, options)),
    residual: fraction(residual, original, options),
    near_zero: proportion(near, n),
  };
}

/** What parts that add up rightly leave by rounding counts as nothing. */
const ROUNDING = 1e-9;

/** [n] what the parts hold too often: their sum less the original. */
export function residuals({ original, parts }: Activations): number[] {
  return original.map((z, i) => {
    const held = parts.map((part) => part[i] ?? NaN);
    const rest = sum(held) - z;
    return Math.abs(rest) <= ROUNDING * (Math.abs(z) + sum(held.map(Math.abs))) ? 0 : rest;
  });
}

function fraction(over: readonly number[], under: readonly number[], options: BootstrapOptions): Fraction {
  const ratios = over.map((q, i) => q / (under[i] ?? NaN));
  const statistics: WeightedStatistic[] = [
    (times) => weightedSum(over, times) / weightedSum(under, times),
    weightedMedian(ratios),
    weightedMean(ratios),
  ];
  const [ratio_of_sums, median, mean_of_ratios] = bootstrapAll(over.length, statistics, options);
  invariant(ratio_of_sums !== undefined && median !== undefined && mean_of_ratios !== undefined, "three figures");
  return { ratio_of_sums, median, mean_of_ratios };
}
