/** Numbers that are none. */
import type { Precision } from "./halves.ts";

/**
 * How many elements are NaN or infinite. `Session.run` gives what the network computes, whatever it is: a caller that
 * must not take an overflow for a result asks here.
 */
export function countNonFinite(data: Iterable<number>): number {
  let count = 0;
  // x - x is 0 for every finite x, else NaN.
  for (const x of data) if (x - x !== 0) count++;
  return count;
}

/** What to do where they are found: the remedy of NOT_FINITE. */
export const overflowRemedy = (precision: Precision): string =>
  precision === "f16"
    ? "Use precision f32 (--precision f32): float16 ends at 65504, which a weight or an activation exceeds."
    : "Check the preprocessing and the model's weights: an activation overflows float32, or a weight is not finite.";
