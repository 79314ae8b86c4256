/**
 * What a channel is split into, and the rows of weights that this makes of it (METHOD.md A6; B "K concepts", "Beyond
 * partitions"). Rows are stored bits, little-endian.
 *
 * By source sets: D_k keeps the weights of the inputs that serve concept k, bit for bit, and +0 elsewhere. An input that
 * m + 1 concepts serve stands m times too often in their sum: residual rows take m W_i away again, and so that every
 * stored weight is exact, a row with merge factor -f holds the inputs with m = f 2^j, times 2^j. Up to three concepts, and
 * wherever inputs are either of one concept or shared by all, that is one residual row. A bias is an input that all share.
 *
 * By weights: rows that add up to the channel's own, with merge factors 1 and no residual. Rounded to the weights' type
 * they may miss it; the part of least magnitude is therefore what the others leave of the weight, rounded: exact where the
 * weight is no smaller than it, and else within u of it. Which part that is depends on their values, not on their order.
 */
import { invariant, UnbraidError } from "../errors.ts";
import type { ElementType } from "./elements.ts";

/**
 * One number an input channel of the channel's group: bit k is set where it serves concept k (from 0). Each serves at
 * least one. Inputs that serve all are shared.
 */
export type SourceSets = Uint32Array;

/** Sets are numbers of 32 bits, and JavaScript's shifts are signed. */
export const MAX_CONCEPTS = 31;

/** Each input channel serves some of the concepts with its whole weight. */
export interface SetSplit {
  /** Output channel of the layer. */
  readonly channel: number;
  /** K, from 2 to MAX_CONCEPTS. */
  readonly concepts: number;
  readonly sets: SourceSets;
}

/** Any parts that add up to the channel's weights, up to rounding to float32. */
export interface WeightSplit {
  readonly channel: number;
  /** [K][I/groups, taps] */
  readonly parts: readonly (Float32Array | Float64Array)[];
}

export type ChannelSplit = SetSplit | WeightSplit;

/** K. */
export const conceptsOf = (split: ChannelSplit): number => ("sets" in split ? split.concepts : split.parts.length);

/** A row of the grown layer. */
export interface SplitPart {
  readonly channel: number;
  /** 1..K; 0 is a residual. */
  readonly concept: number;
  /** Output channel of the grown layer. */
  readonly row: number;
  /** What the merge layer multiplies it by: 1, or a negative whole number for a residual. */
  readonly factor: number;
}

/** A part's stored bits. */
export interface PartRow {
  readonly concept: number;
  readonly factor: number;
  readonly weights: Uint8Array;
  /** One element; undefined where the layer has no bias. */
  readonly bias: Uint8Array | undefined;
}

/** A channel's own stored bits. */
export interface ChannelBits {
  /** [I/groups, taps] */
  readonly weights: Uint8Array;
  readonly bias: Uint8Array | undefined;
  readonly tapBytes: number;
  readonly elements: ElementType;
}

/** The rows of one split: concept 1, which takes the channel's place, then 2..K, then residuals. */
export function partRows(bits: ChannelBits, split: ChannelSplit): readonly PartRow[] {
  return "sets" in split ? setRows(bits, split) : weightRows(bits, split);
}

function setRows({ weights, bias, tapBytes, elements }: ChannelBits, { sets, concepts }: SetSplit): PartRow[] {
  const own = Array.from({ length: concepts }, (_, k): PartRow => ({
    concept: k + 1,
    factor: 1,
    weights: masked(weights, tapBytes, sets, (set) => ((set >>> k) & 1) === 1),
    bias,
  }));
  // `extra` times too often.
  const extra = Uint32Array.from(sets, (set) => bitCount(set) - 1);
  const there = new Set([...extra, ...(bias === undefined ? [] : [concepts - 1])]);
  there.delete(0);
  const multiplicities = [...(there.size > 0 ? there : [concepts - 1])].sort((a, b) => a - b);
  const residuals: PartRow[] = [];
  while (multiplicities[0] !== undefined) {
    const [factor] = multiplicities;
    const row = masked(weights, tapBytes, sets, () => false);
    let rowBias: Uint8Array | undefined = bias?.slice().fill(0);
    for (let times = factor; times < concepts; times *= 2) {
      const at = multiplicities.indexOf(times);
      if (at < 0) continue;
      const mask = masked(weights, tapBytes, extra, (m) => m === times);
      const scaled = times === factor ? mask : timesPower(mask, times / factor, elements);
      const shared = times === concepts - 1 && bias !== undefined;
      const scaledBias = !shared || times === factor ? bias : timesPower(bias, times / factor, elements);
      if (scaled === undefined || (shared && scaledBias === undefined)) continue;
      scaled.forEach((byte, k) => (row[k] = (row[k] ?? 0) | byte));
      if (shared) rowBias = scaledBias;
      multiplicities.splice(at, 1);
    }
    residuals.push({ concept: 0, factor: -factor, weights: row, bias: rowBias });
  }
  return [...own, ...residuals];
}

