/**
 * Pictures as spectra (Olah, Mordvintsev and Schubert, "Feature Visualization", Distill 2017): ascent on Fourier
 * coefficients that are scaled like those of natural images moves coarse and fine structure alike, where ascent on pixels
 * ends in high-frequency noise.
 */
import { invariant } from "../../errors.ts";

/** In-place complex FFT of one length, a power of two (Cooley and Tukey 1965, radix 2). */
class Fft {
  readonly length: number;
  readonly #cos: Float64Array;
  readonly #sin: Float64Array;
  readonly #reversed: Uint32Array;

  constructor(length: number) {
    invariant(length >= 2 && Number.isInteger(Math.log2(length)), `an FFT of length ${length}`);
    this.length = length;
    const angle = (k: number): number => (-2 * Math.PI * k) / length;
    this.#cos = Float64Array.from({ length: length / 2 }, (_, k) => Math.cos(angle(k)));
    this.#sin = Float64Array.from({ length: length / 2 }, (_, k) => Math.sin(angle(k)));
    const bits = Math.log2(length);
    this.#reversed = Uint32Array.from({ length }, (_, k) => {
      let r = 0;
      for (let b = 0; b < bits; b++) r |= ((k >>> b) & 1) << (bits - 1 - b);
      return r;
    });
  }

  /** sum_x value[x] e^(-2 pi i k x / length), or with e^(+...) when `inverse`, without a factor. */
  run(re: Float64Array, im: Float64Array, inverse: boolean): void {
    const n = this.length;
    const [cos, sin] = [this.#cos, this.#sin];
    for (let k = 0; k < n; k++) {
      const r = this.#reversed[k] ?? 0;
      if (r > k) {
        swap(re, k, r);
        swap(im, k, r);
      }
    }
    const direction = inverse ? -1 : 1;
    for (let size = 2; size <= n; size *= 2) {
      const [half, step] = [size / 2, n / size];
      for (let start = 0; start < n; start += size)
        // Without destructuring: the arrays that it makes here would be most of the time.
        for (let k = 0; k < half; k++) {
          const c = cos[k * step] ?? 0;
          const s = direction * (sin[k * step] ?? 0);
          const a = start + k;
          const b = a + half;
          const rb = re[b] ?? 0;
          const ib = im[b] ?? 0;
          const x = rb * c - ib * s;
          const y = rb * s + ib * c;
          const ra = re[a] ?? 0;
          const ia = im[a] ?? 0;
          re[b] = ra - x;
          im[b] = ia - y;
          re[a] = ra + x;
          im[a] = ia + y;
        }
    }
  }
}

function swap(values: Float64Array, a: number, b: number): void {
  const kept = values[a] ?? 0;
  values[a] = values[b] ?? 0;
  values[b] = kept;
}

/** One square plane of a picture as its spectrum. */
export class FourierPlane {
  /** Side in pixels, a power of two. */
  readonly size: number;
  readonly #fft: Fft;
  /** [size, size] what each coefficient is multiplied by: one over its frequency. */
  readonly #scale: Float64Array;
  readonly #rowRe: Float64Array;
  readonly #rowIm: Float64Array;

  constructor(size: number) {
    this.size = size;
    this.#fft = new Fft(size);
    this.#rowRe = new Float64Array(size);
    this.#rowIm = new Float64Array(size);
    const frequency = (k: number): number => Math.min(k, size - k) / size;
    this.#scale = Float64Array.from({ length: size * size }, (_, k) => {
      const f = Math.hypot(frequency(Math.floor(k / size)), frequency(k % size));
      return 1 / Math.max(f, 1 / size);
    });
    // A white spectrum of unit variance shall give pixels of unit variance.
    const power = this.#scale.reduce((sum, s) => sum + s * s, 0);
    for (let k = 0; k < this.#scale.length; k++) this.#scale[k] = (this.#scale[k] ?? 0) / Math.sqrt(power);
  }

  /** Numbers that describe one plane: real parts [size, size], then imaginary parts. */
  get parameters(): number {
    return 2 * this.size * this.size;
  }

  /**
   * @param spectrum [2, size, size]
   * @returns [size, size] pixels: the real part of the inverse transform of the scaled spectrum
   */
  pixels(spectrum: Float64Array): Float64Array {
    const n = this.#scale.length;
    const re = this.#scale.map((s, k) => s * (spectrum[k] ?? 0));
    const im = this.#scale.map((s, k) => s * (spectrum[n + k] ?? 0));
    this.#transform(re, im, true);
    return re;
  }

  /** The gradient with regard to the spectrum, from that with regard to the pixels. @param pixels [size, size] */
  gradient(pixels: Float64Array): Float64Array {
    const n = this.#scale.length;
    const re = pixels.slice();
    const im = new Float64Array(n);
    this.#transform(re, im, false);
    const out = new Float64Array(2 * n);
    for (let k = 0; k < n; k++) {
      const s = this.#scale[k] ?? 0;
      out[k] = s * (re[k] ?? 0);
      out[n + k] = s * (im[k] ?? 0);
    }
    return out;
  }

  #transform(re: Float64Array, im: Float64Array, inverse: boolean): void {
    const size = this.size;
    const [rowRe, rowIm] = [this.#rowRe, this.#rowIm];
    for (let y = 0; y < size; y++)
      this.#fft.run(re.subarray(y * size, (y + 1) * size), im.subarray(y * size, (y + 1) * size), inverse);
    for (let x = 0; x < size; x++) {
      for (let y = 0; y < size; y++) {
        rowRe[y] = re[y * size + x] ?? 0;
        rowIm[y] = im[y * size + x] ?? 0;
      }
      this.#fft.run(rowRe, rowIm, inverse);
      for (let y = 0; y < size; y++) {
        re[y * size + x] = rowRe[y] ?? 0;
        im[y * size + x] = rowIm[y] ?? 0;
      }
    }
  }
}
