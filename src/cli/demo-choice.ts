/** Which channels the demo splits, and which two it shows: by calibrated evidence and by lot, never by hand. */
import { Random } from "../channels/random.ts";

/** As `find --json` prints it, as far as it matters here. */
export interface FoundPair {
  readonly layer: string;
  readonly channel: number;
  readonly class1: number;
  readonly class2: number;
  readonly class1_name: string;
  readonly class2_name: string;
  readonly cosine_similarity: number | null;
  readonly significance: { readonly q_value: number; readonly cosine: { readonly value: number | null } } | null;
}

export interface Choice {
  /** One pair a channel, the surest first. */
  readonly surest: readonly FoundPair[];
  /** Of another channel: any pair of classes for which it is relevant, significant or not. */
  readonly random: FoundPair | undefined;
}

/** Surest first: the lowest q, and of equal ones the lowest cosine without noise (the largest effect). */
function bySureness(a: FoundPair, b: FoundPair): number {
  const q = (p: FoundPair): number => p.significance?.q_value ?? 1;
  const cosine = (p: FoundPair): number => p.significance?.cosine.value ?? p.cosine_similarity ?? 1;
  return q(a) - q(b) || cosine(a) - cosine(b);
}

/**
 * @param found significant pairs of one layer
 * @param candidates all pairs of classes that share a relevant channel of it
 * @param most channels that are taken by evidence
 */
export function chooseForDemo(
  found: readonly FoundPair[],
  candidates: readonly FoundPair[],
  most: number,
  seed: number,
): Choice {
  const byChannel = new Map<number, FoundPair>();
  for (const pair of found.toSorted(bySureness)) if (!byChannel.has(pair.channel)) byChannel.set(pair.channel, pair);
  const surest = [...byChannel.values()].sort(bySureness).slice(0, most);
  const taken = new Set(surest.map(({ channel }) => channel));
  const others = candidates.filter(({ channel, cosine_similarity: c }) => !taken.has(channel) && c !== null);
  // A channel first, so that channels of many classes are not drawn more often.
  const channels = [...new Set(others.map(({ channel }) => channel))].sort((a, b) => a - b);
  const random = new Random(seed);
  const channel = channels[random.below(Math.max(1, channels.length))];
  const pairs = others.filter((pair) => pair.channel === channel);
  return { surest, random: pairs[random.below(Math.max(1, pairs.length))] };
}
