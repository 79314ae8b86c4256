/** Source sets: which concepts each input channel of a channel serves (METHOD.md A5, and B "Both-negative inputs"). */
import { invariant, UnbraidError } from "../errors.ts";
import { MAX_CONCEPTS as MOST_BITS, type SourceSets } from "../graph/membership.ts";
import { AverageRelevance, meanTapSums, relevanceVector } from "../relevance/arv.ts";
import { roundToHalf } from "../onnx/half.ts";
import { tapsOf, type Study } from "../relevance/study.ts";
import { addTo, plus } from "./linear-algebra.ts";

export type { SourceSets } from "../graph/membership.ts";

/**
 * "official": A5, two concepts, in float16. "symmetric": the default; the same whichever concept comes first. "sign": an
 * input serves the concepts for which its relevance is above its mean over classes, and all where it is for none; it knows no
 * rho. (Behind a ReLU relevance itself has the sign of the weight, whatever the class.)
 */
export type SetRule = "symmetric" | "official" | "sign";

/**
 * @param vectors one ARV a concept, [I/groups] each: oriented for the symmetric rule, and less `ruleCentre` for the sign rule
 * @param rho from 0 (all that is not opposed is shared) to 1 (nothing is); without meaning for the sign rule
 */
export function sourceSets(vectors: readonly Float64Array[], rho: number, rule: SetRule): SourceSets {
  invariant(vectors.length >= 2 && vectors.length <= MOST_BITS, `${vectors.length} concepts`);
  invariant(new Set(vectors.map((v) => v.length)).size === 1, "ARVs of one length");
  if (rule === "sign") return signSets(vectors);
  return rule === "official" ? officialSets(vectors, rho) : symmetricSets(vectors, rho);
}

function signSets(vectors: readonly Float64Array[]): SourceSets {
  const all = 2 ** vectors.length - 1;
  return Uint32Array.from(vectors[0] ?? [], (_, i) => {
    const set = vectors.reduce((bits, v, k) => ((v[i] ?? 0) > 0 ? bits | (1 << k) : bits), 0);
    return set === 0 ? all : set;
  });
}

/** Input i serves concept k unless max_j v_j[i] - v_k[i] > (1 - rho) max_j |v_j[i]|. */
function symmetricSets(vectors: readonly Float64Array[], rho: number): SourceSets {
  return Uint32Array.from(vectors[0] ?? [], (_, i) => {
    const values = vectors.map((v) => v[i] ?? 0);
    const highest = Math.max(...values);
    const margin = (1 - rho) * Math.max(...values.map(Math.abs));
    return values.reduce((set, v, k) => (highest - v > margin ? set : set | (1 << k)), 0);
  });
}

/** `if f16(v1 rho) > v2 then S1, else if f16(v2 rho) > v1 then S2, else shared`, with ARVs rounded to float16. */
function officialSets(vectors: readonly Float64Array[], rho: number): SourceSets {
  const [first, second] = vectors;
  if (first === undefined || second === undefined || vectors.length > 2)
    throw new UnbraidError(
      "usage",
      "RULE_CONCEPTS",
      `The official rule is defined for 2 concepts, not ${vectors.length}.`,
      "Use --rule symmetric, or two classes.",
    );
  // PyTorch multiplies a float16 tensor by a number in float32, and rounds the product to float16.
  const scaled = (v: number): number => roundToHalf(Math.fround(v * Math.fround(rho)));
  return Uint32Array.from(first, (x, i) => {
    const v1 = roundToHalf(x);
    const v2 = roundToHalf(second[i] ?? 0);
    return scaled(v1) > v2 ? 0b01 : scaled(v2) > v1 ? 0b10 : 0b11;
  });
}

/**
 * Sets are written with one character an input channel: 0 and K digits, and letters for the other 2^K - 2 - K subsets. Of 5
 * concepts these are 25 letters of the alphabet's 26; of 6 they would be 56.
 */
export const TEXT_CONCEPTS = 5;

export interface SetsRequest {
  readonly channel: number;
  /** One a concept. */
  readonly classes: readonly number[];
  readonly rho: number;
  readonly rule: SetRule;
}

/**
 * The source sets of a channel from a study's ARVs: oriented float64 ones by the symmetric rule; the file's own in
 * float16 by the official rule, whatever the sign of the BatchNormalization that follows.
 * @throws UnbraidError CHANNEL_RANGE, CLASS_RANGE, CLASS_EMPTY, CHANNEL_DEPTHWISE, OPTION_RANGE, RULE_CONCEPTS
 */
export function setsFromStudy(study: Study, request: SetsRequest, arvs = new AverageRelevance(study)): SourceSets {
  return sourceSets(conceptVectors(study, request, arvs), request.rho, request.rule);
}

