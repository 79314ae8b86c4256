/**
 * Do channels join classes that mean alike things? The similarity of two classes in a hierarchy against the cosine of their
 * ARVs (METHOD.md A10), over every pair of classes that a channel is relevant for, whatever its cosine: Spearman's rank
 * correlation, and Mantel's test, for pairs that share a class depend on each other.
 */
import { UnbraidError } from "../../errors.ts";
import { AverageRelevance } from "../../relevance/arv.ts";
import { countsOf, imagesOf, type Study } from "../../relevance/study.ts";
import { cosine } from "../cosine.ts";
import { tauIndex } from "../find.ts";
import type { Random } from "../random.ts";
import { bootstrap, mantel, mean, pearson, ranks, type Figure } from "../statistics.ts";
import { ClassNodes, pathSimilarities, type Hierarchy } from "./hierarchy.ts";

/** A channel and two classes that it is relevant for. */
export interface CandidatePair {
  readonly channel: number;
  readonly class1: number;
  readonly class2: number;
  readonly cosine: number;
}

export interface Similarity {
  /** Spearman's correlation of path similarity and cosine; the interval is over channels. */
  readonly spearman: Figure;
  /** Of Mantel's test, the classes permuted: as high a correlation, and one as far from 0. */
  readonly p: number;
  readonly p_two_sided: number;
  /** Mean of the permutations' correlations. */
  readonly null_mean: number;
  readonly pairs: number;
  readonly channels: number;
  readonly classes: number;
  /** Mean path similarity of the pairs below gamma, which `find` lists, and of all candidates. */
  readonly similarity: { readonly found: number; readonly candidates: number };
  /** Pairs without a cosine, or with a class that the hierarchy does not have. */
  readonly left_out: number;
  /** [pairs] the cosine of each, and the path similarity of its classes. */
  readonly points: readonly (readonly [cosine: number, similarity: number])[];
  /** Classes of candidate pairs that the hierarchy does not have. */
  readonly missing: readonly string[];
}

/** Every pair of classes that a channel is relevant for: important on at least the share p of both classes' images. */
export function candidatePairs(study: Study, tau: number, p: number): CandidatePair[] {
  const at = tauIndex(study, tau);
  const arvs = new AverageRelevance(study);
  const relevant = Array.from({ length: study.meta.layer.outChannels }, (): number[] => []);
  study.meta.classes.forEach((_, t) => {
    const images = imagesOf(study, t);
    if (images === 0) return;
    countsOf(study, "exact", at, t).forEach((count, c) => {
      if (count >= p * images * (1 - 1e-12)) relevant[c]?.push(t); // as in find
    });
  });
  return relevant.flatMap((classes, channel) => {
    if (classes.length < 2) return [];
    const vectors = classes.map((t) => arvs.vector(channel, t, "oriented"));
    return classes.flatMap((class1, a) =>
      classes.slice(a + 1).map((class2, b): CandidatePair => {
        const [v1, v2] = [vectors[a], vectors[a + 1 + b]];
        return { channel, class1, class2, cosine: v1 === undefined || v2 === undefined ? NaN : cosine(v1, v2) };
      }),
    );
  });
}

export interface SimilarityOptions {
  readonly random: Random;
  readonly gamma: number;
  /** Go on without classes that the hierarchy does not have. */
  readonly partial: boolean;
  /** 1000 unless given, or 200 where pairs are many. */
  readonly permutations?: number;
}

/**
 * @param names of the study's classes
 * @throws UnbraidError HIERARCHY_CLASSES for classes of candidate pairs that the hierarchy does not have, unless `partial`
 */
