/**
 * Which channels are important on an image (METHOD.md A2): those whose relevance reaches a share tau of the image's
 * total positive relevance.
 */
import { roundToHalf } from "../onnx/half.ts";

/**
 * The two ways to decide. "exact": float32 relevances as they come, sums and products in float64 here and in
 * float32 in shaders/importance.wgsl (the two may differ for a relevance within rounding of the threshold), and no channel is
 * important on an image without positive relevance. "half": the original's float16 steps, by which an image without
 * positive relevance counts every channel whose relevance rounds to 0. A study counts both, so that `find` can do either.
 */
export const VARIANTS = ["exact", "half"] as const;
export type Variant = (typeof VARIANTS)[number];

type Relevance = Float32Array | Float64Array;

/** What an image's relevances are compared as, and their total positive part. */
function prepare(relevance: Relevance, variant: Variant): { compared: Relevance; total: number } {
  const compared = variant === "half" ? new Float64Array(relevance).map(roundToHalf) : relevance;
  let total = 0;
  for (const r of compared) total += Math.max(r, 0);
  return { compared, total };
}

/** The smallest relevance that is important; NaN, which nothing reaches, where none can be. */
function threshold(total: number, tau: number, variant: Variant): number {
  if (variant === "exact") return total > 0 ? tau * total : NaN;
  // As numpy and PyTorch do it: the total rounded to float16, tau to float32, their product to float32, then to float16.
  return roundToHalf(Math.fround(roundToHalf(total) * Math.fround(tau)));
}

/**
 * The channels that are important on one image.
 * @param relevance [C] R_n[c] = sum over positions of z g, float32, before any rounding
 * @returns [C] true where important
 */
export function importantChannels(relevance: Relevance, tau: number, variant: Variant): boolean[] {
  const { compared, total } = prepare(relevance, variant);
  const least = threshold(total, tau, variant);
  return Array.from(compared, (r) => r >= least);
}

/**
 * Adds one image's hits to its class's counts.
 * @param relevance [C] of the image
 * @param counts [2][taus][C]: variant (in the order of VARIANTS), tau, channel
 */
export function countImportant(
  relevance: Float32Array,
  taus: readonly number[],
  counts: Uint16Array | Uint32Array,
): void {
  const channels = relevance.length;
  VARIANTS.forEach((variant, v) => {
    const { compared, total } = prepare(relevance, variant);
    taus.forEach((tau, k) => {
      const least = threshold(total, tau, variant);
      const offset = (v * taus.length + k) * channels;
      for (let c = 0; c < channels; c++)
        if ((compared[c] ?? NaN) >= least) counts[offset + c] = (counts[offset + c] ?? 0) + 1;
    });
  });
}

/** 32-bit words that hold an image's bits: [2][taus][C / 32, rounded up]. */
export const importanceWords = (taus: number, channels: number): number =>
  VARIANTS.length * taus * Math.ceil(channels / 32);

/**
 * Adds one image's hits, decided by shaders/importance.wgsl, to its class's counts.
 * @param bits [2][taus][words] of the image, a bit a channel, the lowest first
 * @param counts [2][taus][C]
 */
export function addImportanceBits(bits: Uint32Array, channels: number, counts: Uint16Array | Uint32Array): void {
  const words = Math.ceil(channels / 32);
  for (let i = 0; i < bits.length; i++) {
    const offset = Math.floor(i / words) * channels + 32 * (i % words);
    for (let left = bits[i] ?? 0; left !== 0; left &= left - 1) {
      const at = offset + 31 - Math.clz32(left & -left);
      counts[at] = (counts[at] ?? 0) + 1;
    }
  }
}
