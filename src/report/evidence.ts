/** What speaks for a channel's two concepts before it is split, as tables and words: calibrated cosines, guards. */
import type { Pair } from "../channels/find.ts";
import type { Guards } from "../channels/guards.ts";
import type { SplitManifest } from "../channels/write-split.ts";
import type { Cell, Measure, Table } from "./data.ts";
import { showMeasure, showNumber } from "./numbers.ts";

export type ManifestPart = SplitManifest["parts"][number];

/** A pair of concepts of the channel and what `find` says of it. */
export interface ConceptPair {
  readonly names: readonly [string, string];
  readonly pair: Pair;
}

/** JSON knows no NaN: it stands there as null. */
export const measureOf = (f: {
  value: number | null;
  low?: number | null;
  high?: number | null;
  n?: number;
}): Measure => ({
  value: f.value ?? NaN,
  ...(typeof f.low === "number" && typeof f.high === "number" ? { low: f.low, high: f.high } : {}),
  ...(f.n === undefined ? {} : { n: f.n }),
});

export function pairsTable(pairs: readonly ConceptPair[], threshold: number): Table | undefined {
  if (pairs.length === 0) return undefined;
  return {
    caption: "Evidence before the split: how unlike the concepts' inputs are",
    columns: [
      "concepts",
      "cosine of relevance vectors",
      "without noise",
      "random pairs as low",
      "p, halves of one class",
      "p, random pairs' median",
      "q",
    ],
    rows: pairs.map(({ names, pair: { cosine, randomPlace, significance: s } }): Cell[] => [
      names.join(" and "),
      cosine,
      s === null ? "not known" : s.cosine,
      randomPlace,
      s === null ? "not known" : s.pSameClass,
      s === null ? "not known" : s.pThreshold,
      s === null ? "not known" : s.q,
    ]),
    note:
      `Two nulls: halves of one class's images, whose cosines only noise keeps from 1, and random pairs of classes, half of which ` +
      `have a cosine below ${showNumber(threshold)}. q is the larger of both false discovery rates: of all pairs with a q as low, at most that share is false.`,
  };
}

export function guardsTable({ guards, concepts, heldOut }: ManifestPart): Table | undefined {
  if (guards === null) return undefined;
  const rows: Cell[][] = [];
  guards.standing.forEach((value, k) => {
    rows.push([
      `standing of ${concepts[k] ?? ""}`,
      value,
      guards.second === null ? "not known" : `90 % of random filters' lowest: ${showNumber(guards.second.threshold)}`,
      `${guards.images[k] ?? 0} images`,
    ]);
  });
  guards.preference.forEach((value, k) => {
    rows.push([`part ${k + 1} prefers ${concepts[k] ?? ""} by`, value, "no preference: 0", ""]);
  });
  const { low, median, high, n } = guards.k.filters;
  rows.push(["k of the split", guards.k.value, `random filters: ${showMeasure({ value: median, low, high, n })}`, ""]);
  if (heldOut !== undefined)
    rows.push(["log ratio of the parts", heldOut.score, "permuted labels: 0, deviation 1", `${heldOut.images.join(" and ")} images`]); // prettier-ignore
  return {
    caption: "Is there a second concept? Held-out images of the study",
    columns: ["what", "channel", "null", "measured on"],
    rows,
    note: guardsSentence(guards),
  };
}

const guardsSentence = (guards: Guards): string =>
  (guards.passed ? "The guards let it pass. " : `The guards refuse it: ${guards.why.join("; ")}. `) +
  "Standing: how far the channel's mean response to a concept lies above its mean over classes, in standard deviations over classes.";

/** The pair of highest q, on which the others may rely. */
const weakest = (pairs: readonly ConceptPair[]): Pair | undefined =>
  pairs.reduce<Pair | undefined>(
    (a, { pair }) => (a === undefined || (pair.significance?.q ?? 1) > (a.significance?.q ?? 1) ? pair : a),
    undefined,
  );

/** For a sentence. */
export function evidenceWords(pairs: readonly ConceptPair[]): string {
  const pair = weakest(pairs);
  if (pair === undefined) return "";
  const s = pair.significance;
  if (s === null) return `cosine of relevance vectors ${showNumber(pair.cosine)}, without a significance`;
  const { value, low, high } = s.cosine;
  return `cosine of relevance vectors ${showMeasure({ value, low, high })}, q ${showNumber(s.q)}`;
}

/** Beside it the null of random pairs. */
export function placeWords(pairs: readonly ConceptPair[]): string {
  const place = weakest(pairs)?.randomPlace ?? NaN;
  return place === 0 ? "no random pair is as low" : `${showNumber(100 * place)} % of random pairs are as low`;
}