export function classSimilarity(
  pairs: readonly CandidatePair[],
  names: readonly string[],
  hierarchy: Hierarchy,
  { random, gamma, partial, permutations }: SimilarityOptions,
): Similarity {
  const nodes = new ClassNodes(hierarchy);
  const concerned = [...new Set(pairs.flatMap((q) => [q.class1, q.class2]))].sort((a, b) => a - b);
  const nodeOf = new Map(concerned.map((t) => [t, nodes.find(names[t] ?? "")]));
  const missing = concerned.filter((t) => nodeOf.get(t) === undefined).map((t) => names[t] ?? String(t));
  if (missing.length > 0 && !partial) throw lacking(missing, concerned.length);
  const known = concerned.filter((t) => nodeOf.get(t) !== undefined);
  const index = new Map(known.map((t, i) => [t, i]));
  const similarity = pathSimilarities(
    hierarchy,
    known.map((t) => nodeOf.get(t) ?? ""),
  );
  const usable = pairs.filter((q) => Number.isFinite(q.cosine) && index.has(q.class1) && index.has(q.class2));
  const places = usable.map((q) => [index.get(q.class1) ?? 0, index.get(q.class2) ?? 0] as const);
  const near = places.map(([i, j]) => similarity(i, j));
  const cosines = usable.map((q) => q.cosine);
  const cosineRanks = ranks(cosines);
  const test = mantel({
    ...{ size: known.length, pairs: places, values: cosineRanks, other: similarity, random },
    permutations: permutations ?? (usable.length > MANY_PAIRS ? 200 : 1000),
    correlation: (x, y) => pearson(x, rankFew(y)),
  });
  const groups = groupsOf(usable.map((q) => q.channel));
  const figure = correlationOverGroups(groups, rankFew(near), cosineRanks, random);
  return {
    spearman: { ...figure, n: usable.length },
    p: test.p,
    p_two_sided: test.pTwoSided,
    null_mean: test.nullMean,
    pairs: usable.length,
    channels: groups.length,
    classes: known.length,
    similarity: {
      found: mean(near.filter((_, i) => (cosines[i] ?? NaN) >= 0 && (cosines[i] ?? NaN) < gamma)),
      candidates: mean(near),
    },
    left_out: pairs.length - usable.length,
    points: cosines.map((c, i) => [c, near[i] ?? NaN]),
    missing,
  };
}

const lacking = (missing: readonly string[], of: number): UnbraidError =>
  new UnbraidError(
    "input",
    "HIERARCHY_CLASSES",
    `the hierarchy lacks ${missing.length} of the ${of} classes of candidate pairs: ${missing.join(", ")}`,
    "Add them to the hierarchy under the names of the study's classes, or pass --partial-hierarchy.",
  );

/** Above this a permutation takes its time. */
const MANY_PAIRS = 20_000;

/** As `ranks`, of values among which few differ. */
function rankFew(values: ArrayLike<number> & Iterable<number>): Float64Array {
  const counts = new Map<number, number>();
  for (const v of values) counts.set(v, (counts.get(v) ?? 0) + 1);
  const rankOf = new Map<number, number>();
  let below = 0;
  for (const [value, n] of [...counts].sort(([a], [b]) => a - b)) {
    rankOf.set(value, below + (n + 1) / 2);
    below += n;
  }
  return Float64Array.from(values, (v) => rankOf.get(v) ?? NaN);
}

/** Positions of equal keys together. */
function groupsOf(keys: readonly number[]): number[][] {
  const groups = new Map<number, number[]>();
  keys.forEach((key, i) => {
    const members = groups.get(key) ?? [];
    members.push(i);
    groups.set(key, members);
  });
  return [...groups.values()];
}

/**
 * Pearson's correlation with a bootstrap interval over groups of pairs, from each group's sums. (Ranks are those among all
 * pairs, not among a resample's: the same up to the resample's ties, at a thousandth of the work.)
 */
function correlationOverGroups(
  groups: readonly (readonly number[])[],
  x: Float64Array,
  y: Float64Array,
  random: Random,
): Figure {
  const [cx, cy] = [mean(x), mean(y)];
  const sums = groups.map((members) => {
    const s = [0, 0, 0, 0, 0, 0];
    for (const i of members) {
      const [a, b] = [(x[i] ?? NaN) - cx, (y[i] ?? NaN) - cy];
      [1, a, b, a * b, a * a, b * b].forEach((v, k) => (s[k] = (s[k] ?? 0) + v));
    }
    return s;
  });
  return bootstrap(
    [groups.length],
    ([units = new Uint32Array(0)]) => {
      const total = (k: number): number => units.reduce((t, u) => t + (sums[u]?.[k] ?? NaN), 0);
      const [n, a, b, ab, aa, bb] = [total(0), total(1), total(2), total(3), total(4), total(5)];
      const [xx, yy] = [aa - (a * a) / n, bb - (b * b) / n];
      return xx > 0 && yy > 0 ? (ab - (a * b) / n) / Math.sqrt(xx * yy) : NaN;
    },
    { random },
  );
}
