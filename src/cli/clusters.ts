/** Clusters of a channel's images as `find --concepts cluster` writes them. */
import type { Cluster, SplitTarget } from "../channels/concepts.ts";
import { UnbraidError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import type { Study } from "../relevance/study.ts";
import { readRegularFile } from "./read-file.ts";

/**
 * The splits that a file of clusters asks for: of each channel between its clusters; channels of one cluster are left out.
 * @throws UnbraidError CLUSTERS_INVALID
 */
export function readClusters(path: string, study: Study): SplitTarget[] {
  const invalid = (why: string, cause?: unknown): UnbraidError =>
    new UnbraidError(
      "input",
      "CLUSTERS_INVALID",
      `${path}: ${why}`,
      "Give the JSON that `unbraid find --concepts cluster` wrote of this study.",
      { cause },
    );
  let value: unknown;
  try {
    value = JSON.parse(readRegularFile(path).toString());
  } catch (cause) {
    throw invalid(cause instanceof SyntaxError ? "it is not JSON" : whyUnreadable(cause), cause);
  }
  if (!isObject(value) || !Array.isArray(value.channels)) throw invalid("it has no list of channels");
  if (value.layer !== undefined && value.layer !== study.meta.layer.name)
    throw invalid(`it is of layer ${JSON.stringify(value.layer)}, the study of ${study.meta.layer.name}`);
  const digest = isObject(value.model) ? value.model.sha256 : undefined;
  if (digest !== undefined && digest !== study.meta.model.sha256)
    throw invalid("its clusters are of another model than the study");
  const targets = value.channels.map((entry: unknown): SplitTarget => {
    if (!isObject(entry) || !isIndex(entry.channel) || !Array.isArray(entry.clusters))
      throw invalid("an entry has no channel and clusters");
    const { channel } = entry;
    const clusters = entry.clusters.map((cluster: unknown, k): Cluster => {
      if (!isObject(cluster) || !isNumbers(cluster.vector) || !isTexts(cluster.images))
        throw invalid(`cluster ${k + 1} of channel ${channel} has no vector and images`);
      const name = typeof cluster.name === "string" ? cluster.name : `cluster ${k + 1}`;
      return { name, vector: Float64Array.from(cluster.vector), images: cluster.images };
    });
    return { channel, classes: [], clusters };
  });
  const split = targets.filter(({ clusters }) => (clusters?.length ?? 0) > 1);
  if (split.length === 0) throw invalid("no channel has two clusters or more");
  return split.sort((a, b) => a.channel - b.channel);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isIndex = (value: unknown): value is number => Number.isInteger(value) && Number(value) >= 0;
const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((v) => typeof v === "number" && Number.isFinite(v));
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((v) => typeof v === "string");
