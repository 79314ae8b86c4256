/**
 * The report's pass over images: of each image of a channel's concepts what every input adds to the channel, and the images
 * on which the channel and each part are most relevant, and most active. Memory grows with what is shown, not with the images.
 */
import { must, UnbraidError } from "../errors.ts";
import { contributions, type SplitChannel } from "../channels/evaluate/channel.ts";
import type { EvaluationPass, Responses } from "../channels/evaluate/pass.ts";
import type { ImageBatch } from "../relevance/run-study.ts";

/** What is known of a row on an image that is to be shown. */
export interface TopImage {
  readonly path: string;
  readonly label: number;
  /** Relevance: the sum over positions of response times gradient. Activation: the strongest position's response. */
  readonly value: number;
  /** The position that gives most of it. */
  readonly position: number;
  /** [positions] what the row's response counts at each: the gradient, or 1 (times the orientation) at the strongest alone. */
  readonly weights: Float32Array;
}

export interface RowTops {
  /** By falling value; only images that speak for their class through the row (above 0). */
  readonly relevant: readonly TopImage[];
  readonly activating: readonly TopImage[];
}

/** An image of one of a channel's concepts. */
export interface ConceptImage {
  readonly path: string;
  readonly label: number;
  /** From 0. */
  readonly concept: number;
  /** [inputs] what each input adds to the sum over positions of the channel's response, without bias, oriented. */
  readonly whole: Float32Array;
  /** [K][inputs] the same of each part. */
  readonly parts: readonly Float32Array[];
}

export interface ChannelScan {
  readonly concepts: readonly ConceptImage[];
  /** [1 + K] of the channel, then of each part. */
  readonly tops: readonly RowTops[];
}

export interface ScanOptions {
  /** Opened with `scanRows` of the channels. */
  readonly pass: EvaluationPass;
  readonly channels: readonly SplitChannel[];
  readonly batches: AsyncIterable<ImageBatch>;
  /** What an image is known by to be of a concept (`SplitChannel.ids`): its label, and the clusters that it is in. */
  readonly idsOf: (path: string, label: number) => readonly number[];
  /** Images that each list of the most relevant, or active, holds. */
  readonly most: number;
  readonly onProgress?: (images: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** The rows that the pass must be opened with. */
export const scanRows = (channels: readonly SplitChannel[]): Float64Array[] =>
  channels.flatMap(({ weights, parts }) => [weights, ...parts]);

/** @throws UnbraidError NOT_FINITE; what the signal and the device throw */
export async function scanImages(o: ScanOptions): Promise<{ images: number; channels: ChannelScan[] }> {
  const concepts = o.channels.map((): ConceptImage[] => []);
  const tops = o.channels.map(({ parts }) =>
    [0, ...parts].map(() => ({ relevant: new Tops(o), activating: new Tops(o) })),
  );
  let images = 0;
  for await (const batch of o.batches) {
    o.signal?.throwIfAborted();
    const n = batch.labels.length;
    const got = await o.pass.run(batch.tensor, n, batch.labels);
    for (let i = 0; i < n; i++) {
      const image = { path: batch.items[i]?.path ?? "", label: must(batch.labels[i], "label") };
      const ids = o.idsOf(image.path, image.label);
      let first = 0;
      o.channels.forEach((channel, c) => {
        const concept = channel.ids.findIndex((id) => ids.includes(id));
        if (concept >= 0) concepts[c]?.push({ ...image, concept, ...contributed(channel, got, i, n) });
        tops[c]?.forEach(({ relevant, activating }, k) => {
          const row = rowOf(o, got, i, first + k);
          if (!row.every(Number.isFinite)) throw notFinite(image.path);
          const gradient = gradientOf(o, got, i, channel.channel);
          relevant.offer(image, relevanceOf(row, gradient));
          activating.offer(image, activationOf(row, channel.sign));
        });
        first += 1 + channel.parts.length;
      });
    }
    images += n;
    o.onProgress?.(images);
  }
  const channels = o.channels.map((_, c) => ({
    concepts: concepts[c] ?? [],
    tops: (tops[c] ?? []).map((row) => ({ relevant: row.relevant.list, activating: row.activating.list })),
  }));
  return { images, channels };
}

const notFinite = (path: string): UnbraidError =>
  new UnbraidError(
    "model",
    "NOT_FINITE",
    `the responses on ${path} are not finite`,
    "Check the model and the preprocessing: its activations overflow float32.",
  );

function contributed(
  channel: SplitChannel,
  { tapSums }: Responses,
  i: number,
  n: number,
): Pick<ConceptImage, "whole" | "parts"> {
  const size = tapSums.length / n;
  const own = tapSums.subarray(i * size, (i + 1) * size);
  const of = (row: Float64Array): Float32Array =>
    Float32Array.from(contributions(channel, row, own), (v) => channel.sign * v);
  return { whole: of(channel.weights), parts: channel.parts.map(of) };
}

/** [positions] */
function rowOf({ pass, channels }: ScanOptions, { maps }: Responses, i: number, row: number): Float32Array {
  const rows = channels.reduce((count, { parts }) => count + 1 + parts.length, 0);
  const at = (i * rows + row) * pass.positions;
  return maps.subarray(at, at + pass.positions);
}

function gradientOf({ pass }: ScanOptions, { gradient }: Responses, i: number, channel: number): Float32Array {
  const at = (i * pass.channels + channel) * pass.positions;
  return must(gradient, "gradient").subarray(at, at + pass.positions);
}

interface Scored {
  readonly value: number;
  readonly position: number;
  readonly weights: () => Float32Array;
}

function relevanceOf(row: Float32Array, gradient: Float32Array): Scored {
  let [sum, position, best] = [0, 0, -Infinity];
  for (let p = 0; p < row.length; p++) {
    const r = (row[p] ?? NaN) * (gradient[p] ?? NaN);
    sum += r;
    if (r > best) [best, position] = [r, p];
  }
  return { value: sum, position, weights: () => gradient.slice() };
}

function activationOf(row: Float32Array, sign: number): Scored {
  let [position, best] = [0, -Infinity];
  for (let p = 0; p < row.length; p++)
    if (sign * (row[p] ?? NaN) > best) [best, position] = [sign * (row[p] ?? NaN), p];
  const weights = (): Float32Array => {
    const one = new Float32Array(row.length);
    one[position] = sign;
    return one;
  };
  return { value: best, position, weights };
}

/** The images of highest value so far. */
class Tops {
  readonly list: TopImage[] = [];
  readonly #most: number;

  constructor({ most }: ScanOptions) {
    this.#most = most;
  }

  offer(image: { readonly path: string; readonly label: number }, { value, position, weights }: Scored): void {
    const last = this.list[this.#most - 1];
    if (!(value > 0) || (last !== undefined && value <= last.value)) return;
    // Behind its equals: the first image of several that are alike stays.
    const at = this.list.findIndex((other) => other.value < value);
    this.list.splice(at < 0 ? this.list.length : at, 0, { ...image, value, position, weights: weights() });
    this.list.length = Math.min(this.list.length, this.#most);
  }
}
