/** The numbers that the page recomputes a channel's figures from. */
import type { SplitChannel } from "../channels/evaluate/channel.ts";
import type { Interactive } from "./data.ts";
import { base64Doubles, base64Floats } from "./png.ts";
import type { ConceptImage } from "./scan.ts";

/** Bytes of contributions, before base64, that all channels of a report may take together. */
export const MOST_CONTRIBUTION_BYTES = 1_200_000;
/** Images of a concept: more make no density clearer. */
const MOST_OF_A_CONCEPT = 120;
/** Fewer make no density at all. */
const LEAST_OF_A_CONCEPT = 10;
/** Images of a concept that the reader may choose from. */
export const SHOWN_OF_A_CONCEPT = 8;

/** Spread evenly over the list, which is sorted by name. */
export function thinned<T>(list: readonly T[], most: number): T[] {
  const n = Math.min(list.length, most);
  return Array.from({ length: n }, (_, k) => list[Math.floor((k * list.length) / n)] ?? []).flat() as T[];
}

/** Whether the page can compute the parts of any rho itself. */
export const hasSlider = ({ rule, sets }: SplitChannel): boolean =>
  sets !== undefined && (rule === "symmetric" || rule === "official");

/** The images whose contributions go into the file, as even over concepts as can be. @param channels that share the room */
export function chosenImages(channel: SplitChannel, images: readonly ConceptImage[], channels: number): ConceptImage[] {
  const rows = channel.sets === undefined ? 1 + channel.parts.length : 1;
  const room = MOST_CONTRIBUTION_BYTES / channels / channel.concepts.length / (4 * channel.count * rows);
  const each = Math.min(MOST_OF_A_CONCEPT, Math.max(LEAST_OF_A_CONCEPT, Math.floor(room)));
  return channel.concepts.flatMap((_, k) =>
    thinned(
      images.filter(({ concept }) => concept === k),
      each,
    ),
  );
}

/**
 * @param vectors [K][inputs] the relevance vectors that source sets are made of
 * @param pictures [images] index of each image's picture, or -1
 */
export function interactive(
  channel: SplitChannel,
  vectors: readonly Float64Array[] | undefined,
  images: readonly ConceptImage[],
  pictures: readonly number[],
): Interactive {
  const { concepts, count, sets, parts, rule, rho, first } = channel;
  const arvs = new Float64Array(concepts.length * count);
  (vectors ?? means(channel, images)).forEach((v, k) => {
    arvs.set(v, k * count);
  });
  const flat = (rows: readonly Float32Array[]): string => {
    const all = new Float32Array(rows.length * count);
    rows.forEach((row, n) => {
      all.set(row, n * count);
    });
    return base64Floats(all);
  };
  return {
    concepts,
    rule,
    inputs: count,
    firstInput: first,
    arvs: base64Doubles(arvs),
    concept: images.map(({ concept }) => concept),
    picture: pictures,
    contributions: flat(images.map(({ whole }) => whole)),
    ...(vectors !== undefined && hasSlider(channel) && rho !== null ? { rho } : {}),
    ...(sets === undefined
      ? { parts: parts.map((_, k) => flat(images.map((image) => image.parts[k] ?? new Float32Array(count)))) }
      : { sets: [...sets] }),
  };
}

/** Where the study knows none (clusters): of the images themselves. */
function means({ concepts, count }: SplitChannel, images: readonly ConceptImage[]): Float64Array[] {
  return concepts.map((_, k) => {
    const own = images.filter(({ concept }) => concept === k);
    return Float64Array.from(
      { length: count },
      (__, i) => own.reduce((sum, { whole }) => sum + (whole[i] ?? 0), 0) / Math.max(1, own.length),
    );
  });
}
