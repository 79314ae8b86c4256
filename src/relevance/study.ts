/**
 * A study: what one pass over a folder of images leaves of a layer (METHOD.md B, "One pass finds"). For each class the
 * sums of the layer's inputs by kernel tap, from which every channel's average relevance vector follows, and how often
 * each channel was important. Nothing in it grows with the number of images, but for the names of those skipped.
 */
import { invariant, UnbraidError } from "../errors.ts";
import { ExactSums, MAX_CONTRIBUTIONS } from "./exact-sum.ts";
import { MAX_FOLDS } from "./folds.ts";
import { VARIANTS } from "./importance.ts";
import type { Variant } from "./importance.ts";
import type { Range } from "./ranges.ts";

export interface StudyModel {
  /** File name, without its folder. */
  readonly file: string;
  /** SHA-256 of the file, hexadecimal. */
  readonly sha256: string;
}

/** The Conv under study. One spatial dimension is written as two, the first of size 1. */
export interface StudyLayer {
  /** As users name it (`layer4.2.conv3`). */
  readonly name: string;
  readonly nodeName: string;
  /** The ONNX value that it writes: z, before BatchNormalization and activation. */
  readonly output: string;
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number];
  readonly groups: number;
  /** I: all input channels; one output channel reads I / groups of them. */
  readonly inChannels: number;
  /** C. */
  readonly outChannels: number;
  readonly hasBias: boolean;
  /** [C, I/groups, K] with K = kernel[0] * kernel[1], row-major, as the file has them. */
  readonly weights: Float32Array;
  /** [C] -1 where the scale of the BatchNormalization that follows unfolded is negative, else 1 (METHOD.md B). */
  readonly sign: Int8Array;
}

export interface ImageList {
  /** `listDigest` of it. */
  readonly digest: string;
  readonly length: number;
  /** [T] images of each class in the list. */
  readonly perClass: readonly number[];
}

/** What must be equal for two studies to be parts of one. */
export interface StudyMeta {
  readonly model: StudyModel;
  readonly layer: StudyLayer;
  /** [T] names. */
  readonly classes: readonly string[];
  /** [T] which logit belongs to each class. */
  readonly labels: readonly number[];
  readonly images: ImageList;
  /** The preprocessing in words or JSON: compared as text. */
  readonly preprocess: string;
  /** Ascending, each once. */
  readonly taus: readonly number[];
  /** F, how many parts of each class's images have tap sums of their own: see folds.ts. 1 to 64. */
  readonly folds: number;
  /** Whatever else changes the numbers; compared as text. */
  readonly settings: Readonly<Record<string, string>>;
}

/** An image that could not be read. It counts as done, not as an image of its class. */
export interface SkippedImage {
  /** Position in the list. */
  readonly index: number;
  readonly name: string;
  readonly reason: string;
}

/** What is accumulated over the images of one class. */
export interface ClassAccumulator {
  /**
   * [F] each [I, K], sums over the images of a fold of S_n[i,k], the sum over output positions of the input that tap k
   * reads; undefined until the first image of the fold. An accumulator's number of contributions is its number of images.
   */
  readonly tapSums: (ExactSums | undefined)[];
  /** [2][taus][C] images on which a channel was important, by variant (order of VARIANTS) and tau. */
  readonly counts: Uint16Array | Uint32Array;
}

export interface Study {
  readonly meta: StudyMeta;
  /** Which part of the image list has been accumulated. */
  done: readonly Range[];
  /** By position. */
  skipped: readonly SkippedImage[];
  /** [T] undefined until the first image of a class. */
  readonly accumulators: (ClassAccumulator | undefined)[];
}

/** K, the taps of the kernel. */
export const tapsOf = (layer: StudyLayer): number => layer.kernel[0] * layer.kernel[1];

/**
 * An empty study.
 * @throws UnbraidError OPTION_TAU; OPTION_RANGE for folds; NOT_FINITE for weights; SUM_CAPACITY for a class of more than 2^23 images
 */
