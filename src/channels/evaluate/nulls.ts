/**
 * What a part is held against (METHOD.md C): parts of the same size whose inputs are drawn at random, and filters of
 * Gaussian noise split by the same rule.
 */
import type { Random } from "../random.ts";
import { sourceSets, type SetRule } from "../sets.ts";
import { contributions, type SplitChannel } from "./channel.ts";

/**
 * [K][count] what each part takes of each input: 0 nothing, 1 the channel's own weights, 2 ... the weights that part 1, 2 ...
 * has there.
 */
export type Draw = readonly Uint8Array[];

/**
 * A random split with parts of the same size. Parts that hold whole inputs: the inputs' sets are permuted among the inputs,
 * so that as many serve each concept, alone or together, as before. Parts of any weights: what they hold of an input
 * stays together, and which part gets which is drawn for each input (for two parts w/2 + e and w/2 - e the signs of e are).
 */
export function randomDraw({ sets, count, parts }: SplitChannel, random: Random): Draw {
  const order = random.permutation(count);
  const draw = parts.map(() => new Uint8Array(count));
  for (let i = 0; i < count; i++) {
    const set = sets?.[order[i] ?? 0];
    const roles = set === undefined ? random.permutation(parts.length) : undefined;
    for (const [k, part] of draw.entries()) part[i] = set === undefined ? 2 + (roles?.[k] ?? 0) : (set >>> k) & 1;
  }
  return draw;
}

/** [K][I, K] the weights of a draw's parts, over all input channels. */
export function drawRows({ weights, parts, first, count, taps }: SplitChannel, draw: Draw): Float64Array[] {
  return draw.map((sources) => {
    const row = new Float64Array(weights.length);
    for (let i = 0; i < count; i++) {
      const source = [undefined, weights, ...parts][sources[i] ?? 0];
      const at = (first + i) * taps;
      if (source !== undefined) row.set(source.subarray(at, at + taps), at);
    }
    return row;
  });
}

/**
 * The sums over positions of a draw's parts on one image.
 * @param contributions [1 + K][count] of the channel itself and of its parts
 */
export function drawSum(sources: Uint8Array, contributions: readonly Float64Array[]): number {
  let sum = 0;
  for (let i = 0; i < sources.length; i++) {
    const source = sources[i] ?? 0;
    if (source > 0) sum += contributions[source - 1]?.[i] ?? 0;
  }
  return sum;
}

/** A filter of Gaussian noise, and the input sets that a rule gives it. */
export interface RandomFilter {
  /** [I, K], zeros outside the channel's group; of the channel's norm. */
  readonly weights: Float64Array;
  /** [K][count]: 1 where the part has the input, else 0. */
  readonly draw: Draw;
}

/** The rule and rho that random filters are split by: the channel's own where it works on ARVs alone. */
export function filterRule({ rule, rho, concepts }: SplitChannel): { readonly rule: SetRule; readonly rho: number } {
  if (rule === "official" && concepts.length === 2 && rho !== null) return { rule, rho };
  return rule === "symmetric" && rho !== null ? { rule, rho } : { rule: "symmetric", rho: 1 };
}

/**
 * @param means [concepts][I, K] mean tap sums of each concept's class
 */
export function randomFilter(channel: SplitChannel, means: readonly Float64Array[], random: Random): RandomFilter {
  const { first, count, taps, parts } = channel;
  const weights = new Float64Array(channel.weights.length);
  for (let at = first * taps; at < (first + count) * taps; at++) weights[at] = random.normal();
  const norm = (v: Float64Array): number => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
  const scale = norm(channel.weights) / norm(weights);
  weights.forEach((w, at) => (weights[at] = scale * w));
  const vectors = means.map((mean) => contributions(channel, weights, mean));
  const { rule, rho } = filterRule(channel);
  const sets = sourceSets(vectors, rho, rule);
  return { weights, draw: parts.map((_, k) => Uint8Array.from(sets, (set) => (set >>> k) & 1)) };
}
