/** The rules that plants are split by, ours and the original's, on the same evidence. */
import { must } from "../../errors.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import {
  additiveDirections,
  splitAlong,
  type AdditiveDirections,
  type AdditiveOptions,
  type AdditiveRequest,
  type UnitFilters,
} from "../additive.ts";
import { plus, type Vector } from "../linear-algebra.ts";
import type { GroupMoments } from "../moments.ts";
import { heldWeights, setsByHeld, shares } from "../parts.ts";
import { sourceSets, type SetRule, type SourceSets } from "../sets.ts";
import { tunedDirections, tunedSplit, type TunedDirections, type Tuning } from "../tuned.ts";
import { groupOf, truthOf, weightsOfPlant, type Plant } from "./plant.ts";

/** What is known of a group of the layer from the evidence. */
export interface GroupEvidence {
  readonly moments: GroupMoments;
  readonly filters: UnitFilters;
  readonly tuning: Tuning;
}

/** Choices of rho that need responses of parts on images. */
export interface RhoChoices {
  /** By the original's ratio (A7), on the images that made the ARVs. */
  readonly official: number;
  /** By the log ratio above its null: sets from every second image of a class, responses from the others; of P1 and P2 alone. */
  readonly symmetric?: number;
  readonly tuned?: number;
}

/** A plant with all that rules may know. */
export interface PlantedCase {
  readonly plant: Plant;
  readonly layer: StudyLayer;
  readonly group: number;
  /** [D] in the layer's orientation. */
  readonly weights: Vector;
  /** [parts][D] */
  readonly truth: readonly Vector[];
  readonly evidence: GroupEvidence;
  /** The same from every second image of each class; there where rho is chosen, and memory suffices. */
  readonly half?: GroupEvidence;
  /** Where two concepts were responded to. */
  readonly rhos?: RhoChoices;
  /** [concepts][D] mean patches over every second image of the classes. */
  readonly halfMeans: readonly Vector[];
  readonly positions: number;
  /** By order of the concepts: three rules share them. */
  readonly directions: Map<string, AdditiveDirections>;
  readonly tuned: Map<string, TunedDirections>;
}

/** What a rule makes of a plant. */
export interface RuleSplit {
  /** [K][D] */
  readonly parts: readonly Vector[];
  /** Of hard rules. */
  readonly sets?: SourceSets;
}

export interface Rule {
  readonly name: string;
  /** What it is, for people. */
  readonly about: string;
  /** Whether it is defined for so many concepts, and was made ready. */
  readonly takes: (c: Pick<PlantedCase, "truth" | "rhos">) => boolean;
  /** @param order of the concepts: a permutation of 0 .. K-1 */
  readonly split: (c: PlantedCase, order: readonly number[]) => RuleSplit;
}

const two: Rule["takes"] = ({ truth }) => truth.length === 2;
const any: Rule["takes"] = () => true;

