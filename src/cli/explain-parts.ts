/** What `explain` is asked about: a channel of a layer, or parts of it where the model says that it was split. */
import { must, UnbraidError } from "../errors.ts";
import { convLayers, findLayer } from "../graph/conv-layers.ts";
import type { ShapedGraph } from "../graph/graph.ts";
import { usageError } from "./arguments.ts";
import type { SplitPartRecord, SplitRecord } from "./split-record.ts";

export interface ExplainedPart {
  /** "whole", "1" to "K", "residual" (with a number behind it where there are several). */
  readonly name: string;
  /** The class that it was split for. */
  readonly concept?: string;
  /** The value that holds it, and which of its channels it is. */
  readonly value: string;
  readonly channel: number;
  /** What the merge layer multiplies it by; 1 for the whole. */
  readonly factor: number;
}

export interface ExplainedLayer {
  readonly name: string;
  readonly channel: number;
  /** Values: the layer's input, and its output with the channel as a whole. */
  readonly input: string;
  readonly output: string;
  /** -1 where a BatchNormalization of negative scale follows: the channel is more active where its response is less. */
  readonly sign: number;
  /** The whole first; more than that only where `:all` was asked. */
  readonly parts: readonly ExplainedPart[];
}

/**
 * @param text C or C:PART of --channel
 * @throws UnbraidError OPTION_VALUE, CHANNEL_RANGE, PART_UNKNOWN, SPLIT_RECORD, and as findLayer
 */
export function explainedLayer(
  shaped: ShapedGraph,
  records: readonly SplitRecord[],
  layerName: string,
  text: string,
): ExplainedLayer {
  const [, digits, wanted] = /^(\d{1,9})(?::([a-z0-9-]+))?$/i.exec(text) ?? [];
  if (digits === undefined) {
    throw usageError(
      "OPTION_VALUE",
      `--channel must be C or C:PART, not "${text}"`,
      "C is a number from 0; PART is 1 to K, residual, whole, or all.",
    );
  }
  const channel = Number(digits);
  const found = findLayer(shaped, layerName);
  // The layer that grew keeps its node's name; the one that merges its parts keeps its output's.
  const record = records.findLast((r) => [r.grown, r.output].includes(found.output) || r.node === found.node.name);
  const grownBy = convLayers(shaped).find((l) => l.node.name === record?.node) ?? found;
  const output = record?.output ?? found.output;
  const merged = convLayers(shaped).find((l) => l.output === output);
  const name = record?.layer ?? found.name;
  const channels = shaped.values.get(output)?.shape[1] ?? 0;
  if (channel >= channels) {
    throw new UnbraidError(
      "input",
      "CHANNEL_RANGE",
      `layer "${name}" has no channel ${channel}: they go from 0 to ${channels - 1}`,
      "Choose a channel of the layer.",
    );
  }
  const whole: ExplainedPart = { name: "whole", value: output, channel, factor: 1 };
  const split = record?.parts.find((p) => p.channel === channel);
  const parts = [whole, ...(record === undefined || split === undefined ? [] : partsOf(shaped, record, split))];
  return {
    name,
    channel,
    input: grownBy.input,
    output,
    sign: merged?.sign[channel] ?? 1,
    parts: chosen(parts, wanted, { name, channel, record }),
  };
}

function partsOf(shaped: ShapedGraph, record: SplitRecord, split: SplitPartRecord): ExplainedPart[] {
  const merge = shaped.nodes.find((n) => n.inputs[0] === record.grown && n.outputs[0] === record.output);
  const weights = shaped.values.get(merge?.inputs[1] ?? "")?.value;
  const [, grown = 0] = weights?.shape ?? [];
  // The type says numbers; the metadata of a file may say anything.
  const rows: unknown = split.rows;
  const fits = Array.isArray(rows) && rows.every((r) => Number.isInteger(r) && Number(r) >= 0 && Number(r) < grown);
  if (weights === undefined || !fits || split.rows.length < split.concepts.length) {
    throw new UnbraidError(
      "model",
      "SPLIT_RECORD",
      `the model says that channel ${split.channel} of "${record.layer}" was split, but its parts are not where it says: rows ${JSON.stringify(rows)} of "${record.grown}", which "${record.output}" has ${grown} of`,
      "Split the original model again with this version of unbraid.",
    );
  }
  const residuals = split.rows.length - split.concepts.length;
  return split.rows.map((row, k) => {
    const concept = split.concepts[k];
    const rest = residuals > 1 ? `residual-${k - split.concepts.length + 1}` : "residual";
    return {
      name: concept === undefined ? rest : String(k + 1),
      ...(concept === undefined ? {} : { concept }),
      value: record.grown,
      channel: row,
      factor: must(weights.data[split.channel * grown + row], "merge weight"),
    };
  });
}

function chosen(
  parts: readonly ExplainedPart[],
  wanted: string | undefined,
  about: { readonly name: string; readonly channel: number; readonly record: SplitRecord | undefined },
): readonly ExplainedPart[] {
  if (wanted === undefined) return parts.slice(0, 1);
  const { name, channel, record } = about;
  const what = `channel ${channel} of "${name}"`;
  if (wanted === "all" && parts.length > 1) return parts;
  const part = parts.find((p) => p.name === wanted);
  if (part !== undefined) return [part];
  const names = parts.slice(1).map((p) => p.name);
  const others = (record?.parts ?? []).map((p) => p.channel);
  throw new UnbraidError(
    "input",
    "PART_UNKNOWN",
    names.length > 0 ? `${what} has no part "${wanted}", but ${names.join(", ")}` : `${what} is not split: it has no part "${wanted}"`, // prettier-ignore
    names.length > 0
      ? "Name one of them, or whole, or all."
      : others.length > 0
        ? `Leave :${wanted} away, or take a channel that is split here: ${shown(others)}.`
        : `Leave :${wanted} away, or give a model that \`unbraid split\` has written.`,
  );
}

const shown = (list: readonly number[]): string =>
  list.length > 12 ? `${list.slice(0, 12).join(", ")} and ${list.length - 12} more` : list.join(", ");
