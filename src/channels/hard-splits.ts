/** Splits by source sets whose rho is chosen, or whose guards are measured, in a second pass over images. */
import { must } from "../errors.ts";
import { weightsOf } from "../relevance/arv.ts";
import { conceptName, targetConcepts, type Concept, type SplitTarget } from "./concepts.ts";
import { guardsOf, Standings, uncorrelating, type Guards } from "./guards.ts";
import { dot } from "./linear-algebra.ts";
import { fullRow, respond, type ResponseSource, type RowResponses } from "./part-responses.ts";
import { splitWeights } from "./parts.ts";
import {
  finalSets,
  fixedRho,
  isHardened,
  stageOf,
  type HardenedRule,
  type PlannedSplit,
  type SecondPassSource,
  type SplitPlanning,
} from "./planning.ts";
import { chooseOfficialRho, chooseRho, distinctSets, RHOS, separationScore, type Responses } from "./rho.ts";
import { relevanceEvidence, weightSetEvidence, type SetEvidence } from "./set-evidence.ts";
import type { SetRule, SourceSets } from "./sets.ts";

type Source = SecondPassSource & ResponseSource;

/** As the original chooses: by its ratio, on all images. */
export async function officialSplits(
  p: SplitPlanning,
  second: SecondPassSource,
  rule: SetRule,
): Promise<PlannedSplit[]> {
  const candidates = p.targets.map((t) => RHOS.map((rho) => finalSets(p, t, rule, rho)));
  const source = { ...second, study: p.study, signal: p.signal };
  const responses = await respondToSets(source, p.targets, candidates, false, () => undefined, stageOf(p, 0, 1));
  return p.targets.map((target, i) => {
    const [on1 = [], on2 = []] = must(responses[i], "responses");
    const { rho, index, scores } = chooseOfficialRho([on1, on2]);
    const sets = must(candidates[i]?.[index], "sets");
    return { ...target, rho, rule, sets, choice: { criterion: "official ratio", rhos: RHOS, scores }, guards: null };
  });
}

/** @param rule of sets by relevance, or by what parts by weights hold */
export async function heldOutSplits(
  p: SplitPlanning,
  second: SecondPassSource,
  rule: SetRule | HardenedRule,
): Promise<PlannedSplit[]> {
  const { study, targets } = p;
  const source = { ...second, study, signal: p.signal };
  const fixed = fixedRho(p);
  const choosing = fixed === undefined && rule !== "sign";
  const rhos = choosing ? RHOS : [fixed ?? 1];
  const standings = new Standings(study);
  const options = { choosing, standings, stage: stageOf(p, 0, 3) };
  using evidence = await (isHardened(rule)
    ? weightSetEvidence(p, rule, source, options)
    : relevanceEvidence(p, rule, source, options));
  const candidates = evidence.vectors.map((vectors) => rhos.map((rho) => evidence.setsOf(vectors, rho)));
  const oriented = rule !== "official";
  const choices = choosing
    ? (
        await respondToSets(source, targets, candidates, oriented, (c) => evidence.parts(c).choose, stageOf(p, 1, 3))
      ).map((r) => chooseRho(r))
    : targets.map(() => undefined);
  const chosen = choices.map((c) => c?.rho ?? fixed ?? 1);
  // The report is on the sets that the first part of the images made: what all images give has seen its images too.
  const reports = await report(
    source,
    targets,
    candidates.map((sets, i) => must(sets[choices[i]?.index ?? 0], "sets")),
    { evidence, rhos: chosen, standings },
    stageOf(p, 2, 3),
  );
  const final = await evidence.final(chosen);
  return targets.map((target, i) => {
    const choice = choices[i];
    return {
      ...target,
      rho: rule === "sign" ? null : (chosen[i] ?? null),
      rule,
      sets: must(final[i], "sets"),
      ...(choice === undefined
        ? {}
        : { choice: { criterion: "held-out log ratio" as const, rhos: RHOS, scores: choice.scores } }),
      ...must(reports[i], "report"),
    };
  });
}

/**
 * Responses of the parts of every target for every candidate source set, on images of its concepts.
 * @param candidates [target][candidate]
 * @param oriented whether parts respond in the layer's orientation
 * @returns [target][concept] as `rho.ts` takes them: [candidate][part][image]
 */
async function respondToSets(
  source: Source,
  targets: readonly SplitTarget[],
  candidates: readonly (readonly SourceSets[])[],
  oriented: boolean,
  positions: (c: Concept) => readonly number[] | undefined,
  stage: (share: number) => void,
): Promise<Responses[][]> {
  const distinct = candidates.map((c) => distinctSets(c));
  const jobs = targets.map((target, i) => ({
    concepts: targetConcepts(target),
    rows: must(distinct[i], "sets").distinct.flatMap((sets) => partRows(source, target, sets, oriented)),
  }));
  const found = await respond(source, jobs, { positions }, stage);
  return found.map((byConcept, i) => {
    const { index } = must(distinct[i], "sets");
    const K = byConcept.length;
    return byConcept.map(({ positive }) => index.map((d) => positive.slice(K * d, K * (d + 1))));
  });
}

/**
 * The parts of a channel as rows over all input channels of the layer, [I, K] each. Without the bias, which a split copies
 * to each: what is chosen with them must not depend on whether a BatchNormalization was folded into the file.
 */
function partRows({ study }: Source, target: SplitTarget, sets: SourceSets, oriented: boolean): Float32Array[] {
  const { layer } = study.meta;
  const { channel } = target;
  const sign = oriented ? (layer.sign[channel] ?? 1) : 1;
  const { concepts } = splitWeights(weightsOf(layer, channel), sets, targetConcepts(target).length);
  return concepts.map((row) => fullRow(layer, channel, row, sign));
}

