/**
 * What the layer's other filters say of the parts. Those that answer to a concept's images show what a filter for it looks like: their
 * mean, and in which directions they differ. Were the parts drawn from two such kinds, normally distributed, then what is
 * known of them once their sum is seen is the conditional mean of normal vectors (Anderson, "An Introduction to Multivariate Statistical
 * Analysis", 2.5; for signals Wiener's filter). The regressions on classes hardly depend on the channel; this does.
 */
import type { UnitFilters } from "./additive-directions.ts";
import { addTo, dot, plus, scaled, solveRegularised, type Vector } from "./linear-algebra.ts";
import type { ConceptMoments } from "./moment-matrices.ts";

/** Variance that a kind has in every direction, beside the mean of the filters' own: they are few for so many weights. */
const RIDGE = 0.3;
/** How much more a filter weighs, as a logarithm, whose answer to the concept is a deviation over filters larger. */
const STEEP = 0.7;
/** Variance of a sum of two uncorrelated parts at unit variance each. */
const OF_SUM = 2;

interface Kind {
  /** [filters] adding up to 1. */
  readonly weights: readonly number[];
  /** [D] */
  readonly mean: Vector;
}

/**
 * (D1 - D2)/2 as expected of parts of two kinds that add up to sqrt(2) `unit`; another order of the concepts negates it bit
 * for bit.
 * @param unit [D] the channel at unit variance over images @param exclude filters that say nothing of it
 */
export function overKinds(
  moments: ConceptMoments,
  filters: UnitFilters,
  unit: Vector,
  classes: readonly [number, number],
  exclude: readonly number[],
): Vector {
  const units = filters.overImages.flatMap((u, c) => (u === undefined || exclude.includes(c) ? [] : [u]));
  const spread = (RIDGE * units.reduce((sum, u) => sum + dot(u, u), 0)) / (units.length * moments.size);
  if (!(spread > 0)) return new Float64Array(moments.size);
  const [first, second] = [kindOf(moments, units, classes[0]), kindOf(moments, units, classes[1])];
  /** Of the kinds' covariances without the ridge, the first plus or less the second, times x. */
  const combined = (x: Vector, sign: 1 | -1): Vector => {
    const y = new Float64Array(x.length);
    units.forEach((u, c) => {
      const weight = (first.weights[c] ?? 0) + sign * (second.weights[c] ?? 0);
      if (weight !== 0) addTo(y, weight * dot(u, x), u);
    });
    const means = plus(scaled(dot(first.mean, x), first.mean), sign * dot(second.mean, x), second.mean);
    return plus(y, -1, means);
  };
  const left = plus(scaled(Math.sqrt(OF_SUM), unit), -1, plus(first.mean, 1, second.mean));
  const { x } = solveRegularised(
    (v) => scaled(1 / (2 * spread), v),
    (v) => combined(v, 1),
    left,
  );
  return scaled(0.5, plus(plus(first.mean, -1, second.mean), 1, combined(x, -1)));
}

/** A filter is of a concept's kind as far as it answers to it more than others do: it weighs exp(`STEEP` deviations). */
function kindOf(moments: ConceptMoments, units: readonly Vector[], concept: number): Kind {
  const deviation = plus(moments.meanOf(concept), -1, moments.mean);
  const answers = units.map((u) => dot(u, deviation));
  const centre = answers.reduce((a, b) => a + b, 0) / answers.length;
  const spread = Math.sqrt(answers.reduce((sum, a) => sum + (a - centre) ** 2, 0) / answers.length);
  // From the largest down: nothing overflows, and not all are 0.
  const top = Math.max(...answers);
  const factors = answers.map((a) => (spread > 0 ? Math.exp((STEEP * (a - top)) / spread) : 1));
  const total = factors.reduce((a, b) => a + b, 0);
  const weights = factors.map((f) => f / total);
  const mean = new Float64Array(moments.size);
  units.forEach((u, c) => {
    addTo(mean, weights[c] ?? 0, u);
  });
  return { weights, mean };
}
