/** Whether studies belong together, and adding those that do. */
import { must, UnbraidError } from "../errors.ts";
import { ExactSums } from "./exact-sum.ts";
import { imagesHeader, layerHeader, settingsHeader } from "./study-header.ts";
import { joinRanges, overlap } from "./ranges.ts";
import { createStudy, emptyAccumulator, overlapError } from "./study.ts";
import { isCalled, type StudySet } from "./study-set.ts";
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
  const aspects: [string, (m: StudyMeta) => unknown][] = [
    ["classes", (m) => m.classes],
    ["labels", (m) => m.labels],
    ["image lists", (m) => imagesHeader(m.images)],
    ["preprocessing", (m) => m.preprocess],
    ["values of tau", (m) => m.taus],
    ["numbers of folds", (m) => m.folds],
    ["settings", (m) => settingsHeader(m.settings)],
  ];
  for (const [what, of] of aspects) {
    const [left, right] = [JSON.stringify(of(a)), JSON.stringify(of(b))];
    if (left !== right) throw mismatch("STUDY_SETTINGS", what, left, right);
  }
}

/**
 * A new study that holds both: bit for bit what one pass over the images of both would have given.
 * @throws UnbraidError STUDY_MODEL, STUDY_LAYER, STUDY_SETTINGS, STUDY_OVERLAP, SUM_CAPACITY
 */
export function mergeStudies(a: Study, b: Study): Study {
  assertSameStudy(a.meta, b.meta);
  const twice = overlap(a.done, b.done);
  if (twice !== undefined) throw overlapError(twice);
  const study = createStudy(a.meta);
  study.done = joinRanges([...a.done, ...b.done]);
  study.skipped = [...a.skipped, ...b.skipped].sort((s, t) => s.index - t.index);
  for (let t = 0; t < study.accumulators.length; t++) {
    const parts = [a.accumulators[t], b.accumulators[t]].filter((p) => p !== undefined);
    if (parts.length > 0) study.accumulators[t] = addClasses(emptyAccumulator(study.meta, t), parts);
  }
  return study;
}

/**
 * As mergeStudies, for each layer of two sets.
 * @throws UnbraidError as mergeStudies; STUDY_LAYER where the layers are not the same
 */
export function mergeSets(a: StudySet, b: StudySet): StudySet {
  const names = (set: StudySet): string => set.studies.map((s) => s.meta.layer.name).join(", ");
  if (a.studies.length !== b.studies.length) throw mismatch("STUDY_LAYER", "layers", names(a), names(b));
  return { studies: a.studies.map((study, i) => mergeStudies(study, must(b.studies[i], "study"))) };
}

function addClasses(sum: ClassAccumulator, parts: readonly ClassAccumulator[]): ClassAccumulator {
  for (const part of parts) {
    part.tapSums.forEach((sums, fold) => {
      if (sums !== undefined) (sum.tapSums[fold] ??= new ExactSums(sums.length)).merge(sums);
    });
    part.counts.forEach((count, i) => (sum.counts[i] = (sum.counts[i] ?? 0) + count));
  }
  return sum;
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
