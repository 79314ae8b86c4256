/**
 * Rules that give parts by weights (additive, tuned) over images: moments of the layer's patches over the images of all classes, parts of most of the concepts'
 * images for the guards on the rest, and the parts that are written, of all.
 */
import { must, UnbraidError } from "../errors.ts";
import type { SourceSets } from "../graph/membership.ts";
import { weightsOf } from "../relevance/arv.ts";
import { tapsOf } from "../relevance/study.ts";
import { additiveSplit, UnitFilters, type AdditiveRequest, type AdditiveSplit } from "./additive.ts";
import { conceptName, targetConcepts, type Concept } from "./concepts.ts";
import { guardsOf, SPLIT_FILTERS, Standings } from "./guards.ts";
import { scoreOf } from "./hard-splits.ts";
import { patchSize, type GroupMoments } from "./moments.ts";
import { fullRow, respond } from "./part-responses.ts";
import { Random } from "./random.ts";
import { tune, tunedSplit } from "./tuned.ts";
import { stageOf, type PlannedSplit, type SecondPassSource, type SplitPlanning } from "./planning.ts";
import { weightEvidence, type WeightEvidence } from "./weight-evidence.ts";

/** g unless given: METHOD.md B finds the least error in the last block there, and at 0.5 inside the network. */
export const DEFAULT_SCALE = 0.75;

/** Random filters are split too, for their k, at a cost that grows with the square of a filter's size. */
const FILTER_WORK = 2 ** 20;
const LEAST_FILTERS = 4;
/** Of moments by class while the tuned rule plants. */
const PLANTS_BYTES = 2 ** 30;
/** Of the tuned rule's plants: the same study and images give the same split. */
const SEED = 1;

/** "tuned": along directions whose weights are fitted on plants of the layer's own channels (tuned.ts). */
type WeightRule = "additive" | "tuned";

/** Parts of a channel. */
type Splitter = (request: AdditiveRequest) => Pick<AdditiveSplit, "parts" | "k">;

/** How far parts are moved apart; undefined for as far as was fitted. */
type Scale = { readonly g: number; readonly over?: "patches" } | undefined;

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
  const perGroup = layer.outChannels / layer.groups;
  const groupOf = (channel: number): number => Math.floor(channel / perGroup);
  const groups = [...new Set(targets.map((t) => groupOf(t.channel)))].sort((a, b) => a - b);
  const concerned = [...new Set(targets.flatMap((t) => t.classes))].sort((a, b) => a - b);
  const kept = rule === "tuned" ? withOthers(study, second, groups.length, concerned) : concerned;
  const { layer: conv, open } = must(second.moments, "a way to run moments");
  using pass = await open(groups);
  const evidence = await weightEvidence(p, second, { conv, pass, groups, groupOf, kept }, stageOf(p, 0, 2));

  // Fitted once, without the held-out images.
  const splitters = new Map(groups.map((group) => [group, splitter(p, rule, scale, group, evidence.groups())]));
  const split = splitBy(p, evidence, (channel) => must(splitters.get(groupOf(channel)), "splitter"), groupOf);
  const standings = new Standings(study);
  const first = await split(standings);
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
      positions: (c) => evidence.report(c),
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
  await evidence.addReports();
  const final = await split();
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
      filterK: must(first[i], "split").filterK,
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

/** The concerned classes, and as many others as fit: plants are of the classes whose moments are kept. */
function withOthers(
  study: SplitPlanning["study"],
  { images }: SecondPassSource,
  groups: number,
  concerned: readonly number[],
): number[] {
  const { layer, classes } = study.meta;
  const others = classes.flatMap((_, t) => (images.count(t) > 0 && !concerned.includes(t) ? [t] : []));
  const matrix = 8 * patchSize(layer) ** 2 * groups;
  const fit = Math.max(0, Math.floor((PLANTS_BYTES / matrix - 2) / 2) - concerned.length);
  const taken =
    others.length <= fit
      ? others
      : Array.from({ length: fit }, (_, k) => must(others[Math.floor((k * others.length) / fit)], "class"));
  return [...concerned, ...taken].sort((a, b) => a - b);
}

