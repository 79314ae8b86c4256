/** Numbers that are none. */

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

/** The remedy of NOT_FINITE. @param precision the name of the run's, float32's being none */
export const overflowRemedy = (precision: string | undefined): string =>
  precision === undefined
    ? "Check the preprocessing (mean, std, value range) and the model's weights: an activation or a gradient overflows float32, or a weight is not finite."
    : "Use --precision f32: float16 ends at 65504, which a weight or an activation exceeds.";
