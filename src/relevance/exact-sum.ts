/**
 * Sums of float32 numbers whose result does not depend on order or grouping, bit for bit: a study that was resumed,
 * sharded and merged, or run with another batch size is the same study.
 *
 * The idea is that of indexed (binned) summation (Demmel and Nguyen, "Parallel Reproducible Summation", IEEE
 * Transactions on Computers 64(7), 2015). The number line is cut into fixed bins of 30 bits: bin b holds multiples of
 * g_b = 2^(30(b-5)). Each contribution is cut into slices, one a bin, from its highest bin downwards; slices are added
 * as exact integers (in units of g_b) inside a float64. An accumulator keeps the two highest bins that it has needed,
 * so slices below them are lost: they are the same slices in any order, for the bins are fixed and not relative.
 *
 * Error: what is lost of one contribution is at most g_(b-1)/2 <= 2^-31 m, where m is the largest contribution in size
 * to that accumulator (float32 itself rounds m by 2^-25 m). So |sum - exact| <= n 2^-31 m, and usually far less; a sum
 * whose contributions all lie within 2^30 of the grid that m needs is exact.
 * Range: every finite float32. Capacity: 2^23 contributions, which keeps a bin's integer below 2^53.
 */
import { invariant, UnbraidError } from "../errors.ts";

const WIDTH = 30;
const BINS = 10; // 2^-150 (float32's smallest is 2^-149) to 2^150 (its largest is below 2^128)
const LOWEST = -5;

/** Contributions an accumulator can take: n * 2^29 units of a bin must stay within 2^53. */
export const MAX_CONTRIBUTIONS = 2 ** 23;
/** Memory of one accumulator. */
export const BYTES_PER_SUM = 17;

const GRID = Float64Array.from({ length: BINS }, (_, b) => 2 ** (WIDTH * (b + LOWEST)));
/** Up to here a number's slice in bin b + 1 is zero (half its grid, and ties round to even). */
const LIMIT = GRID.map((g) => g * 2 ** (WIDTH - 1));
/** Adding and subtracting 1.5 * 2^52 g rounds to the nearest multiple of g. */
const ROUNDER = GRID.map((g) => 1.5 * 2 ** 52 * g);
const ROUNDER_BELOW = ROUNDER.map((r) => r * 2 ** -WIDTH);

/** What a file keeps of the accumulators. */
export interface ExactSumsState {
  /** Vectors added. */
  readonly contributions: number;
  /** The highest bin in use. */
  readonly bins: Uint8Array;
  /** The sum of slices in that bin, and in the one below it. */
  readonly high: Float64Array;
  readonly low: Float64Array;
}

/** A vector of accumulators. */
export class ExactSums {
  readonly length: number;
  #contributions = 0;
  readonly #bins: Uint8Array;
  readonly #high: Float64Array;
  readonly #low: Float64Array;

  constructor(length: number) {
    this.length = length;
    this.#bins = new Uint8Array(length);
    this.#high = new Float64Array(length);
    this.#low = new Float64Array(length);
  }

  get bytes(): number {
    return this.length * BYTES_PER_SUM;
  }

  get contributions(): number {
    return this.#contributions;
  }

  get state(): ExactSumsState {
    return { contributions: this.#contributions, bins: this.#bins, high: this.#high, low: this.#low };
  }

  /**
   * Adds `values[offset + i]` to accumulator i. Values must be finite float32 numbers: callers check, so that a batch
   * is added wholly or not at all.
   * @throws UnbraidError SUM_CAPACITY after 2^23 vectors
   */
  addVector(values: Float32Array, offset = 0): void {
    invariant(offset >= 0 && offset + this.length <= values.length, "vector shorter than its accumulators");
    this.#take(1);
    const bins = this.#bins;
    const high = this.#high;
    const low = this.#low;
    for (let i = 0; i < bins.length; i++) {
      const value = values[offset + i] ?? 0;
      let bin = bins[i] ?? 0;
      if (Math.abs(value) > (LIMIT[bin] ?? 0)) {
        do bin++;
        while (Math.abs(value) > (LIMIT[bin] ?? Infinity));
        this.#raise(i, bin);
      }
      const rounder = ROUNDER[bin] ?? 0;
      const slice = value + rounder - rounder;
      const rounderBelow = ROUNDER_BELOW[bin] ?? 0;
      high[i] = (high[i] ?? 0) + slice;
      low[i] = (low[i] ?? 0) + (value - slice + rounderBelow - rounderBelow);
    }
  }

  /**
   * Adds the other's sums: the same bits as if its contributions had been added here.
   * @throws UnbraidError SUM_CAPACITY when there are more than 2^23 contributions together
   */
  merge(other: ExactSums): void {
    invariant(other.length === this.length, `${other.length} accumulators merged into ${this.length}`);
    this.#take(other.#contributions);
    for (let i = 0; i < this.length; i++) {
      const theirs = other.#bins[i] ?? 0;
      if (theirs > (this.#bins[i] ?? 0)) this.#raise(i, theirs);
      const above = (this.#bins[i] ?? 0) - theirs;
      if (above === 0) {
        this.#high[i] = (this.#high[i] ?? 0) + (other.#high[i] ?? 0);
        this.#low[i] = (this.#low[i] ?? 0) + (other.#low[i] ?? 0);
      } else if (above === 1) {
        this.#low[i] = (this.#low[i] ?? 0) + (other.#high[i] ?? 0);
      }
    }
  }

  /** The sums, each rounded once to float64. */
  toFloat64(): Float64Array {
    return this.#high.map((h, i) => h + (this.#low[i] ?? 0));
  }

  /**
   * Accumulators with this state (which is copied), or undefined when no additions could have led to it: a bin that
   * does not exist, or a sum that is not a multiple of its bin's grid or is larger than its contributions allow.
   */
  static fromState(state: ExactSumsState): ExactSums | undefined {
    const { contributions, bins, high, low } = state;
    if (!Number.isInteger(contributions) || contributions < 0 || contributions > MAX_CONTRIBUTIONS) return undefined;
    if (high.length !== bins.length || low.length !== bins.length) return undefined;
    const sums = new ExactSums(bins.length);
    sums.#contributions = contributions;
    for (let i = 0; i < bins.length; i++) {
      const bin = bins[i] ?? 0;
      const grid = GRID[bin];
      if (grid === undefined) return undefined;
      const units = [(high[i] ?? NaN) / grid, ((low[i] ?? NaN) / grid) * 2 ** WIDTH];
      const most = contributions * 2 ** (WIDTH - 1);
      // Object.is: a stored -0 would make two equal studies differ in their bytes, and no addition yields one.
      if (units.some((u) => !Number.isInteger(u) || Math.abs(u) > most || Object.is(u, -0))) return undefined;
    }
    sums.#bins.set(bins);
    sums.#high.set(high);
    sums.#low.set(low);
    return sums;
  }

  #take(contributions: number): void {
    const total = this.#contributions + contributions;
    if (total > MAX_CONTRIBUTIONS)
      throw new UnbraidError(
        "input",
        "SUM_CAPACITY",
        `${total} images of one class exceed the ${MAX_CONTRIBUTIONS} that a sum can take exactly.`,
        "Give the study fewer images a class.",
      );
    this.#contributions = total;
  }

  /** Makes `bin` the highest of accumulator i: what was its high bin becomes the low one, or falls below both. */
  #raise(i: number, bin: number): void {
    const steps = bin - (this.#bins[i] ?? 0);
    this.#low[i] = steps === 1 ? (this.#high[i] ?? 0) : 0;
    this.#high[i] = 0;
    this.#bins[i] = bin;
  }
}
