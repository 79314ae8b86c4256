/**
 * float16 (IEEE 754 binary16) on the host: tensors of files have it, and the original keeps every per-image number in it,
 * so `--compat official` must round where it rounds (METHOD.md, part A).
 */

/** From here on values round to infinity: halfway between 65504 and 65536, and ties go to the even 65536. */
const OVERFLOW = 65520;
const MIN_EXPONENT = -14; // of normal numbers; below, the spacing stays 2^-24

const float64 = new Float64Array(1);
const words = new Uint32Array(float64.buffer);
const HIGH_WORD = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 1 : 0;

/** 1.5 * 2^52 spacings for each exponent from -14 to 15: adding and subtracting it rounds to a multiple of the spacing. */
const ROUNDERS = Float64Array.from({ length: 30 }, (_, k) => 1.5 * 2 ** (52 + MIN_EXPONENT + k - 10));

/**
 * `x` rounded once to float16 (to nearest, ties to even; subnormals kept; overflow to infinity), as a float64.
 * Same as numpy's `np.float16(x)`.
 */
export function roundToHalf(x: number): number {
  const size = Math.abs(x);
  if (!(size < OVERFLOW)) return Number.isNaN(x) ? NaN : x > 0 ? Infinity : -Infinity;
  if (size === 0) return x;
  float64[0] = size;
  const exponent = ((words[HIGH_WORD] ?? 0) >>> 20) - 1023;
  const rounder = ROUNDERS[Math.max(exponent, MIN_EXPONENT) - MIN_EXPONENT] ?? 0;
  // float64's own round-half-to-even does the work: the sum's last place is one spacing of float16.
  const rounded = size + rounder - rounder;
  return x < 0 ? -rounded : rounded;
}

/** The 16 bits of `x` rounded to float16. NaN is 0x7e00. */
export function halfBits(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const value = roundToHalf(x);
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Infinity) return sign | 0x7c00;
  if (size < 2 ** MIN_EXPONENT) return sign | (size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size)); // exact enough: size has 11 significant bits
  return sign | (((exponent + 15) << 10) + (size * 2 ** (10 - exponent) - 1024));
}

/** The number that the 16 bits of a float16 stand for. */
export function halfFromBits(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
