/**
 * First and second moments of what a layer's channels read: patches (the window of the layer's input behind one output, a
 * weight a value) and the mean patches of images. METHOD.md B, "Beyond partitions", builds the additive split from them.
 * Sums are float64 across batches; nothing grows with the number of images.
 */
import { invariant, UnbraidError } from "../errors.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { addTo, type Vector } from "./linear-algebra.ts";

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

/** Sums of outer products over patches and over images: upper triangles of [D, D]. */
interface Second {
  readonly patches: Float64Array;
  readonly images: Float64Array;
}

/** D: the weights of one channel. */
export const patchSize = (layer: StudyLayer): number => (layer.inChannels / layer.groups) * tapsOf(layer);

/** Bytes of the sums: two matrices a group, and two a group and kept class. */
export function momentBytes({ layer, groups, kept, classes }: MomentOptions): number {
  const size = patchSize(layer);
  return 8 * (groups?.length ?? layer.groups) * (2 * (1 + kept.length) * size * size + classes * size);
}

/** What matrices made of the sums may take while they wait to be asked for again. */
const KEPT_BYTES = 2 ** 28;

export class MomentSums {
  readonly options: MomentOptions;
  readonly groups: readonly number[];
  /** [T] */
  readonly images: Uint32Array;
  readonly #first: readonly (readonly Float64Array[])[];
  readonly #all: readonly Second[];
  readonly #byClass: ReadonlyMap<number, readonly Second[]>;

  /** @throws UnbraidError MOMENTS_MEMORY where they would take more than `memory` bytes */
  constructor(options: MomentOptions) {
    const { layer, classes, kept } = options;
    const size = patchSize(layer);
    checkMemory(options, size);
    this.options = options;
    this.groups = options.groups ?? Array.from({ length: layer.groups }, (_, g) => g);
    this.images = new Uint32Array(classes);
    const second = (): Second => ({ patches: new Float64Array(size * size), images: new Float64Array(size * size) });
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

  /** The moments of a group, of all that was added. @throws UnbraidError NOT_FINITE, MOMENTS_IMAGES */
  group(group: number): GroupMoments {
    const k = this.groups.indexOf(group);
    const [first, all] = [this.#first[k], this.#all[k]];
    invariant(first !== undefined && all !== undefined, `moments of group ${group}`);
    const byClass = new Map<number, Second>();
    for (const [t, sums] of this.#byClass) {
      const second = sums[k];
      if (second !== undefined) byClass.set(t, second);
    }
    return new GroupMoments(this.options, this.images, first, all, byClass);
  }
}

/** Moments of the patches of one group of channels. Every position and every image weighs the same. */
export class GroupMoments {
  /** D */
  readonly size: number;
  readonly images: number;
  /** [T] */
  readonly imagesOf: Uint32Array;
  /** [D] the mean patch. */
  readonly mean: Vector;
  /** [T][D] mean patch of each class; zeros where it has no image. */
  readonly classMeans: readonly Vector[];
  /** [D] mean of the classes' mean patches. */
  readonly meanOfClasses: Vector;
  /** R: [D, D] covariance of patches. */
  readonly patches: Float64Array;
  /** V: [D, D] covariance of the images' mean patches. */
  readonly imageMeans: Float64Array;
  readonly #positions: number;
  readonly #byClass: ReadonlyMap<number, Second>;
  /** Matrices that were asked for last: splits between the same classes ask again. */
  readonly #kept = new Map<string, Float64Array>();

  constructor(
    { positions, layer }: MomentOptions,
    imagesOf: Uint32Array,
    first: readonly Float64Array[],
    all: Second,
    byClass: ReadonlyMap<number, Second>,
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
    this.patches = this.#matrix(all, this.images, 1, 0, [[-1, this.mean, this.mean]]);
    this.imageMeans = this.#matrix(all, this.images, 0, 1, [[-1, this.mean, this.mean]]);
    if (!this.patches.every(Number.isFinite)) throw notFinite(`The second moments of layer ${layer.name}'s input`);
  }

  hasClass(t: number): boolean {
    return this.#byClass.has(t) && (this.imagesOf[t] ?? 0) > 0;
  }

  /**
   * [D, D] C_t + kappa V_t: second moments of a class's patches and mean patches about the mean over all images;
   * not to be changed.
   * @throws UnbraidError MOMENTS_CLASS
   */
  aboutMean(t: number, kappa: number): Float64Array {
    return this.#keep(`about ${t} ${kappa}`, () => {
      const [second, images] = this.#ofClass(t);
      const [m, g] = [this.classMeans[t] ?? this.mean, this.mean];
      const times = 1 + kappa;
      return this.#matrix(second, images, 1, kappa, [
        [-times, m, g],
        [-times, g, m],
        [times, g, g],
      ]);
    });
  }

  /** [D, D] R + kappa V; not to be changed. */
  pooled(kappa: number): Float64Array {
    return this.#keep(`pooled ${kappa}`, () => this.patches.map((r, i) => r + kappa * (this.imageMeans[i] ?? 0)));
  }

  /**
   * [D, D] covariance of a class's patches about the class's own mean, and `means` d d^T of how far that is from the mean of the
   * classes' means; not to be changed.
   * @throws UnbraidError MOMENTS_CLASS
   */
  withinClass(t: number, means = 0): Float64Array {
    return this.#keep(`within ${t} ${means}`, () => {
      const [second, images] = this.#ofClass(t);
      const m = this.classMeans[t] ?? this.mean;
      const d = m.map((x, i) => x - (this.meanOfClasses[i] ?? 0));
      return this.#matrix(second, images, 1, 0, [
        [-1, m, m],
        [means, d, d],
      ]);
    });
  }

  #keep(key: string, make: () => Float64Array): Float64Array {
    const matrix = this.#kept.get(key) ?? make();
    this.#kept.delete(key);
    this.#kept.set(key, matrix);
    const room = Math.max(2, Math.floor(KEPT_BYTES / matrix.byteLength));
    for (const old of this.#kept.keys()) {
      if (this.#kept.size <= room) break;
      this.#kept.delete(old);
    }
    return matrix;
  }

  #ofClass(t: number): readonly [Second, number] {
    const second = this.#byClass.get(t);
    const images = this.imagesOf[t] ?? 0;
    if (second !== undefined && images > 0) return [second, images];
    throw new UnbraidError(
      "input",
      "MOMENTS_CLASS",
      `There are no moments of class ${t}: ${second === undefined ? "they were not asked for" : "it has no image"}.`,
      "Give images of every class that the split is between.",
    );
  }

  /** patchFactor E[x x^T] + imageFactor E[xbar xbar^T] + sum of factor a b^T, which together must be symmetric. */
  #matrix(
    { patches, images }: Second,
    count: number,
    patchFactor: number,
    imageFactor: number,
    outer: readonly (readonly [number, Vector, Vector])[],
  ): Float64Array {
    const { size } = this;
    const p = patchFactor / (count * this.#positions);
    const q = imageFactor / (count * this.#positions ** 2);
    const matrix = new Float64Array(size * size);
    for (let i = 0; i < size; i++)
      for (let j = i; j < size; j++) {
        const at = i * size + j;
        let value = p * (patches[at] ?? 0) + q * (images[at] ?? 0);
        for (const [factor, a, b] of outer) value += factor * ((a[i] ?? 0) * (b[j] ?? 0));
        matrix[at] = value;
        matrix[j * size + i] = value;
      }
    return matrix;
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
