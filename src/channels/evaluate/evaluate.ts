/**
 * Whether the parts of split channels mean anything (METHOD.md A8 to A10, B and C): what each part takes of the channel, how
 * it is distributed, what it tells apart beyond its nulls, what the network loses without it, and whether other images would
 * have given it.
 */
import { must, UnbraidError } from "../../errors.ts";
import { meanTapSums } from "../../relevance/arv.ts";
import type { Study } from "../../relevance/study.ts";
import { pause } from "../pause.ts";
import type { Random } from "../random.ts";
import type { SplitChannel } from "./channel.ts";
import { density } from "./density.ts";
import type {
  ChannelEvaluation,
  ConceptDensity,
  ConceptFractions,
  Evaluation,
  PartSeparation,
  PooledFractions,
} from "./evaluation.ts";
import { fractions, residuals, type Activations } from "./fractions.ts";
import { filterRule, randomFilter, type Draw } from "./nulls.ts";
import type { Observations, ObservedImage } from "./observe.ts";
import { imageHalvings, meanOf, reproducibility, studyHalvings, type Reproducibility } from "./reproducibility.ts";
import { ScoreTable } from "./scores.ts";
import { contrast, type Contrast } from "./separation.ts";
import { summarise } from "./summary.ts";

export interface EvaluationOptions {
  readonly random: Random;
  /** The share of an image's relevance that the channel must have for the image to count for fractions. */
  readonly tau: number;
  /** Of the layer before it was split: ARVs for random filters, and halves of its images. The images' own are used without. */
  readonly study?: Study;
  /** Responses as the file's weights give them, not in the orientation in which more means more active. */
  readonly official?: boolean;
  /** Random filters; 100 unless given. */
  readonly filters?: number;
  /** Bootstrap resamples; 1000 unless given. */
  readonly resamples?: number;
  /** Told how many channels are done. */
  readonly onProgress?: (channels: number) => void;
  readonly signal?: AbortSignal;
}

const FILTERS = 100;
/** Ways to halve the images given. */
const HALVINGS = 20;

/**
 * @param draws [split channels][draws of random parts], the first of which were ablated
 * @throws UnbraidError EVALUATE_IMAGES for a concept without an image; what the signal throws
 */
export async function evaluateSplit(
  channels: readonly SplitChannel[],
  draws: readonly (readonly Draw[])[],
  observed: Observations,
  options: EvaluationOptions,
): Promise<Evaluation> {
  for (const channel of channels) checkImages(channel, observed.concepts);
  const activations: (readonly Activations[])[] = [];
  const evaluated: ChannelEvaluation[] = [];
  for (const [c, channel] of channels.entries()) {
    // Bootstraps take a second or so a channel: whoever wants to stop must be heard in between.
    await pause();
    options.signal?.throwIfAborted();
    const own = { ...options, random: options.random.fork() };
    const one = new ChannelWork(channel, must(draws[c], "draws"), observed, c, own);
    activations.push(one.activations);
    evaluated.push(one.result());
    options.onProgress?.(c + 1);
  }
  return { channels: evaluated, pooled: pool(activations, options) };
}

function checkImages({ channel, concepts, ids }: SplitChannel, images: readonly ObservedImage[]): void {
  const missing = concepts.filter((_, k) => !images.some((image) => image.ids.includes(ids[k] ?? -1)));
  if (missing.length === 0) return;
  throw new UnbraidError(
    "input",
    "EVALUATE_IMAGES",
    `no image of ${missing.map((name) => `"${name}"`).join(", ")}, a concept of channel ${channel}, was read`,
    "Give a folder that has images of each concept.",
  );
}

/** One channel's figures. */
class ChannelWork {
  readonly #channel: SplitChannel;
  readonly #observed: Observations;
  readonly #position: number;
  readonly #options: EvaluationOptions;
  readonly #images: ScoreTable;
  readonly #sample: ScoreTable;
  readonly #arvs: "study" | "images";
  /** [concepts] on the images of its class on which the channel has its share. */
  readonly activations: readonly Activations[];