/** The weights of the inputs that are chosen, +0 elsewhere. */
function masked(
  weights: Uint8Array,
  tapBytes: number,
  values: Uint32Array,
  chosen: (value: number) => boolean,
): Uint8Array {
  const out = weights.slice();
  values.forEach((value, input) => {
    if (!chosen(value)) out.fill(0, input * tapBytes, (input + 1) * tapBytes);
  });
  return out;
}

/** Every number times a power of two: exact but for overflow (and NaN, whose bits would change), which gives undefined. */
function timesPower(raw: Uint8Array, power: number, { decode, encode }: ElementType): Uint8Array | undefined {
  const out = encode(decode(raw).map((v) => v * power));
  return decode(out).every((v) => Number.isFinite(v)) ? out : undefined;
}

function bitCount(set: number): number {
  let n = 0;
  for (let rest = set; rest !== 0; rest &= rest - 1) n++;
  return n;
}

function weightRows({ weights, bias, elements }: ChannelBits, { channel, parts }: WeightSplit): PartRow[] {
  const rows = stored(elements.decode(weights), parts, elements);
  const shares =
    bias === undefined
      ? undefined
      : stored(
          elements.decode(bias),
          parts.map(() => elements.decode(bias).map((b) => b / parts.length)),
          elements,
        );
  if (rows.some((row) => row.some((v) => !Number.isFinite(v)))) {
    throw new UnbraidError(
      "input",
      "PARTS_RANGE",
      `a part of channel ${channel} has weights that are not finite in the layer's type`,
      "Choose a smaller --scale, or a rule that keeps the weights (--rule symmetric).",
    );
  }
  return rows.map((row, k) => ({
    concept: k + 1,
    factor: 1,
    weights: elements.encode(row),
    bias: shares === undefined ? undefined : elements.encode(shares[k] ?? []),
  }));
}

/** Parts as they can be stored: all but the smallest rounded, the smallest what they leave of the whole. */
function stored(
  whole: Float64Array,
  parts: readonly (Float32Array | Float64Array)[],
  { encode, decode }: ElementType,
): Float64Array[] {
  const rounded = parts.map((part) => decode(encode(part)));
  const rest = whole.slice();
  const smallest = Uint8Array.from(whole, (_, j) => {
    const values = rounded.map((row) => row[j] ?? 0);
    const order = values.map((_, k) => k).sort((a, b) => bySize(values[a] ?? 0, values[b] ?? 0));
    const least = order.pop() ?? 0;
    for (const k of order) rest[j] = (rest[j] ?? 0) - (values[k] ?? 0);
    return least;
  });
  const left = decode(encode(rest));
  smallest.forEach((k, j) => {
    const row = rounded[k];
    invariant(row !== undefined, "a part");
    row[j] = left[j] ?? 0;
  });
  return rounded;
}

/** Larger magnitudes first; of two opposite numbers the positive. */
const bySize = (a: number, b: number): number => Math.abs(b) - Math.abs(a) || b - a;

/** Every row of every split (by rising channel) and where it goes. */
export function placeRows(
  splits: readonly { readonly channel: number; readonly rows: readonly PartRow[] }[],
  channels: number,
): readonly SplitPart[] {
  let next = channels;
  return splits.flatMap(({ channel, rows }) =>
    rows.map(({ concept, factor }, k) => ({ channel, concept, row: k === 0 ? channel : next++, factor })),
  );
}