/** @throws UnbraidError PLANT_CHANNELS */
function splitter(
  { study, signal }: SplitPlanning,
  rule: WeightRule,
  scale: Scale,
  group: number,
  byGroup: ReadonlyMap<number, GroupMoments>,
): Splitter {
  if (rule === "additive") return (request) => additiveSplit({ ...request, options: { ...scale } });
  const { layer } = study.meta;
  const perGroup = layer.outChannels / layer.groups;
  const moments = must(byGroup.get(group), "moments");
  const rows = Array.from({ length: perGroup }, (_, k) => {
    const channel = group * perGroup + k;
    return Float64Array.from(weightsOf(layer, channel), (w) => (layer.sign[channel] ?? 1) * w);
  });
  const filters = groupFilters(study, group, moments);
  const tuning = tune({
    ...{ moments, filters, rows, taps: tapsOf(layer), random: new Random(SEED) },
    ...(signal === undefined ? {} : { signal }),
  });
  return (request) => tunedSplit(request, tuning.coefficients(request.exclude), undefined, scale);
}

interface FoundSplit extends ReturnType<Splitter> {
  /** k of random filters that are split between the same concepts. */
  readonly filterK: readonly number[];
}

/** Splits every target by what the evidence says at the time. @returns a function of where random filters come from, if any are wanted */
function splitBy(
  { study, targets, signal }: SplitPlanning,
  evidence: WeightEvidence,
  splitterOf: (channel: number) => Splitter,
  groupOf: (channel: number) => number,
): (standings?: Standings) => Promise<FoundSplit[]> {
  const { layer } = study.meta;
  return async (standings) => {
    const filters = new Map([...evidence.groups()].map(([group, m]) => [group, groupFilters(study, group, m)]));
    const found: FoundSplit[] = [];
    for (const target of targets) {
      signal?.throwIfAborted();
      const { channel } = target;
      const group = groupOf(channel);
      const { moments, concepts } = await evidence.of(target);
      const split = splitterOf(channel);
      const common = { moments, filters: must(filters.get(group), "filters"), classes: concepts, taps: tapsOf(layer) };
      const { parts, k } = split({
        ...common,
        weights: weightsOf(layer, channel),
        sign: layer.sign[channel] ?? 1,
        exclude: [channel - (group * layer.outChannels) / layer.groups],
      });
      const rows = standings?.filters(channel).slice(0, filterCount(layer)) ?? [];
      found.push({ parts, k, filterK: rows.map((weights) => split({ ...common, weights, sign: 1, exclude: [] }).k) });
    }
    return found;
  };
}

const filterCount = (layer: SplitPlanning["study"]["meta"]["layer"]): number =>
  Math.max(LEAST_FILTERS, Math.min(SPLIT_FILTERS, Math.floor(FILTER_WORK / patchSize(layer) ** 2)));

function groupFilters(study: SplitPlanning["study"], group: number, moments: GroupMoments): UnitFilters {
  const { layer } = study.meta;
  const perGroup = layer.outChannels / layer.groups;
  return new UnitFilters(
    moments,
    Array.from({ length: perGroup }, (_, k) => weightsOf(layer, group * perGroup + k)),
  );
}

/** For each input the part that holds more of its weights (the sum of their magnitudes), all where that is a tie. */
export function shares(parts: readonly Float64Array[], taps: number): SourceSets {
  const inputs = (parts[0]?.length ?? 0) / taps;
  return Uint32Array.from({ length: inputs }, (_, i) => {
    const held = parts.map((part) => part.subarray(i * taps, (i + 1) * taps).reduce((sum, w) => sum + Math.abs(w), 0));
    const most = Math.max(...held);
    const winners = held.flatMap((v, k) => (v === most ? [k] : []));
    return winners.length === 1 ? 1 << (winners[0] ?? 0) : 2 ** parts.length - 1;
  });
}
