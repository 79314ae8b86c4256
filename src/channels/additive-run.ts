/**
 * Rules that give parts by weights (additive, tuned) over images: moments of the layer's patches over the images of all classes, parts of most of the concepts'
 * images for the guards on the rest, and the parts that are written, of all.
 */
import { must, UnbraidError } from "../errors.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { SourceSets } from "../graph/membership.ts";
import { weightsOf } from "../relevance/arv.ts";
import { tapsOf } from "../relevance/study.ts";
import { additiveSplit, UnitFilters, type AdditiveRequest, type AdditiveSplit } from "./additive.ts";
import { conceptName, type SplitTarget } from "./concepts.ts";
import { evidenceParts } from "./evidence.ts";
import { guardsOf, SPLIT_FILTERS, Standings } from "./guards.ts";
import { scoreOf } from "./hard-splits.ts";
import { MomentSums, patchSize, type GroupMoments } from "./moments.ts";
import { positionsOf, type MomentPass } from "./moments-pass.ts";
import { fullRow, respond } from "./part-responses.ts";
import { Random } from "./random.ts";
import { tune, tunedSplit } from "./tuned.ts";
import { stageOf, type PlannedSplit, type SecondPassSource, type SplitPlanning } from "./planning.ts";

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
  const sums = await momentsOf(p, second, { conv, pass, groups, kept, concerned }, stageOf(p, 0, 2));

  // Fitted once, without the held-out images.
  const splitters = new Map(groups.map((group) => [group, splitter(p, rule, scale, group, sums.moments)]));
  const splitterOf = (channel: number): Splitter => must(splitters.get(groupOf(channel)), "splitter");
  const first = splitsOf(p, splitterOf, sums.moments, groupOf);
  const standings = new Standings(study);
  const filterK = targets.map((t) =>
    kOfFilters(p, t, splitterOf(t.channel), must(sums.moments.get(groupOf(t.channel)), "moments"), standings),
  );
  const means = new Map<number, { readonly sums: Float64Array; images: number }>();
  const jobs = targets.map(({ channel, classes }, i) => {
    const sign = layer.sign[channel] ?? 1;
    const rows = [...must(first[i], "split").parts, weightsOf(layer, channel)];
    return { concepts: classes, rows: rows.map((row) => fullRow(layer, channel, row, sign)) };
  });
  const reportOf = (t: number): readonly number[] => sums.parts(t).report;
  const found = await respond(
    { ...second, study, signal: p.signal },
    jobs,
    {
      positions: (c) => reportOf(Number(c)),
      onTapSums: (c, tapSums, n) => {
        const size = tapSums.length / n;
        const there = means.get(Number(c)) ?? { sums: new Float64Array(size), images: 0 };
        means.set(Number(c), there);
        tapSums.forEach((v, j) => (there.sums[j % size] = (there.sums[j % size] ?? 0) + v));
        there.images += n;
      },
    },
    stageOf(p, 1, 2),
  );
  await sums.addReports();
  const final = splitsOf(p, splitterOf, sums.all(), groupOf);
  return targets.map((target, i): PlannedSplit => {
    const { classes, channel } = target;
    const responses = must(found[i], "responses");
    const guards = guardsOf(standings, {
      channel,
      concepts: classes.map((t) => conceptName(study, t)),
      responses,
      means: classes.map((t) => {
        const { sums: total, images } = must(means.get(t), "held-out images");
        return total.map((s) => s / images);
      }),
      k: must(first[i], "split").k,
      filterK: filterK[i] ?? [],
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

interface Moments {
  /** By group, without the concepts' held-out images. */
  readonly moments: ReadonlyMap<number, GroupMoments>;
  parts(t: number): ReturnType<typeof evidenceParts>;
  /** Adds the held-out images: `moments` must not be used any more. */
  addReports(): Promise<void>;
  all(): ReadonlyMap<number, GroupMoments>;
}

async function momentsOf(
  p: SplitPlanning,
  second: SecondPassSource,
  by: {
    readonly conv: ConvLayer;
    readonly pass: MomentPass;
    readonly groups: readonly number[];
    /** Classes whose second moments are kept, and of them those that splits are between. */
    readonly kept: readonly number[];
    readonly concerned: readonly number[];
  },
  stage: (share: number) => void,
): Promise<Moments> {
  const { study, signal } = p;
  const { images } = second;
  const { layer, classes } = study.meta;
  const { conv, pass, groups, kept, concerned } = by;
  const folds = second.studyImages === true && study.meta.folds >= 3 ? study.meta.folds : undefined;
  const parts = new Map(concerned.map((t) => [t, evidenceParts(images.count(t), folds)]));
  for (const [t, { arv, report }] of parts)
    if (arv.length === 0 || report.length === 0) throw tooFew(study, t, images.count(t));
  const sums = new MomentSums({ layer, positions: positionsOf(conv), classes: classes.length, groups, kept });
  const byGroup = (): ReadonlyMap<number, GroupMoments> => new Map(groups.map((g) => [g, sums.group(g)]));
  const add = async (t: number, positions: readonly number[] | undefined): Promise<void> => {
    for await (const batch of images.batches(t, positions)) {
      signal?.throwIfAborted();
      sums.add(t, await pass.run(batch.tensor, batch.labels.length), batch.items);
    }
  };
  for (const t of classes.keys()) {
    stage(t / classes.length);
    const own = parts.get(t);
    if (images.count(t) > 0)
      await add(t, own === undefined ? undefined : [...own.arv, ...own.choose].sort((a, b) => a - b));
  }
  return {
    moments: byGroup(),
    parts: (t) => must(parts.get(t), "a class that is split"),
    async addReports() {
      for (const [t, { report }] of parts) await add(t, report);
    },
    all: byGroup,
  };
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

function splitsOf(
  { study, targets }: SplitPlanning,
  splitterOf: (channel: number) => Splitter,
  moments: ReadonlyMap<number, GroupMoments>,
  groupOf: (channel: number) => number,
): ReturnType<Splitter>[] {
  const { layer } = study.meta;
  const filters = new Map([...moments].map(([group, m]) => [group, groupFilters(study, group, m)]));
  return targets.map(({ channel, classes }) => {
    const group = groupOf(channel);
    return splitterOf(channel)({
      moments: must(moments.get(group), "moments"),
      weights: weightsOf(layer, channel),
      sign: layer.sign[channel] ?? 1,
      filters: must(filters.get(group), "filters"),
      exclude: [channel - (group * layer.outChannels) / layer.groups],
      classes,
      taps: tapsOf(layer),
    });
  });
}

function groupFilters(study: SplitPlanning["study"], group: number, moments: GroupMoments): UnitFilters {
  const { layer } = study.meta;
  const perGroup = layer.outChannels / layer.groups;
  return new UnitFilters(
    moments,
    Array.from({ length: perGroup }, (_, k) => weightsOf(layer, group * perGroup + k)),
  );
}

/** k of random filters that are split between the same classes. */
function kOfFilters(
  { study }: SplitPlanning,
  { channel, classes }: SplitTarget,
  split: Splitter,
  moments: GroupMoments,
  standings: Standings,
): number[] {
  const { layer } = study.meta;
  const group = Math.floor(channel / (layer.outChannels / layer.groups));
  const filters = groupFilters(study, group, moments);
  const count = Math.max(LEAST_FILTERS, Math.min(SPLIT_FILTERS, Math.floor(FILTER_WORK / patchSize(layer) ** 2)));
  return standings
    .filters(channel)
    .slice(0, count)
    .map((weights) => split({ moments, weights, sign: 1, filters, exclude: [], classes, taps: tapsOf(layer) }).k);
}

/** For each input the part that holds more of its weights (the sum of their magnitudes), all where that is a tie. */
function shares(parts: readonly Float64Array[], taps: number): SourceSets {
  const inputs = (parts[0]?.length ?? 0) / taps;
  return Uint32Array.from({ length: inputs }, (_, i) => {
    const held = parts.map((part) => part.subarray(i * taps, (i + 1) * taps).reduce((sum, w) => sum + Math.abs(w), 0));
    const most = Math.max(...held);
    const winners = held.flatMap((v, k) => (v === most ? [k] : []));
    return winners.length === 1 ? 1 << (winners[0] ?? 0) : 2 ** parts.length - 1;
  });
}

const tooFew = (study: SplitPlanning["study"], t: number, n: number): UnbraidError =>
  new UnbraidError(
    "input",
    "RHO_IMAGES",
    `"${conceptName(study, t)}" has ${n} image${n === 1 ? "" : "s"}, too few to hold some out.`,
    "Give more images of it.",
  );
