/** Which rows of weights `visualize` makes pictures of: channels of a layer, and the parts of those that are split. */
import { splitChannel, type SplitChannel } from "../channels/evaluate/channel.ts";
import { linearRows } from "../channels/evaluate/rows.ts";
import type { SplitRecord } from "../channels/split-record.ts";
import { UnbraidError } from "../errors.ts";
import { convLayers, findLayer, type ConvLayer } from "../graph/conv-layers.ts";
import type { ShapedGraph } from "../graph/graph.ts";
import { inputsOf, weightsOf } from "../relevance/arv.ts";
import { studyLayer } from "../relevance/study-layer.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";

export interface VisualizedChannel {
  readonly channel: number;
  readonly concepts: readonly string[];
  /** [1 + K][I, K] over all input channels, in the orientation in which more means more active. */
  readonly rows: readonly Float32Array[];
  /** Where it is split. */
  readonly split?: SplitChannel;
}

export interface VisualizedLayer {
  readonly name: string;
  /** Whose input the rows read. */
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly channels: readonly VisualizedChannel[];
}

/**
 * @throws UnbraidError CHANNEL_RANGE, SPLIT_ROWS, LAYER_WEIGHT_COMPUTED, and as findLayer
 */
export function visualizedLayer(
  shaped: ShapedGraph,
  records: readonly SplitRecord[],
  layerName: string,
  channels: readonly number[],
): VisualizedLayer {
  const found = findLayer(shaped, layerName);
  // The layer that grew keeps its node's name; the one that merges its parts keeps its output's.
  const record = records.findLast((r) => [r.grown, r.output].includes(found.output) || r.node === found.node.name);
  const layer = convLayers(shaped).find((l) => l.node.name === record?.node) ?? found;
  const geometry = studyLayer(layer);
  const name = record?.layer ?? found.name;
  const count = shaped.values.get(record?.output ?? layer.output)?.shape[1] ?? 0;
  for (const channel of channels)
    if (channel >= count)
      throw new UnbraidError(
        "input",
        "CHANNEL_RANGE",
        `layer "${name}" has no channel ${channel}: they go from 0 to ${count - 1}`,
        "Choose a channel of the layer.",
      );
  if (record === undefined) return { name, layer, geometry, channels: channels.map((c) => wholeChannel(geometry, c)) };
  const from = { input: layer.input, inChannels: layer.inChannels, taps: tapsOf(geometry) };
  const output = linearRows(shaped, record.output, from);
  const grown = linearRows(shaped, record.grown, from);
  const sign = convLayers(shaped).find((l) => l.output === record.output)?.sign ?? [];
  return {
    ...{ name, layer, geometry },
    channels: channels.map((channel): VisualizedChannel => {
      const part = record.parts.find((p) => p.channel === channel);
      const signed = (row: ArrayLike<number>): Float32Array =>
        Float32Array.from(row, (w) => ((sign[channel] ?? 1) < 0 ? -w : w));
      if (part === undefined) return { channel, concepts: [], rows: [signed(output.weights[channel] ?? [])] };
      const rows = { grown, output, sign, taps: from.taps, groups: layer.groups };
      const split = splitChannel({ ...part, ids: part.classes }, rows);
      return { channel, concepts: part.concepts, rows: [split.weights, ...split.parts].map(signed), split };
    }),
  };
}

function wholeChannel(layer: StudyLayer, channel: number): VisualizedChannel {
  const row = new Float32Array(layer.inChannels * tapsOf(layer));
  row.set(weightsOf(layer, channel), inputsOf(layer, channel).first * tapsOf(layer));
  const sign = layer.sign[channel] ?? 1;
  return { channel, concepts: [], rows: [row.map((w) => (sign < 0 && w !== 0 ? -w : w))] };
}
