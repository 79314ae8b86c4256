/** What planning splits is given and gives: see split-run.ts. */
import type { SourceSets } from "../graph/membership.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { relevanceVector } from "../relevance/arv.ts";
import type { SplitTarget } from "./concepts.ts";
import type { Guards } from "./guards.ts";
import { plus } from "./linear-algebra.ts";
import type { MomentPass } from "./moments-pass.ts";
import type { ResponseSource } from "./part-responses.ts";
import { RHOS } from "./rho.ts";
import { conceptVectors, ruleCentre, sourceSets, type SetRule } from "./sets.ts";

/**
 * Parts of any weights (METHOD.md B, "Beyond partitions"). "tuned": along directions whose weights are fitted on plants of
 * the layer's own channels (tuned.ts).
 */
export type WeightRule = "additive" | "tuned";

/** Source sets by which of those parts holds more of an input's weights: what inputs do together tells, not each alone. */
export type HardenedRule = `${WeightRule}_sets`;

export type SplitRule = SetRule | HardenedRule | WeightRule;

export const SPLIT_RULES: readonly SplitRule[] = [
  ...(["official", "symmetric", "sign"] as const),
  ...(["additive_sets", "tuned_sets", "additive", "tuned"] as const),
];

/** The rule whose parts sets are made of; undefined for rules that compare relevance. */
export const weightRuleOf = (rule: SplitRule): WeightRule | undefined =>
  rule === "additive" || rule === "additive_sets"
    ? "additive"
    : rule === "tuned" || rule === "tuned_sets"
      ? "tuned"
      : undefined;

export const isHardened = (rule: SplitRule): rule is HardenedRule => rule === "additive_sets" || rule === "tuned_sets";

/** What splits go by unless told otherwise. */
export const DEFAULT_RULE: SplitRule = "symmetric";

export interface PlannedSplit extends SplitTarget {
  /** null where the rule knows none (sign, additive, tuned). */
  readonly rho: number | null;
  readonly rule: SplitRule;
  /** Which concepts each input serves; of parts by weights, which part holds more of each input's weights. */
  readonly sets: SourceSets;
  /** [K][I/groups, K] of rules by weights, in the file's orientation; they add up to the channel's weights. */
  readonly parts?: readonly Float64Array[];
  /** How far parts by weights are moved apart (g): 1 makes them uncorrelated. Absent where that was fitted. */
  readonly scale?: number;
  /** Uncorrelated over all patches, in place of mean patches of images. */
  readonly over?: "patches";
  /** Where rho was chosen: the score of each rho tried, and by which criterion. */
  readonly choice?: {
    readonly criterion: "official ratio" | "held-out log ratio";
    readonly rhos: readonly number[];
    readonly scores: readonly number[];
  };
  /**
   * The log-ratio score, averaged over pairs of concepts, of the parts that the first of three disjoint parts of the images
   * gives, on the third, which took part neither in them nor in the choice of rho; and how many images of each concept that
   * is. (The split itself is made of what all images give.)
   */
  readonly heldOut?: { readonly score: number; readonly images: readonly number[] };
  /** Of the same parts on the same images; null where no images were given, and in compat mode. */
  readonly guards: Guards | null;
  /** Whether it is made although its guards refuse it. */
  readonly forced?: boolean;
}

export interface SecondPassSource extends Omit<ResponseSource, "study" | "signal"> {
  /** Whether the images are those of the study in its order: then its folds serve as parts. */
  readonly studyImages?: boolean;
  /** What rules by weights, and sets made of their parts, need besides: moments over the images of all classes. */
  readonly moments?: { readonly layer: ConvLayer; readonly open: (groups: readonly number[]) => Promise<MomentPass> };
}

export interface SplitPlanning {
  readonly study: ResponseSource["study"];
  readonly targets: readonly SplitTarget[];
  readonly rule: SplitRule;
  /**
   * Used for every target. Unless given, rules on relevance choose it on images; sets of parts by weights take 1, at which they
   * come nearest to planted truth (docs/evidence.md), and choose it where told to.
   */
  readonly rho?: number | "chosen";
  /** g of rules by weights. */
  readonly scale?: number;
  readonly over?: "patches";
  /** Choose as the original does: by its ratio, on the images that made the ARVs. No guards. */
  readonly compat?: boolean;
  /** Needed where rho is to be chosen, for guards, and for rules by weights or by sets made of their parts. */
  readonly secondPass?: SecondPassSource;
  /** Targets done of all, in shares of the whole work: the second pass goes over the images in up to three stages. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  readonly signal?: AbortSignal;
}

/** rho that needs not be chosen; undefined also for rules that know none. */
export const fixedRho = ({ rho, rule }: Pick<SplitPlanning, "rho" | "rule">): number | undefined =>
  rho === "chosen" ? undefined : (rho ?? (isHardened(rule) ? 1 : undefined));

/** Pairs whose rows run together: the responses of 8 pairs at 20 rho are 320 rows. */
export const ROWS_AT_ONCE = 8 * RHOS.length * 2;

/** Rows that the targets can fill, up to ROWS_AT_ONCE: of K concepts 20 K for choosing, K + 1 for guards. */
export function rowsAtOnce(targets: readonly SplitTarget[]): number {
  const rows = targets.map(({ classes, clusters }) => RHOS.length * (clusters ?? classes).length);
  return Math.min(
    ROWS_AT_ONCE,
    rows.reduce((a, b) => a + b, 0),
  );
}

/** By relevance: of all that the study knows of the classes, or of the clusters' own vectors. */
export function finalSets(p: SplitPlanning, target: SplitTarget, rule: SetRule, rho: number): SourceSets {
  const { channel, classes, clusters } = target;
  if (clusters !== undefined) {
    const centre = ruleCentre(p.study, rule);
    const off = centre === undefined ? undefined : relevanceVector(p.study.meta.layer, centre, channel, "oriented");
    const vectors = clusters.map(({ vector }) => (off === undefined ? vector : plus(vector, -1, off)));
    return sourceSets(vectors, rho, rule);
  }
  return sourceSets(conceptVectors(p.study, { channel, classes, rho, rule }), rho, rule);
}

/** Progress of stage `k` of `stages` as whole targets. */
export const stageOf =
  ({ targets, onProgress }: SplitPlanning, k: number, stages: number) =>
  (share: number): void => {
    const total = targets.length;
    onProgress?.({ done: Math.floor((total * (k + share)) / stages), total });
  };