/** The first is the original; the others are held against it. */
export const RULES: readonly Rule[] = [
  {
    name: "official",
    about: "the original: its sets, rho by its ratio",
    takes: two,
    split: (c, order) => bySets(c, order, "official", must(c.rhos, "rho").official),
  },
  {
    name: "symmetric",
    about: "symmetric sets, rho = 1",
    takes: any,
    split: (c, order) => bySets(c, order, "symmetric", 1),
  },
  {
    name: "symmetric_chosen",
    about: "symmetric sets, rho by the log ratio on other images",
    takes: ({ rhos }) => rhos?.symmetric !== undefined,
    split: (c, order) => bySets(c, order, "symmetric", must(c.rhos?.symmetric, "rho"), c.halfMeans),
  },
  {
    name: "sign",
    about: "sets by the sign of ARVs less their mean over classes",
    takes: any,
    split: (c, order) => bySign(c, order, false),
  },
  {
    name: "sign_divided",
    about: "the same, inputs of several parts divided between them",
    takes: any,
    split: (c, order) => bySign(c, order, true),
  },
  { name: "additive", about: "additive, g = 0.75", takes: any, split: (c, order) => byAddition(c, order, {}) },
  {
    name: "additive_inside",
    about: "additive, g = 0.5",
    takes: any,
    split: (c, order) => byAddition(c, order, { g: 0.5 }),
  },
  {
    name: "additive_apart",
    about: "additive, g = 1 over patches: the least leakage",
    takes: any,
    split: (c, order) => byAddition(c, order, { g: 1, over: "patches" }),
  },
  {
    name: "tuned",
    about: "additive, weights of its directions fitted on plants of other channels",
    takes: two,
    split: (c, order) => byTuning(c, order, "any"),
  },
  {
    name: "tuned_apart",
    about: "the same, g = 1 over patches",
    takes: two,
    split: (c, order) => byTuning(c, order, "any", { g: 1, over: "patches" }),
  },
  {
    name: "tuned_equal",
    about: "the same, both parts known to be of one size",
    takes: two,
    split: (c, order) => byTuning(c, order, "equal"),
  },
  {
    name: "additive_sets",
    about: "sets: each input whole to the part in which the additive rule puts more of it",
    takes: any,
    split: (c, order) => hardened(c, byAddition(c, order, {})),
  },
  {
    name: "tuned_sets",
    about: "the same of the tuned rule",
    takes: two,
    split: (c, order) => hardened(c, byTuning(c, order, "any")),
  },
  {
    name: "tuned_sets_chosen",
    about: "the same, rho by the log ratio on other images",
    takes: ({ rhos }) => rhos?.tuned !== undefined,
    split: (c, order) => {
      const sets = setsByHeld(halfHeld(c, order), must(c.rhos?.tuned, "rho"));
      return { sets, parts: partsBySets(c.weights, sets, 2, tapsOf(c.layer)) };
    },
  },
];

/** The sets that a split by weights names in its record, and the parts that these would give. */
function hardened(c: PlantedCase, { parts }: RuleSplit): RuleSplit {
  const taps = tapsOf(c.layer);
  const sets = shares(parts, taps);
  return { sets, parts: partsBySets(c.weights, sets, parts.length, taps) };
}

/** What the parts of the tuned rule hold of each input, from every second image of each class. */
export function halfHeld(c: PlantedCase, order: readonly number[]): Vector[] {
  const half = { ...c, evidence: must(c.half, "evidence of half the images") };
  return heldWeights(byTuning(half, order, "any", undefined, "half").parts, tapsOf(c.layer));
}

const classesIn = ({ plant }: PlantedCase, order: readonly number[]): number[] =>
  order.map((k) => must(plant.classes[k], "class"));

/** Positions in the group of the channels that the plant is made of: nothing may be learned from them. */
function membersInGroup({ plant, layer, group }: PlantedCase): number[] {
  const first = group * (layer.outChannels / layer.groups);
  return plant.parts.map((p) => p.channel - first);
}

function requestOf(c: PlantedCase, order: readonly number[]): AdditiveRequest {
  const { moments, filters } = c.evidence;
  return {
    ...{ moments, filters, weights: c.weights, sign: 1, taps: tapsOf(c.layer) },
    ...{ classes: classesIn(c, order), exclude: membersInGroup(c) },
  };
}

function byAddition(c: PlantedCase, order: readonly number[], options: AdditiveOptions): RuleSplit {
  const request = requestOf(c, order);
  const directions = c.directions.get(order.join()) ?? additiveDirections(request);
  c.directions.set(order.join(), directions);
  return { parts: splitAlong({ ...request, options }, directions).parts };
}

function byTuning(
  c: PlantedCase,
  order: readonly number[],
  sizes: "any" | "equal",
  scale?: Parameters<typeof tunedSplit>[3],
  of: "all" | "half" = "all",
): RuleSplit {
  const request = requestOf(c, order);
  const key = `${of}: ${order.join()}`;
  const directions = c.tuned.get(key) ?? tunedDirections(request);
  c.tuned.set(key, directions);
  const coefficients = c.evidence.tuning.coefficients(membersInGroup(c), sizes);
  return { parts: tunedSplit(request, coefficients, directions, scale).parts };
}

