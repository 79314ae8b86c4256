/**
 * First and second moments of what a layer's channels read: patches (the window of the layer's input behind one output, a
 * weight a value) and the mean patches of images. METHOD.md B, "Beyond partitions", builds the additive split from them.
 * Sums are float64 across batches; nothing grows with the number of images.
 */
import { invariant, must, UnbraidError } from "../errors.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import type { ClusterSums } from "./cluster-moments.ts";
import { addTo, type Vector } from "./linear-algebra.ts";
import {
  aboutMean,
  KeptMatrices,
  momentMatrix,
  noMoments,
  withinMean,
  type ConceptMoments,
  type SecondSums,
  type Summed,
} from "./moment-matrices.ts";

/** What a batch of images of one class adds. */
export interface MomentBatch {
  readonly images: number;
  /** [images, I, K] tap sums. */
  readonly tapSums: Float32Array;
  /** For each group asked for, in that order. */
  readonly groups: readonly {
    /** [D, D] sum of x x^T over patches; only columns from the row's own on are read. */
    readonly patches: Float32Array;
    /** [D, D] sum of s s^T over the images' tap sums s, likewise. */
    readonly images: Float32Array;
  }[];
}

export interface MomentOptions {
  readonly layer: StudyLayer;
  /** P: output positions of the layer. */
  readonly positions: number;
  /** T. */
  readonly classes: number;
  /** Groups of the layer whose moments are wanted; all unless given. */
  readonly groups?: readonly number[];
  /** Classes whose own second moments are kept: those that splits will be between. */
  readonly kept: readonly number[];
  /** Bytes that the sums may take; 1 GiB unless given. */
  readonly memory?: number;
}

/** D: the weights of one channel. */
export const patchSize = (layer: StudyLayer): number => (layer.inChannels / layer.groups) * tapsOf(layer);

/** Bytes of the sums: two matrices a group, and two a group and kept class. */
export function momentBytes({ layer, groups, kept, classes }: MomentOptions): number {
  const size = patchSize(layer);
  return 8 * (groups?.length ?? layer.groups) * (2 * (1 + kept.length) * size * size + classes * size);
}

export class MomentSums {
  readonly options: MomentOptions;
  readonly groups: readonly number[];
  /** [T] */
  readonly images: Uint32Array;
  readonly #first: readonly (readonly Float64Array[])[];
  readonly #all: readonly SecondSums[];
  readonly #byClass: ReadonlyMap<number, readonly SecondSums[]>;

  /** @throws UnbraidError MOMENTS_MEMORY where they would take more than `memory` bytes */
  constructor(options: MomentOptions) {
    const { layer, classes, kept } = options;
    const size = patchSize(layer);
    checkMemory(options, size);
    this.options = options;
    this.groups = options.groups ?? Array.from({ length: layer.groups }, (_, g) => g);
    this.images = new Uint32Array(classes);
    const second = (): SecondSums => ({
      patches: new Float64Array(size * size),
      images: new Float64Array(size * size),
    });
    this.#first = this.groups.map(() => Array.from({ length: classes }, () => new Float64Array(size)));
    this.#all = this.groups.map(second);
    this.#byClass = new Map(kept.map((t) => [t, this.groups.map(second)]));
  }

