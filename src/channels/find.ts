/** Polysemantic channels: those relevant for two classes by different inputs (METHOD.md A2, A4). */
import { UnbraidError } from "../errors.ts";
import { AverageRelevance } from "../relevance/arv.ts";
import { countsOf, imagesOf } from "../relevance/study.ts";
import type { Study } from "../relevance/study.ts";
import { cosine, officialCosine } from "./cosine.ts";

export interface FindOptions {
  /** Share of an image's positive relevance that makes a channel important; one of the study's. */
  readonly tau: number;
  /** Share of a class's images on which a channel must be important to be relevant for it. Default 0.75. */
  readonly p?: number;
  /** Pairs have 0 <= cosine < gamma. Default 0.5. */
  readonly gamma?: number;
  /** Counts, ARVs and cosines in the original's float16 steps. */
  readonly compat?: "official";
}

/** A channel and two of its classes; indices from 0, class1 < class2. */
export interface Pair {
  readonly channel: number;
  readonly class1: number;
  readonly class2: number;
  /** NaN among the undefined. */
  readonly cosine: number;
  /** Images on which the channel is important, of images of the class. */
  readonly count1: number;
  readonly images1: number;
  readonly count2: number;
  readonly images2: number;
  /** Compat: a float16 overflowed, so that the cosine means nothing (the original lists the pair all the same). */
  readonly overflow: boolean;
}

export interface Findings {
  /** By falling cosine, then channel, class1, class2. */
  readonly pairs: readonly Pair[];
  /** Pairs of relevant classes without a cosine: an ARV is zero, or not finite. */
  readonly undefinedPairs: readonly Pair[];
  /** [C] the classes that each channel is relevant for, ascending. */
  readonly relevant: readonly (readonly number[])[];
  /** Pairs of relevant classes of a channel, whatever their cosine. */
  readonly candidates: number;
}

/**
 * The gamma-polysemantic channels of a study, with their pairs of classes.
 * @throws UnbraidError STUDY_TAU when the study was not made with this tau; OPTION_RANGE
 */
export function findPairs(study: Study, options: FindOptions): Findings {
  const p = inRange("p", options.p ?? 0.75, 0, 1);
  const gamma = inRange("gamma", options.gamma ?? 0.5, 0, Infinity);
  const official = options.compat === "official";
  const relevant = relevantClasses(study, tauIndex(study, options.tau), p, official);
  const arvs = new AverageRelevance(study);
  const counts = study.meta.classes.map((_, t) =>
    countsOf(study, official ? "half" : "exact", tauIndex(study, options.tau), t),
  );
  const pairs: Pair[] = [];
  const undefinedPairs: Pair[] = [];
  let candidates = 0;

  relevant.forEach((classes, channel) => {
    if (classes.length < 2) return;
    const vectors = classes.map((t) => arvs.vector(channel, t, official ? "official" : "oriented"));
    for (const [a, class1] of classes.entries())
      for (const [b, class2] of classes.entries()) {
        const [v1, v2] = [vectors[a], vectors[b]];
        if (a >= b || v1 === undefined || v2 === undefined) continue;
        candidates++;
        const measured = official ? officialCosine(v1, v2) : { cosine: cosine(v1, v2), overflow: false };
        const pair = {
          channel,
          class1,
          class2,
          ...measured,
          count1: counts[class1]?.[channel] ?? 0,
          images1: imagesOf(study, class1),
          count2: counts[class2]?.[channel] ?? 0,
          images2: imagesOf(study, class2),
        };
        if (!Number.isFinite(pair.cosine)) undefinedPairs.push(pair);
        else if (pair.cosine >= 0 && pair.cosine < gamma) pairs.push(pair);
      }
  });
  // Array.sort is stable, and pairs were made in the order of channel, class1, class2.
  pairs.sort((a, b) => b.cosine - a.cosine);
  return { pairs, undefinedPairs, relevant, candidates };
}

/** [C] classes t with count >= p N_t. */
function relevantClasses(study: Study, tau: number, p: number, official: boolean): number[][] {
  const relevant = Array.from({ length: study.meta.layer.outChannels }, (): number[] => []);
  study.meta.classes.forEach((_, t) => {
    const images = imagesOf(study, t);
    if (images === 0) return;
    // 0.55 * 100 exceeds 55 in floating point; the original compares all the same, and loses such a class.
    const least = official ? p * images : p * images * (1 - 1e-12);
    countsOf(study, official ? "half" : "exact", tau, t).forEach((count, c) => {
      if (count >= least) relevant[c]?.push(t);
    });
  });
  return relevant;
}

/** Where `tau` stands among the study's. */
export function tauIndex(study: Study, tau: number): number {
  const index = study.meta.taus.indexOf(tau);
  if (index >= 0) return index;
  throw new UnbraidError(
    "usage",
    "STUDY_TAU",
    `The study was not made with tau ${tau}; it has ${study.meta.taus.join(", ")}.`,
    "Choose one of these, or make a study with --tau.",
  );
}

function inRange(name: string, value: number, least: number, most: number): number {
  if (value >= least && value <= most) return value;
  const range = most === Infinity ? `at least ${least}` : `from ${least} to ${most}`;
  throw new UnbraidError(
    "usage",
    "OPTION_RANGE",
    `${name} must be ${range}, not ${value}.`,
    `Pass --${name} in that range.`,
  );
}

/** The pairs as CSV (RFC 4180, line feeds): the original's columns, then names, counts and images. */
export function pairsCsv(study: Study, pairs: readonly Pair[]): string {
  const name = (t: number): string => quoted(study.meta.classes[t] ?? "");
  const header =
    "channel,class1,class2,cosine_similarity,class1_name,class2_name,important1,images1,important2,images2";
  const rows = pairs.map((q) =>
    [
      ...[q.channel, q.class1, q.class2, q.cosine, name(q.class1), name(q.class2)],
      ...[q.count1, q.images1, q.count2, q.images2],
    ].join(","),
  );
  return [header, ...rows, ""].join("\n");
}

const quoted = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
