/** The floating-point types that weights are stored in: their bits, and rounding to them. */
import { halfBits, halfFromBits } from "../onnx/half.ts";

export interface ElementType {
  readonly bytes: number;
  /** u: a number that is rounded to the type (and does not over- or underflow) errs by at most u of itself. */
  readonly roundoff: number;
  /** Below this spacing the type has no numbers: half of it is the most that a subnormal errs by. */
  readonly spacing: number;
  /** Little-endian bits as numbers, exactly. */
  readonly decode: (raw: Uint8Array) => Float64Array;
  /** Numbers, rounded to nearest (ties to even), as little-endian bits. */
  readonly encode: (values: ArrayLike<number>) => Uint8Array;
}

const bits = (array: Float32Array | Float64Array | Uint16Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** A copy whose buffer begins where an array of wider elements may begin. */
const buffer = (raw: Uint8Array): ArrayBuffer => new Uint8Array(raw).buffer;

/** `value` rounded to so many bits of precision, with exponents from `least`; overflow is left to the caller. */
function roundTo(value: number, precision: number, least: number): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  const size = Math.abs(value);
  // Math.log2 may be off by one at powers of two: either spacing then gives the same multiple or one that is exact.
  let exponent = Math.floor(Math.log2(size));
  if (2 ** exponent > size) exponent--;
  const spacing = 2 ** (Math.max(exponent, least) - precision + 1);
  const scaled = size / spacing; // exact: a power of two
  const down = Math.floor(scaled);
  const rest = scaled - down;
  const up = rest > 0.5 || (rest === 0.5 && down % 2 !== 0);
  const rounded = (up ? down + 1 : down) * spacing;
  return value < 0 ? -rounded : rounded;
}

const upper = (raw: Uint8Array): Uint8Array => raw.filter((_, k) => k % 4 >= 2);

/** By ONNX name. The machine is little-endian, as every one that runs WebGPU is. */
export const ELEMENTS: Partial<Record<string, ElementType>> = {
  float32: {
    ...{ bytes: 4, roundoff: 2 ** -24, spacing: 2 ** -149 },
    decode: (raw) => Float64Array.from(new Float32Array(buffer(raw))),
    encode: (values) => bits(Float32Array.from(values)),
  },
  float64: {
    ...{ bytes: 8, roundoff: 2 ** -53, spacing: 2 ** -1074 },
    decode: (raw) => new Float64Array(buffer(raw)),
    encode: (values) => bits(Float64Array.from(values)),
  },
  bfloat16: {
    ...{ bytes: 2, roundoff: 2 ** -8, spacing: 2 ** -133 },
    decode: (raw) =>
      Float64Array.from(new Float32Array(Uint32Array.from(new Uint16Array(buffer(raw)), (half) => half << 16).buffer)),
    encode: (values) => upper(bits(Float32Array.from(values, (v) => roundTo(v, 8, -126)))),
  },
  float16: {
    ...{ bytes: 2, roundoff: 2 ** -11, spacing: 2 ** -24 },
    decode: (raw) => Float64Array.from(new Uint16Array(buffer(raw)), halfFromBits),
    encode: (values) => bits(Uint16Array.from(values, halfBits)),
  },
};
