/** Study files and the options that go with them. */
import { UnbraidError } from "../errors.ts";
import { accumulatorBytes, isComplete, tapsOf, type Study } from "../relevance/study.ts";
import { decodeStudy } from "../relevance/study-file.ts";
import { firstOf, selectLayer, type StudySet } from "../relevance/study-set.ts";
import { usageError, type Arguments } from "./arguments.ts";
import type { Context } from "./context.ts";
import { whyUnreadable } from "../files.ts";
import { readRegularFile } from "./read-file.ts";

/** @throws UnbraidError STUDY_UNREADABLE, and as decodeStudy with the file's name */
export function readStudy(path: string): StudySet {
  let bytes: Uint8Array;
  try {
    bytes = readRegularFile(path);
  } catch (cause) {
    throw new UnbraidError(
      "input",
      "STUDY_UNREADABLE",
      `the study ${path} cannot be read: ${whyUnreadable(cause)}`,
      "Check the path.",
      { cause },
    );
  }
  try {
    return decodeStudy(bytes);
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
    throw new UnbraidError(error.kind, error.code, `${path}: ${error.message}`, error.remedy, { cause: error });
  }
}

/** For people: a layer by its name, several by their number. */
export const showLayers = ({ studies }: StudySet): string =>
  studies.length === 1 ? firstOf({ studies }).meta.layer.name : `${studies.length} layers`;

/** For JSON: one of a study's layers. */
export const layerSummary = (study: Study) => {
  const { layer } = study.meta;
  return {
    name: layer.name,
    channels: layer.outChannels,
    tap_sums: layer.inChannels * tapsOf(layer),
    accumulator_bytes: accumulatorBytes(study),
  };
};

/** The paper's tau. */
export const DEFAULT_TAU = 0.03;

/** --tau, or the only one of the study, or 0.03. */
export function tauOption(args: Arguments, study: Study): number {
  const given = args.number("tau");
  if (given !== undefined) return given;
  const [only, second] = study.meta.taus;
  return only !== undefined && second === undefined ? only : DEFAULT_TAU;
}

/** Whether `--compat official` is given. @throws UnbraidError OPTION_VALUE */
export function compatOption(args: Arguments): boolean {
  const compat = args.text("compat");
  if (compat === undefined || compat === "official") return compat !== undefined;
  throw usageError(
    "OPTION_VALUE",
    `--compat must be "official", not "${compat}"`,
    "Write --compat official, or leave it out.",
  );
}

/**
 * A study that has seen all its images, or any with --partial.
 * @param layer which of the file's layers, where it has several
 * @throws UnbraidError STUDY_INCOMPLETE, STUDY_LAYER, and as readStudy
 */
export function readWholeStudy({ args, out }: Context, path: string, layer?: string): Study {
  const study = selectLayer(readStudy(path), layer);
  if (isComplete(study)) return study;
  const done = study.done.reduce((n, [from, to]) => n + to - from, 0);
  const state = `${path} has seen ${done} of its ${study.meta.images.length} images`;
  if (!args.flag("partial"))
    throw new UnbraidError(
      "input",
      "STUDY_INCOMPLETE",
      state,
      "Finish it with `unbraid study ... --resume`, add the other shards with `unbraid merge`, or pass --partial.",
    );
  out.warn(state);
  return study;
}
