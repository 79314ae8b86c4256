/**
 * What rules by sets compare of each channel's concepts, input by input: relevance, or how much of the input's weights the
 * parts hold that a rule by weights makes. At first of images that nothing is chosen or reported on.
 */
import { must } from "../errors.ts";
import { relevanceVector } from "../relevance/arv.ts";
import { evidenceFolds } from "../relevance/folds.ts";
import { tapsOf } from "../relevance/study.ts";
import { targetConcepts, type Concept } from "./concepts.ts";
import { gatherEvidence } from "./evidence.ts";
import { SPLIT_FILTERS, type Standings } from "./guards.ts";
import { plus } from "./linear-algebra.ts";
import type { ResponseSource } from "./part-responses.ts";
import { heldWeights, setsByHeld } from "./parts.ts";
import { finalSets, weightRuleOf, type HardenedRule, type SecondPassSource, type SplitPlanning } from "./planning.ts";
import type { Folds } from "./rho.ts";
import { ruleCentre, sourceSets, type SetRule, type SourceSets } from "./sets.ts";
import { openWeightSplits } from "./weight-splits.ts";

type Vectors = readonly Float64Array[];

export interface SetEvidence extends Disposable {
  /** Positions of a concept's images: the second part is for choices, the third for reports. */
  parts(concept: Concept): Folds;
  /** [targets][concepts][inputs] of the first part, and of the second where nothing is chosen and the rule takes it. */
  readonly vectors: readonly Vectors[];
  /** The same of random filters. [filters][concepts][inputs] */
  filters(target: number): readonly Vectors[];
  setsOf(vectors: Vectors, rho: number): SourceSets;
  /** [targets] of all that is known. @param rhos [targets] */
  final(rhos: readonly number[]): Promise<readonly SourceSets[]>;
}

export interface SetEvidenceOptions {
  /** Whether something is to be chosen on the second part of the images. */
  readonly choosing: boolean;
  /** Where random filters come from. */
  readonly standings: Standings;
  readonly stage: (share: number) => void;
}

/** ARVs, of the study's own folds where the images are its. */
export async function relevanceEvidence(
  p: SplitPlanning,
  rule: SetRule,
  second: SecondPassSource & ResponseSource,
  { choosing, standings, stage }: SetEvidenceOptions,
): Promise<SetEvidence> {
  const { study, targets } = p;
  const { layer, folds } = study.meta;
  const evidence = await gatherEvidence(second, targets, choosing, stage);
  // What the sign rule holds relevance against: of the same folds as the concepts' own, where these are the study's.
  const own = second.studyImages === true && folds >= 3;
  const centre = ruleCentre(study, rule, own ? evidenceFolds(folds).arv : undefined);
  const meanOf = (c: Concept): Float64Array =>
    centre === undefined ? evidence.mean(c) : plus(evidence.mean(c), -1, centre);
  const orientation = rule === "official" ? "official" : "oriented";
  return {
    parts: (c) => evidence.parts(c),
    vectors: targets.map((t) =>
      targetConcepts(t).map((c) => relevanceVector(layer, meanOf(c), t.channel, orientation)),
    ),
    filters(i) {
      const target = must(targets[i], "target");
      const means = targetConcepts(target).map((c) => standings.slice(target.channel, meanOf(c)));
      const rows = standings.filters(target.channel).slice(0, SPLIT_FILTERS);
      return rows.map((row) => means.map((m) => vectorOf(row, m, row.length / standings.inputs(target.channel))));
    },
    setsOf: (vectors, rho) => sourceSets(vectors, rho, rule),
    final: (rhos) => Promise.resolve(targets.map((t, i) => finalSets(p, t, rule, rhos[i] ?? 1))),
    [Symbol.dispose]: () => undefined,
  };
}

/** What parts by weights hold: of moments without the held-out images at first, and in the end of all. */
export async function weightSetEvidence(
  p: SplitPlanning,
  rule: HardenedRule,
  second: SecondPassSource,
  { choosing, standings, stage }: SetEvidenceOptions,
): Promise<SetEvidence> {
  const taps = tapsOf(p.study.meta.layer);
  const options = { rule: must(weightRuleOf(rule), "a rule by weights"), scale: undefined, choosing };
  const splits = await openWeightSplits(p, second, options, stage);
  try {
    const first = await splits.splitFilters(standings, ({ parts }) => heldWeights(parts, taps));
    return {
      parts: (c) => splits.parts(c),
      vectors: first.map(({ parts }) => heldWeights(parts, taps)),
      filters: (i) => must(first[i], "split").filters,
      setsOf: setsByHeld,
      async final(rhos) {
        await splits.addHeldOut();
        const found = await splits.split();
        return found.map(({ parts }, i) => setsByHeld(heldWeights(parts, taps), rhos[i] ?? 1));
      },
      [Symbol.dispose]: () => {
        splits[Symbol.dispose]();
      },
    };
  } catch (error) {
    splits[Symbol.dispose]();
    throw error;
  }
}

/** A row's relevance by input: the sum over taps of weight times mean tap sum. */
function vectorOf(row: Float64Array, tapSums: Float64Array, taps: number): Float64Array {
  const vector = new Float64Array(row.length / taps);
  for (let j = 0; j < row.length; j++) {
    const i = Math.floor(j / taps);
    vector[i] = (vector[i] ?? 0) + (row[j] ?? 0) * (tapSums[j] ?? 0);
  }
  return vector;
}
