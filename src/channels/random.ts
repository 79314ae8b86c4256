/**
 * Random numbers that a seed repeats on every machine: null models, bootstraps and clusterings are part of the result.
 * Generator xoshiro128** 1.1 (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM Transactions on
 * Mathematical Software 47(4), 2021), its state filled by SplitMix32 from the seed. Not for secrets.
 */
import { invariant } from "../errors.ts";

export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** @param seed a safe integer; equal seeds give equal sequences */
  constructor(seed: number) {
    invariant(Number.isSafeInteger(seed), `seed ${seed}`);
    let low = seed >>> 0;
    const high = Math.floor(seed / 2 ** 32) >>> 0;
    const next = (): number => {
      low = (low + 0x9e3779b9) >>> 0;
      return mix(low ^ mix(high));
    };
    [this.#a, this.#b, this.#c, this.#d] = [next(), next(), next(), next()];
    // The state of zeros is the one that the generator never leaves.
    if ((this.#a | this.#b | this.#c | this.#d) === 0) this.#a = 1;
  }

  /** An integer, 0 <= x < 2^32. */
  uint32(): number {
    const result = Math.imul(rotate(Math.imul(this.#b, 5), 7), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = rotate(this.#d, 11);
    return result;
  }

  /** 0 <= x < 1, a multiple of 2^-53. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6)) * 2 ** -53;
  }

  /** An integer, 0 <= x < limit, each as likely as the others. @param limit 1 to 2^32 */
  below(limit: number): number {
    invariant(Number.isInteger(limit) && limit >= 1 && limit <= 2 ** 32, `a random number below ${limit}`);
    // What lies above the largest multiple of the limit would favour small numbers: draw again.
    const most = 2 ** 32 - (2 ** 32 % limit);
    for (;;) {
      const x = this.uint32();
      if (x < most) return x % limit;
    }
  }

  /** Mean 0, variance 1 (Box and Muller 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** 0 ... n - 1 in random order (Fisher and Yates, Durstenfeld's form). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = order[i] ?? 0;
      order[i] = order[j] ?? 0;
      order[j] = kept;
    }
    return order;
  }

  /** The items in random order; `items` stays as it is. */
  shuffle<T>(items: readonly T[]): T[] {
    return Array.from(this.permutation(items.length)).flatMap((i) => items.slice(i, i + 1));
  }

  /** n of 0 ... n - 1, drawn with replacement. */
  resample(n: number): Uint32Array {
    return Uint32Array.from({ length: n }, () => this.below(n));
  }

  /** A generator of its own for one of several jobs, so that what one job draws does not move the others. */
  fork(): Random {
    return new Random(this.uint32() * 2 ** 21 + (this.uint32() >>> 11));
  }
}

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** MurmurHash3's finaliser. */
function mix(x: number): number {
  let h = x >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
