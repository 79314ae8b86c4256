/**
 * The parts of a split channel: rows of weights whose signed sum is the channel's own row (METHOD.md A6, B "K concepts"); and
 * the way back, from parts of any weights to whole inputs.
 */
import { invariant } from "../errors.ts";
import { sourceSets, type SourceSets } from "./sets.ts";

export interface Parts {
  /** D_k: [I/groups, K] one row a concept; the weights of the inputs that serve it, zeros elsewhere. */
  readonly concepts: readonly Float32Array[];
  /** sum_i (|A_i| - 1) W_i: what the concepts' rows together hold too often. W = sum_k D_k - residual. */
  readonly residual: Float32Array;
}

/**
 * @param weights [I/groups, K] of one channel
 * @param sets [I/groups], each serving at least one concept
 * @param concepts how many
 */
export function splitWeights(weights: Float32Array, sets: SourceSets, concepts: number): Parts {
  invariant(sets.length > 0 && weights.length % sets.length === 0, "one set an input channel");
  const taps = weights.length / sets.length;
  const row = (times: (set: number) => number): Float32Array =>
    weights.map((w, j) => {
      const n = times(sets[Math.floor(j / taps)] ?? 0);
      return n === 0 ? 0 : n * w; // not n * w for n = 0: no -0 in the file
    });
  const served = (set: number): number => {
    let n = 0;
    for (let k = 0; k < concepts; k++) n += (set >>> k) & 1;
    invariant(n > 0 && set < 2 ** concepts, `source set ${set} of ${concepts} concepts`);
    return n;
  };
  return {
    concepts: Array.from({ length: concepts }, (_, k) => row((set) => (set >>> k) & 1)),
    residual: row((set) => served(set) - 1),
  };
}

/** [K][I/groups] the sum of magnitudes of an input's weights in each part. @param parts [K][I/groups, K] */
export const heldWeights = (parts: readonly Float64Array[], taps: number): Float64Array[] =>
  parts.map((part) =>
    Float64Array.from({ length: part.length / taps }, (_, i) =>
      part.subarray(i * taps, (i + 1) * taps).reduce((sum, w) => sum + Math.abs(w), 0),
    ),
  );

/**
 * An input serves the concepts whose parts hold at least rho of the most that any part holds of it: the symmetric rule, of
 * what parts hold in place of relevance.
 * @param held of `heldWeights`
 */
export const setsByHeld = (held: readonly Float64Array[], rho: number): SourceSets =>
  sourceSets(held, rho, "symmetric");

/** For each input the part that holds more of its weights; several where that is a tie. */
export const shares = (parts: readonly Float64Array[], taps: number): SourceSets =>
  setsByHeld(heldWeights(parts, taps), 1);
