/**
 * Pillow's antialiased bilinear resize, bit for bit, for 8-bit RGB.
 *
 * A separable filter: every output pixel is a weighted mean of the input pixels within `support` of its centre, where
 * the triangle filter's support of 1 is stretched by the scale when shrinking (that is the antialiasing). Taps outside
 * the image are dropped and the rest renormalised. Weights are rounded to fixed point with 22 fractional bits; rows and
 * columns are filtered in turn, each time with rounding to 8 bits. Those roundings are visible in the last bit of most
 * pixels, which is why no faster or finer resize will do here.
 *
 * Source of the arithmetic: Pillow's documentation of `Image.resize` and its observable results (checked bit for bit
 * against Pillow 13 on random images; see test/images/preprocess.test.ts).
 */

/** Weights are 32-bit integers: 8 bits for the pixel, 2 to spare for sums above one, the rest for the fraction. */
const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

/** For each output position: the first input position, how many there are, and their weights (`stride` apart). */
interface Taps {
  first: Int32Array;
  count: Int32Array;
  weights: Int32Array;
  stride: number;
}

/** Taps for output positions `from .. from+length-1` of an axis that goes from `inSize` to `outSize` pixels. */
function bilinearTaps(inSize: number, outSize: number, from: number, length: number): Taps {
  const scale = inSize / outSize;
  const support = Math.max(scale, 1);
  const inverse = 1 / support;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(length);
  const count = new Int32Array(length);
  const weights = new Int32Array(length * stride);
  const exact = new Float64Array(stride);
  for (let i = 0; i < length; i++) {
    const centre = (from + i + 0.5) * scale;
    const begin = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(inSize, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let x = begin; x < end; x++) {
      const w = Math.max(0, 1 - Math.abs((x - centre + 0.5) * inverse));
      exact[x - begin] = w;
      sum += w;
    }
    first[i] = begin;
    count[i] = end - begin;
    for (let k = 0; k < end - begin; k++) {
      const w = sum === 0 ? 0 : (exact[k] ?? 0) / sum;
      weights[i * stride + k] = Math.trunc(w * (1 << PRECISION_BITS) + 0.5);
    }
  }
  return { first, count, weights, stride };
}

/** The identity, for an axis whose size does not change: no filter, so no rounding either. */
function identityTaps(from: number, length: number): Taps {
  return {
    first: Int32Array.from({ length }, (_, i) => from + i),
    count: new Int32Array(length).fill(1),
    weights: new Int32Array(length).fill(1 << PRECISION_BITS),
    stride: 1,
  };
}

const axisTaps = (inSize: number, outSize: number, from: number, length: number): Taps =>
  inSize === outSize ? identityTaps(from, length) : bilinearTaps(inSize, outSize, from, length);

/** A part of the resized image, in its pixels; it lies wholly inside. */
export interface Window {
  left: number;
  top: number;
  width: number;
  height: number;
}

/**
 * Pillow filters rows first, then columns; from version 13 on it begins with the columns where that saves work, by this
 * rule (found by comparing 400 random sizes; Pillow's pull request 9549). Upright images of more than 1:2, shrunk, are
 * the only ones of `Resize(N)` that it concerns, and there it changes last bits.
 */
const columnsFirst = (width: number, height: number, outWidth: number, outHeight: number): boolean =>
  height > outHeight && height - outHeight > 2 * (width - outWidth);

/** The range of input positions that any of the taps looks at. */
function reach(taps: Taps): { begin: number; length: number } {
  const last = taps.first.length - 1;
  const begin = taps.first[0] ?? 0;
  return { begin, length: (taps.first[last] ?? 0) + (taps.count[last] ?? 0) - begin };
}

/** The same taps on an axis whose first `begin` positions have been left out. */
const shifted = (taps: Taps, begin: number): Taps => ({ ...taps, first: taps.first.map((f) => f - begin) });

/**
 * The pixels that `window` shows of an image resized to `outWidth` x `outHeight`: the same bytes as resizing all of it
 * and cropping, without computing the rest.
 *
 * @param data interleaved RGB, `height * width * 3` bytes
 * @returns interleaved RGB, `window.height * window.width * 3` bytes
 */
export function resampleWindow(
  data: Uint8Array,
  width: number,
  height: number,
  outWidth: number,
  outHeight: number,
  window: Window,
): Uint8Array {
  const across = axisTaps(width, outWidth, window.left, window.width);
  const down = axisTaps(height, outHeight, window.top, window.height);
  const out = new Uint8Array(window.height * window.width * 3);
  if (columnsFirst(width, height, outWidth, outHeight)) {
    const columns = reach(across);
    const between = new Uint8Array(window.height * columns.length * 3);
    const source = { bytes: data, offset: columns.begin * 3, pitch: width * 3, width: columns.length };
    filterColumns(down, source, between);
    filterRows(shifted(across, columns.begin), between, columns.length, window.height, out);
  } else {
    const rows = reach(down);
    const between = new Uint8Array(rows.length * window.width * 3);
    const source = data.subarray(rows.begin * width * 3);
    filterRows(across, source, width, rows.length, between);
    const filtered = { bytes: between, offset: 0, pitch: window.width * 3, width: window.width };
    filterColumns(shifted(down, rows.begin), filtered, out);
  }
  return out;
}

/** Filters each of `height` rows of `width` pixels. */
function filterRows(taps: Taps, input: Uint8Array, width: number, height: number, output: Uint8Array): void {
  const outWidth = taps.first.length;
  for (let y = 0; y < height; y++) {
    filter(taps, 1, input, y * width * 3, 3, output, y * outWidth * 3, 3);
  }
}

/** Filters down the columns of an image whose rows begin at `offset` and lie `pitch` bytes apart. */
function filterColumns(
  taps: Taps,
  input: { bytes: Uint8Array; offset: number; pitch: number; width: number },
  output: Uint8Array,
): void {
  filter(taps, input.width, input.bytes, input.offset, input.pitch, output, 0, input.width * 3);
}

/**
 * Filters along one axis. Positions on the axis lie `pitchIn` (`pitchOut`) bytes apart; each is `pixels` RGB pixels wide,
 * all filtered alike.
 */
function filter(
  taps: Taps,
  pixels: number,
  input: Uint8Array,
  offsetIn: number,
  pitchIn: number,
  output: Uint8Array,
  offsetOut: number,
  pitchOut: number,
): void {
  const { first, count, weights, stride } = taps;
  for (let i = 0; i < first.length; i++) {
    const begin = offsetIn + (first[i] ?? 0) * pitchIn;
    const n = count[i] ?? 0;
    for (let p = 0; p < pixels * 3; p += 3) {
      // Starting at one half makes the shift below round. No sum overflows 31 bits: the weights add up to 2^22, give or
      // take half a unit each.
      let r = HALF;
      let g = HALF;
      let b = HALF;
      for (let k = 0, at = begin + p, w = i * stride; k < n; k++, at += pitchIn, w++) {
        const weight = weights[w] ?? 0;
        r += (input[at] ?? 0) * weight;
        g += (input[at + 1] ?? 0) * weight;
        b += (input[at + 2] ?? 0) * weight;
      }
      const to = offsetOut + i * pitchOut + p;
      output[to] = Math.min(255, r >> PRECISION_BITS);
      output[to + 1] = Math.min(255, g >> PRECISION_BITS);
      output[to + 2] = Math.min(255, b >> PRECISION_BITS);
    }
  }
}
