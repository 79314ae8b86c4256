/** The one pass over images that evaluate makes, and what it keeps of each image. */
import { must, UnbraidError } from "../../errors.ts";
import type { ImageBatch } from "../../relevance/run-study.ts";
import { AblationTally, ablationRows } from "./ablation.ts";
import type { SplitChannel } from "./channel.ts";
import type { Draw } from "./nulls.ts";
import type { EvaluationPass, Responses } from "./pass.ts";

export interface ObservedImage {
  /** The concepts that it is of: its class's logit, and numbers above all logits for clusters. */
  readonly ids: readonly number[];
  /** [I, K] tap sums of the layer's input. */
  readonly tapSums: Float32Array;
  /** [split channels] of the image's positive relevance at the layer (METHOD.md A9); empty where no gradient was run. */
  readonly shares: Float64Array;
}

export interface Observations {
  /** Of the concepts. */
  readonly concepts: readonly ObservedImage[];
  /** Of all classes. */
  readonly sample: readonly ObservedImage[];
  /** One a split channel; none where nothing was ablated. */
  readonly ablations: readonly AblationTally[];
}

/** What is to be ablated of each channel: the draws of random parts, and all rows that the pass must be opened with. */
export interface AblationPlan {
  readonly rows: readonly Float64Array[];
  readonly tallies: readonly AblationTally[];
}

/** @param draws [split channels][draws of random parts] */
export function planAblations(channels: readonly SplitChannel[], draws: readonly (readonly Draw[])[]): AblationPlan {
  const rows: Float64Array[] = [];
  const tallies = channels.map((channel, c) => {
    const mine = draws[c] ?? [];
    const tally = new AblationTally(channel, mine.length, rows.length);
    rows.push(...ablationRows(channel, mine));
    return tally;
  });
  return { rows, tallies };
}

export interface ObserveOptions {
  readonly pass: EvaluationPass;
  readonly batch: number;
  readonly channels: readonly SplitChannel[];
  /** [C] the bias of the layer's output. */
  readonly bias: ArrayLike<number>;
  readonly ablations: readonly AblationTally[];
  /** Every image of a concept of some channel. */
  readonly concepts: AsyncIterable<ImageBatch>;
  /** Images of all classes: what parts are told from, and where accuracy is measured. */
  readonly sample: AsyncIterable<ImageBatch>;
  /** The clusters that an image is in, by its path; none unless given. */
  readonly clustersOf?: (path: string) => readonly number[];
  readonly onProgress?: (images: number) => void;
  readonly signal?: AbortSignal;
}

/** @throws UnbraidError NOT_FINITE, naming the image; what the signal and the device throw */
export async function observe(o: ObserveOptions): Promise<Observations> {
  let done = 0;
  const run = async (batches: AsyncIterable<ImageBatch>, withGradient: boolean): Promise<ObservedImage[]> => {
    const images: ObservedImage[] = [];
    for await (const batch of batches) {
      o.signal?.throwIfAborted();
      const n = batch.labels.length;
      const got = await o.pass.run(batch.tensor, n, withGradient ? batch.labels : undefined);
      images.push(...record(o, batch, got));
      await ablate(o, batch, got, !withGradient);
      done += n;
      o.onProgress?.(done);
    }
    return images;
  };
  const concepts = await run(o.concepts, true);
  return { concepts, sample: await run(o.sample, false), ablations: o.ablations };
}

const idsOf = (o: ObserveOptions, batch: ImageBatch, i: number): readonly number[] => [
  must(batch.labels[i], "label"),
  ...(o.clustersOf?.(batch.items[i]?.path ?? "") ?? []),
];

function record(o: ObserveOptions, batch: ImageBatch, got: Responses): ObservedImage[] {
  const n = batch.labels.length;
  const size = got.tapSums.length / n;
  return Array.from({ length: n }, (_, i) => {
    const tapSums = got.tapSums.slice(i * size, (i + 1) * size);
    if (!tapSums.every(Number.isFinite)) throw notFinite(batch, i, "input of the layer");
    const ids = idsOf(o, batch, i);
    return { ids, tapSums, shares: sharesOf(o, batch, got, i) };
  });
}

/** Each split channel's share of the image's relevance, clamped position by position before it is summed. */
function sharesOf(o: ObserveOptions, batch: ImageBatch, { z, gradient }: Responses, i: number): Float64Array {
  if (gradient === undefined) return new Float64Array(0);
  const { channels, positions } = o.pass;
  const relevance = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const bias = o.bias[c] ?? 0;
    let sum = 0;
    for (let p = 0, at = (i * channels + c) * positions; p < positions; p++, at++)
      sum += Math.max(((z[at] ?? NaN) - bias) * (gradient[at] ?? NaN), 0);
    relevance[c] = sum;
  }
  const total = relevance.reduce((a, b) => a + b, 0);
  if (!Number.isFinite(total)) throw notFinite(batch, i, "relevance");
  // Without any positive relevance no channel has a share of it.
  return Float64Array.from(o.channels, ({ channel }) => (total > 0 ? (relevance[channel] ?? 0) / total : 0));
}

async function ablate(o: ObserveOptions, batch: ImageBatch, got: Responses, elsewhere: boolean): Promise<void> {
  if (o.ablations.length === 0) return;
  const baseline = await o.pass.logits(got.z, got.others);
  const width = baseline.length / o.batch;
  Array.from(batch.labels).forEach((_, i) => {
    if (!baseline.subarray(i * width, (i + 1) * width).every(Number.isFinite)) throw notFinite(batch, i, "logits");
  });
  for (const tally of o.ablations) {
    o.signal?.throwIfAborted();
    const ids = Array.from(batch.labels, (_, i) => idsOf(o, batch, i));
    await tally.add(o.pass, got, { labels: batch.labels, ids, elsewhere }, baseline, o.batch);
  }
}

const notFinite = (batch: ImageBatch, i: number, what: string): UnbraidError =>
  new UnbraidError(
    "model",
    "NOT_FINITE",
    `the ${what} of ${batch.items[i]?.path ?? `image ${i} of a batch`} is not finite`,
    "Check the model and the preprocessing: its activations overflow float32.",
  );
