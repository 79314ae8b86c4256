/** A split model opened for evaluate: its record, the layer, and the channels' parts. */
import { splitChannel, type RecordedSplit, type SplitChannel } from "../channels/evaluate/channel.ts";
import { linearRows } from "../channels/evaluate/rows.ts";
import { splitRecords, type SplitRecord } from "../channels/split-record.ts";
import { UnbraidError } from "../errors.ts";
import { convLayers, type ConvLayer } from "../graph/conv-layers.ts";
import { studyLayer } from "../relevance/study-layer.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import type { Context } from "./context.ts";
import type { ImageNetwork } from "./images.ts";
import type { OpenModel } from "./model.ts";

/**
 * The split to evaluate: the last, or the one of --split.
 * @throws UnbraidError SPLIT_RECORD where the model has none, OPTION_VALUE
 */
export function recordToEvaluate(context: Context, { model, path }: OpenModel): SplitRecord {
  const records = splitRecords(model, path);
  const number = context.args.number("split", { integer: true, least: 1, most: Math.max(1, records.length) });
  const record = records.at(number === undefined ? -1 : number - 1);
  if (record === undefined)
    throw new UnbraidError(
      "input",
      "SPLIT_RECORD",
      `${path} does not say what was split in it`,
      "Pass a model that `unbraid split` wrote.",
    );
  if (records.length > 1 && number === undefined)
    context.out.note(
      `${path} holds ${records.length} splits (${records.map((r) => r.layer).join(", ")}): the last is evaluated; --split chooses`,
    );
  return record;
}

export interface OpenSplit {
  /** The Conv whose input the parts read. */
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly channels: readonly SplitChannel[];
  /** [C] of the value that the parts add up to. */
  readonly bias: Float64Array;
}

/** @throws UnbraidError SPLIT_ROWS where the model is not what its record says */
export function openSplit(record: SplitRecord, parts: readonly RecordedSplit[], { shaped }: ImageNetwork): OpenSplit {
  const layers = convLayers(shaped);
  const layer = layers.find((l) => l.node.name === record.node);
  if (layer === undefined) throw wrongRecord(`no Conv node "${record.node}"`);
  const geometry = studyLayer(layer);
  const from = { input: layer.input, inChannels: layer.inChannels, taps: tapsOf(geometry) };
  const [grown, output] = [record.grown, record.output].map((value) => linearRows(shaped, value, from));
  if (grown === undefined || output === undefined) throw new Error("internal error: two values");
  const sign = layers.find((l) => l.output === record.output)?.sign ?? [];
  const rows = { grown, output, sign, taps: from.taps, groups: layer.groups };
  const bad = parts.find(
    (part) =>
      output.weights[part.channel] === undefined ||
      part.concepts.some((_, k) => grown.weights[part.rows[k] ?? -1] === undefined),
  );
  if (bad !== undefined) throw wrongRecord(`no rows ${bad.rows.join(", ")} of channel ${bad.channel}`);
  return { layer, geometry, channels: parts.map((part) => splitChannel(part, rows)), bias: output.bias };
}

const wrongRecord = (what: string): UnbraidError =>
  new UnbraidError(
    "model",
    "SPLIT_ROWS",
    `the split model has ${what}, which the record of its split names`,
    "Split the model again with this version of unbraid, and do not rewrite the split model with other tools.",
  );
