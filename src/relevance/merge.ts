/** Whether studies belong together, and adding those that do. */
import { must, UnbraidError } from "../errors.ts";
import { overlapError } from "./accumulate.ts";
import { ExactSums } from "./exact-sum.ts";
import { covers, joinRanges, overlap, showRange, type Range } from "./ranges.ts";
import { studiesEqual } from "./study-file.ts";
import { imagesHeader, layerHeader, settingsHeader } from "./study-header.ts";
import { firstOf, isCalled, type StudySet } from "./study-set.ts";
import { accumulatorOf, createStudy, imagesOf } from "./study.ts";
import type { ClassAccumulator, Study, StudyMeta } from "./study.ts";

/**
 * Refuses a study that was not made of this model or layer.
 * @throws UnbraidError STUDY_MODEL, STUDY_LAYER
 */
export function assertStudyMatches(
  study: Study,
  expected: { readonly modelDigest?: string; readonly layer?: string },
): void {
  const { model, layer } = study.meta;
  if (expected.modelDigest !== undefined && expected.modelDigest !== model.sha256)
    throw new UnbraidError(
      "input",
      "STUDY_MODEL",
      `The study was made of another model: ${model.file} with SHA-256 ${model.sha256.slice(0, 12)}..., not ${expected.modelDigest.slice(0, 12)}....`,
      "Pass the model that the study was made of, or make a study of this one.",
    );
  if (expected.layer !== undefined && !isCalled(layer, expected.layer))
    throw new UnbraidError(
      "input",
      "STUDY_LAYER",
      `The study is of layer ${layer.name} (node ${layer.nodeName}), not of ${expected.layer}.`,
      "Pass the study of that layer, or make one.",
    );
}

/**
 * Refuses studies that are not parts of one: another model, layer, class list, image list, preprocessing, tau or setting.
 * The order of images and how far each got do not matter here.
 * @throws UnbraidError STUDY_MODEL, STUDY_LAYER, STUDY_SETTINGS
 */
export function assertSameStudy(a: StudyMeta, b: StudyMeta): void {
  if (a.model.sha256 !== b.model.sha256)
    throw mismatch("STUDY_MODEL", "models", `${a.model.file} ${a.model.sha256}`, `${b.model.file} ${b.model.sha256}`);
  if (JSON.stringify(layerHeader(a.layer)) !== JSON.stringify(layerHeader(b.layer)))
    throw mismatch("STUDY_LAYER", "layers", a.layer.name, b.layer.name);
  if (!equalArrays(a.layer.weights, b.layer.weights) || !equalArrays(a.layer.sign, b.layer.sign))
    throw mismatch("STUDY_LAYER", "weights", a.layer.name, `${b.layer.name} with other weights or signs`);
  const aspects: [string, (m: StudyMeta, other: StudyMeta) => unknown][] = [
    ["classes", (m) => m.classes],
    ["labels", (m) => m.labels],
    ["image lists", (m) => imagesHeader(m.images)],
    ["preprocessing", (m) => m.preprocess],
    ["values of tau", (m) => m.taus],
    ["numbers of folds", (m) => m.folds],
    // Those alone that differ: file digests of the other say nothing.
    [
      "settings",
      ({ settings }, other) =>
        settingsHeader(Object.fromEntries(Object.entries(settings).filter(([k, v]) => other.settings[k] !== v))),
    ],
  ];
  for (const [what, of] of aspects) {
    const [left, right] = [JSON.stringify(of(a, b)), JSON.stringify(of(b, a))];
    if (left !== right) throw mismatch("STUDY_SETTINGS", what, left, right);
  }
}

/**
 * As assertSameStudy, for each layer of two sets.
 * @throws UnbraidError as assertSameStudy; STUDY_LAYER too where the layers are not the same
 */
