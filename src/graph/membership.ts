/**
 * The rows of weights that a split makes of one channel (METHOD.md A6, and B "K concepts").
 * Rows are stored bits, little-endian; zeroed elements become +0, all others stay bit for bit.
 */
import { UnbraidError } from "../errors.ts";

/** A channel to be split, and which concept each of its input channels serves. */
export interface ChannelSplit {
  /** Output channel of the layer. */
  readonly channel: number;
  /** K >= 2. */
  readonly concepts: number;
  /** An entry an input channel of the channel's group: 0 shared by all concepts, 1..K of that concept alone. */
  readonly sets: Uint8Array;
}

/** A row of the grown layer. */
export interface SplitPart {
  readonly channel: number;
  /** 1..K; 0 is the residual. */
  readonly concept: number;
  /** Output channel of the grown layer. */
  readonly row: number;
  /** What the merge layer multiplies it by: 1, or -(K-1) for the residual. */
  readonly factor: number;
}

/** The layer's sizes: output channels, groups, input channels a group, bytes a weight, bytes an input channel's taps. */
export interface LayerSizes {
  readonly channels: number;
  readonly groups: number;
  readonly groupInputs: number;
  readonly tapBytes: number;
}

/**
 * The splits by rising channel, checked against the layer.
 * @throws UnbraidError kind "input": CHANNEL_RANGE, CHANNEL_TWICE, CHANNEL_DEPTHWISE, SETS_LENGTH, SETS_CONCEPTS
 */
export function checkSplits(
  splits: readonly ChannelSplit[],
  sizes: LayerSizes,
  layer: string,
): readonly ChannelSplit[] {
  const sorted = splits.toSorted((a, b) => a.channel - b.channel);
  if (sorted.length === 0)
    throw new UnbraidError(
      "input",
      "CHANNEL_NONE",
      `no channel of ${layer} is to be split`,
      "Name at least one channel.",
    );
  sorted.forEach((split, k) => {
    const { channel, concepts, sets } = split;
    const what = `channel ${channel} of ${layer}`;
    if (!Number.isInteger(channel) || channel < 0 || channel >= sizes.channels) {
      throw new UnbraidError(
        "input",
        "CHANNEL_RANGE",
        `${layer} has no channel ${channel}: they go from 0 to ${sizes.channels - 1}`,
        "Choose a channel of the layer.",
      );
    }
    if (sorted[k - 1]?.channel === channel) {
      throw new UnbraidError(
        "input",
        "CHANNEL_TWICE",
        `${what} is asked to be split twice`,
        "Give each channel once, with all its concepts.",
      );
    }
    if (sizes.groupInputs === 1) {
      throw new UnbraidError(
        "input",
        "CHANNEL_DEPTHWISE",
        `${what} reads a single input channel (${sizes.channels} channels in ${sizes.groups} groups): there is nothing to divide`,
        "Choose a layer whose channels read several input channels; `unbraid inspect` lists them.",
      );
    }
    if (sets.length !== sizes.groupInputs) {
      throw new UnbraidError(
        "input",
        "SETS_LENGTH",
        `the sets of ${what} have ${sets.length} entries for ${sizes.groupInputs} input channels`,
        "Give one entry an input channel of the channel's group.",
      );
    }
    if (!Number.isInteger(concepts) || concepts < 2 || concepts > 255 || sets.some((s) => s > concepts)) {
      throw new UnbraidError(
        "input",
        "SETS_CONCEPTS",
        `the sets of ${what} name concept ${Math.max(...sets)} of ${concepts}; 2 to 255 concepts can be`,
        "Number the concepts 1 to K, 0 for shared.",
      );
    }
  });
  return sorted;
}

/**
 * The weights of one part: those of input channels that serve `concept` or are shared; `concept` 0 is the residual,
 * which keeps the shared ones only. (Each shared input is in all K parts, K-1 times too often.)
 * @param row the channel's weights, groupInputs times tapBytes
 */
export function partRow(row: Uint8Array, split: ChannelSplit, concept: number, tapBytes: number): Uint8Array {
  const out = row.slice();
  split.sets.forEach((set, input) => {
    if (set !== 0 && set !== concept) out.fill(0, input * tapBytes, (input + 1) * tapBytes);
  });
  return out;
}

/** The rows that a split appends behind the layer's own: concepts 2..K, then the residual. Concept 1 stays in place. */
export const appendedConcepts = (split: ChannelSplit): readonly number[] => [
  ...Array.from({ length: split.concepts - 1 }, (_, k) => k + 2),
  0,
];

/** Every part of every split (by rising channel), concept 1 first and the residual last. */
export function partsOf(splits: readonly ChannelSplit[], channels: number): readonly SplitPart[] {
  let next = channels;
  return splits.flatMap((split) => [
    { channel: split.channel, concept: 1, row: split.channel, factor: 1 },
    ...appendedConcepts(split).map((concept) => ({
      channel: split.channel,
      concept,
      row: next++,
      factor: concept === 0 ? 1 - split.concepts : 1,
    })),
  ]);
}
