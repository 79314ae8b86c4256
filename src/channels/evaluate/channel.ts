/** A split channel as evaluate sees it: its weights, its parts, and which inputs serve which concept. */
import { must } from "../../errors.ts";
import type { SourceSets } from "../sets.ts";
import type { LinearRows } from "./rows.ts";

/** What the record of a split says of one channel. */
export interface RecordedSplit {
  /** Output channel of the layer before it grew. */
  readonly channel: number;
  /** Names, concept 1 first. */
  readonly concepts: readonly string[];
  /** The concepts' logits; none where they are clusters. */
  readonly classes: readonly number[];
  /** What images are known by to be of each concept (`ObservedImage.ids`): the class's logit, or a number above all logits. */
  readonly ids: readonly number[];
  readonly rho: number | null;
  readonly rule: string;
  /** Rows of the grown layer: the concepts', then residuals. */
  readonly rows: readonly number[];
}

export interface SplitChannel extends RecordedSplit {
  /** [I, K] over all input channels of the layer, without the bias. */
  readonly weights: Float64Array;
  /** [concepts][I, K] */
  readonly parts: readonly Float64Array[];
  /** -1 where a BatchNormalization of negative scale follows, so that more of the channel's output means less activity. */
  readonly sign: number;
  /** The channel's bias. Its copies in the parts are left out everywhere: what is measured must not depend on folding. */
  readonly bias: number;
  /** Inputs of the channel's group: [first, first + count). */
  readonly first: number;
  readonly count: number;
  readonly taps: number;
  /** [count] where every part holds each input's weights whole or not at all; undefined for parts of any weights. */
  readonly sets: SourceSets | undefined;
}

export interface LayerRows {
  /** Of the value that holds the parts, and of the one that they add up to. */
  readonly grown: LinearRows;
  readonly output: LinearRows;
  readonly sign: ArrayLike<number>;
  readonly taps: number;
  readonly groups: number;
}

/** @param split of a record whose rows exist */
export function splitChannel(split: RecordedSplit, { grown, output, sign, taps, groups }: LayerRows): SplitChannel {
  const weights = must(output.weights[split.channel], `channel ${split.channel}`);
  const parts = split.concepts.map((_, k) => must(grown.weights[split.rows[k] ?? -1], `row of part ${k + 1}`));
  const count = weights.length / taps / groups;
  const first = Math.floor(split.channel / (output.weights.length / groups)) * count;
  const shape = { weights, parts, first, count, taps };
  return {
    ...split,
    ...shape,
    sign: (sign[split.channel] ?? 1) < 0 ? -1 : 1,
    bias: output.bias[split.channel] ?? 0,
    sets: setsOf(shape),
  };
}

type Shape = Pick<SplitChannel, "weights" | "parts" | "first" | "count" | "taps">;

/** The concepts that each input serves, where parts hold whole inputs. An input of zero weights serves all. */
function setsOf({ weights, parts, first, count, taps }: Shape): SourceSets | undefined {
  const sets = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const at = (first + i) * taps;
    const own = weights.subarray(at, at + taps);
    for (const [k, part] of parts.entries()) {
      const held = part.subarray(at, at + taps);
      if (held.every((w, j) => w === own[j])) sets[i] = (sets[i] ?? 0) | (1 << k);
      else if (held.some((w) => w !== 0)) return undefined;
    }
    if (sets[i] === 0) return undefined;
  }
  return sets;
}

/**
 * [count] what each input of the channel's group contributes to the sum over positions of a row's response: the sum over
 * taps of weight times tap sum. Of a class's mean tap sums this is an average relevance vector (METHOD.md B).
 * @param row [I, K]
 * @param tapSums [I, K]
 */
export function contributions(
  { first, count, taps }: Pick<SplitChannel, "first" | "count" | "taps">,
  row: Float64Array,
  tapSums: ArrayLike<number>,
): Float64Array {
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (let at = (first + i) * taps; at < (first + i + 1) * taps; at++) sum += (row[at] ?? 0) * (tapSums[at] ?? 0);
    out[i] = sum;
  }
  return out;
}
