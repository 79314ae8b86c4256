/** Drives a study over a stream of image batches: GPU pass, exact accumulation, progress, saving, interruption. */
import { must, UnbraidError } from "../errors.ts";
import type { PassResult, RelevancePass } from "./pass.ts";
import { accumulateSet } from "./accumulate.ts";
import { firstOf, type StudySet } from "./study-set.ts";
import type { SkippedImage } from "./study.ts";

/** Batches on the GPU at once: it begins the second while the host reads the first one's results. */
const IN_FLIGHT = 2;

/** A stretch of the image list, in list order, as `images/loader.ts` yields it. */
export interface ImageBatch {
  /** [n, channels, height, width] */
  readonly tensor: Float32Array;
  /** [n] class of each image. */
  readonly labels: ArrayLike<number>;
  readonly items: readonly { readonly path: string }[];
  /** Images between the batch before and the end of this one that could not be read. */
  readonly skipped: readonly { readonly item: { readonly path: string }; readonly error: Error }[];
  /** Position in the list after this batch. */
  readonly next: number;
}

export interface StudyProgress {
  /** Images done of those to do, skipped ones among them. */
  readonly done: number;
  readonly total: number;
  readonly imagesPerSecond: number;
  readonly secondsLeft: number;
}

export interface StudyRun {
  /** One study for each of the pass's layers, in their order. */
  readonly set: StudySet;
  readonly pass: Pick<RelevancePass, "start">;
  /** Batches from `start` on. */
  readonly batches: AsyncIterable<ImageBatch>;
  /** Path of every image, by position in the list. */
  readonly paths: readonly string[];
  /** Fold of every image, by position in the list (`foldsOf`); may be left out where the study has one fold. */
  readonly folds?: ArrayLike<number>;
  /** Part of the list to do: [start, end). */
  readonly start: number;
  readonly end: number;
  /**
   * Keeps what is done so far; called about every `saveSeconds` (more rarely where saving takes long) and when the run is
   * interrupted.
   */
  readonly save?: (set: StudySet) => void;
  /** 60 unless given. */
  readonly saveSeconds?: number;
  readonly onProgress?: (progress: StudyProgress) => void;
  readonly signal?: AbortSignal;
  /** Trailing images that could not be read come with no batch: the loader's own record of all that it skipped. */
  readonly allSkipped?: () => readonly ImageBatch["skipped"][number][];
}

/**
 * Adds the images of the list to the studies. However it ends, what `set` holds is whole batches of all layers, so that
 * a later run from the studies' end gives the very same result.
 * @returns seconds spent and images that were read
 * @throws UnbraidError INTERRUPTED when `signal` is aborted (after `save`); NOT_FINITE naming the image and the layer; what the batches
 * and the device throw
 */
export async function runStudy(run: StudyRun): Promise<{ seconds: number; images: number }> {
  const { set, pass, paths, folds, start, end, signal } = run;
  const position = new Map(paths.map((p, i) => [p, i]));
  const positionOf = ({ path }: { readonly path: string }): number => must(position.get(path), path);
  const skippedOf = (list: ImageBatch["skipped"]): SkippedImage[] =>
    list.map(({ item, error }) => ({
      index: positionOf(item),
      name: item.path,
      reason: error.message,
    }));
  const { labels: logitOf } = firstOf(set).meta;
  const began = performance.now();
  let saveAt = began + 1000 * (run.saveSeconds ?? 60);
  let at = start;
  let images = 0;
  const add = (batch: ImageBatch, result: PassResult): void => {
    const { items } = batch;
    accumulateSet(
      set,
      {
        range: [at, batch.next],
        skipped: skippedOf(batch.skipped),
        labels: batch.labels,
        ...(folds === undefined ? {} : { folds: items.map((item) => must(folds[positionOf(item)], item.path)) }),
        names: items.map((i) => i.path),
      },
      result.layers.map((l) => ({ tapSums: l.tapSums, finite: l.relevance, importance: { bits: l.bits } })),
    );
    at = batch.next;
    images += batch.labels.length;
    const now = performance.now();
    const rate = (at - start) / Math.max((now - began) / 1000, 1e-9);
    run.onProgress?.({ done: at - start, total: end - start, imagesPerSecond: rate, secondsLeft: (end - at) / rate });
    if (now <= saveAt) return;
    run.save?.(set);
    // A large study takes seconds to write: at most a twentieth of the time goes there.
    saveAt = now + Math.max(1000 * (run.saveSeconds ?? 60), 20 * (performance.now() - now));
  };
  /** The batches that the GPU has, in order, each with its first position. */
  const running: { readonly batch: ImageBatch; readonly from: number; readonly result: Promise<PassResult> }[] = [];
  const finishUpTo = async (most: number): Promise<void> => {
    while (running.length > most) {
      const first = running.shift();
      // Not what comes behind a batch that failed.
      if (first?.from === at) add(first.batch, await first.result);
    }
  };
  try {
    let from = start;
    for await (const batch of run.batches) {
      signal?.throwIfAborted();
      const logits = Array.from(batch.labels, (t) => must(logitOf[t], `logit of class ${t}`));
      running.push({ batch, from, ...(await pass.start(batch.tensor, logits)) });
      from = batch.next;
      // The GPU has this batch to go on with, while the one before it is read back and added up.
      await finishUpTo(IN_FLIGHT - 1);
    }
    await finishUpTo(0);
    signal?.throwIfAborted();
    if (at < end) {
      const rest = skippedOf(run.allSkipped?.() ?? []).filter((s) => s.index >= at);
      const nothing = { tapSums: new Float32Array(0), importance: { bits: new Uint32Array(0) } };
      accumulateSet(
        set,
        { range: [at, end], skipped: rest, labels: [], folds: [] },
        set.studies.map(() => nothing),
      );
    }
  } catch (error) {
    // What the GPU has begun is not left behind: the device may be closed next.
    if (signal?.aborted !== true) {
      await Promise.allSettled(running.map((r) => r.result));
      throw error;
    }
    const begun = running.map((r) => r.result);
    await finishUpTo(0).catch(() => undefined);
    await Promise.allSettled(begun);
    run.save?.(set);
    throw new UnbraidError(
      "interrupted",
      "INTERRUPTED",
      `stopped after ${at - start} of ${end - start} images`,
      "Run the same command with --resume to go on from there.",
      { cause: error },
    );
  }
  return { seconds: (performance.now() - began) / 1000, images };
}