interface Report {
  readonly heldOut: NonNullable<PlannedSplit["heldOut"]>;
  readonly guards: Guards;
}

/** How each target was split. */
interface SplitBy {
  readonly evidence: SetEvidence;
  readonly rhos: readonly number[];
  readonly standings: Standings;
}

/** The score and the guards of each target's parts on the last part of the images. */
async function report(
  source: Source,
  targets: readonly SplitTarget[],
  chosen: readonly SourceSets[],
  { evidence, rhos, standings }: SplitBy,
  stage: (share: number) => void,
): Promise<Report[]> {
  const { study } = source;
  const { layer } = study.meta;
  const jobs = targets.map((target, i) => ({
    concepts: targetConcepts(target),
    rows: [
      ...partRows(source, target, must(chosen[i], "sets"), true),
      fullRow(layer, target.channel, weightsOf(layer, target.channel), layer.sign[target.channel] ?? 1),
    ],
  }));
  const filterSets = targets.map((_, i) => evidence.filters(i).map((v) => evidence.setsOf(v, rhos[i] ?? 1)));
  const filters = new FilterSplits(standings, targets, filterSets);
  const found = await respond(
    source,
    jobs,
    {
      positions: (c) => evidence.parts(c).report,
      onTapSums: (concept, tapSums, n) => {
        filters.add(concept, tapSums, n);
      },
    },
    stage,
  );
  return targets.map((target, i) => {
    const responses = must(found[i], "responses");
    const concepts = targetConcepts(target);
    const guards = guardsOf(standings, {
      channel: target.channel,
      concepts: concepts.map((c) => conceptName(study, c)),
      responses,
      means: concepts.map((c) => filters.mean(c)),
      filterK: filters.k(i),
    });
    return { heldOut: { score: scoreOf(responses), images: guards.images }, guards };
  });
}

/** The parts' score: of the rows of each concept's responses the last is the channel itself. */
export const scoreOf = (responses: readonly RowResponses[]): number =>
  separationScore(responses.map(({ positive }) => positive.slice(0, -1)));

/** Random filters split by the same rule between the same concepts, on the same images. */
class FilterSplits {
  readonly #standings: Standings;
  readonly #targets: readonly SplitTarget[];
  readonly #sets: readonly (readonly SourceSets[])[];
  readonly #sums = new Map<Concept, { readonly sums: Float64Array; images: number }>();
  /** [target][filter][part or the filter itself] responses on the images of all concepts so far. */
  readonly #responses: readonly (readonly number[][][])[];
  /** The concept whose images are running, and the rows of the targets concerned. */
  #concept: Concept | undefined;
  #rows: { readonly target: number; readonly rows: readonly (readonly Float64Array[])[] }[] = [];

  /** @param sets [targets][filters] of the first of the random filters */
  constructor(standings: Standings, targets: readonly SplitTarget[], sets: readonly (readonly SourceSets[])[]) {
    this.#standings = standings;
    this.#targets = targets;
    this.#sets = sets;
    this.#responses = targets.map((t, i) =>
      (sets[i] ?? []).map((): number[][] => [...targetConcepts(t).map(() => []), []]),
    );
  }

  /** [n, I, K] of images of a concept. */
  add(concept: Concept, tapSums: Float32Array, n: number): void {
    const size = tapSums.length / n;
    const there = this.#sums.get(concept) ?? { sums: new Float64Array(size), images: 0 };
    this.#sums.set(concept, there);
    if (concept !== this.#concept) this.#prepare(concept);
    for (let i = 0; i < n; i++) {
      const image = tapSums.subarray(i * size, (i + 1) * size);
      for (let j = 0; j < size; j++) there.sums[j] = (there.sums[j] ?? 0) + (image[j] ?? 0);
      for (const { target, rows } of this.#rows) {
        const own = this.#slice(target, image);
        rows.forEach((parts, f) => {
          parts.forEach((row, k) => this.#responses[target]?.[f]?.[k]?.push(dot(row, own)));
        });
      }
    }
    there.images += n;
  }

  mean(concept: Concept): Float64Array {
    const { sums, images } = must(this.#sums.get(concept), "a concept that was run");
    return sums.map((s) => s / images);
  }

  /** [filters] k of each. */
  k(target: number): number[] {
    return (this.#responses[target] ?? []).map((rows) => uncorrelating(rows.slice(0, -1), must(rows.at(-1), "filter")));
  }

  #slice(target: number, tapSums: Float32Array): Float64Array {
    return this.#standings.slice(must(this.#targets[target], "target").channel, Float64Array.from(tapSums));
  }

  #prepare(concept: Concept): void {
    this.#concept = concept;
    this.#rows = this.#targets.flatMap((target, i) =>
      targetConcepts(target).includes(concept) ? [{ target: i, rows: this.#split(target, i) }] : [],
    );
  }

  /** [filters][parts, then the filter] */
  #split(target: SplitTarget, i: number): Float64Array[][] {
    const filters = this.#standings.filters(target.channel);
    return (this.#sets[i] ?? []).map((sets, f) => {
      const filter = must(filters[f], "filter");
      const taps = filter.length / sets.length;
      const parts = targetConcepts(target).map((_, k) =>
        filter.map((w, j) => (((sets[Math.floor(j / taps)] ?? 0) >>> k) & 1) * w),
      );
      return [...parts, filter];
    });
  }
}
