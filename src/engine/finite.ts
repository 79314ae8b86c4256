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
