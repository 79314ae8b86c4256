/**
 * Telling planted channels from channels as they are, and both from random filters. The detector learns from plants of its
 * own; everything is scored by a model that has seen none of the channels that it is or is made of.
 */
import { must } from "../../errors.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import { cosine } from "../cosine.ts";
import { dot, form, plus, scaled, type Vector } from "../linear-algebra.ts";
import { Random } from "../random.ts";
import { auroc, bootstrap, proportion, quantile, type Figure } from "../statistics.ts";
import { Logistic, type LabelledItem } from "./logistic.ts";
import { groupOf, truthOf, weightsOfPlant, type Plant } from "./plant.ts";
import { arvOf, type GroupEvidence } from "./rules.ts";
import type { FilterBank, Traits } from "./traits.ts";

export interface DetectionOptions {
  readonly layer: StudyLayer;
  readonly positions: number;
  readonly evidence: ReadonlyMap<number, GroupEvidence>;
  readonly banks: ReadonlyMap<number, FilterBank>;
  /** Of all tiers; P0, P2 and P5 are used. */
  readonly plants: readonly Plant[];
  readonly seed: number;
  /** Share of controls that may be taken for plants. 0.05. */
  readonly falsePositives?: number;
}

/** Each with an interval over plants, channels and filters. */
export interface Detection {
  /** Plants (P2) above channels as they are; those that the guard takes for random filters stand last. */
  readonly auroc: Figure;
  /** The same by minus the skewness of the response over images, without the guard. */
  readonly auroc_skewness: Figure;
  /** The original's statistic: 1 - cosine of the ARVs of the two classes to which a plant or a channel responds most. */
  readonly auroc_cosine: Figure;
  /** The same where plants, and they alone, are told which classes they are of. */
  readonly auroc_cosine_told: Figure;
  readonly auroc_one_concept: Figure;
  readonly auroc_random_filters: Figure;
  /** Share that is detected at the default setting. */
  readonly detected: Figure;
  /** Controls of tier P0 that are detected: all of them, channels as they are, sums of one concept. */
  readonly false_positives: Figure;
  readonly false_positives_channels: Figure;
  readonly false_positives_one_concept: Figure;
  readonly false_positives_random_filters: Figure;
  /** Random filters, and channels as they are, that pass the guard. */
  readonly guard_random_filters: Figure;
  readonly guard_channels: Figure;
}

const FOLDS = 8;
/** With fewer channels that vary nothing can be learned. */
const LEAST_CHANNELS = 24;
const TRAINING_PLANTS = 300;
const ONE_CONCEPT = 200;
const RANDOM_FILTERS = 100;

interface Item extends Traits {
  /** Channels of the layer that it is made of. */
  readonly members: readonly number[];
}

interface Models {
  readonly detector: Logistic;
  readonly guard: Logistic;
  /** What 95 % of random filters do not exceed. */
  readonly least: number;
}

/** undefined where the layer has too few channels that vary, or there are no plants of P2. */
export function detect(o: DetectionOptions): Detection | undefined {
  const random = new Random(1000003 + o.seed);
  const channels = channelItems(o);
  if (channels.length < LEAST_CHANNELS) return undefined;
  const judge = new Judge(o, channels, random);
  const planted = o.plants.filter((p) => p.tier === "P2");
  const items = itemsOf(o, planted);
  if (items.length === 0) return undefined;

  const real = channels.map((item) => judge.score(item));
  const plants = items.map((item) => judge.score(item));
  const filters = judge.testFilters.map((item) => judge.score(item));
  const controls = o.plants.filter((p) => p.tier === "P0");
  const singles = itemsOf(
    o,
    controls.filter((p) => p.control === "one concept"),
  );
  const single = singles.map((item) => judge.score(item));
  const calibration = judge.oneConcept.map((item) => judge.score(item));
  // Conformal: what at most the wanted share of controls exceeds, of each kind by itself.
  const level = o.falsePositives ?? 0.05;
  const threshold = Math.max(conformal(real, level), conformal(calibration, level));
  const found = (scores: readonly number[]): number => scores.filter((s) => s > threshold).length;
  const ownScores = new Map(channels.map((item, k) => [item.members[0], real[k] ?? 0]));
  const controlChannels = [...new Set(controls.filter((p) => p.control === "channel").map((p) => p.parts[0]?.channel))];
  // A channel that is a control must not have set its own threshold.
  const falseChannels = controlChannels.filter((c) => {
    const others = [...ownScores].flatMap(([other, s]) => (other === c ? [] : [s]));
    return (ownScores.get(c) ?? -Infinity) > Math.max(conformal(others, level), conformal(calibration, level));
  }).length;
  const area = (positives: readonly number[], negatives: readonly number[]): Figure =>
    bootstrap(
      [positives.length, negatives.length],
      ([p, n]) =>
        auroc(
          Float64Array.from(p ?? [], (i) => positives[i] ?? NaN),
          Float64Array.from(n ?? [], (i) => negatives[i] ?? NaN),
        ),
      { random: random.fork() },
    );
  const ofChannels = channels.map(({ members }) => unlikeness(o, asPlant(o, members[0] ?? 0)));
  const minusSkewness = (list: readonly Item[]): number[] => list.map((item) => -(item.detector[0] ?? 0));
  return {
    auroc: area(plants, real),
    auroc_skewness: area(minusSkewness(items), minusSkewness(channels)),
    auroc_cosine: area(
      planted.map((p) => unlikeness(o, { ...p, classes: topTwo(o, p) })),
      ofChannels,
    ),
    auroc_cosine_told: area(
      planted.map((p) => unlikeness(o, p)),
      ofChannels,
    ),
    auroc_one_concept: area(plants, single),
    auroc_random_filters: area(plants, filters),
    detected: proportion(found(plants), plants.length),
    false_positives: proportion(falseChannels + found(single), controlChannels.length + single.length),
    false_positives_channels: proportion(falseChannels, controlChannels.length),
    false_positives_one_concept: proportion(found(single), single.length),
    false_positives_random_filters: proportion(found(filters), filters.length),
    guard_random_filters: proportion(filters.filter((s) => s > REJECTED / 2).length, filters.length),
    guard_channels: proportion(real.filter((s) => s > REJECTED / 2).length, real.length),
  };
}

