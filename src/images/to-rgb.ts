/** Stored samples to interleaved 8-bit RGB, by Pillow's formulas. */

type Samples = Uint8Array | Uint16Array;

/** The first three of `channels`, without their lowest `shift` bits; alpha and what else follows is dropped. */
export function takeRgb(samples: Samples, channels: number, pixels: number, shift: number): Uint8Array {
  if (channels === 3 && shift === 0 && samples instanceof Uint8Array) return samples;
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0, from = 0; i < rgb.length; i += 3, from += channels) {
    rgb[i] = (samples[from] ?? 0) >> shift;
    rgb[i + 1] = (samples[from + 1] ?? 0) >> shift;
    rgb[i + 2] = (samples[from + 2] ?? 0) >> shift;
  }
  return rgb;
}

/** The first of `channels`, made a byte, three times. */
export function greyToRgb(
  samples: Samples,
  channels: number,
  pixels: number,
  toByte: (sample: number) => number,
): Uint8Array {
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0, from = 0; i < rgb.length; i += 3, from += channels) {
    rgb.fill(toByte(samples[from] ?? 0), i, i + 3);
  }
  return rgb;
}

/**
 * CMYK (0 is no ink) without colour management: each of C, M, Y darkens what black leaves, v = (1 - k)(1 - ink), in
 * Pillow's rounding of the product of two bytes over 255.
 */
export function cmykToRgb(samples: Samples, channels: number, pixels: number): Uint8Array {
  const rgb = new Uint8Array(pixels * 3);
  for (let i = 0, from = 0; i < rgb.length; i += 3, from += channels) {
    const light = 255 - (samples[from + 3] ?? 0);
    for (let ink = 0; ink < 3; ink++) {
      const product = (samples[from + ink] ?? 0) * light + 128;
      rgb[i + ink] = light - (((product >> 8) + product) >> 8);
    }
  }
  return rgb;
}
