/**
 * How well a part tells its class from others, beside its nulls (METHOD.md C, "Separation is not evidence either"). The
 * statistic is the AUROC of the part's sum over positions; what is reported is its difference to each null's mean.
 */
import { auroc, mean, permutationP, quantileOfSorted, ranks, type Figure } from "../statistics.ts";
import type { Random } from "../random.ts";

/** A null: its draws' AUROCs, the difference to their mean, and how often a draw does as well. */
export interface NullComparison {
  /** Mean of the draws, and the interval that holds 95 % of them; n draws. */
  readonly null: Figure;
  /** The part's AUROC less the null's mean, with an interval over images. */
  readonly difference: Figure;
  /** The share of draws, the part itself counted, that reach its AUROC. */
  readonly p: number;
}

export interface Contrast {
  readonly auroc: Figure;
  /** The whole channel's, before it was split. */
  readonly whole: Figure;
  readonly random_partition: NullComparison;
  /** null where there was no ARV to split random filters by. */
  readonly random_filter: NullComparison | null;
  readonly permuted_labels: NullComparison;
}

/** Scores of a row on the images of its class, and on those it is to be told from. */
export interface Scores {
  readonly positives: Float64Array;
  readonly negatives: Float64Array;
}

export interface ContrastOptions {
  readonly random: Random;
  /** 1000 unless given. */
  readonly resamples?: number;
  /** Permutations of labels; 1000 unless given. */
  readonly permutations?: number;
}

/**
 * @param part scores of the part, of the whole channel, and of each draw of the nulls, all on the same images in the same
 * order
 */
export function contrast(
  part: Scores,
  whole: Scores,
  partitions: readonly Scores[],
  filters: readonly Scores[] | undefined,
  options: ContrastOptions,
): Contrast {
  const [m, n] = [part.positives.length, part.negatives.length];
  const observed = meanKernel([part], m, n);
  const against = (draws: readonly Scores[]): Float64Array =>
    meanKernel(draws, m, n).map((null_, at) => (observed[at] ?? NaN) - null_);
  const kernels = [observed, meanKernel([whole], m, n), against(partitions)];
  if (filters !== undefined) kernels.push(against(filters));
  const [own, original, overPartitions, overFilters] = resampled(kernels, m, n, options);
  if (own === undefined || original === undefined || overPartitions === undefined)
    throw new Error("internal error: no kernels");
  const compare = (draws: readonly Scores[], difference: Figure): NullComparison => {
    const areas = Float64Array.from(draws, (d) => auroc(d.positives, d.negatives));
    return { null: spread(areas), difference, p: Number.isFinite(own.value) ? permutationP(own.value, areas) : NaN };
  };
  return {
    auroc: own,
    whole: original,
    random_partition: compare(partitions, overPartitions),
    random_filter: filters === undefined || overFilters === undefined ? null : compare(filters, overFilters),
    permuted_labels: permuted(part, own, options),
  };
}

/** Mean and the interval that holds 95 %. */
function spread(draws: Float64Array): Figure {
  const sorted = draws.toSorted();
  return {
    value: mean(draws),
    low: quantileOfSorted(sorted, 0.025),
    high: quantileOfSorted(sorted, 0.975),
    n: draws.length,
  };
}

/** The same scores with labels drawn anew: 1/2 in the mean, exactly. */
function permuted(
  { positives, negatives }: Scores,
  own: Figure,
  { random, permutations = 1000 }: ContrastOptions,
): NullComparison {
  const m = positives.length;
  const rank = ranks([...positives, ...negatives]);
  const areas = Float64Array.from({ length: permutations }, () => {
    let sum = 0;
    for (const i of random.permutation(rank.length).subarray(0, m)) sum += rank[i] ?? NaN;
    return (sum - (m * (m + 1)) / 2) / (m * negatives.length);
  });
  const less = (x: number): number => x - 0.5;
  return {
    null: { ...spread(areas), value: 0.5 },
    difference: { value: less(own.value), low: less(own.low), high: less(own.high), n: own.n },
    p: Number.isFinite(own.value) ? permutationP(own.value, areas) : NaN,
  };
}

/** [m, n] the share of draws in which image i of the positives is above image j of the negatives, ties counting half. */
function meanKernel(draws: readonly Scores[], m: number, n: number): Float64Array {
  const sum = new Float64Array(m * n);
  for (const { positives, negatives } of draws)
    for (let i = 0; i < m; i++) {
      const p = positives[i] ?? NaN;
      for (let j = 0; j < n; j++) {
        const q = negatives[j] ?? NaN;
        if (p >= q) sum[i * n + j] = (sum[i * n + j] ?? 0) + (p > q ? 1 : 0.5);
      }
    }
  return sum.map((s) => s / draws.length);
}

/** The mean of each kernel over all pairs, with its percentile bootstrap interval over images of both kinds. */
function resampled(
  kernels: readonly Float64Array[],
  m: number,
  n: number,
  { random, resamples = 1000 }: ContrastOptions,
): Figure[] {
  const draws = kernels.map(() => new Float64Array(resamples));
  for (let b = 0; b < resamples && m > 0 && n > 0; b++) {
    const [rows, columns] = [new Float64Array(m), new Float64Array(n)];
    for (const i of random.resample(m)) rows[i] = (rows[i] ?? 0) + 1;
    for (const j of random.resample(n)) columns[j] = (columns[j] ?? 0) + 1;
    for (const [k, kernel] of kernels.entries()) {
      let total = 0;
      for (let i = 0; i < m; i++) {
        const times = rows[i] ?? 0;
        if (times === 0) continue;
        let row = 0;
        for (let j = 0; j < n; j++) row += (columns[j] ?? 0) * (kernel[i * n + j] ?? 0);
        total += times * row;
      }
      const target = draws[k];
      if (target !== undefined) target[b] = total / (m * n);
    }
  }
  return kernels.map((kernel, k) => {
    const sorted = (draws[k] ?? new Float64Array(0)).toSorted();
    const enough = m > 1 && n > 1;
    return {
      value: mean(kernel),
      low: enough ? quantileOfSorted(sorted, 0.025) : NaN,
      high: enough ? quantileOfSorted(sorted, 0.975) : NaN,
      n: m + n,
    };
  });
}