/** Added to the score of what the guard takes for a random filter. */
const REJECTED = -1e6;

class Judge {
  readonly oneConcept: readonly Item[];
  readonly testFilters: readonly Item[];
  readonly #channels: readonly Item[];
  readonly #training: readonly Item[];
  readonly #fitFilters: readonly Item[];
  readonly #foldOf: ReadonlyMap<number, number>;
  readonly #models = new Map<string, Models>();

  constructor(o: DetectionOptions, channels: readonly Item[], random: Random) {
    this.#channels = channels;
    const order = random.permutation(channels.length);
    this.#foldOf = new Map(Array.from(order, (at, k) => [must(channels[at]?.members[0], "channel"), k % FOLDS]));
    this.#training = sums(o, channels, random, TRAINING_PLANTS, false);
    this.oneConcept = sums(o, channels, random, ONE_CONCEPT, true);
    const filters = (count: number): Item[] => randomItems(o, random, count);
    this.#fitFilters = filters(RANDOM_FILTERS);
    this.testFilters = filters(RANDOM_FILTERS);
  }

  score(item: Item): number {
    const folds = [...new Set(item.members.map((c) => this.#foldOf.get(c) ?? 0))].sort((a, b) => a - b);
    const { detector, guard, least } = this.#without(folds);
    const rejected = guard.score(item.guard) > least ? 0 : REJECTED;
    return detector.score(item.detector) + rejected;
  }

  /** Models of what has nothing to do with the channels of some folds. */
  #without(folds: readonly number[]): Models {
    const key = folds.join();
    const there = this.#models.get(key);
    if (there !== undefined) return there;
    const allowed = (item: Item): boolean => item.members.every((c) => !folds.includes(this.#foldOf.get(c) ?? -1));
    const channels = this.#channels.filter(allowed);
    const training = this.#training.filter(allowed);
    const label = (list: readonly Item[], of: "detector" | "guard", positive: boolean): LabelledItem[] =>
      list.map((item) => ({ features: item[of], positive, weight: 1 / list.length }));
    const detector = new Logistic([...label(training, "detector", true), ...label(channels, "detector", false)]);
    const half = Math.floor(this.#fitFilters.length / 2);
    const guard = new Logistic([
      ...label(channels, "guard", true),
      ...label(training, "guard", true),
      ...label(this.#fitFilters.slice(0, half), "guard", false),
    ]);
    const least = quantile(
      this.#fitFilters.slice(half).map((item) => guard.score(item.guard)),
      0.95,
    );
    const models = { detector, guard, least };
    this.#models.set(key, models);
    return models;
  }
}

/** The score that at most `level` of controls exceed, one more drawn as they were counted in. */
function conformal(scores: readonly number[], level: number): number {
  const sorted = scores.toSorted((a, b) => b - a);
  const at = Math.floor(level * (sorted.length + 1)) - 1;
  return at < 0 ? Infinity : (sorted[at] ?? Infinity);
}

const rowOf = (layer: StudyLayer, channel: number): Vector =>
  must(truthOf(layer, { tier: "P0", seed: 0, parts: [{ channel, scale: 1 }], classes: [] })[0], "row");

function traitsOf(o: DetectionOptions, row: Vector, group: number, members: readonly number[]): Traits | undefined {
  const first = group * (o.layer.outChannels / o.layer.groups);
  return o.banks.get(group)?.traits(
    row,
    members.map((c) => c - first),
  );
}

function channelItems(o: DetectionOptions): Item[] {
  return Array.from({ length: o.layer.outChannels }, (_, c) => c).flatMap((c) => {
    const traits = traitsOf(o, rowOf(o.layer, c), groupOf(o.layer, c), [c]);
    return traits === undefined ? [] : [{ ...traits, members: [c] }];
  });
}

function itemsOf(o: DetectionOptions, plants: readonly Plant[]): Item[] {
  return plants.flatMap((plant) => {
    const members = plant.parts.map((p) => p.channel);
    const group = groupOf(o.layer, members[0] ?? 0);
    const traits = traitsOf(o, weightsOfPlant(truthOf(o.layer, plant)), group, members);
    return traits === undefined ? [] : [{ ...traits, members }];
  });
}

/** Sums of two channels at unit deviation, of different top classes or of one. */
function sums(o: DetectionOptions, channels: readonly Item[], random: Random, count: number, one: boolean): Item[] {
  const units = channels.map(({ members: [c = 0] }) => {
    const row = rowOf(o.layer, c);
    const { moments } = must(o.evidence.get(groupOf(o.layer, c)), "evidence");
    return {
      c,
      group: groupOf(o.layer, c),
      row: scaled(1 / Math.sqrt(form(row, moments.imageMeans, row)), row),
      top: topOf(o, c),
    };
  });
  const found: Item[] = [];
  for (let tries = 0; tries < 50 * count && found.length < count; tries++) {
    const [a, b] = [units[random.below(units.length)], units[random.below(units.length)]];
    if (a === undefined || b === undefined || a.c === b.c || a.group !== b.group) continue;
    if ((a.top === b.top) !== one) continue;
    const members = [a.c, b.c];
    const traits = traitsOf(o, plus(a.row, 1, b.row), a.group, members);
    if (traits !== undefined) found.push({ ...traits, members });
  }
  return found;
}

/** Gaussian weights. */
function randomItems(o: DetectionOptions, random: Random, count: number): Item[] {
  const groups = [...o.banks.keys()];
  return Array.from({ length: count }).flatMap((_, k) => {
    const group = groups[k % groups.length] ?? 0;
    const size = o.evidence.get(group)?.moments.size ?? 0;
    const row = Float64Array.from({ length: size }, () => random.normal());
    const traits = traitsOf(o, row, group, []);
    return traits === undefined ? [] : [{ ...traits, members: [] }];
  });
}

/** Classes by falling response. */
function classesOf(o: DetectionOptions, group: number, row: Vector): number[] {
  const { moments } = must(o.evidence.get(group), "evidence");
  return moments.classMeans
    .flatMap((m, t) => ((moments.imagesOf[t] ?? 0) > 0 ? [{ t, response: dot(row, m) }] : []))
    .sort((a, b) => b.response - a.response)
    .map(({ t }) => t);
}

const topOf = (o: DetectionOptions, channel: number): number =>
  classesOf(o, groupOf(o.layer, channel), rowOf(o.layer, channel))[0] ?? -1;

/** The two classes to which a plant responds most. */
const topTwo = (o: DetectionOptions, plant: Plant): number[] =>
  classesOf(o, groupOf(o.layer, plant.parts[0]?.channel ?? 0), weightsOfPlant(truthOf(o.layer, plant))).slice(0, 2);

function asPlant(o: DetectionOptions, channel: number): Plant {
  const plant: Plant = { tier: "P0", seed: 0, parts: [{ channel, scale: 1 }], classes: [] };
  return { ...plant, classes: topTwo(o, plant) };
}

/** 1 - cosine of the ARVs of a plant's two classes; 0 where one of them is zero. */
function unlikeness(o: DetectionOptions, plant: Plant): number {
  const w = weightsOfPlant(truthOf(o.layer, plant));
  const { moments } = must(o.evidence.get(groupOf(o.layer, plant.parts[0]?.channel ?? 0)), "evidence");
  const [a, b] = plant.classes.map((t) => arvOf(w, must(moments.classMeans[t], "class"), tapsOf(o.layer), o.positions));
  const value = a === undefined || b === undefined ? NaN : 1 - cosine(a, b);
  return Number.isFinite(value) ? value : 0;
}
