/**
 * From pairs to splits: source sets for each channel, with rho given or chosen in a second pass over the images of the
 * classes concerned (METHOD.md A5 and A7; B "rho on held-out images").
 */
import { invariant, must, UnbraidError } from "../errors.ts";
import { inputsOf, relevanceVector, weightsOf } from "../relevance/arv.ts";
import { ExactSums } from "../relevance/exact-sum.ts";
import type { ImageBatch } from "../relevance/run-study.ts";
import { tapsOf, type Study, type StudyLayer } from "../relevance/study.ts";
import { splitWeights } from "./parts.ts";
import type { ResponsePass } from "./responses.ts";
import { chooseOfficialRho, chooseRho, distinctSets, logRatioScore, RHOS, threeFolds, type Responses } from "./rho.ts";
import { conceptVectors, setsFromStudy, sourceSets, type SetRule, type SourceSets } from "./sets.ts";

export interface SplitTarget {
  readonly channel: number;
  /** Two classes of the study. */
  readonly classes: readonly [number, number];
}

export interface PlannedSplit extends SplitTarget {
  readonly rho: number;
  readonly rule: SetRule;
  readonly sets: SourceSets;
  /** Where rho was chosen: the score of each rho tried, and by which criterion. */
  readonly choice?: {
    readonly criterion: "official ratio" | "held-out log ratio";
    readonly rhos: readonly number[];
    readonly scores: readonly number[];
  };
  /**
   * The log-ratio score, at the chosen rho, of the sets that the first third of the images gives, on the third that took
   * part neither in them nor in the choice; and how many of each class that third has. (The split itself is made of the
   * sets that all of the study's images give.)
   */
  readonly heldOut?: { readonly score: number; readonly images: readonly [number, number] };
}

/** The images of single classes, for the second pass. */
export interface ClassImages {
  /** How many there are of class t. */
  count(t: number): number;
  /** Those at these positions among the class's images (all unless told), in batches. */
  batches(t: number, positions?: readonly number[]): AsyncIterable<ImageBatch>;
}