  constructor(
    channel: SplitChannel,
    draws: readonly Draw[],
    observed: Observations,
    position: number,
    options: EvaluationOptions,
  ) {
    this.#channel = channel;
    this.#observed = observed;
    this.#position = position;
    this.#options = options;
    const means = options.study === undefined ? undefined : studyMeans(options.study, channel.classes);
    this.#arvs = means === undefined ? "images" : "study";
    const of = means ?? channel.ids.map((id) => meanOf(this.#tapSums(id)));
    const count = options.filters ?? FILTERS;
    const filters = Array.from({ length: count }, () => randomFilter(channel, of, options.random));
    const sign = options.official === true ? 1 : channel.sign;
    const mine = observed.concepts.filter((image) => channel.ids.some((id) => image.ids.includes(id)));
    this.#images = new ScoreTable(channel, mine, draws, filters, sign);
    this.#sample = new ScoreTable(channel, observed.sample, draws, filters, sign);
    this.activations = channel.ids.map((id) =>
      this.#activations(this.#images.of(id).filter((i) => this.#share(mine[i]) >= options.tau)),
    );
  }

  #share(image: ObservedImage | undefined): number {
    return image?.shares[this.#position] ?? NaN;
  }

  #tapSums(id: number): Float32Array[] {
    return this.#observed.concepts.filter((image) => image.ids.includes(id)).map((image) => image.tapSums);
  }

  #activations(images: readonly number[]): Activations {
    const parts = this.#channel.parts.map((_, k) => this.#images.part(images, k));
    return { original: this.#images.whole(images), parts };
  }

  result(): ChannelEvaluation {
    const { channel, concepts, classes, ids, rule, rho } = this.#channel;
    const { random } = this.#options;
    const bootstrap = { random, ...this.#resamples };
    const figures = {
      ...{ channel, concepts, classes, rule, rho },
      fractions: concepts.map((concept, k): ConceptFractions => {
        const counted = must(this.activations[k], "activations");
        const images = this.#images.of(ids[k] ?? -1).length;
        return { concept, images, counted: counted.original.length, ...fractions(counted, bootstrap) };
      }),
      densities: concepts.flatMap((concept, k) => this.#densities(concept, must(ids[k], "concept"))),
      separation: concepts.map((concept, k) => this.#separation(concept, k)),
      random_filters: { ...filterRule(this.#channel), arvs: this.#arvs },
      ablation: this.#observed.ablations[this.#position]?.result(bootstrap) ?? null,
      reproducibility: this.#reproducibility(),
    };
    return { ...figures, summary: summarise(figures) };
  }

  get #resamples(): { resamples?: number } {
    return this.#options.resamples === undefined ? {} : { resamples: this.#options.resamples };
  }

  #densities(concept: string, id: number): ConceptDensity[] {
    const { original, parts } = this.#activations(this.#images.of(id));
    return [original, ...parts, residuals({ original, parts })].map((values, k): ConceptDensity => {
      const of = k === 0 ? "original" : k > parts.length ? "residual" : `part ${k}`;
      return { concept, of, ...density(values) };
    });
  }

  #separation(concept: string, k: number): PartSeparation {
    const own = must(this.#channel.ids[k], "concept");
    const positives = this.#images.of(own);
    const against = (table: ScoreTable): Contrast | null => {
      const images = table.of(own, false);
      if (images.length === 0) return null;
      const { part, whole, partitions, filters } = this.#images.scores(positives, { table, images }, k);
      return contrast(part, whole, partitions, filters, { random: this.#options.random, ...this.#resamples });
    };
    return { concept, from_concepts: must(against(this.#images), "other concepts"), from_all: against(this.#sample) };
  }

  #reproducibility(): Reproducibility | null {
    const { study, random } = this.#options;
    const { classes, ids } = this.#channel;
    const halvings = study === undefined || classes.length === 0 ? [] : studyHalvings(study, classes);
    if (halvings.length > 0) return reproducibility(this.#channel, "study", halvings);
    const own = imageHalvings(
      ids.map((id) => this.#tapSums(id)),
      HALVINGS,
      random,
    );
    return own.length === 0 ? null : reproducibility(this.#channel, "images", own);
  }
}

/** Mean tap sums of classes; undefined where the study has no image of one. */
function studyMeans(study: Study, classes: readonly number[]): Float64Array[] | undefined {
  const means = classes.flatMap((t) => meanTapSums(study, t) ?? []);
  return classes.length > 0 && means.length === classes.length ? means : undefined;
}

function pool(
  activations: readonly (readonly Activations[])[],
  { random, resamples }: EvaluationOptions,
): PooledFractions[] {
  const concepts = activations[0]?.length ?? 0;
  if (activations.some((a) => a.length !== concepts)) return [];
  return Array.from({ length: concepts }, (_, k): PooledFractions => {
    const on = activations.map((a) => must(a[k], "activations"));
    const together: Activations = {
      original: on.flatMap((a) => a.original),
      parts: Array.from({ length: concepts }, (__, j) => on.flatMap((a) => a.parts[j] ?? [])),
    };
    const options = { random, ...(resamples === undefined ? {} : { resamples }) };
    return { concept: k + 1, counted: together.original.length, ...fractions(together, options) };
  });
}