/** The ARVs that the rule compares, one a class. */
export function conceptVectors(
  study: Study,
  { channel, classes, rho, rule }: SetsRequest,
  arvs = new AverageRelevance(study),
  folds?: readonly number[],
): Float64Array[] {
  checkChannel(study, channel);
  checkClasses(study, classes);
  if (!(rho >= 0 && rho <= 1))
    throw new UnbraidError(
      "usage",
      "OPTION_RANGE",
      `rho must be from 0 to 1, not ${rho}.`,
      "Pass --rho in that range.",
    );
  const centre = ruleCentre(study, rule, folds);
  return classes.map((t) => {
    const vector = arvs.vector(channel, t, rule === "official" ? "official" : "oriented", folds);
    if (vector === undefined)
      throw new UnbraidError(
        "input",
        "CLASS_EMPTY",
        `The study has no image of class ${t} (${study.meta.classes[t] ?? ""})${folds === undefined ? "" : ` in folds ${folds.join(", ")}`}.`,
        "Choose classes that have images, or finish the study with --resume.",
      );
    return centre === undefined
      ? vector
      : plus(vector, -1, relevanceVector(study.meta.layer, centre, channel, "oriented"));
  });
}

/**
 * [I, K] what the sign rule takes off the mean tap sums of concepts: the mean over classes of theirs, all weighing the same.
 * @param folds of the study; all unless given
 * @returns undefined for the other rules
 */
export function ruleCentre(study: Study, rule: SetRule, folds?: readonly number[]): Float64Array | undefined {
  if (rule !== "sign") return undefined;
  const means = study.meta.classes.flatMap((_, t) => meanTapSums(study, t, folds) ?? []);
  const centre = new Float64Array(study.meta.layer.inChannels * tapsOf(study.meta.layer));
  for (const mean of means) addTo(centre, 1 / means.length, mean);
  return centre;
}

const isIndex = (index: number, n: number): boolean => Number.isInteger(index) && index >= 0 && index < n;

const outOfRange = (code: string, what: string, index: number, n: number): UnbraidError =>
  new UnbraidError("usage", code, `There is no ${what} ${index}: the study has ${n}.`, `Pass one from 0 to ${n - 1}.`);

/** @throws UnbraidError CHANNEL_RANGE, CHANNEL_DEPTHWISE */
export function checkChannel({ meta: { layer } }: Study, channel: number): void {
  if (!isIndex(channel, layer.outChannels)) throw outOfRange("CHANNEL_RANGE", "channel", channel, layer.outChannels);
  if (layer.inChannels === layer.groups)
    throw new UnbraidError(
      "unsupported",
      "CHANNEL_DEPTHWISE",
      `Layer ${layer.name} is depthwise: each channel reads one input channel, so there is nothing to divide.`,
      "Choose a layer whose channels read several input channels.",
    );
}

function checkClasses({ meta: { classes: names } }: Study, classes: readonly number[]): void {
  for (const t of classes) if (!isIndex(t, names.length)) throw outOfRange("CLASS_RANGE", "class", t, names.length);
  if (classes.length < 2 || new Set(classes).size !== classes.length)
    throw new UnbraidError(
      "usage",
      "CLASS_RANGE",
      `A split needs two or more different classes, not ${classes.join(",") || "none"}.`,
      "Pass for instance --classes 3,17.",
    );
  if (classes.length > TEXT_CONCEPTS)
    throw new UnbraidError(
      "usage",
      "CLASS_RANGE",
      `A split takes at most ${TEXT_CONCEPTS} classes, not ${classes.length}.`,
      "Choose fewer classes.",
    );
}

/**
 * Sets as text, one character an input channel: 0 shared by all, 1, 2, ... that concept alone. With three concepts and
 * more, other subsets are letters: a, b, ... in the order of their bits read as a number.
 */
export function setsToText(sets: SourceSets, concepts: number): string {
  const alphabet = subsets(concepts);
  return Array.from(sets, (set) => {
    const character = alphabet.get(set);
    invariant(character !== undefined, `set ${set} of ${concepts} concepts`);
    return character;
  }).join("");
}

/** @throws UnbraidError SETS_TEXT for a character that stands for no set of so many concepts */
export function setsFromText(text: string, concepts: number): SourceSets {
  const byCharacter = new Map(Array.from(subsets(concepts), ([set, character]) => [character, set]));
  return Uint32Array.from(text, (character) => {
    const set = byCharacter.get(character);
    if (set === undefined)
      throw new UnbraidError(
        "input",
        "SETS_TEXT",
        `"${character}" stands for no source set of ${concepts} concepts.`,
        `Use one of ${[...byCharacter.keys()].join("")} for each input channel.`,
      );
    return set;
  });
}

function subsets(concepts: number): Map<number, string> {
  invariant(concepts >= 2 && concepts <= TEXT_CONCEPTS, `text for sets of ${concepts} concepts`);
  const all = 2 ** concepts - 1;
  const map = new Map<number, string>([[all, "0"]]);
  for (let k = 0; k < concepts; k++) map.set(1 << k, String(k + 1));
  let letter = "a".charCodeAt(0);
  for (let set = 1; set < all; set++) if (!map.has(set)) map.set(set, String.fromCharCode(letter++));
  return map;
}
