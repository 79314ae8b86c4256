/** Studies of several layers from one pass over the images: what a study file holds. */
import { invariant, UnbraidError } from "../errors.ts";
import type { Study, StudyLayer } from "./study.ts";

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
