/**
 * How many concepts a set of vectors holds (METHOD.md B, "Concepts without labels"): the number of clusters that bootstraps
 * find again, above what they find again in vectors without clusters. One is a possible answer. docs/find.md says more.
 */
import { kMeans, nearestCentres, pickRows, type Clustering, type Rows } from "./kmeans.ts";
import { Random } from "./random.ts";
import { mean, permutationP, quantile, variance, type Figure } from "./statistics.ts";

export interface CountOptions {
  readonly seed: number;
  /** Largest number of clusters tried. Default 5. */
  readonly most?: number;
  /** Bootstraps for each stability. Default 12. */
  readonly bootstraps?: number;
  /** Draws of each null. Default 19, which allow p = 0.05. */
  readonly nulls?: number;
  /** More than one cluster where p is at most this. Default 0.05. */
  readonly level?: number;
}

/** Stability of K clusters: the mean adjusted Rand index between the clustering and those of bootstraps. */
export interface Tried {
  readonly k: number;
  /** The interval holds 95 % of single bootstraps. */
  readonly stability: Figure;
  /** Mean stability where columns are permuted. */
  readonly nullStability: number;
}

export interface ConceptCount {
  readonly k: number;
  /** The larger of the two that follow: more than one cluster needs both to be small. NaN for too few vectors. */
  readonly p: number;
  /** Chance of such stability where inputs do not go together. */
  readonly pStability: number;
  /** Chance of such tight clusters in one ellipse; NaN where it was not needed. */
  readonly pEllipse: number;
  readonly tried: readonly Tried[];
  /** Into k clusters, the largest first; empty ones left out. */
  readonly clustering: Clustering;
}

/** Fewer say nothing about clusters. */
export const LEAST_VECTORS = 20;

/**
 * More than one cluster needs two nulls to fail. Columns permuted: each input keeps its values, but they no longer go
 * together. The K whose stability gains most over this null's mean, as a share of what is left to 1, is the candidate; whether
 * there is any is tested by the largest excess over K, in
 * standard deviations, data and draws treated alike, so that trying several K costs no level. An ellipse: normal vectors
 * with the same mean and covariance, for one concept whose images differ mostly in one direction is cut in two as stably as
 * permuted columns never are. There the candidate's sum of squares within clusters must be smaller (as SigClust has it for
 * K = 2: Liu, Hayes, Nobel and Marron, Journal of the American Statistical Association 103, 2008).
 */
export function countConcepts(rows: Rows, options: CountOptions): ConceptCount {
  const { seed, most = 5, bootstraps = 12, nulls = 19, level = 0.05 } = options;
  const random = new Random(seed);
  const ks = Array.from({ length: Math.max(0, most - 1) }, (_, j) => j + 2);
  const one = { k: 1, clustering: kMeans(rows, 1, random, 1) };
  if (rows.n < LEAST_VECTORS || ks.length === 0) return { ...one, p: NaN, pStability: NaN, pEllipse: NaN, tried: [] };

  const clusterings = ks.map((k) => kMeans(rows, k, random, 10));
  const observed = clusterings.map((clustering, j) => stabilities(rows, clustering, ks[j] ?? 2, bootstraps, random));
  const draws = Array.from({ length: nulls }, () => {
    const drawn = permutedColumns(rows, random);
    return ks.map((k) => mean(stabilities(drawn, kMeans(drawn, k, random, 4), k, bootstraps, random)));
  });
  const nullMeans = ks.map((_, j) => mean(draws.map((values) => values[j] ?? 0)));
  const pStability = largestExcessP(observed.map(mean), draws);
  const tried = ks.map((k, j): Tried => {
    const values = observed[j] ?? [];
    return {
      k,
      stability: { value: mean(values), low: quantile(values, 0.025), high: quantile(values, 0.975), n: values.length },
      nullStability: nullMeans[j] ?? NaN,
    };
  });
  if (pStability > level) return { ...one, p: pStability, pStability, pEllipse: NaN, tried };

  // As a share of what could be gained: two clusters are stable by chance more often than five.
  const gains = tried.map(({ stability: { value }, nullStability }) =>
    nullStability < 1 ? (value - nullStability) / (1 - nullStability) : 0,
  );
  const candidate = gains.indexOf(Math.max(...gains));
  const [k, clustering] = [ks[candidate] ?? 1, clusterings[candidate] ?? one.clustering];
  const within = Array.from({ length: nulls }, () => -kMeans(ellipseLike(rows, random), k, random, 4).within);
  const pEllipse = permutationP(-clustering.within, within);
  const ps = { p: Math.max(pStability, pEllipse), pStability, pEllipse, tried };
  return ps.p > level ? { ...one, ...ps } : { ...bySize(clustering, rows), ...ps };
}