  /** Adds images of class `t`. @param items whose they are, for messages @throws UnbraidError NOT_FINITE naming the image */
  add(t: number, batch: MomentBatch, items?: readonly { readonly path: string }[]): void {
    const { layer } = this.options;
    const size = patchSize(layer);
    const stride = layer.inChannels * tapsOf(layer);
    invariant(t in this.images && batch.tapSums.length === batch.images * stride, "tap sums of each image");
    checkTapSums(layer, batch.tapSums, items ?? []);
    this.images[t] = (this.images[t] ?? 0) + batch.images;
    this.groups.forEach((group, k) => {
      const first = this.#first[k]?.[t] ?? new Float64Array(0);
      for (let n = 0; n < batch.images; n++) {
        const from = n * stride + group * size;
        for (let i = 0; i < size; i++) first[i] = (first[i] ?? 0) + (batch.tapSums[from + i] ?? 0);
      }
      const added = batch.groups[k];
      for (const sums of [this.#all[k], this.#byClass.get(t)?.[k]]) {
        if (sums === undefined || added === undefined) continue;
        addUpper(sums.patches, added.patches, size);
        addUpper(sums.images, added.images, size);
      }
    });
  }

  /** Of a group, what was summed over the images of a kept class: of clusters, which are summed as if they were classes. */
  cluster(group: number, t: number, name: string): ClusterSums {
    const k = this.groups.indexOf(group);
    const [first, second] = [this.#first[k]?.[t], this.#byClass.get(t)?.[k]];
    invariant(first !== undefined && second !== undefined, `sums of cluster ${t}, group ${group}`);
    return { name, first, second, images: this.images[t] ?? 0, positions: this.options.positions };
  }

  /** The moments of a group, of all that was added. @throws UnbraidError NOT_FINITE, MOMENTS_IMAGES */
  group(group: number): GroupMoments {
    const k = this.groups.indexOf(group);
    const [first, all] = [this.#first[k], this.#all[k]];
    invariant(first !== undefined && all !== undefined, `moments of group ${group}`);
    const byClass = new Map<number, SecondSums>();
    for (const [t, sums] of this.#byClass) {
      const second = sums[k];
      if (second !== undefined) byClass.set(t, second);
    }
    return new GroupMoments(this.options, this.images, first, all, byClass);
  }
}

/** Moments of the patches of one group of channels. Every position and every image weighs the same. */
export class GroupMoments implements ConceptMoments {
  readonly size: number;
  readonly images: number;
  /** [T] */
  readonly imagesOf: Uint32Array;
  readonly mean: Vector;
  /** [T][D] mean patch of each class; zeros where it has no image. */
  readonly classMeans: readonly Vector[];
  readonly meanOfClasses: Vector;
  readonly patches: Float64Array;
  readonly imageMeans: Float64Array;
  readonly #positions: number;
  readonly #byClass: ReadonlyMap<number, SecondSums>;
  readonly #kept = new KeptMatrices();

  constructor(
    { positions, layer }: MomentOptions,
    imagesOf: Uint32Array,
    first: readonly Float64Array[],
    second: SecondSums,
    byClass: ReadonlyMap<number, SecondSums>,
  ) {
    this.size = patchSize(layer);
    this.imagesOf = imagesOf.slice();
    this.images = imagesOf.reduce((a, b) => a + b, 0);
    this.#positions = positions;
    this.#byClass = byClass;
    if (this.images < 2) throw tooFew(layer.name, this.images);
    const total = new Float64Array(this.size);
    for (const sums of first) addTo(total, 1, sums);
    this.mean = total.map((s) => s / (this.images * positions));
    this.classMeans = first.map((sums, t) => sums.map((s) => s / (Math.max(1, imagesOf[t] ?? 0) * positions)));
    const seen = this.classMeans.filter((_, t) => (imagesOf[t] ?? 0) > 0);
    this.meanOfClasses = new Float64Array(this.size);
    for (const m of seen) addTo(this.meanOfClasses, 1 / seen.length, m);
    const all = { second, images: this.images, positions };
    this.patches = momentMatrix(this.size, all, 1, 0, [[-1, this.mean, this.mean]]);
    this.imageMeans = momentMatrix(this.size, all, 0, 1, [[-1, this.mean, this.mean]]);
    if (!this.patches.every(Number.isFinite)) throw notFinite(`The second moments of layer ${layer.name}'s input`);
  }

  hasClass(t: number): boolean {
    return this.#byClass.has(t) && (this.imagesOf[t] ?? 0) > 0;
  }

  nameOf(t: number): string {
    return `class ${t}`;
  }

  countOf(t: number): number {
    return this.imagesOf[t] ?? 0;
  }

  meanOf(t: number): Vector {
    return must(this.classMeans[t], "class");
  }

  /** @throws UnbraidError MOMENTS_CLASS */
  aboutMean(t: number, kappa: number): Float64Array {
    return this.#kept.get(`about ${t} ${kappa}`, () => aboutMean(this.#of(t), this.meanOf(t), this.mean, kappa));
  }

  pooled(kappa: number): Float64Array {
    return this.#kept.get(`pooled ${kappa}`, () => this.patches.map((r, i) => r + kappa * (this.imageMeans[i] ?? 0)));
  }

  /** @throws UnbraidError MOMENTS_CLASS */
  withinClass(t: number, means = 0): Float64Array {
    return this.#kept.get(`within ${t} ${means}`, () =>
      withinMean(this.#of(t), this.meanOf(t), this.meanOfClasses, means),
    );
  }

  #of(t: number): Summed {
    const second = this.#byClass.get(t);
    const images = this.countOf(t);
    if (second !== undefined && images > 0) return { second, images, positions: this.#positions };
    throw noMoments(this.nameOf(t), second === undefined ? "they were not asked for" : "it has no image");
  }
}

/** That what the layer reads on each image is finite. @param tapSums [n, I, K] @throws UnbraidError NOT_FINITE */
export function checkTapSums(
  layer: StudyLayer,
  tapSums: Float32Array,
  items: readonly { readonly path: string }[],
): void {
  const bad = tapSums.findIndex((v) => !Number.isFinite(v));
  if (bad < 0) return;
  const image = Math.floor(bad / (layer.inChannels * tapsOf(layer)));
  throw notFinite(`The tap sums of ${items[image]?.path ?? `image ${image} of a batch`} at layer ${layer.name}`);
}

function addUpper(sums: Float64Array, added: Float32Array, size: number): void {
  for (let i = 0; i < size; i++)
    for (let at = i * size + i; at < (i + 1) * size; at++) sums[at] = (sums[at] ?? 0) + (added[at] ?? 0);
}

function checkMemory(options: MomentOptions, size: number): void {
  const { layer, kept, memory = 2 ** 30 } = options;
  const bytes = momentBytes(options);
  if (bytes <= memory) return;
  const mebibytes = (b: number): string => `${Math.ceil(b / 2 ** 20)} MiB`;
  throw new UnbraidError(
    "input",
    "MOMENTS_MEMORY",
    `The moments of layer ${layer.name} (${size} x ${size}, ${options.groups?.length ?? layer.groups} groups, ${kept.length} classes) take ${mebibytes(bytes)}; ${mebibytes(memory)} are allowed.`,
    "Split fewer channels at a time, between fewer classes, or use --rule symmetric, which needs no moments.",
  );
}

const tooFew = (layer: string, images: number): UnbraidError =>
  new UnbraidError(
    "input",
    "MOMENTS_IMAGES",
    `The moments of layer ${layer} need 2 or more images; there are ${images}.`,
    "Give more images.",
  );

const notFinite = (what: string): UnbraidError =>
  new UnbraidError(
    "model",
    "NOT_FINITE",
    `${what} are not finite.`,
    "Check the model and the preprocessing (mean, std, value range): its activations overflow float32.",
  );
