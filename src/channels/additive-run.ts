/**
 * Rules that give parts by weights (additive, tuned) over images: parts of most of the concepts' images for the guards on the
 * rest, and the parts that are written, of all.
 */
import { must, UnbraidError } from "../errors.ts";
import { weightsOf } from "../relevance/arv.ts";
import { tapsOf } from "../relevance/study.ts";
import { conceptName, targetConcepts, type Concept } from "./concepts.ts";
import { guardsOf, Standings } from "./guards.ts";
import { scoreOf } from "./hard-splits.ts";
import { fullRow, respond } from "./part-responses.ts";
import { shares } from "./parts.ts";
import { stageOf, type PlannedSplit, type SecondPassSource, type SplitPlanning, type WeightRule } from "./planning.ts";
import { openWeightSplits, type Scale } from "./weight-splits.ts";

/** g unless given: METHOD.md B finds the least error in the last block there, and at 0.5 inside the network. */
export const DEFAULT_SCALE = 0.75;

export async function planByWeights(
  p: SplitPlanning,
  rule: WeightRule,
  second: SecondPassSource,
): Promise<PlannedSplit[]> {
  const { study, targets, over } = p;
  const fitted = rule === "tuned" && p.scale === undefined && over === undefined;
  const g = p.scale ?? DEFAULT_SCALE;
  const scale: Scale = fitted ? undefined : { g, ...(over === undefined ? {} : { over }) };
  if (!(g > 0 && g <= 4))
    throw new UnbraidError(
      "usage",
      "OPTION_RANGE",
      `scale must be above 0 and at most 4, not ${g}.`,
      "Pass for instance --scale 0.75.",
    );
  const { layer } = study.meta;
  using splits = await openWeightSplits(p, second, { rule, scale, choosing: false }, stageOf(p, 0, 2));
  const standings = new Standings(study);
  const first = await splits.splitFilters(standings, ({ k }) => k);
  const means = new Map<Concept, { readonly sums: Float64Array; images: number }>();
  const jobs = targets.map((target, i) => {
    const { channel } = target;
    const sign = layer.sign[channel] ?? 1;
    const rows = [...must(first[i], "split").parts, weightsOf(layer, channel)];
    return { concepts: targetConcepts(target), rows: rows.map((row) => fullRow(layer, channel, row, sign)) };
  });
  const found = await respond(
    { ...second, study, signal: p.signal },
    jobs,
    {
      positions: (c) => splits.parts(c).report,
      onTapSums: (c, tapSums, n) => {
        const size = tapSums.length / n;
        const there = means.get(c) ?? { sums: new Float64Array(size), images: 0 };
        means.set(c, there);
        tapSums.forEach((v, j) => (there.sums[j % size] = (there.sums[j % size] ?? 0) + v));
        there.images += n;
      },
    },
    stageOf(p, 1, 2),
  );
  await splits.addHeldOut();
  const final = await splits.split();
  return targets.map((target, i): PlannedSplit => {
    const { channel } = target;
    const concepts = targetConcepts(target);
    const responses = must(found[i], "responses");
    const guards = guardsOf(standings, {
      channel,
      concepts: concepts.map((c) => conceptName(study, c)),
      responses,
      means: concepts.map((c) => {
        const { sums: total, images } = must(means.get(c), "held-out images");
        return total.map((s) => s / images);
      }),
      k: must(first[i], "split").k,
      filterK: must(first[i], "split").filters,
    });
    const { parts } = must(final[i], "split");
    return {
      ...target,
      ...{ rho: null, rule, ...(scale === undefined ? {} : { scale: g }), ...(over === undefined ? {} : { over }) },
      ...{ parts, sets: shares(parts, tapsOf(layer)) },
      ...{ heldOut: { score: scoreOf(responses), images: guards.images }, guards },
    };
  });
}
