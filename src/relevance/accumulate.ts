/** Adding batches of images to studies: wholly or not at all, in any order, to the same bits. */
import { overflowRemedy } from "../engine/finite.ts";
import { invariant, must, UnbraidError } from "../errors.ts";
import { ExactSums } from "./exact-sum.ts";
import { addImportanceBits, countImportant, importanceWords } from "./importance.ts";
import { joinRanges, overlap, showRange } from "./ranges.ts";
import type { Range } from "./ranges.ts";
import { firstOf, type StudySet } from "./study-set.ts";
import { accumulatorOf, imagesOf, tapsOf } from "./study.ts";
import type { SkippedImage, Study } from "./study.ts";

/** A stretch of the image list. */
export interface BatchImages {
  /** Positions in the list that are done with this batch; those neither in `labels` nor in `skipped` must not exist. */
  readonly range: Range;
  readonly skipped?: readonly SkippedImage[];
  /** [n] class (not logit) of each image that was read. */
  readonly labels: ArrayLike<number>;
  /** [n] fold of each, as `foldsOf` the whole list gives it; may be left out where the study has one fold. */
  readonly folds?: ArrayLike<number>;
  /** [n] for messages. */
  readonly names?: readonly string[];
}

/** What the engine gives of one layer on these images. */
export interface LayerBatch {
  /** [n, I, K] float32. */
  readonly tapSums: Float32Array;
  /** [n, C] relevance that is only checked: hits found on the GPU do not show that it overflowed. */
  readonly finite?: Float32Array;
  /** [n, C] float32 relevance, from which importance is decided here; or what the GPU has found (`addImportanceBits`). */
  readonly importance:
    | { readonly relevance: Float32Array; readonly bits?: never }
    | { readonly bits: Uint32Array; readonly relevance?: never };
}

export interface StudyBatch extends BatchImages, LayerBatch {}

/**
 * Adds a batch to the study of one layer, wholly or (on an error) not at all. The result does not depend on the order or
 * size of batches.
 * @throws UnbraidError NOT_FINITE, naming the image and the layer; STUDY_OVERLAP when positions were done before
 */
export function accumulate(study: Study, batch: StudyBatch): void {
  accumulateSet({ studies: [study] }, batch, [batch]);
}

/**
 * As accumulate, for the studies of several layers: no layer is added to unless all can be.
 * @param layers one for each study, in their order
 */
export function accumulateSet(set: StudySet, images: BatchImages, layers: readonly LayerBatch[]): void {
  checkImages(firstOf(set), images);
  invariant(layers.length === set.studies.length, "a batch for each layer");
  const pairs = set.studies.map((study, k) => [study, must(layers[k], "layer")] as const);
  for (const [study, batch] of pairs) checkLayer(study, images, batch);
  for (const [study, batch] of pairs) add(study, images, batch);
}

function add(study: Study, images: BatchImages, { tapSums, importance }: LayerBatch): void {
  const { layer, taus } = study.meta;
  const channels = layer.outChannels;
  const sums = layer.inChannels * tapsOf(layer);
  const words = importanceWords(taus.length, channels);
  for (let j = 0; j < images.labels.length; j++) {
    const accumulator = accumulatorOf(study, images.labels[j] ?? -1);
    (accumulator.tapSums[images.folds?.[j] ?? 0] ??= new ExactSums(sums)).addVector(tapSums, j * sums);
    if (importance.relevance !== undefined)
      countImportant(importance.relevance.subarray(j * channels, (j + 1) * channels), taus, accumulator.counts);
    else addImportanceBits(importance.bits.subarray(j * words, (j + 1) * words), channels, accumulator.counts);
  }
  study.done = joinRanges([...study.done, images.range]);
  study.skipped = [...study.skipped, ...(images.skipped ?? [])].sort((a, b) => a.index - b.index);
}

function checkImages(study: Study, batch: BatchImages): void {
  const { classes, images, folds } = study.meta;
  const n = batch.labels.length;
  const [from, to] = batch.range;
  const skipped = batch.skipped ?? [];
  invariant(from >= 0 && to <= images.length && to - from === n + skipped.length, "a batch covers its range");
  invariant(
    skipped.every(({ index }) => index >= from && index < to),
    "skipped images lie in the batch's range",
  );
  invariant(batch.folds?.length === n || (batch.folds === undefined && folds === 1), "the fold of each image");
  invariant(
    Array.from(batch.folds ?? []).every((fold) => Number.isInteger(fold) && fold >= 0 && fold < folds),
    `folds from 0 to ${folds - 1}`,
  );
  const twice = overlap(study.done, [batch.range]);
  if (twice !== undefined) throw overlapError(twice);

  const added = new Uint32Array(classes.length);
  for (const label of Array.from(batch.labels)) {
    invariant(label in added, `class ${label} of ${classes.length}`);
    added[label] = (added[label] ?? 0) + 1;
  }
  // This also keeps the counts within their 16 or 32 bits and the sums within their capacity.
  const full = added.findIndex((extra, t) => extra > 0 && extra > (images.perClass[t] ?? 0) - imagesOf(study, t));
  invariant(full < 0, `more images of class ${classes[full] ?? ""} than are listed`);
}

function checkLayer(study: Study, images: BatchImages, batch: LayerBatch): void {
  const { layer, taus } = study.meta;
  const n = images.labels.length;
  const sums = layer.inChannels * tapsOf(layer);
  const { relevance, bits } = batch.importance;
  invariant(batch.tapSums.length === n * sums, "tap sums of each image");
  invariant((relevance?.length ?? n * layer.outChannels) === n * layer.outChannels, "relevance of each image");
  const words = n * importanceWords(taus.length, layer.outChannels);
  invariant((bits?.length ?? words) === words, "bits for each image, variant, tau and channel");
  checkFinite(study, images, "tap sums", batch.tapSums, sums);
  for (const values of [batch.finite, relevance])
    if (values !== undefined) checkFinite(study, images, "relevance", values, layer.outChannels);
}

export function overlapError(range: Range): UnbraidError {
  return new UnbraidError(
    "input",
    "STUDY_OVERLAP",
    `Images ${showRange(range)} of the list are already in the study.`,
    "Merge studies of different shards, each once.",
  );
}

function checkFinite(study: Study, images: BatchImages, what: string, values: Float32Array, perImage: number): void {
  const at = firstNotFinite(values);
  if (at < 0) return;
  const image = Math.floor(at / perImage);
  const name = images.names?.[image] ?? `image ${image} of the batch from position ${images.range[0]}`;
  throw new UnbraidError(
    "model",
    "NOT_FINITE",
    `The ${what} of ${name} at layer ${study.meta.layer.name} hold ${String(values[at])} (value ${at % perImage}).`,
    overflowRemedy(study.meta.settings.precision),
  );
}

/** Index of the first value that is NaN or infinite, or -1. */
function firstNotFinite(values: Float32Array): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return i;
  return -1;
}
