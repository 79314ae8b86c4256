/**
 * What a part does: the network without it (METHOD.md C, "Causal"). Ablating a part sets its weights to zero, so the
 * layer's output loses the part's response; its bias stays, so that nothing depends on whether BatchNormalization was folded.
 * Beside each part stand parts of the same size whose inputs were drawn at random, and the whole channel.
 */
import { must } from "../../errors.ts";
import { mean, type BootstrapOptions, type Figure } from "../statistics.ts";
import type { SplitChannel } from "./channel.ts";
import { drawRows, type Draw } from "./nulls.ts";
import type { EvaluationPass, Responses } from "./pass.ts";
import { bootstrapAll, weightedMean } from "./resample.ts";

/** A change, the same for random parts of that size (mean over draws), and the difference of the two. */
export interface Effect {
  readonly change: Figure;
  readonly random: Figure;
  readonly difference: Figure;
}

export interface PartAblation {
  /** [K] of the images' own logit, on the images of each concept: without the part, less with it. */
  readonly logits: readonly Effect[];
  /** Of the accuracy on images of no concept of the channel. */
  readonly accuracy_elsewhere: Effect;
}

export interface Ablation {
  readonly parts: readonly PartAblation[];
  readonly whole_channel: { readonly logits: readonly Figure[]; readonly accuracy_elsewhere: Figure };
  /** With nothing ablated, on images of other classes. */
  readonly accuracy_elsewhere: Figure;
  /** Draws of random parts. */
  readonly draws: number;
}

/** Rows of weights whose responses ablations need: the channel's own, the parts', and each draw's parts'. */
export function ablationRows(channel: SplitChannel, draws: readonly Draw[]): Float64Array[] {
  return [channel.weights, ...channel.parts, ...draws.flatMap((draw) => drawRows(channel, draw))];
}

/** One image under every ablation of a channel. */
interface Observed {
  readonly ids: readonly number[];
  /** Change of the image's own logit. */
  readonly changes: Float64Array;
  readonly before: boolean;
  /** Whether its class still is the top one. */
  readonly after: readonly boolean[];
}

/** A batch's images. */
export interface AblatedBatch {
  /** [n] logits of their classes. */
  readonly labels: ArrayLike<number>;
  /** [n] their concepts. */
  readonly ids: readonly (readonly number[])[];
  /** Whether they are of the sample on which accuracy counts. */
  readonly elsewhere: boolean;
}

/** The ablations of one channel, image by image. */
export class AblationTally {
  readonly #channel: SplitChannel;
  readonly #draws: number;
  /** Where the channel's rows begin among those of the pass. */
  readonly #first: number;
  readonly #concepts: Observed[] = [];
  readonly #elsewhere: Observed[] = [];

  constructor(channel: SplitChannel, draws: number, first: number) {
    this.#channel = channel;
    this.#draws = draws;
    this.#first = first;
  }

  get #rows(): number {
    return 1 + this.#channel.parts.length * (1 + this.#draws);
  }

  /**
   * @param baseline [batch, T] logits of the network as it is
   */
  async add(
    pass: EvaluationPass,
    got: Responses,
    { labels, ids, elsewhere }: AblatedBatch,
    baseline: Float32Array,
    batch: number,
  ): Promise<void> {
    const wanted = ids.map((of) => this.#channel.ids.some((id) => of.includes(id)) !== elsewhere);
    if (!wanted.includes(true)) return;
    const width = baseline.length / batch;
    const after: Float32Array[] = [];
    for (let r = 0; r < this.#rows; r++) after.push(await this.#without(pass, got, this.#first + r, batch));
    wanted.forEach((yes, i) => {
      if (!yes) return;
      const label = labels[i] ?? 0;
      const at = i * width;
      const row = (l: Float32Array): Float32Array => l.subarray(at, at + width);
      (elsewhere ? this.#elsewhere : this.#concepts).push({
        ids: ids[i] ?? [],
        changes: Float64Array.from(after, (l) => (l[at + label] ?? NaN) - (baseline[at + label] ?? NaN)),
        before: isTop(row(baseline), label),
        after: after.map((l) => isTop(row(l), label)),
      });
    });
  }

  /** Logits with the response of row `r` taken out of the channel, for the time of the run. */
  async #without(
    pass: EvaluationPass,
    { z, maps, others }: Responses,
    r: number,
    batch: number,
  ): Promise<Float32Array> {
    const { positions: p, channels } = pass;
    const rows = maps.length / (batch * p);
    const { channel } = this.#channel;
    const at = (i: number): number => (i * channels + channel) * p;
    const kept = Array.from({ length: batch }, (_, i) => z.slice(at(i), at(i) + p));
    for (let i = 0; i < batch; i++)
      for (let q = 0; q < p; q++) z[at(i) + q] = (z[at(i) + q] ?? 0) - (maps[(i * rows + r) * p + q] ?? 0);
    // The values are on their way to the device when `logits` returns: z is this pass's own until then.
    const logits = await pass.logits(z, others);
    kept.forEach((plane, i) => {
      z.set(plane, at(i));
    });
    return logits;
  }

  result(options: BootstrapOptions): Ablation {
    const { ids, parts } = this.#channel;
    const figures = (...lists: number[][]): Figure[] =>
      bootstrapAll(lists[0]?.length ?? 0, lists.map(weightedMean), options);
    const figure = (values: number[]): Figure => must(figures(values)[0], "figure");
    const right = (o: Observed, row: number): number => Number(o.after[row] === true) - Number(o.before);
    const randomRows = (k: number): number[] =>
      Array.from({ length: this.#draws }, (_, d) => 1 + parts.length * (1 + d) + k);
    const effect = (images: readonly Observed[], k: number, of: (o: Observed, row: number) => number): Effect => {
      const change = images.map((o) => of(o, 1 + k));
      const random = images.map((o) => mean(randomRows(k).map((row) => of(o, row))));
      const difference = change.map((c, i) => c - must(random[i], "change"));
      const [of1, of2, of3] = figures(change, random, difference);
      return { change: must(of1, "figure"), random: must(of2, "figure"), difference: must(of3, "figure") };
    };
    const change = (o: Observed, row: number): number => o.changes[row] ?? NaN;
    const ofConcept = (id: number): Observed[] => this.#concepts.filter((o) => o.ids.includes(id));
    return {
      parts: parts.map((_, k) => ({
        logits: ids.map((id) => effect(ofConcept(id), k, change)),
        accuracy_elsewhere: effect(this.#elsewhere, k, right),
      })),
      whole_channel: {
        logits: ids.map((id) => figure(ofConcept(id).map((o) => change(o, 0)))),
        accuracy_elsewhere: figure(this.#elsewhere.map((o) => right(o, 0))),
      },
      accuracy_elsewhere: figure(this.#elsewhere.map((o) => Number(o.before))),
      draws: this.#draws,
    };
  }
}

function isTop(logits: Float32Array, label: number): boolean {
  const own = logits[label] ?? NaN;
  // The first of equal ones is the top, as argmax has it.
  return logits.every((l, t) => (t < label ? l < own : l <= own));
}
