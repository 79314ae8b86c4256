/** Whether splits fit the layer. */
import { UnbraidError } from "../errors.ts";
import { conceptsOf, MAX_CONCEPTS, type ChannelSplit } from "./membership.ts";

/** The layer's sizes: output channels, groups, input channels a group, taps of the kernel. */
export interface LayerSizes {
  readonly channels: number;
  readonly groups: number;
  readonly groupInputs: number;
  readonly taps: number;
}

/**
 * The splits by rising channel, checked against the layer.
 * @throws UnbraidError kind "input": CHANNEL_NONE, CHANNEL_RANGE, CHANNEL_TWICE, CHANNEL_DEPTHWISE, SETS_LENGTH,
 * SETS_CONCEPTS
 */
export function checkSplits(
  splits: readonly ChannelSplit[],
  sizes: LayerSizes,
  layer: string,
): readonly ChannelSplit[] {
  const sorted = splits.toSorted((a, b) => a.channel - b.channel);
  if (sorted.length === 0) throw refusal("CHANNEL_NONE", `no channel of ${layer} is to be split`, "Name a channel.");
  sorted.forEach((split, k) => {
    const what = `channel ${split.channel} of ${layer}`;
    checkChannel(split.channel, sorted[k - 1]?.channel, sizes, layer, what);
    checkParts(split, sizes, what);
  });
  return sorted;
}

const refusal = (code: string, message: string, remedy: string): UnbraidError =>
  new UnbraidError("input", code, message, remedy);

function checkChannel(
  channel: number,
  before: number | undefined,
  sizes: LayerSizes,
  layer: string,
  what: string,
): void {
  if (!Number.isInteger(channel) || channel < 0 || channel >= sizes.channels)
    throw refusal(
      "CHANNEL_RANGE",
      `${layer} has no channel ${channel}: they go from 0 to ${sizes.channels - 1}`,
      "Choose a channel of the layer.",
    );
  if (before === channel)
    throw refusal(
      "CHANNEL_TWICE",
      `${what} is asked to be split twice`,
      "Give each channel once, with all its concepts.",
    );
  if (sizes.groupInputs === 1)
    throw refusal(
      "CHANNEL_DEPTHWISE",
      `${what} reads a single input channel (${sizes.channels} channels in ${sizes.groups} groups): there is nothing to divide`,
      "Choose a layer whose channels read several input channels; `unbraid inspect` lists them.",
    );
}

function checkParts(split: ChannelSplit, { groupInputs, taps }: LayerSizes, what: string): void {
  const concepts = conceptsOf(split);
  if (!Number.isInteger(concepts) || concepts < 2 || concepts > MAX_CONCEPTS)
    throw refusal(
      "SETS_CONCEPTS",
      `${what} is asked to be split into ${concepts} concepts; 2 to ${MAX_CONCEPTS} can be`,
      "Give it two concepts or more.",
    );
  if ("parts" in split) {
    const length = groupInputs * taps;
    const wrong = split.parts.find((part) => part.length !== length);
    if (wrong !== undefined)
      throw refusal(
        "SETS_LENGTH",
        `a part of ${what} has ${wrong.length} weights for ${groupInputs} input channels of ${taps} taps`,
        "Give one weight a tap of each input channel of the channel's group.",
      );
    return;
  }
  const { sets } = split;
  if (sets.length !== groupInputs)
    throw refusal(
      "SETS_LENGTH",
      `the sets of ${what} have ${sets.length} entries for ${groupInputs} input channels`,
      "Give one entry an input channel of the channel's group.",
    );
  const wrong = sets.find((set) => set === 0 || set >= 2 ** concepts);
  if (wrong !== undefined)
    throw refusal(
      "SETS_CONCEPTS",
      wrong === 0
        ? `the sets of ${what} have an input that serves no concept`
        : `the sets of ${what} name concept ${Math.floor(Math.log2(wrong)) + 1} of ${concepts}`,
      "Give each input channel one or more of the concepts, as bits.",
    );
}
