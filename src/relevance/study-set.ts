/** Studies of several layers from one pass over the images: what a study file holds. */
import { invariant, UnbraidError } from "../errors.ts";
import { BYTES_PER_SUM } from "./exact-sum.ts";
import { VARIANTS } from "./importance.ts";
import { createStudy, tapsOf, type Study, type StudyLayer, type StudyMeta } from "./study.ts";

/** One or more studies whose meta is equal but for the layer, and which have seen the same images. */
export interface StudySet {
  /** In the order of the network, no layer twice. */
  readonly studies: readonly Study[];
}

/** Whether users may call the layer so: by name, with or without `.weight`, by its node or its output. */
export function isCalled(layer: StudyLayer, name: string): boolean {
  const names = [layer.name, layer.nodeName, layer.output];
  return names.includes(name) || names.includes(name.replace(/\.weight$/, ""));
}

/** The first study, whose meta says all that the set's studies have in common. */
export function firstOf(set: StudySet): Study {
  const [first] = set.studies;
  invariant(first !== undefined, "a set of one or more studies");
  return first;
}

/**
 * The study of one layer: the only one where none is named. `last` is the last one of the set.
 * @throws UnbraidError STUDY_LAYER with the names that there are
 */
export function selectLayer(set: StudySet, name?: string): Study {
  const { studies } = set;
  if (name === undefined && studies.length === 1) return firstOf(set);
  const found = studies.filter((s) => name !== undefined && isCalled(s.meta.layer, name));
  const [only, second] = name === "last" && found.length === 0 ? studies.slice(-1) : found;
  if (only !== undefined && second === undefined) return only;
  const names = studies.map((s) => s.meta.layer.name).join(", ");
  const which =
    name === undefined
      ? `The study holds ${studies.length} layers: ${names}.`
      : second === undefined
        ? `The study holds no layer "${name}": it is of ${names}.`
        : `"${name}" names ${found.length} layers of the study: ${found.map((s) => s.meta.layer.nodeName).join(", ")}.`;
  throw new UnbraidError("input", "STUDY_LAYER", which, "Pass one of these names with --layer.");
}

/** What all layers of a set have in common. */
export type CommonMeta = Omit<StudyMeta, "layer">;

/** A file is written out of one array, and Node 20's hold 4 GiB. */
const MOST_BYTES = 2 ** 32 - 2 ** 20;

/**
 * Empty studies of several layers.
 * @throws UnbraidError STUDY_TOO_LARGE, and as createStudy
 */
export function createSet(common: CommonMeta, layers: readonly StudyLayer[]): StudySet {
  invariant(new Set(layers.map((layer) => layer.output)).size === layers.length, "each layer once");
  const studies = layers.map((layer) => createStudy({ ...common, layer }));
  const bytesIn = (folds: number): number =>
    studies.reduce((sum, { meta }) => sum + expectedBytes({ ...meta, folds }), 0);
  const bytes = bytesIn(common.folds);
  if (bytes > MOST_BYTES) {
    const fits = Array.from({ length: common.folds }, (_, k) => k + 1).findLast(
      (folds) => bytesIn(folds) <= MOST_BYTES,
    );
    const classes = common.images.perClass.filter((n) => n > 0).length;
    throw new UnbraidError(
      "usage",
      "STUDY_TOO_LARGE",
      `A study of ${layers.length} layer${layers.length === 1 ? "" : "s"}, ${classes} classes and ${common.folds} folds takes ${(bytes / 1e9).toPrecision(3)} GB; the most is ${(MOST_BYTES / 1e9).toPrecision(3)} GB.`,
      fits === undefined ? "Study fewer layers at a time." : `Pass --folds ${fits}, or study fewer layers at a time.`,
    );
  }
  return { studies };
}

/** Bytes of the weights, and of the accumulators when every image of the list has been added. */
export function expectedBytes({ layer, images, folds, taus }: StudyMeta): number {
  const sums = BYTES_PER_SUM * layer.inChannels * tapsOf(layer);
  const counts = VARIANTS.length * taus.length * layer.outChannels;
  return images.perClass.reduce(
    (bytes, n) => bytes + (n === 0 ? 0 : Math.min(n, folds) * sums + counts * (n > 0xffff ? 4 : 2)),
    layer.weights.byteLength + layer.sign.byteLength,
  );
}
