/** Sums over positions of a channel, its parts and the parts of its nulls, image by image. */
import { must } from "../../errors.ts";
import { contributions, type SplitChannel } from "./channel.ts";
import { drawSum, type Draw, type RandomFilter } from "./nulls.ts";
import type { ObservedImage } from "./observe.ts";
import type { Scores } from "./separation.ts";

/**
 * [images][1 + K + draws K + filters K]: the whole channel, its parts, each draw's parts, each filter's parts, times the
 * sign in which more means more active.
 */
export class ScoreTable {
  readonly #concepts: number;
  readonly #draws: number;
  readonly #filters: number;
  readonly #ids: readonly (readonly number[])[];
  readonly #rows: readonly Float64Array[];

  constructor(
    channel: SplitChannel,
    images: readonly ObservedImage[],
    draws: readonly Draw[],
    filters: readonly RandomFilter[],
    sign = channel.sign,
  ) {
    this.#concepts = channel.parts.length;
    [this.#draws, this.#filters] = [draws.length, filters.length];
    this.#ids = images.map((image) => image.ids);
    const rows = [channel.weights, ...channel.parts];
    this.#rows = images.map(({ tapSums }) => {
      const parts = rows.map((row) => contributions(channel, row, tapSums));
      const sums = parts.map((part) => part.reduce((a, b) => a + b, 0));
      for (const draw of draws) sums.push(...draw.map((sources) => drawSum(sources, parts)));
      const own = sums.map((s) => sign * s);
      for (const { weights, draw } of filters) {
        const noise = [contributions(channel, weights, tapSums)];
        own.push(...draw.map((sources) => drawSum(sources, noise)));
      }
      return Float64Array.from(own);
    });
  }

  #column(images: readonly number[], column: number): Float64Array {
    return Float64Array.from(images, (i) => must(this.#rows[i]?.[column], "score"));
  }

  /** Positions of the images that are of a concept, or of those that are not. */
  of(id: number, wanted = true): number[] {
    return this.#ids.flatMap((ids, i) => (ids.includes(id) === wanted ? [i] : []));
  }

  whole(images: readonly number[]): number[] {
    return [...this.#column(images, 0)];
  }

  part(images: readonly number[], k: number): number[] {
    return [...this.#column(images, 1 + k)];
  }

  /** For the separation of `positives` from `negatives` by part k. */
  scores(positives: readonly number[], negatives: ScoreImages, k: number): SeparationScores {
    const both = (column: number): Scores => ({
      positives: this.#column(positives, column),
      negatives: negatives.table.#column(negatives.images, column),
    });
    const every = (n: number, first: number): Scores[] =>
      Array.from({ length: n }, (_, d) => both(first + d * this.#concepts + k));
    const draws = 1 + this.#concepts;
    return {
      part: both(1 + k),
      whole: both(0),
      partitions: every(this.#draws, draws),
      filters: this.#filters === 0 ? undefined : every(this.#filters, draws + this.#draws * this.#concepts),
    };
  }
}

/** Images of a table, which need not be the one that positives are of. */
export interface ScoreImages {
  readonly table: ScoreTable;
  readonly images: readonly number[];
}

export interface SeparationScores {
  readonly part: Scores;
  readonly whole: Scores;
  readonly partitions: readonly Scores[];
  readonly filters: readonly Scores[] | undefined;
}