export function assertSameSet(a: StudySet, b: StudySet): void {
  const names = (set: StudySet): string => set.studies.map((s) => s.meta.layer.name).join(", ");
  const [modelA, modelB] = [firstOf(a).meta.model, firstOf(b).meta.model];
  // Of another model the layers differ as well, but that is not what is wrong.
  if (a.studies.length !== b.studies.length && modelA.sha256 === modelB.sha256)
    throw mismatch("STUDY_LAYER", "layers", names(a), names(b));
  a.studies.forEach((study, i) => {
    assertSameStudy(study.meta, (b.studies[i] ?? firstOf(b)).meta);
  });
}

/** A study to be merged: what it is called, and which part of the image list it has seen. */
export interface MergeItem {
  readonly name: string;
  readonly done: readonly Range[];
}

export interface MergePlan {
  /** Those that are added, no two of which have seen the same image. */
  readonly add: readonly number[];
  /** Those that lie wholly within one of `add`, and so are in the sum already. */
  readonly repeated: readonly { readonly index: number; readonly within: number }[];
}

/**
 * Which studies are to be added. Giving one twice, or a merged study with one of its parts, changes nothing; nor does the
 * order in which they are given.
 * @throws UnbraidError STUDY_OVERLAP where two have seen some of the same images, and each others too
 */
export function planMerge(items: readonly MergeItem[]): MergePlan {
  const within = (a: number, b: number): boolean => covers(items[b]?.done ?? [], items[a]?.done ?? []);
  const repeated: { index: number; within: number }[] = [];
  const add = items.flatMap((_, i) => {
    // Of equal ones the first stays. The largest holder is taken, so that it is one that stays itself.
    const holders = items.flatMap((_, k) => (k !== i && within(i, k) && (k < i || !within(k, i)) ? [k] : []));
    const largest = holders.find((h) => holders.every((k) => within(k, h)));
    const holder = largest ?? holders[0];
    if (holder === undefined) return [i];
    repeated.push({ index: i, within: holder });
    return [];
  });
  for (const [k, a] of add.entries())
    for (const b of add.slice(k + 1)) {
      const twice = overlap(items[a]?.done ?? [], items[b]?.done ?? []);
      if (twice !== undefined) throw partialOverlap(must(items[a], "item"), must(items[b], "item"), twice);
    }
  return { add, repeated };
}

function partialOverlap(a: MergeItem, b: MergeItem, twice: Range): UnbraidError {
  const show = ({ name, done }: MergeItem): string => `${name} has seen images ${done.map(showRange).join(", ")}`;
  return new UnbraidError(
    "input",
    "STUDY_OVERLAP",
    `${show(a)} of the list and ${show(b)}: images ${showRange(twice)} would count twice.`,
    "Merge studies of different shards. One that lies wholly within another may be given as well; it is not added again.",
  );
}

/**
 * Adds `other` to `sum`, in place: afterwards it is, bit for bit, what one pass over the images of both would have given.
 * @throws UnbraidError as assertSameSet; STUDY_OVERLAP, SUM_CAPACITY, and then `sum` is as it was
 */
export function addSet(sum: StudySet, other: StudySet): void {
  assertSameSet(sum, other);
  const twice = overlap(firstOf(sum).done, firstOf(other).done);
  if (twice !== undefined) throw overlapError(twice);
  sum.studies.forEach((study, i) => {
    const part = must(other.studies[i], "study");
    study.done = joinRanges([...study.done, ...part.done]);
    study.skipped = [...study.skipped, ...part.skipped].sort((s, t) => s.index - t.index);
    part.accumulators.forEach((accumulator, t) => {
      if (accumulator !== undefined) addClass(accumulatorOf(study, t), accumulator);
    });
  });
}

/**
 * A new set that holds all: bit for bit what one pass over the images of all would have given, in whatever order they are
 * given. What lies wholly within another is checked against it and not added again.
 * @returns the sum, and positions of those that were not added
 * @throws UnbraidError STUDY_MODEL, STUDY_LAYER, STUDY_SETTINGS, STUDY_OVERLAP, STUDY_DIFFERENT, SUM_CAPACITY
 */
