/**
 * k-means: Lloyd's iteration (IEEE Transactions on Information Theory 28(2), 1982) from k-means++ starts (Arthur and
 * Vassilvitskii, SODA 2007), on flat arrays. Own code, because choosing K runs it some thousand times a channel, and what
 * is published for JavaScript either drags a dozen packages along (ml-kmeans 7: 14 of them, 7 MB) and divides by zero on equal rows, or
 * is no longer kept.
 */
import { invariant } from "../errors.ts";
import type { Random } from "./random.ts";

/** [n][d], row-major. */
export interface Rows {
  readonly data: Float64Array;
  readonly n: number;
  readonly d: number;
}

export interface Clustering {
  /** [n] the cluster of each row, from 0. */
  readonly labels: Uint8Array;
  /** [k][d] means of the clusters. */
  readonly centres: Float64Array;
  /** Sum of squared distances of rows to their centres. */
  readonly within: number;
}

export function toRows(vectors: readonly ArrayLike<number>[]): Rows {
  const d = vectors[0]?.length ?? 0;
  const data = new Float64Array(vectors.length * d);
  vectors.forEach((v, k) => {
    invariant(v.length === d, "vectors of one length");
    data.set(v, k * d);
  });
  return { data, n: vectors.length, d };
}

/** These rows, in this order, repeated where they are named twice. */
export function pickRows({ data, d }: Rows, which: ArrayLike<number>): Rows {
  const picked = new Float64Array(which.length * d);
  for (let k = 0; k < which.length; k++) {
    const from = (which[k] ?? 0) * d;
    picked.set(data.subarray(from, from + d), k * d);
  }
  return { data: picked, n: which.length, d };
}

const MOST_STEPS = 50;

/**
 * The best of several starts. Where there are fewer different rows than clusters, some clusters stay empty.
 * @param k 1 to 255, at most the number of rows
 */
export function kMeans(rows: Rows, k: number, random: Random, starts = 4): Clustering {
  invariant(k >= 1 && k <= 255 && k <= rows.n, `${k} clusters of ${rows.n} rows`);
  let best: Clustering | undefined;
  for (let start = 0; start < starts; start++) {
    const found = lloyd(rows, spreadCentres(rows, k, random), k);
    if (best === undefined || found.within < best.within) best = found;
  }
  invariant(best !== undefined, "one start or more");
  return best;
}

/** The nearest centre of each row; the first of equally near ones. */
export function nearestCentres(rows: Rows, centres: Float64Array): Pick<Clustering, "labels" | "within"> {
  const { data, n, d } = rows;
  const k = centres.length / d;
  const labels = new Uint8Array(n);
  let within = 0;
  for (let i = 0; i < n; i++) {
    let nearest = Infinity;
    for (let c = 0; c < k; c++) {
      const distance = squaredDistance(data, i * d, centres, c * d, d, nearest);
      if (distance < nearest) {
        nearest = distance;
        labels[i] = c;
      }
    }
    within += nearest;
  }
  return { labels, within };
}

function lloyd(rows: Rows, start: Float64Array, k: number): Clustering {
  let centres = start;
  let { labels, within } = nearestCentres(rows, centres);
  for (let step = 0; step < MOST_STEPS; step++) {
    centres = means(rows, labels, centres, k);
    const next = nearestCentres(rows, centres);
    // The sum never grows; where it no longer falls, the labels are settled.
    const settled = !(next.within < within);
    ({ labels, within } = next);
    if (settled) break;
  }
  return { labels, centres: means(rows, labels, centres, k), within };
}

/** Means of the clusters; an empty one keeps its centre. */
function means({ data, n, d }: Rows, labels: Uint8Array, before: Float64Array, k: number): Float64Array {
  const sums = new Float64Array(k * d);
  const sizes = new Float64Array(k);
  for (let i = 0; i < n; i++) {
    const c = labels[i] ?? 0;
    sizes[c] = (sizes[c] ?? 0) + 1;
    for (let j = 0; j < d; j++) sums[c * d + j] = (sums[c * d + j] ?? 0) + (data[i * d + j] ?? 0);
  }
  return sums.map((sum, at) => {
    const size = sizes[Math.floor(at / d)] ?? 0;
    return size === 0 ? (before[at] ?? 0) : sum / size;
  });
}

/** Rows drawn one by one, each with a chance that grows as its squared distance from those drawn before. */
function spreadCentres(rows: Rows, k: number, random: Random): Float64Array {
  const { data, n, d } = rows;
  const centres = new Float64Array(k * d);
  const distances = new Float64Array(n).fill(Infinity);
  for (let c = 0; c < k; c++) {
    const chosen = c === 0 ? random.below(n) : drawBy(distances, random);
    centres.set(data.subarray(chosen * d, chosen * d + d), c * d);
    for (let i = 0; i < n; i++) {
      const distance = squaredDistance(data, i * d, centres, c * d, d, distances[i] ?? Infinity);
      if (distance < (distances[i] ?? 0)) distances[i] = distance;
    }
  }
  return centres;
}

function drawBy(weights: Float64Array, random: Random): number {
  let total = 0;
  for (const w of weights) total += w;
  if (!(total > 0)) return random.below(weights.length);
  let left = random.uniform() * total;
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i] ?? 0;
    if (left < 0) return i;
  }
  return weights.length - 1;
}

/** |a - b|^2, or some number above `enough` as soon as it is known to be above. */
function squaredDistance(
  a: Float64Array,
  atA: number,
  b: Float64Array,
  atB: number,
  d: number,
  enough: number,
): number {
  let sum = 0;
  for (let j = 0; j < d;) {
    for (const end = Math.min(d, j + 16); j < end; j++) {
      const difference = (a[atA + j] ?? 0) - (b[atB + j] ?? 0);
      sum += difference * difference;
    }
    if (sum > enough) return sum;
  }
  return sum;
}
