/**
 * From a decoded image to a network's input, as torchvision does it on PIL images:
 * `Compose([Resize(N), CenterCrop(M), ToTensor(), Normalize(mean, std)])`, bit for bit on the same pixels.
 */
import { UnbraidError } from "../errors.ts";
import { resampleWindow } from "./resample.ts";

/** Eight-bit RGB. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** Interleaved: `data[(y * width + x) * 3 + channel]`. */
  readonly data: Uint8Array;
}

export type Triple = readonly [number, number, number];

/** How an image becomes the network's input. */
export interface PreprocessSpec {
  /** The shorter side's length in pixels after the resize; without it nothing is resized. */
  readonly resize?: number;
  /** Side of the square cut from the centre, in pixels; without it nothing is cut. Smaller images get a black border. */
  readonly crop?: number;
  /** Subtracted from each channel of values in 0..1. In the order of `channels`. */
  readonly mean: Triple;
  /** Divides each channel after that. Not zero. In the order of `channels`. */
  readonly std: Triple;
  /** The order in which the network wants the channels; `rgb` unless given. */
  readonly channels?: "rgb" | "bgr";
}

/**
 * The most pixels that an image may have, before and after the resize: where Pillow begins to warn of a decompression
 * bomb (a third of a gigabyte as RGBA).
 */
export const MAX_PIXELS = 89_478_485;

/**
 * The size after torchvision's `Resize(resize)`: the shorter side becomes `resize`, the other
 * `int(resize * long / short)`.
 */
export function resizedSize(width: number, height: number, resize: number): { width: number; height: number } {
  const other = Math.trunc((resize * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? { width: resize, height: other } : { width: other, height: resize };
}

/** Python's `round`: halves go to the even neighbour. */
function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

/** Along one axis: where the crop begins in the image, how much of the image it shows, and how much black comes first. */
function cropAxis(size: number, crop: number): { begin: number; length: number; pad: number } {
  if (crop > size) return { begin: 0, length: size, pad: Math.floor((crop - size) / 2) };
  return { begin: roundHalfEven((size - crop) / 2), length: crop, pad: 0 };
}

/**
 * torchvision's `Resize` and `CenterCrop`, each only if the spec has it. Only the pixels that the crop shows are
 * computed; they are the same as those of the whole.
 *
 * @throws UnbraidError IMAGE_SIZE when the result would have more than {@link MAX_PIXELS} pixels (a sliver of an image,
 *   resized without a crop)
 */
export function resizeCropRgb(image: RgbImage, spec: Pick<PreprocessSpec, "resize" | "crop">): RgbImage {
  const { resize, crop } = spec;
  const size = resize === undefined ? image : resizedSize(image.width, image.height, resize);
  const across = cropAxis(size.width, crop ?? size.width);
  const down = cropAxis(size.height, crop ?? size.height);
  const width = crop ?? size.width;
  const height = crop ?? size.height;
  if (width * height > MAX_PIXELS) {
    throw new UnbraidError(
      "input",
      "IMAGE_SIZE",
      `an image of ${image.width} x ${image.height} would become ${width} x ${height}, more than ${MAX_PIXELS} pixels`,
      "Add --crop, or leave the image out.",
    );
  }
  const shown = resampleWindow(image.data, image.width, image.height, size.width, size.height, {
    left: across.begin,
    top: down.begin,
    width: across.length,
    height: down.length,
  });
  if (across.length === width && down.length === height) return { width, height, data: shown };

  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < down.length; y++) {
    const row = shown.subarray(y * across.length * 3, (y + 1) * across.length * 3);
    data.set(row, ((y + down.pad) * width + across.pad) * 3);
  }
  return { width, height, data };
}

/** What `ToTensor` and `Normalize` make of each byte, in float32 with torchvision's order: (x / 255 - mean) / std. */
function normaliseTable(mean: number, std: number): Float32Array {
  const mean32 = Math.fround(mean);
  const std32 = Math.fround(std);
  // Rounding a float64 quotient or difference of float32 values to float32 is the float32 operation, exactly.
  return Float32Array.from({ length: 256 }, (_, x) => Math.fround(Math.fround(Math.fround(x / 255) - mean32) / std32));
}

/**
 * The network's input for one image.
 *
 * @returns float32 [3, H, W], where H and W are `crop`, or else the (resized) image's
 * @throws UnbraidError as {@link resizeCropRgb}
 */
export function preprocess(image: RgbImage, spec: PreprocessSpec): Float32Array {
  return normalise(resizeCropRgb(image, spec), spec);
}

/**
 * `ToTensor` and `Normalize` alone.
 *
 * @returns float32 [3, image.height, image.width]
 */
export function normalise(
  image: RgbImage,
  spec: Pick<PreprocessSpec, "mean" | "std" | "channels">,
): Float32Array<ArrayBuffer> {
  const plane = image.width * image.height;
  const out = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    const table = normaliseTable(spec.mean[channel] ?? 0, spec.std[channel] ?? 1);
    const source = spec.channels === "bgr" ? 2 - channel : channel;
    for (let i = 0, at = source; i < plane; i++, at += 3) {
      out[channel * plane + i] = table[image.data[at] ?? 0] ?? 0;
    }
  }
  return out;
}
