/** One image file, read, decoded and preprocessed: the same in the main thread and in a worker. Node only. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { UnbraidError } from "../errors.ts";
import { decodeImage } from "./decode.ts";
import { unreadable } from "./image-errors.ts";
import { normalise, resizeCropRgb, type PreprocessSpec, type RgbImage } from "./preprocess.ts";

export interface LoadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly maxPixels?: number | undefined;
}

/**
 * An image's bytes as a decoded image: reading, decoding and naming what is wrong.
 * @param item its path is relative to `root`
 * @throws UnbraidError IMAGE_UNREADABLE, and as decodeImage; the signal's reason
 */
export async function loadImage(
  root: string,
  item: { readonly path: string },
  { signal, maxPixels }: LoadOptions = {},
): Promise<RgbImage> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(resolve(root, item.path), { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw unreadable(item.path, error);
  }
  return decodeImage(bytes, item.path, maxPixels === undefined ? {} : { maxPixels });
}

/** What a thread needs to know of an image. */
export interface PrepareTask {
  readonly root: string;
  /** Relative to `root`. */
  readonly path: string;
  readonly spec: PreprocessSpec;
  readonly maxPixels?: number;
}

export interface PreparedImage {
  readonly width: number;
  readonly height: number;
  /** float32 [3, height, width], the only view of its buffer. */
  readonly data: Float32Array<ArrayBuffer>;
}

/** @throws UnbraidError as loadImage and resizeCropRgb, the image named */
export async function prepareImage(task: PrepareTask, signal?: AbortSignal): Promise<PreparedImage> {
  const { root, path, spec, maxPixels } = task;
  const decoded = await loadImage(root, task, { signal, maxPixels });
  try {
    const image = resizeCropRgb(decoded, spec);
    return { width: image.width, height: image.height, data: normalise(image, spec) };
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
    throw new UnbraidError(error.kind, error.code, `${path}: ${error.message}`, error.remedy, { cause: error });
  }
}
