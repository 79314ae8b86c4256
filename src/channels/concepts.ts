/** What a channel is split into: the classes of a study, or groups of images that were found to belong together. */
import type { ImageBatch } from "../relevance/run-study.ts";
import type { Study } from "../relevance/study.ts";

/** Images on which a channel acts alike, found without labels (`find --concepts cluster`). */
export interface Cluster {
  readonly name: string;
  /** [I/groups] mean relevance of the channel's inputs over the cluster's images, oriented. */
  readonly vector: Float64Array;
  /** Paths below the folder of images. */
  readonly images: readonly string[];
}

/** A class of the study, by number, or a cluster. */
export type Concept = number | Cluster;

export interface SplitTarget {
  readonly channel: number;
  /** A class of the study for each concept; none where the concepts are clusters. */
  readonly classes: readonly number[];
  readonly clusters?: readonly Cluster[];
}

/** In the order of the parts. */
export const targetConcepts = ({ classes, clusters }: SplitTarget): readonly Concept[] => clusters ?? classes;

export const conceptName = (study: Study, concept: Concept): string =>
  typeof concept === "number" ? (study.meta.classes[concept] ?? String(concept)) : concept.name;

/** The images of single concepts, for the second pass. */
export interface ClassImages {
  /** How many there are. */
  count(concept: Concept): number;
  /** Paths below the folder of images, by position. */
  paths(concept: Concept): readonly string[];
  /** Those at these positions among the concept's images (all unless told), in batches. */
  batches(concept: Concept, positions?: readonly number[]): AsyncIterable<ImageBatch>;
}

/** The concepts of all lists, each once: classes by number, then clusters. */
export function allConcepts(lists: readonly (readonly Concept[])[]): Concept[] {
  const all = [...new Set(lists.flat())];
  const classes = all.filter((c) => typeof c === "number").sort((a, b) => a - b);
  return [...classes, ...all.filter((c) => typeof c !== "number")];
}
