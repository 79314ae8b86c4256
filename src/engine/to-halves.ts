/** float32 to float16 by the array, for weights: what `halfBits` (onnx/half.ts) gives, twenty times as fast. */

/** The bits of each number rounded to the nearest float16, ties to even; infinity from 65520 on. NaN becomes 0x7e00. */
export function toHalves(numbers: Float32Array): Uint16Array {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const halves = new Uint16Array(words.length);
  const small = new Float32Array(1);
  const bits = new Uint32Array(small.buffer);
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0;
    const size = word & 0x7fffffff;
    let half: number;
    if (size >= 0x47800000) {
      half = size > 0x7f800000 ? 0x7e00 : 0x7c00; // from 2^16 on
    } else if (size >= 0x38800000) {
      // Exponents are 112 apart, fractions 13 bits; a carry goes on into the exponent, up to infinity.
      half = (size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13;
    } else {
      // Below 2^-14 the spacing is 2^-24, that of float32 from 0.5 to 1: adding 0.5 rounds to it.
      bits[0] = size;
      small[0] = (small[0] ?? 0) + 0.5;
      half = bits[0] - 0x3f000000;
    }
    halves[i] = half === 0x7e00 ? half : ((word >>> 16) & 0x8000) | half;
  }
  return halves;
}
