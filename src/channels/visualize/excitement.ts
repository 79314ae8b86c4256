/**
 * How much each picture excites each part of a channel, beside parts of the same size whose inputs were drawn at random. A
 * picture made for one part lights up whatever shares inputs with it: only the excess over random parts says that it is the part.
 */
import { contributions, type SplitChannel } from "../evaluate/channel.ts";
import { drawSum, randomDraw } from "../evaluate/nulls.ts";
import type { Random } from "../random.ts";
import { bootstrapMean, mean, variance, type Figure } from "../statistics.ts";

/** The pictures of a row seen by a part; figures are means over the pictures. */
export interface Excitement {
  /** 0 of the channel's own pictures, 1, 2, ... of its parts'. */
  readonly pictures_of: number;
  /** 1, 2, ... */
  readonly part: number;
  /** Mean response over positions, in the layer's orientation, without bias. */
  readonly response: Figure;
  /** The same of random parts: its mean over draws. */
  readonly random: Figure;
  /** The response less that mean, in standard deviations over draws. */
  readonly excess: Figure;
}

export interface ExcitementOptions {
  readonly random: Random;
  /** Random parts of each size; 200 unless given. */
  readonly draws?: number;
}

const DRAWS = 200;

/**
 * @param patches [1 + K][pictures][I, K] of the channel's pictures and of each part's (`Ascended.patches`)
 * @returns (1 + K) K entries, row by row
 */
export function excitement(
  channel: SplitChannel,
  patches: readonly (readonly Float64Array[])[],
  { random, draws = DRAWS }: ExcitementOptions,
): Excitement[] {
  const drawn = Array.from({ length: draws }, () => randomDraw(channel, random));
  return patches.flatMap((pictures, row) => {
    const seen = pictures.map((patch) =>
      [channel.weights, ...channel.parts].map((weights) =>
        contributions(channel, weights, patch).map((v) => channel.sign * v),
      ),
    );
    return channel.parts.map((_, k): Excitement => {
      const measured = seen.map((by) => {
        const response = (by[1 + k] ?? new Float64Array(0)).reduce((a, b) => a + b, 0);
        const null_ = drawn.map((draw) => drawSum(draw[k] ?? new Uint8Array(0), by));
        const [centre, deviation] = [mean(null_), Math.sqrt(variance(null_))];
        return { response, random: centre, excess: deviation > 0 ? (response - centre) / deviation : 0 };
      });
      const figure = (of: "response" | "random" | "excess"): Figure =>
        bootstrapMean(
          measured.map((m) => m[of]),
          { random },
        );
      return {
        ...{ pictures_of: row, part: k + 1 },
        ...{ response: figure("response"), random: figure("random"), excess: figure("excess") },
      };
    });
  });
}
