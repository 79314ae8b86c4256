/**
 * Folds: disjoint parts of each class's images whose tap sums a study keeps apart, so that ARVs, choices and reports can
 * come from different images of one pass (METHOD.md B, "rho on held-out images").
 */
import { UnbraidError } from "../errors.ts";

/** What `study` makes unless told otherwise: two for ARVs, two for choices, one for reports. */
export const DEFAULT_FOLDS = 5;
/** Accumulators grow with the number of folds, and nothing is gained from more. */
export const MAX_FOLDS = 64;

/**
 * The fold of an image: its position among the images of its class in the study's list, modulo the number of folds.
 * Sorted file names often group what looks alike, and so each fold sees of every group. Every shard knows the list, so
 * that all agree.
 */
export const foldOf = (positionInClass: number, folds: number): number => positionInClass % folds;

/** The fold of each image of a list, given the class of each. */
export function foldsOf(labels: ArrayLike<number>, folds: number): Uint8Array {
  const seen = new Map<number, number>();
  return Uint8Array.from(labels, (label) => {
    const position = seen.get(label) ?? 0;
    seen.set(label, position + 1);
    return foldOf(position, folds);
  });
}

/** Three disjoint sets of folds. */
export interface EvidenceFolds {
  /** Of these come average relevance vectors. */
  readonly arv: readonly number[];
  /** On the images of these, rho and the like are chosen. */
  readonly choose: readonly number[];
  /** On the images of these, results are reported. */
  readonly report: readonly number[];
}

/**
 * Two fifths of the folds for ARVs, two fifths for choices, the rest for reports; at least one each. Of five: 0 and 1, 2
 * and 3, 4.
 * @throws UnbraidError STUDY_FOLDS for fewer than three folds
 */
export function evidenceFolds(folds: number): EvidenceFolds {
  if (!(folds >= 3))
    throw new UnbraidError(
      "input",
      "STUDY_FOLDS",
      `The study has ${folds} fold${folds === 1 ? "" : "s"}; held-out evidence needs three or more: for ARVs, for choices, for reports.`,
      `Make the study with --folds ${DEFAULT_FOLDS}.`,
    );
  const arv = Math.max(1, Math.round(0.4 * folds));
  const choose = Math.max(1, Math.floor(0.4 * folds));
  const all = Array.from({ length: folds }, (_, k) => k);
  return { arv: all.slice(0, arv), choose: all.slice(arv, arv + choose), report: all.slice(arv + choose) };
}