export function mergeSets(
  sets: readonly StudySet[],
  names: readonly string[] = [],
): { readonly set: StudySet; readonly repeated: readonly number[] } {
  const first = must(sets[0], "a study to merge");
  for (const set of sets) assertSameSet(first, set);
  const nameOf = (index: number): string => names[index] ?? `study ${index + 1}`;
  const { add, repeated } = planMerge(sets.map((set, i) => ({ name: nameOf(i), done: firstOf(set).done })));
  for (const { index, within } of repeated)
    assertWithin(must(sets[index], "study"), must(sets[within], "study"), [nameOf(index), nameOf(within)]);
  const empty = { studies: first.studies.map(({ meta }) => createStudy(meta)) };
  const sum = withModelFile(empty, modelFileOf(sets.map((set) => firstOf(set).meta)));
  for (const index of add) addSet(sum, must(sets[index], "study"));
  return { set: sum, repeated: repeated.map(({ index }) => index) };
}

/**
 * Refuses a study that cannot be a part of another that has seen the same images and perhaps more: its counts exceed the
 * other's, or where both have seen just the same, a bit differs. (The sums of a smaller part cannot be told from the whole.)
 * @param names for the message
 * @throws UnbraidError STUDY_DIFFERENT
 */
export function assertWithin(part: StudySet, whole: StudySet, names: readonly [string, string]): void {
  const same = covers(firstOf(part).done, firstOf(whole).done);
  const fits = same
    ? studiesEqual(withModelFile(part, firstOf(whole).meta.model.file), whole)
    : part.studies.every((s, i) => mayBeWithin(s, must(whole.studies[i], "study")));
  if (fits) return;
  throw new UnbraidError(
    "input",
    "STUDY_DIFFERENT",
    `${names[0]} and ${names[1]} have both seen images ${firstOf(part).done.map(showRange).join(", ")} of the list, but do not agree on them.`,
    "They were made on different adapters or by different versions, or images were changed in between: merge one of them.",
  );
}

/** Copies of a model may have other names: a merged study has the first by code units, whatever the order of its parts. */
export const modelFileOf = (metas: readonly StudyMeta[]): string => [...metas.map((m) => m.model.file)].sort()[0] ?? "";

export const withModelFile = (set: StudySet, file: string): StudySet => ({
  studies: set.studies.map((s) => ({ ...s, meta: { ...s.meta, model: { ...s.meta.model, file } } })),
});

function mayBeWithin(part: Study, whole: Study): boolean {
  const skippedIn = whole.skipped.filter(({ index }) => overlap(part.done, [[index, index + 1]]) !== undefined);
  if (skippedIn.map((s) => s.index).join() !== part.skipped.map((s) => s.index).join()) return false;
  return part.accumulators.every((accumulator, t) => {
    const { counts } = whole.accumulators[t] ?? {};
    const folds = accumulator?.tapSums.map((_, fold) => [fold]) ?? [];
    const more = imagesOf(whole, t) - imagesOf(part, t);
    return (
      folds.every((fold) => imagesOf(part, t, fold) <= imagesOf(whole, t, fold)) &&
      (accumulator?.counts.every((n, i) => n <= (counts?.[i] ?? 0) && (counts?.[i] ?? 0) - n <= more) ?? true)
    );
  });
}

function addClass(sum: ClassAccumulator, part: ClassAccumulator): void {
  part.tapSums.forEach((sums, fold) => {
    if (sums !== undefined) (sum.tapSums[fold] ??= new ExactSums(sums.length)).merge(sums);
  });
  part.counts.forEach((count, i) => (sum.counts[i] = (sum.counts[i] ?? 0) + count));
}

const equalArrays = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
  a.length === b.length && Array.prototype.every.call(a, (x: number, i: number) => Object.is(x, b[i]));

const brief = (text: string): string => (text.length > 120 ? `${text.slice(0, 117)}...` : text);

function mismatch(code: string, what: string, a: string, b: string): UnbraidError {
  return new UnbraidError(
    "input",
    code,
    `The studies are not parts of one: their ${what} differ: ${brief(a)} and ${brief(b)}.`,
    "Merge or resume only studies made with the same model, layer, images and options.",
  );
}