export interface SplitPlanning {
  readonly study: Study;
  readonly targets: readonly SplitTarget[];
  readonly rule: SetRule;
  /** Used for every target; chosen where it is not given. */
  readonly rho?: number;
  /** Choose as the original does: by its ratio, on the images that made the ARVs. */
  readonly compat?: boolean;
  /** Needed where rho is to be chosen. */
  readonly secondPass?: { readonly pass: ResponsePass; readonly images: ClassImages };
  /** Targets done of all, in shares of the whole work: the second pass goes over the images in up to three stages. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
}

/** Pairs whose rows run together: the responses of 8 pairs at 20 rho are 320 rows. */
export const PAIRS_AT_ONCE = 8;
export const ROWS_AT_ONCE = PAIRS_AT_ONCE * RHOS.length * 2;

/**
 * @returns one split a target, in the order of the targets
 * @throws UnbraidError RHO_NEEDS_IMAGES without `rho` and `secondPass`; RHO_IMAGES for classes of too few images; what
 * `setsFromStudy` throws
 */
export async function planSplits(p: SplitPlanning): Promise<PlannedSplit[]> {
  const { study, rule, rho } = p;
  if (rho !== undefined) {
    return p.targets.map((t) => ({ ...t, rho, rule, sets: setsFromStudy(study, { ...t, rho, rule }) }));
  }
  if (p.secondPass === undefined) {
    throw new UnbraidError(
      "usage",
      "RHO_NEEDS_IMAGES",
      "choosing rho reads the images of the classes concerned, and no images were given",
      "Pass --images DIR, or a fixed --rho.",
    );
  }
  // What cannot be split fails before any image is read.
  for (const t of p.targets) conceptVectors(study, { ...t, rho: 1, rule });
  return p.compat === true ? officialSplits(p, p.secondPass) : heldOutSplits(p, p.secondPass);
}

type SecondPass = NonNullable<SplitPlanning["secondPass"]>;

async function officialSplits(p: SplitPlanning, second: SecondPass): Promise<PlannedSplit[]> {
  const { study, rule } = p;
  const candidates = p.targets.map((t) => RHOS.map((rho) => setsFromStudy(study, { ...t, rho, rule })));
  const responses = await respond(p, second, candidates, false, () => undefined, stageOf(p, 0, 1));
  return p.targets.map((target, i) => {
    const { rho, index, scores } = chooseOfficialRho(must(responses[i], "responses"));
    const sets = must(candidates[i]?.[index], "sets");
    return { ...target, rho, rule, sets, choice: { criterion: "official ratio", rhos: RHOS, scores } };
  });
}

async function heldOutSplits(p: SplitPlanning, second: SecondPass): Promise<PlannedSplit[]> {
  const { study, rule } = p;
  const { layer } = study.meta;
  const folds = (t: number) => threeFolds(second.images.count(t));
  const oriented = rule === "symmetric";
  const means = await meanTapSums(p, second, (t) => folds(t).arv, stageOf(p, 0, 3));
  const candidates = p.targets.map(({ channel, classes }) => {
    const form = oriented ? "oriented" : "official";
    const vectors = classes.map((t) => relevanceVector(layer, must(means.get(t), "mean"), channel, form));
    return RHOS.map((rho) => sourceSets(vectors, rho, rule));
  });
  const chosen = (await respond(p, second, candidates, oriented, (t) => folds(t).choose, stageOf(p, 1, 3))).map((r) =>
    chooseRho(r),
  );
  // The report is on the sets that the first part of the images made: the study's ARVs have seen its images too.
  const chosenSets = chosen.map(({ index }, i) => [must(candidates[i]?.[index], "sets")]);
  const reports = await respond(p, second, chosenSets, oriented, (t) => folds(t).report, stageOf(p, 2, 3));
  const final = p.targets.map((t, i) => setsFromStudy(study, { ...t, rho: must(chosen[i], "choice").rho, rule }));
  return p.targets.map((target, i) => {
    const { rho, scores } = must(chosen[i], "choice");
    const [on1, on2] = must(reports[i], "report").map((r) => must(r[0], "responses"));
    const two = (parts: readonly ArrayLike<number>[] | undefined) => [parts?.[0] ?? [], parts?.[1] ?? []] as const;
    return {
      ...target,
      rho,
      rule,
      sets: must(final[i], "sets"),
      choice: { criterion: "held-out log ratio", rhos: RHOS, scores },
      heldOut: {
        score: logRatioScore(two(on1), two(on2)),
        images: [two(on1)[0].length, two(on2)[0].length],
      },
    };
  });
}

/** Progress of stage `k` of `stages` as whole targets. */
const stageOf =
  ({ targets, onProgress }: SplitPlanning, k: number, stages: number) =>
  (share: number): void => {
    const total = targets.length;
    onProgress?.({ done: Math.floor((total * (k + share)) / stages), total });
  };

const classesOf = (targets: readonly SplitTarget[]): number[] =>
  [...new Set(targets.flatMap((t) => t.classes))].sort((a, b) => a - b);

/** [I, K] mean tap sums of each class over some of its images. */
async function meanTapSums(
  p: SplitPlanning,
  { pass, images }: SecondPass,
  positions: (t: number) => readonly number[],
  stage: (share: number) => void,
): Promise<Map<number, Float64Array>> {
  const { layer } = p.study.meta;
  const size = layer.inChannels * tapsOf(layer);
  const rows = pass.pack(new Float32Array(0));
  const means = new Map<number, Float64Array>();
  const classes = classesOf(p.targets);
  for (const [done, t] of classes.entries()) {
    stage(done / classes.length);
    const sums = new ExactSums(size);
    let n = 0;
    for await (const batch of images.batches(t, positions(t))) {
      p.signal?.throwIfAborted();
      const got = await pass.run(batch.tensor, batch.labels.length, rows);
      for (let i = 0; i < batch.labels.length; i++) sums.addVector(got.tapSums, i * size);
      n += batch.labels.length;
    }
    if (n === 0) throw noImages(p.study, t);
    means.set(
      t,
      sums.toFloat64().map((s) => s / n),
    );
  }
  return means;
}

/**
 * Responses of both parts of every target for every candidate source set, on images of its two classes.
 * @param candidates [target][candidate]
 * @param oriented whether parts respond in the layer's orientation
 * @returns [target][class 1, class 2] as `rho.ts` takes them: [candidate][part][image]
 */
async function respond(
  p: SplitPlanning,
  { pass, images }: SecondPass,
  candidates: readonly (readonly SourceSets[])[],
  oriented: boolean,
  positions: (t: number) => readonly number[] | undefined,
  stage: (share: number) => void,
): Promise<[Responses, Responses][]> {
  const { layer } = p.study.meta;
  const distinct = candidates.map((c) => distinctSets(c));
  const found = p.targets.map(() => [[], []] as [number[][][], number[][][]]);
  const work = classesOf(p.targets).flatMap((t) => {
    const concerned = p.targets.flatMap((target, i) => (target.classes.includes(t) ? [i] : []));
    const chunks: { t: number; targets: number[] }[] = [];
    for (let k = 0; k < concerned.length; k += PAIRS_AT_ONCE) {
      chunks.push({ t, targets: concerned.slice(k, k + PAIRS_AT_ONCE) });
    }
    return chunks;
  });
  for (const [done, { t, targets }] of work.entries()) {
    stage(done / work.length);
    const rows = targets.flatMap((i) =>
      must(distinct[i], "sets").distinct.flatMap((sets) =>
        partRows(layer, must(p.targets[i], "target").channel, sets, oriented),
      ),
    );
    const packed = pass.pack(concatenated(rows));
    const columns: number[][] = rows.map(() => []);
    for await (const batch of images.batches(t, positions(t))) {
      p.signal?.throwIfAborted();
      const n = batch.labels.length;
      const { sums } = await pass.run(batch.tensor, n, packed);
      const width = sums.length / (2 * n);
      for (let i = 0; i < n; i++) columns.forEach((q, r) => q.push(must(sums[2 * (i * width + r)], "response")));
    }
    if ((columns[0]?.length ?? 0) === 0) throw noImages(p.study, t);
    let first = 0;
    for (const i of targets) {
      const { distinct: sets, index } = must(distinct[i], "sets");
      const side = must(p.targets[i], "target").classes[0] === t ? 0 : 1;
      must(found[i], "responses")[side] = index.map((d) => columns.slice(first + 2 * d, first + 2 * d + 2));
      first += 2 * sets.length;
    }
  }
  return found;
}

/**
 * D1 and D2 of a channel as rows over all input channels of the layer, [I, K] each. Without the bias, which a split copies
 * to both: what is chosen with them must not depend on whether a BatchNormalization was folded into the file.
 */
function partRows(layer: StudyLayer, channel: number, sets: SourceSets, oriented: boolean): Float32Array[] {
  const taps = tapsOf(layer);
  const { first } = inputsOf(layer, channel);
  const sign = oriented ? (layer.sign[channel] ?? 1) : 1;
  return splitWeights(weightsOf(layer, channel), sets, 2).concepts.map((row) => {
    const full = new Float32Array(layer.inChannels * taps);
    full.set(sign < 0 ? row.map((w) => -w) : row, first * taps);
    return full;
  });
}

function concatenated(rows: readonly Float32Array[]): Float32Array {
  const size = rows[0]?.length ?? 0;
  const all = new Float32Array(rows.length * size);
  rows.forEach((row, r) => {
    invariant(row.length === size, "rows of one length");
    all.set(row, r * size);
  });
  return all;
}

const noImages = (study: Study, t: number): UnbraidError =>
  new UnbraidError(
    "input",
    "RHO_IMAGES",
    `No image of class ${t} (${study.meta.classes[t] ?? ""}) is there to choose rho with.`,
    "Give a folder that has images of both classes, or pass --rho.",
  );
