/**
 * Parts by weights of many channels, from moments of the layer's patches over the images of all classes: at first without the
 * concepts' held-out images, for guards and choices on these, and then of all.
 */
import { must } from "../errors.ts";
import { weightsOf } from "../relevance/arv.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { additiveSplit, UnitFilters, type AdditiveRequest, type AdditiveSplit } from "./additive.ts";
import type { Concept } from "./concepts.ts";
import { SPLIT_FILTERS, type Standings } from "./guards.ts";
import { patchSize, type GroupMoments } from "./moments.ts";
import type { SecondPassSource, SplitPlanning, WeightRule } from "./planning.ts";
import { pause } from "./pause.ts";
import { Random } from "./random.ts";
import type { Folds } from "./rho.ts";
import { tune, tunedSplit } from "./tuned.ts";
import { weightEvidence, type WeightEvidence } from "./weight-evidence.ts";

/** Random filters are split too, at a cost that grows with the square of a filter's size. */
const FILTER_WORK = 2 ** 20;
const LEAST_FILTERS = 4;
/** Of moments by class while the tuned rule plants. */
const PLANTS_BYTES = 2 ** 30;
/** Of the tuned rule's plants: the same study and images give the same split. */
const SEED = 1;

/** Parts of a channel. */
type FoundParts = Pick<AdditiveSplit, "parts" | "k">;
type Splitter = (request: AdditiveRequest) => FoundParts;

/** How far parts are moved apart; undefined for as far as was fitted. */
export type Scale = { readonly g: number; readonly over?: "patches" } | undefined;

export interface WeightSplitsOptions {
  readonly rule: WeightRule;
  readonly scale: Scale;
  /** Whether rho is to be chosen, on images that are held out too. */
  readonly choosing: boolean;
}

export interface WeightSplits extends Disposable {
  /** Positions of a concept's images: those of the last part were held out, and where something is chosen of the second. */
  parts(concept: Concept): Folds;
  /** [targets] by what is known at the time. */
  split(): Promise<readonly FoundParts[]>;
  /** The same, and random filters split between the same concepts. @param of what is wanted of a filter's parts */
  splitFilters<T>(
    standings: Standings,
    of: (found: FoundParts) => T,
  ): Promise<readonly (FoundParts & { readonly filters: readonly T[] })[]>;
  /** From now on splits are made of all images. */
  addHeldOut(): Promise<void>;
}

/** @throws UnbraidError PLANT_CHANNELS, RHO_IMAGES, MOMENTS_MEMORY, NOT_FINITE */
export async function openWeightSplits(
  p: SplitPlanning,
  second: SecondPassSource,
  { rule, scale, choosing }: WeightSplitsOptions,
  stage: (share: number) => void,
): Promise<WeightSplits> {
  const { study, targets } = p;
  const { layer } = study.meta;
  const perGroup = layer.outChannels / layer.groups;
  const groupOf = (channel: number): number => Math.floor(channel / perGroup);
  const groups = [...new Set(targets.map((t) => groupOf(t.channel)))].sort((a, b) => a - b);
  const concerned = [...new Set(targets.flatMap((t) => t.classes))].sort((a, b) => a - b);
  const kept = rule === "tuned" ? withOthers(study, second, groups.length, concerned) : concerned;
  const { layer: conv, open } = must(second.moments, "a way to run moments");
  const pass = await open(groups);
  try {
    const evidence = await weightEvidence(p, second, { conv, pass, groups, groupOf, kept, choosing }, stage);
    // Fitted once, without the held-out images.
    const splitters = new Map<number, Splitter>();
    for (const group of groups) splitters.set(group, await splitter(p, rule, scale, group, evidence.groups()));
    const split = splitBy(p, evidence, (channel) => must(splitters.get(groupOf(channel)), "splitter"), groupOf);
    return {
      parts: (concept) => evidence.parts(concept),
      split: () => split(),
      splitFilters: (standings, of) => split({ standings, of }),
      addHeldOut: () => evidence.addHeldOut(),
      [Symbol.dispose]: () => {
        pass[Symbol.dispose]();
      },
    };
  } catch (error) {
    pass[Symbol.dispose]();
    throw error;
  }
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
async function splitter(
  { study, signal }: SplitPlanning,
  rule: WeightRule,
  scale: Scale,
  group: number,
  byGroup: ReadonlyMap<number, GroupMoments>,
): Promise<Splitter> {
  if (rule === "additive") return (request) => additiveSplit({ ...request, options: { ...scale } });
  const { layer } = study.meta;
  const moments = must(byGroup.get(group), "moments");
  const rows = groupRows(layer, group);
  const filters = new UnitFilters(moments, rows);
  const tuning = await tune({
    ...{ moments, filters, rows, taps: tapsOf(layer), random: new Random(SEED) },
    ...(signal === undefined ? {} : { signal }),
  });
  return (request) => tunedSplit(request, tuning.coefficients(request.exclude), undefined, scale);
}

/** What random filters are wanted for. */
interface Filters<T> {
  readonly standings: Standings;
  readonly of: (found: FoundParts) => T;
}

/** Splits every target by what the evidence says at the time. */
function splitBy(
  { study, targets, signal }: SplitPlanning,
  evidence: WeightEvidence,
  splitterOf: (channel: number) => Splitter,
  groupOf: (channel: number) => number,
): <T>(wanted?: Filters<T>) => Promise<(FoundParts & { readonly filters: readonly T[] })[]> {
  const { layer } = study.meta;
  return async <T>(wanted?: Filters<T>) => {
    const filters = new Map(
      [...evidence.groups()].map(([group, m]) => [group, new UnitFilters(m, groupRows(layer, group))]),
    );
    const found: (FoundParts & { readonly filters: readonly T[] })[] = [];
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
      const ofFilters: T[] = [];
      if (wanted !== undefined)
        for (const weights of wanted.standings.filters(channel).slice(0, filterCount(layer))) {
          await pause();
          signal?.throwIfAborted();
          ofFilters.push(wanted.of(split({ ...common, weights, sign: 1, exclude: [] })));
        }
      found.push({ parts, k, filters: ofFilters });
    }
    return found;
  };
}

const filterCount = (layer: SplitPlanning["study"]["meta"]["layer"]): number =>
  Math.max(LEAST_FILTERS, Math.min(SPLIT_FILTERS, Math.floor(FILTER_WORK / patchSize(layer) ** 2)));

/** The weights of a group's channels, in the layer's orientation. */
const groupRows = (layer: StudyLayer, group: number): Float64Array[] => {
  const perGroup = layer.outChannels / layer.groups;
  return Array.from({ length: perGroup }, (_, k) => {
    const channel = group * perGroup + k;
    return Float64Array.from(weightsOf(layer, channel), (w) => (layer.sign[channel] ?? 1) * w);
  });
};