/** [I/groups] the ARV of a planted channel, for a mean patch. */
export function arvOf(weights: Vector, meanPatch: Vector, taps: number, positions: number): Float64Array {
  return Float64Array.from({ length: weights.length / taps }, (_, i) => {
    let sum = 0;
    for (let j = i * taps; j < (i + 1) * taps; j++) sum += (weights[j] ?? 0) * (meanPatch[j] ?? 0);
    return positions * sum;
  });
}

/** @param means mean patches of the concepts; over all images of their classes unless given */
export function setsOf(
  c: PlantedCase,
  order: readonly number[],
  rule: SetRule,
  rho: number,
  means?: readonly Vector[],
): SourceSets {
  const { moments } = c.evidence;
  const vectors = order.map((k) => {
    const mean = means?.[k] ?? moments.classMeans[must(c.plant.classes[k], "class")];
    return arvOf(c.weights, must(mean, "mean patch"), tapsOf(c.layer), c.positions);
  });
  return sourceSets(vectors, rho, rule);
}

function bySets(
  c: PlantedCase,
  order: readonly number[],
  rule: SetRule,
  rho: number,
  means?: readonly Vector[],
): RuleSplit {
  const sets = setsOf(c, order, rule, rho, means);
  return { sets, parts: partsBySets(c.weights, sets, order.length, tapsOf(c.layer)) };
}

/**
 * An input serves the concepts on whose images it contributes more than on the mean class.
 * @param divided whether an input of several parts is divided between them, so that there is no residual
 */
function bySign(c: PlantedCase, order: readonly number[], divided: boolean): RuleSplit {
  const { moments } = c.evidence;
  const less = classesIn(c, order).map((t) => plus(must(moments.classMeans[t], "class"), -1, moments.meanOfClasses));
  const taps = tapsOf(c.layer);
  const vectors = less.map((mean) => arvOf(c.weights, mean, taps, c.positions));
  const sets = sourceSets(vectors, 1, "sign");
  const parts = partsBySets(c.weights, sets, order.length, taps);
  if (!divided) return { sets, parts };
  const served = Array.from(sets, (set) => order.filter((_, k) => ((set >>> k) & 1) === 1).length);
  return { sets, parts: parts.map((part) => part.map((w, j) => w / (served[Math.floor(j / taps)] ?? 1))) };
}

/** D_k = w on the inputs that serve concept k: those of several are in several parts, as METHOD.md A6 has it. */
export function partsBySets(weights: Vector, sets: SourceSets, concepts: number, taps: number): Vector[] {
  return Array.from({ length: concepts }, (_, k) =>
    weights.map((w, j) => ((((sets[Math.floor(j / taps)] ?? 0) >>> k) & 1) === 1 ? w : 0)),
  );
}

/** The inputs divided by which true part has the most variance of its own there: what no partition that rules find can know. */
export function oracleSets({ truth, evidence, layer }: PlantedCase): SourceSets {
  const taps = tapsOf(layer);
  const { moments } = evidence;
  return Uint32Array.from({ length: moments.size / taps }, (_, i) => {
    const energy = truth.map((row) => energyOf(row, row, moments, i, taps));
    return 1 << energy.indexOf(Math.max(...energy));
  });
}

/** sum over taps of input i of a b Var(x), x the mean over positions. */
export function energyOf(a: Vector, b: Vector, { imageMeans, size }: GroupMoments, i: number, taps: number): number {
  let sum = 0;
  for (let j = i * taps; j < (i + 1) * taps; j++) sum += (a[j] ?? 0) * (b[j] ?? 0) * (imageMeans[j * size + j] ?? 0);
  return sum;
}

export function plantedCase(
  plant: Plant,
  layer: StudyLayer,
  evidence: GroupEvidence,
  other: Pick<PlantedCase, "positions" | "halfMeans" | "half" | "rhos">,
): PlantedCase {
  const truth = truthOf(layer, plant);
  const group = groupOf(layer, must(plant.parts[0], "part").channel);
  return {
    plant,
    layer,
    group,
    weights: weightsOfPlant(truth),
    truth,
    evidence,
    directions: new Map(),
    tuned: new Map(),
    ...other,
  };
}