/** Adjusted Rand indices between a clustering and those of bootstraps, each extended to all rows by the nearest centre. */
function stabilities(rows: Rows, { labels }: Clustering, k: number, bootstraps: number, random: Random): number[] {
  return Array.from({ length: bootstraps }, () => {
    const sample = pickRows(rows, random.resample(rows.n));
    return adjustedRand(labels, nearestCentres(rows, kMeans(sample, k, random, 2).centres).labels);
  });
}

/** p of the largest excess over K in standard deviations, with the observed one counted among the draws. */
function largestExcessP(observed: readonly number[], draws: readonly (readonly number[])[]): number {
  const all = [observed, ...draws];
  const largest = new Float64Array(all.length).fill(-Infinity);
  observed.forEach((_, j) => {
    const values = all.map((row) => row[j] ?? 0);
    const [centre, sd] = [mean(values), Math.sqrt(variance(values))];
    values.forEach((v, m) => {
      largest[m] = Math.max(largest[m] ?? 0, sd > 0 ? (v - centre) / sd : 0);
    });
  });
  return permutationP(largest[0] ?? 0, largest.subarray(1));
}

/** Each column in an order of its own. */
export function permutedColumns({ data, n, d }: Rows, random: Random): Rows {
  const permuted = new Float64Array(n * d);
  for (let j = 0; j < d; j++) {
    const order = random.permutation(n);
    for (let i = 0; i < n; i++) permuted[i * d + j] = data[(order[i] ?? 0) * d + j] ?? 0;
  }
  return { data: permuted, n, d };
}

/** Normal rows with the same mean and covariance: the mean and sum_i g_i (x_i - mean) / sqrt(n - 1), g normal. */
export function ellipseLike({ data, n, d }: Rows, random: Random): Rows {
  const centre = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) centre[j] = (centre[j] ?? 0) + (data[i * d + j] ?? 0) / n;
  const drawn = new Float64Array(n * d);
  for (let row = 0; row < n; row++) {
    const target = drawn.subarray(row * d, row * d + d);
    target.set(centre);
    for (let i = 0; i < n; i++) {
      const g = random.normal() / Math.sqrt(n - 1);
      for (let j = 0; j < d; j++) target[j] = (target[j] ?? 0) + g * ((data[i * d + j] ?? 0) - (centre[j] ?? 0));
    }
  }
  return { data: drawn, n, d };
}

/**
 * Hubert and Arabie's adjusted Rand index (Journal of Classification 2, 1985): 1 for equal partitions whatever their labels, 0
 * on average for random ones. 1 for two that leave everything together.
 */
export function adjustedRand(a: Uint8Array, b: Uint8Array): number {
  const table = new Map<number, number>();
  const add = (key: number): void => {
    table.set(key, (table.get(key) ?? 0) + 1);
  };
  // Cells, and the sums of rows and columns, in one map with disjoint keys.
  a.forEach((label, i) => {
    add(label * 256 + (b[i] ?? 0));
    add(0x10000 + label);
    add(0x20000 + (b[i] ?? 0));
  });
  let [cells, rows, columns] = [0, 0, 0];
  for (const [key, n] of table) {
    const pairs = (n * (n - 1)) / 2;
    if (key < 0x10000) cells += pairs;
    else if (key < 0x20000) rows += pairs;
    else columns += pairs;
  }
  const expected = (rows * columns) / ((a.length * (a.length - 1)) / 2);
  const most = (rows + columns) / 2;
  return most === expected ? 1 : (cells - expected) / (most - expected);
}

/** The same clusters, the largest first, without empty ones. */
function bySize({ labels, centres, within }: Clustering, { d }: Rows): { k: number; clustering: Clustering } {
  const sizes = Array.from({ length: centres.length / d }, (_, c) => labels.filter((l) => l === c).length);
  const order = sizes.map((_, c) => c).filter((c) => (sizes[c] ?? 0) > 0);
  order.sort((x, y) => (sizes[y] ?? 0) - (sizes[x] ?? 0) || x - y);
  const sorted = new Float64Array(order.length * d);
  order.forEach((c, at) => {
    sorted.set(centres.subarray(c * d, c * d + d), at * d);
  });
  return {
    k: order.length,
    clustering: { labels: labels.map((l) => order.indexOf(l)), centres: sorted, within },
  };
}
