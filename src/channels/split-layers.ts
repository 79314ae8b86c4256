/** The split layers of a network as `verify` sees them: what each split channel is made of, and how far it may be off. */
import { UnbraidError } from "../errors.ts";
import { convLayers, type ConvLayer } from "../graph/conv-layers.ts";
import type { ShapedGraph } from "../graph/graph.ts";
import { ELEMENTS } from "../graph/elements.ts";
import { mergedChannel, type MergedChannel } from "../graph/merged-rows.ts";
import type { OnnxModel } from "../onnx/model.ts";
import { weightsOf } from "../relevance/arv.ts";
import { studyLayer } from "../relevance/study-layer.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { isByWeights, type SplitRecord } from "./split-record.ts";

/** u of the float32 that all is computed in. */
const U = 2 ** -24;

export interface SplitLayer {
  /** Of the original; the split network has its output under the same name. */
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  /** Of every channel that is added up from several rows. */
  readonly channels: ReadonlyMap<number, MergedChannel>;
  /** Channels that are made of one row, which is not what it was. */
  readonly changed: readonly number[];
  /** s: by how much of themselves stored rows may miss the weights that they add up to; 0 for rows of source sets. */
  readonly stored: number;
}

/**
 * The layers of `before` that were split on the way to `after`, in the order of the network.
 * @param records of the splits that were made since `before`, the oldest first
 * @throws UnbraidError SPLIT_RECORD where the networks are not what the records say
 */
export function splitLayers(
  before: { readonly model: OnnxModel; readonly shaped: ShapedGraph },
  after: ShapedGraph,
  records: readonly SplitRecord[],
): SplitLayer[] {
  const merges = new Map(records.map((record) => [record.output, record.grown]));
  const byWeights = records.some((record) => record.parts.some((part) => isByWeights(part.rule)));
  const layers = convLayers(before.shaped).filter((layer) => merges.has(layer.output));
  if (layers.length === 0)
    throw new UnbraidError(
      "model",
      "SPLIT_RECORD",
      `no Conv of the original gives ${[...merges.keys()].map((name) => `"${name}"`).join(" or ")}, which the record of the split names`,
      "Split the model again with this version of unbraid.",
    );
  return layers.map((layer) => {
    const geometry = studyLayer(layer);
    const channels = new Map<number, MergedChannel>();
    const changed: number[] = [];
    for (let c = 0; c < geometry.outChannels; c++) {
      const merged = mergedChannel(after, merges, layer.output, c);
      if (merged.rows.length > 1) channels.set(c, merged);
      else if (!same(merged, geometry, layer, c)) changed.push(c);
    }
    return { layer, geometry, channels, changed, stored: byWeights ? roundoff(before.model, layer) : 0 };
  });
}

function same(merged: MergedChannel, geometry: StudyLayer, layer: ConvLayer, c: number): boolean {
  const [row] = merged.rows;
  const weights = weightsOf(geometry, c);
  return (
    row?.factor === 1 &&
    row.bias === (layer.bias?.data[c] ?? 0) &&
    row.weights.length === weights.length &&
    weights.every((w, j) => Object.is(w, row.weights[j]))
  );
}

/** Of the type that the layer's weights are stored in, and no finer than float32. */
function roundoff(model: OnnxModel, layer: ConvLayer): number {
  const types = [...model.initializers.values(), ...model.inputs].map((t) => t.dataType);
  const name = layer.node.inputs[1] ?? "";
  const own = model.initializers.get(name)?.dataType;
  const type = own ?? ["bfloat16", "float16"].find((t) => types.some((other) => other === t)) ?? "float32";
  return Math.max(U, ELEMENTS[type]?.roundoff ?? U);
}

/** The bound of a channel's elements: see verify.ts. */
export interface BoundRow {
  /** [I/groups, K] e_i times 2^24, so that none is too small for float32. */
  readonly weights: Float32Array;
  /** The bound, given the sum of weights times |x|. */
  readonly total: (sum: number) => number;
}

const g = (k: number): number => (k * U) / (1 - k * U);

/** By channel. */
export function boundRows({ geometry, layer, channels, stored }: SplitLayer): Map<number, BoundRow> {
  const n = (geometry.inChannels / geometry.groups) * tapsOf(geometry) + (geometry.hasBias ? 1 : 0);
  // The rows are rounded to float32, and their sums with |x| err as any other.
  const slack = (1 + 2 ** -20) / (1 - g(n));
  return new Map(
    [...channels].map(([c, { rows, roundings }]) => {
      const error = (cover: number, own: number): number => (g(n + roundings) + stored) * cover + g(n) * Math.abs(own);
      const bias = error(
        rows.reduce((sum, row) => sum + Math.abs(row.factor * row.bias), 0),
        layer.bias?.data[c] ?? 0,
      );
      const weights = weightsOf(geometry, c).map((w, j) => 2 ** 24 * error(cover(rows, j), w));
      return [c, { weights, total: (sum) => slack * (2 ** -24 * sum + bias) }];
    }),
  );
}

const cover = (rows: MergedChannel["rows"], j: number): number =>
  rows.reduce((sum, { factor, weights }) => sum + Math.abs(factor * (weights[j] ?? 0)), 0);

export interface WeightCheck {
  /** Largest difference between the rows' sum and the channel's weight, and what rounding when stored allows there. */
  readonly max_abs_diff: number;
  readonly bound: number;
  /** Whether no weight misses by more than is allowed, and no other row has changed. */
  readonly holds: boolean;
}

/** Without running anything: whether stored rows add up to the channels' weights. Sums are float64, which K rows fit. */
export function weightCheck(layers: readonly SplitLayer[]): WeightCheck {
  let most = 0;
  let bound = 0;
  let holds = layers.every(({ changed }) => changed.length === 0);
  for (const { geometry, layer, channels, stored } of layers)
    for (const [c, { rows }] of channels) {
      const check = (own: number, parts: readonly number[]): void => {
        const difference = Math.abs(parts.reduce((sum, v) => sum + v, 0) - own);
        // Below float32's normal numbers the spacing no longer shrinks.
        const allowed = stored === 0 ? 0 : stored * parts.reduce((sum, v) => sum + Math.abs(v), 0) + 2 ** -126 * stored;
        if (difference > most) [most, bound] = [difference, allowed];
        if (!(difference <= allowed)) holds = false;
      };
      weightsOf(geometry, c).forEach((w, j) => {
        check(
          w,
          rows.map((row) => row.factor * (row.weights[j] ?? 0)),
        );
      });
      check(
        layer.bias?.data[c] ?? 0,
        rows.map((row) => row.factor * row.bias),
      );
    }
  return { max_abs_diff: most, bound, holds };
}
