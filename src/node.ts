/**
 * Unbraid in Node: all of the library, and what needs a file system, Dawn (the `webgpu` package) or image decoders
 * (`sharp`, loaded with the first image).
 *
 * @example
 * using adapter = await openAdapter();
 * using gpu = await Gpu.open(adapter.adapter, adapter);
 * using session = new Session(gpu, buildGraph(readModelFile("resnet50.onnx")));
 */

export * from "./index.ts";

export { modelDigest, readModelFile, sha256File, writeFileAtomic } from "./files.ts";
export {
  listAdapters,
  openAdapter,
  type AdapterDriver,
  type AdapterKind,
  type AdapterReport,
  type OpenAdapter,
} from "./gpu/dawn/adapters.ts";
export { readClasses, type Classes } from "./images/classes.ts";
export { imageListDigest } from "./images/digest.ts";
export {
  IMAGE_EXTENSIONS,
  listFiles,
  listImages,
  type ImageItem,
  type ImageList,
  type ListOptions,
} from "./images/folder.ts";
export { ImagePool, usualThreads } from "./images/image-pool.ts";
export type { Batch, LoaderOptions } from "./images/loader.ts";
export { readSidecar, sidecarPaths } from "./images/sidecar.ts";

import type { decodeImage as DecodeImage } from "./images/decode.ts";
import type { batches as Batches } from "./images/loader.ts";
import type { encodePng as EncodePng } from "./images/png.ts";

/** Images of a list, decoded and preprocessed ahead, in batches: see images/loader.ts. */
export async function* batches(...args: Parameters<typeof Batches>): ReturnType<typeof Batches> {
  yield* (await import("./images/loader.ts")).batches(...args);
}

/** An image file's bytes as RGB, equal to Pillow's: see images/decode.ts. */
export async function decodeImage(...args: Parameters<typeof DecodeImage>): ReturnType<typeof DecodeImage> {
  return (await import("./images/decode.ts")).decodeImage(...args);
}

/** An image's pixels as a PNG file's bytes: see images/png.ts. */
export async function encodePng(...args: Parameters<typeof EncodePng>): ReturnType<typeof EncodePng> {
  return (await import("./images/png.ts")).encodePng(...args);
}
