/**
 * From channels and concepts to splits (METHOD.md A5 to A7; B "Both-negative inputs", "K concepts", "rho on held-out images",
 * "Guards"): source sets or parts for each channel, rho given or chosen, and whether there is a second concept at all.
 */
import { UnbraidError } from "../errors.ts";
import { planByWeights } from "./additive-run.ts";
import type { SplitTarget } from "./concepts.ts";
import { heldOutSplits, officialSplits } from "./hard-splits.ts";
import { finalSets, fixedRho, isHardened, weightRuleOf, type PlannedSplit, type SplitPlanning } from "./planning.ts";
import { checkChannel, conceptVectors, TEXT_CONCEPTS } from "./sets.ts";

export type { ClassImages, Cluster, Concept, SplitTarget } from "./concepts.ts";
export {
  DEFAULT_RULE,
  ROWS_AT_ONCE,
  rowsAtOnce,
  SPLIT_RULES,
  type PlannedSplit,
  type SecondPassSource,
  type SplitPlanning,
  type SplitRule,
} from "./planning.ts";

/**
 * @returns one split a target, in the order of the targets
 * @throws UnbraidError RHO_NEEDS_IMAGES where images are needed and none are given; RHO_IMAGES for concepts of too few;
 * CHANNEL_RANGE, CLASS_RANGE, CLASS_EMPTY, CHANNEL_DEPTHWISE, OPTION_RANGE, RULE_CONCEPTS
 */
export async function planSplits(p: SplitPlanning): Promise<PlannedSplit[]> {
  const { rule, secondPass } = p;
  const rho = fixedRho(p);
  const compat = p.compat === true;
  // What cannot be split fails before any image is read.
  for (const target of p.targets) checkTarget(p, target);
  if (rule === "additive" || rule === "tuned") return planByWeights(p, rule, secondPass ?? needed(`the ${rule} rule`));
  if (isHardened(rule)) return heldOutSplits(p, secondPass ?? needed(`the ${rule} rule`), rule);
  const free = rule === "sign" || rho !== undefined;
  if (free && (secondPass === undefined || compat))
    return p.targets.map((t) => ({
      ...t,
      rho: rule === "sign" ? null : (rho ?? null),
      rule,
      sets: finalSets(p, t, rule, rho ?? 1),
      guards: null,
    }));
  const second = secondPass ?? needed("choosing rho");
  return compat ? officialSplits(p, second, rule) : heldOutSplits(p, second, rule);
}

function checkTarget(p: SplitPlanning, { channel, classes, clusters }: SplitTarget): void {
  const { study, rule } = p;
  const rho = fixedRho(p) ?? 1;
  const vectors = rule === "official" || rule === "sign" ? rule : "symmetric";
  const n = (clusters ?? classes).length;
  if (clusters === undefined) conceptVectors(study, { channel, classes, rho, rule: vectors });
  else
    checkClusters(
      study,
      channel,
      clusters.map((c) => c.vector.length),
    );
  const refuse = (message: string): never => {
    const other = rule === "tuned" ? "additive" : rule === "tuned_sets" ? "additive_sets" : "symmetric";
    throw new UnbraidError("usage", "RULE_CONCEPTS", message, `Use --rule ${other}, or two classes.`);
  };
  if ((rule === "official" || weightRuleOf(rule) === "tuned") && n !== 2)
    refuse(`The ${rule} rule is defined for 2 concepts, not ${n}.`);
  if (clusters !== undefined && rule === "official")
    refuse("The official rule splits between classes, not between clusters.");
}

function checkClusters(study: SplitPlanning["study"], channel: number, lengths: readonly number[]): void {
  checkChannel(study, channel);
  const inputs = study.meta.layer.inChannels / study.meta.layer.groups;
  const wrong = lengths.find((length) => length !== inputs);
  if (lengths.length >= 2 && lengths.length <= TEXT_CONCEPTS && wrong === undefined) return;
  throw new UnbraidError(
    "input",
    "CLUSTERS_INVALID",
    wrong === undefined
      ? `channel ${channel} has ${lengths.length} cluster${lengths.length === 1 ? "" : "s"}; it can be split between 2 to ${TEXT_CONCEPTS}`
      : `a cluster of channel ${channel} has a vector of ${wrong} numbers; the channel reads ${inputs} inputs`,
    "Give what `unbraid find --concepts cluster` wrote of this study.",
  );
}

function needed(what: string): never {
  throw new UnbraidError(
    "usage",
    "RHO_NEEDS_IMAGES",
    `${what} reads the images of the classes concerned, and no images were given`,
    what === "choosing rho" ? "Pass --images DIR, or a fixed --rho." : "Pass --images DIR, or another --rule.",
  );
}
