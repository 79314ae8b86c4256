/** Images in list order, decoded and preprocessed ahead, in batches. Node only. */
import { UnbraidError } from "../errors.ts";
import type { ImageItem } from "./folder.ts";
import { isBadImage } from "./image-errors.ts";
import type { ImagePool } from "./image-pool.ts";
import { inOrder } from "./in-order.ts";
import { prepareImage, type PreparedImage } from "./prepare.ts";
import type { PreprocessSpec } from "./preprocess.ts";

export { loadImage } from "./prepare.ts";

export interface LoaderOptions {
  /** The folder that the items' paths are relative to. */
  readonly root: string;
  readonly items: readonly ImageItem[];
  readonly spec: PreprocessSpec;
  readonly batchSize: number;
  /** Index into `items` to begin at: the `next` of the last batch of an interrupted run. 0 unless given. */
  readonly start?: number;
  /** Images decoded at once; 4 unless given, or as many as `pool` has use for. Each needs the memory of its decoded pixels. */
  readonly concurrency?: number;
  /** Threads that read, decode and preprocess; this one unless given. What comes out is the same. */
  readonly pool?: ImagePool;
  /** Go on without images that cannot be read or decoded. */
  readonly skipBad?: boolean;
  /** Called for each image gone without, in list order: the complete record, also of those after the last batch. */
  readonly onSkip?: (skipped: SkippedImage) => void;
  readonly signal?: AbortSignal;
  readonly maxPixels?: number;
}

export interface SkippedImage {
  readonly item: ImageItem;
  readonly error: UnbraidError;
}

export interface Batch {
  /** float32 [n, 3, height, width], n = items.length: batchSize, or less at the end of the list. */
  readonly tensor: Float32Array;
  readonly height: number;
  readonly width: number;
  /** [n], -1 where unknown. */
  readonly labels: Int32Array;
  readonly items: readonly ImageItem[];
  /** Those gone without since the batch before. */
  readonly skipped: readonly SkippedImage[];
  /** Index into the list after this batch: where to start again. */
  readonly next: number;
}

type Loaded = PreparedImage | UnbraidError;

/**
 * Yields all images of the list from `start` on, in list order, `batchSize` at a time; a skipped image's place in its
 * batch is taken by the next. The same list from a batch's `next` on gives the same batches as the whole run did.
 *
 * While a batch is used, the next is being decoded; at most a batch of preprocessed images and `concurrency` decoded
 * ones are held besides the batch itself.
 *
 * @throws UnbraidError IMAGE_CORRUPT, IMAGE_FORMAT, IMAGE_TOO_LARGE, IMAGE_UNREADABLE of the first such image, unless
 *   `skipBad`; IMAGE_SIZE when images of a batch differ in size; IMAGES_ALL_BAD when every image of the list was skipped;
 *   IMAGE_WORKER when a thread of `pool` has ended; the signal's reason when it is aborted
 */
export async function* batches(options: LoaderOptions): AsyncGenerator<Batch, void, undefined> {
  const { root, items, spec, batchSize, signal, pool, maxPixels, start = 0 } = options;
  const { concurrency = pool?.concurrency ?? 4 } = options;
  for (const [name, value] of Object.entries({ batchSize, concurrency })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new RangeError(`${name} is ${value}, not a whole number above 0`);
  }
  const load = async (item: ImageItem): Promise<Loaded> => {
    try {
      const task = { root, path: item.path, spec, ...(maxPixels === undefined ? {} : { maxPixels }) };
      return await (pool === undefined ? prepareImage(task, signal) : pool.prepare(task));
    } catch (error) {
      // A bad image is a result like others, so that it is met in its turn and not when it happens to be decoded.
      if (isBadImage(error)) return error;
      throw error;
    }
  };

  let filling = new Filling(batchSize);
  let good = 0;
  let index = start;
  const ahead = Math.max(concurrency, batchSize);
  const rest = items.slice(start);
  for await (const { item, result } of inOrder(rest, load, { concurrency, ahead, ...(signal && { signal }) })) {
    index++;
    if (result instanceof UnbraidError) {
      if (options.skipBad !== true) throw result;
      filling.skipped.push({ item, error: result });
      options.onSkip?.({ item, error: result });
      continue;
    }
    good++;
    filling.add(item, result);
    if (filling.items.length === batchSize) {
      yield filling.finish(index);
      filling = new Filling(batchSize);
    }
  }
  if (filling.items.length > 0) yield filling.finish(index);
  if (good === 0 && start === 0 && items.length > 0) {
    throw new UnbraidError(
      "input",
      "IMAGES_ALL_BAD",
      `none of ${items.length} images could be read`,
      "See the reasons given for each; check the folder.",
    );
  }
}

/** A batch being filled. */
class Filling {
  readonly items: ImageItem[] = [];
  readonly skipped: SkippedImage[] = [];
  readonly #batchSize: number;
  #tensor = new Float32Array(0);
  #width = 0;
  #height = 0;

  constructor(batchSize: number) {
    this.#batchSize = batchSize;
  }

  add(item: ImageItem, image: PreparedImage): void {
    const [first] = this.items;
    if (first === undefined) {
      this.#width = image.width;
      this.#height = image.height;
      this.#tensor = new Float32Array(this.#batchSize * 3 * image.width * image.height);
    } else if (image.width !== this.#width || image.height !== this.#height) {
      throw new UnbraidError(
        "input",
        "IMAGE_SIZE",
        `images of one batch differ in size: ${first.path} is ${this.#width} x ${this.#height}, ` +
          `${item.path} is ${image.width} x ${image.height} (width x height, after preprocessing)`,
        "Give --resize and --crop, so that all become the same size.",
      );
    }
    this.#tensor.set(image.data, this.items.length * 3 * this.#width * this.#height);
    this.items.push(item);
  }

  finish(next: number): Batch {
    const n = this.items.length;
    return {
      tensor: this.#tensor.subarray(0, n * 3 * this.#width * this.#height),
      width: this.#width,
      height: this.#height,
      labels: Int32Array.from(this.items, (item) => item.label),
      items: this.items,
      skipped: this.skipped,
      next,
    };
  }
}
