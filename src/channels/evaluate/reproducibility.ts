/**
 * Whether two halves of the images give the same source sets (METHOD.md C, "Reproducible"): Jaccard's index of the inputs
 * that serve a concept but not all, over many ways to halve, against what sets of these sizes give that are drawn at random.
 */
import { must } from "../../errors.ts";
import { meanTapSums } from "../../relevance/arv.ts";
import type { Study } from "../../relevance/study.ts";
import type { Random } from "../random.ts";
import { sourceSets, type SetRule, type SourceSets } from "../sets.ts";
import { mean, quantile, type Figure } from "../statistics.ts";
import { contributions, type SplitChannel } from "./channel.ts";
import { filterRule } from "./nulls.ts";

export interface Reproducibility {
  /** "study" where halves are of the study's images (by folds), "images" where of the ones given. */
  readonly from: "study" | "images";
  readonly rule: SetRule;
  readonly rho: number;
  readonly concepts: readonly {
    /** Mean over the halvings, and the interval that holds 95 % of them; n halvings for which it is defined. */
    readonly jaccard: Figure;
    /** The same for random sets of the same sizes: its expectation at each halving. */
    readonly random: Figure;
    readonly difference: Figure;
  }[];
}

/** Two halves: [concepts][I, K] mean tap sums of each concept's class. */
export type Halving = readonly [readonly Float64Array[], readonly Float64Array[]];

export function reproducibility(
  channel: SplitChannel,
  from: Reproducibility["from"],
  halvings: readonly Halving[],
): Reproducibility {
  const { rule, rho } = filterRule(channel);
  const setsOf = (means: readonly Float64Array[]): SourceSets => {
    const sign = rule === "official" ? 1 : channel.sign;
    const vectors = means.map((m) => contributions(channel, channel.weights, m).map((v) => sign * v));
    return sourceSets(vectors, rho, rule);
  };
  const sets = halvings.map(([a, b]) => [setsOf(a), setsOf(b)] as const);
  const all = 2 ** channel.concepts.length - 1;
  return {
    ...{ from, rule, rho },
    concepts: channel.concepts.map((_, k) => {
      const has = (set: number): boolean => set !== all && ((set >>> k) & 1) === 1;
      const found = sets.map(([a, b]) => compare(a, b, has)).filter(({ jaccard }) => Number.isFinite(jaccard));
      return {
        jaccard: spread(found.map((f) => f.jaccard)),
        random: spread(found.map((f) => f.random)),
        difference: spread(found.map((f) => f.jaccard - f.random)),
      };
    }),
  };
}

const spread = (values: readonly number[]): Figure => ({
  value: mean(values),
  low: quantile(values, 0.025),
  high: quantile(values, 0.975),
  n: values.length,
});

/** NaN where both sets are empty. */
function compare(a: SourceSets, b: SourceSets, has: (set: number) => boolean): { jaccard: number; random: number } {
  let [both, first, second] = [0, 0, 0];
  a.forEach((set, i) => {
    const [x, y] = [has(set), has(b[i] ?? 0)];
    both += Number(x && y);
    first += Number(x);
    second += Number(y);
  });
  return { jaccard: both / (first + second - both), random: randomJaccard(a.length, first, second) };
}

/**
 * The expectation of Jaccard's index of two random subsets of `size` elements with `a` and `b` of them: their overlap is
 * hypergeometric.
 */
export function randomJaccard(size: number, a: number, b: number): number {
  if (a + b === 0) return NaN;
  const logFactorial = new Float64Array(size + 1);
  for (let k = 1; k <= size; k++) logFactorial[k] = must(logFactorial[k - 1], "sum") + Math.log(k);
  const f = (k: number): number => must(logFactorial[k], `${k}!`);
  const choose = (n: number, k: number): number => f(n) - f(k) - f(n - k);
  let expected = 0;
  for (let both = Math.max(0, a + b - size); both <= Math.min(a, b); both++) {
    const chance = Math.exp(choose(a, both) + choose(size - a, b - both) - choose(size, b));
    expected += (chance * both) / (a + b - both);
  }
  return expected;
}

/** Every way to take two halves of equal size of a study's folds, one fold left out where their number is odd. */
export function foldHalvings(folds: number): (readonly [readonly number[], readonly number[]])[] {
  const half = Math.floor(folds / 2);
  if (half === 0) return [];
  const found: (readonly [number[], number[]])[] = [];
  for (const a of subsets(folds, half))
    for (const b of subsets(folds, half))
      if (must(a[0], "fold") < must(b[0], "fold") && !a.some((fold) => b.includes(fold))) found.push([a, b]);
  return found;
}

/** All subsets of 0 ... n - 1 with `size` elements, each ascending. */
function subsets(n: number, size: number, from = 0): number[][] {
  if (size === 0) return [[]];
  const found: number[][] = [];
  for (let k = from; k + size <= n; k++) for (const rest of subsets(n, size - 1, k + 1)) found.push([k, ...rest]);
  return found;
}

/** More folds than these are taken together in as many groups: 8 have 35 halvings already. */
const MOST_GROUPS = 8;

/** Halvings of a study's images by folds; none where it has one fold, or a half has no image of a class. */
export function studyHalvings(study: Study, classes: readonly number[]): Halving[] {
  const { folds } = study.meta;
  const groups = Math.min(folds, MOST_GROUPS);
  const known = new Map<string, Float64Array | undefined>();
  const meanOfGroups = (t: number, chosen: readonly number[]): Float64Array | undefined => {
    const key = `${t} ${chosen.join()}`;
    const members = Array.from({ length: folds }, (_, fold) => fold).filter((fold) => chosen.includes(fold % groups));
    if (!known.has(key)) known.set(key, meanTapSums(study, t, members));
    return known.get(key);
  };
  const whole = (half: readonly number[]): Float64Array[] | undefined => {
    const means = classes.flatMap((t) => meanOfGroups(t, half) ?? []);
    return means.length === classes.length ? means : undefined;
  };
  return foldHalvings(groups).flatMap(([a, b]): Halving[] => {
    const [first, second] = [whole(a), whole(b)];
    return first === undefined || second === undefined ? [] : [[first, second]];
  });
}

/**
 * Random halvings of images.
 * @param tapSums [concepts][images of its class] each [I, K]
 */
export function imageHalvings(tapSums: readonly (readonly Float32Array[])[], count: number, random: Random): Halving[] {
  if (tapSums.some((images) => images.length < 2)) return [];
  return Array.from({ length: count }, (): Halving => {
    const halves = tapSums.map((images) => {
      const order = random.shuffle(images);
      const half = Math.floor(order.length / 2);
      return [meanOf(order.slice(0, half)), meanOf(order.slice(half))] as const;
    });
    return [halves.map(([a]) => a), halves.map(([, b]) => b)];
  });
}

/** The mean of vectors of one length. */
export function meanOf(vectors: readonly Float32Array[]): Float64Array {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  for (const vector of vectors) vector.forEach((v, k) => (sum[k] = (sum[k] ?? 0) + v));
  return sum.map((s) => s / vectors.length);
}