export function createStudy(meta: StudyMeta): Study {
  const { layer, classes, images } = meta;
  const perGroup = layer.inChannels / layer.groups;
  invariant(layer.weights.length === layer.outChannels * perGroup * tapsOf(layer), "weights that do not fit the layer");
  invariant(layer.sign.length === layer.outChannels, "one sign a channel");
  invariant(meta.labels.length === classes.length && images.perClass.length === classes.length, "one label a class");
  const bad = layer.weights.findIndex((w) => !Number.isFinite(w));
  if (bad >= 0)
    throw new UnbraidError(
      "model",
      "NOT_FINITE",
      `The weights of layer ${layer.name} hold ${String(layer.weights[bad])} (value ${bad}).`,
      "Check the model: a layer with such weights cannot be studied.",
    );
  const most = Math.max(0, ...images.perClass);
  if (most > MAX_CONTRIBUTIONS)
    throw new UnbraidError(
      "input",
      "SUM_CAPACITY",
      `A class of ${most} images exceeds the ${MAX_CONTRIBUTIONS} that a study can add exactly.`,
      "Give each class fewer images.",
    );
  const taus = [...new Set(meta.taus)].sort((a, b) => a - b);
  if (taus.length === 0 || taus.some((tau) => !(tau >= 0 && tau <= 1)))
    throw new UnbraidError(
      "usage",
      "OPTION_TAU",
      `tau must be one or more numbers from 0 to 1, not ${meta.taus.join(", ") || "nothing"}.`,
      "Pass for instance --tau 0.03.",
    );
  if (!(Number.isInteger(meta.folds) && meta.folds >= 1 && meta.folds <= MAX_FOLDS))
    throw new UnbraidError(
      "usage",
      "OPTION_RANGE",
      `A study has 1 to ${MAX_FOLDS} folds, not ${meta.folds}.`,
      "Pass --folds in that range.",
    );
  return { meta: { ...meta, taus }, done: [], skipped: [], accumulators: classes.map(() => undefined) };
}

/** The accumulator of a class, made on its first image. */
export function accumulatorOf(study: Study, label: number): ClassAccumulator {
  invariant(label in study.accumulators, `class ${label} of ${study.accumulators.length}`);
  return (study.accumulators[label] ??= emptyAccumulator(study.meta, label));
}

export function emptyAccumulator(meta: StudyMeta, label: number): ClassAccumulator {
  const tapSums = Array.from({ length: meta.folds }, () => undefined);
  return { tapSums, counts: emptyCounts(meta, label) };
}

/** Counts take 16 bits where the class has few enough images. */
export function emptyCounts({ layer, taus, images }: StudyMeta, label: number): Uint16Array | Uint32Array {
  const cells = VARIANTS.length * taus.length * layer.outChannels;
  return (images.perClass[label] ?? 0) > 0xffff ? new Uint32Array(cells) : new Uint16Array(cells);
}

/** [C] images of class `label` on which each channel was important. */
export function countsOf(study: Study, variant: Variant, tauIndex: number, label: number): Uint16Array | Uint32Array {
  const channels = study.meta.layer.outChannels;
  const start = (VARIANTS.indexOf(variant) * study.meta.taus.length + tauIndex) * channels;
  return study.accumulators[label]?.counts.subarray(start, start + channels) ?? new Uint16Array(channels);
}

/** The accumulators of a class's folds that have images: those of `folds`, or all. */
function foldSums(study: Study, label: number, folds?: readonly number[]): ExactSums[] {
  const all = study.accumulators[label]?.tapSums ?? [];
  return all.filter((_, fold) => folds?.includes(fold) ?? true).filter((sums) => sums !== undefined);
}

/** N_t: images of the class that were accumulated, in `folds` or in all. */
export const imagesOf = (study: Study, label: number, folds?: readonly number[]): number =>
  foldSums(study, label, folds).reduce((n, sums) => n + sums.contributions, 0);

/**
 * [I, K] the tap sums of a class over the images of `folds`, or of all: the very sums that one accumulator for all these
 * images would hold. Undefined where there is no image.
 */
export function tapSumsOf(study: Study, label: number, folds?: readonly number[]): ExactSums | undefined {
  const [first, ...others] = foldSums(study, label, folds);
  if (first === undefined || others.length === 0) return first;
  const total = new ExactSums(first.length);
  for (const sums of [first, ...others]) total.merge(sums);
  return total;
}

/** Bytes that the accumulators take. */
export function accumulatorBytes(study: Study): number {
  const bytesOf = ({ tapSums, counts }: ClassAccumulator): number =>
    tapSums.reduce((bytes, sums) => bytes + (sums?.bytes ?? 0), counts.byteLength);
  return study.accumulators.reduce((bytes, a) => bytes + (a === undefined ? 0 : bytesOf(a)), 0);
}

/** Whether the whole image list has been accumulated. */
export function isComplete(study: Study): boolean {
  const { length } = study.meta.images;
  return length === 0 || study.done.some(([from, to]) => from === 0 && to === length);
}
