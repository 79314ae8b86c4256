/** What the concepts of a recorded split are: classes of the folder, or clusters of a file. */
import type { RecordedSplit } from "../channels/evaluate/channel.ts";
import type { SplitPartRecord, SplitRecord } from "../channels/split-record.ts";
import { UnbraidError } from "../errors.ts";
import type { Study } from "../relevance/study.ts";
import { usageError } from "./arguments.ts";
import { readClusters } from "./clusters.ts";
import type { Context } from "./context.ts";

export interface EvaluatedParts {
  readonly parts: readonly RecordedSplit[];
  /** [clusters] the paths of each cluster's images, by the number that stands for it. */
  readonly clusters: ReadonlyMap<number, ReadonlySet<string>>;
}

/** Numbers of clusters begin above any logit. */
const FIRST_CLUSTER = 2 ** 24;

/**
 * The channels of --channel, or all; those that were split by clusters need --clusters.
 * @throws UnbraidError CHANNEL_NONE, EVALUATE_CONCEPTS, OPTION_MISSING, CLUSTERS_INVALID
 */
export function partsToEvaluate(context: Context, record: SplitRecord, study: Study | undefined): EvaluatedParts {
  const chosen = chosenParts(context, record);
  const file = context.args.text("clusters");
  if (file !== undefined && study === undefined)
    throw usageError("OPTION_MISSING", "--study is missing: clusters are of a study's layer", "Add --study FILE.");
  const targets = file === undefined || study === undefined ? [] : readClusters(file, study);
  const clusters = new Map<number, ReadonlySet<string>>();
  const parts: RecordedSplit[] = [];
  const lost: number[] = [];
  for (const part of chosen) {
    if (part.classes.length === part.concepts.length) {
      parts.push({ ...part, ids: part.classes });
      continue;
    }
    const target = targets.find(({ channel }) => channel === part.channel)?.clusters;
    const mine = part.concepts.flatMap((name) => target?.find((cluster) => cluster.name === name) ?? []);
    if (mine.length < part.concepts.length) {
      lost.push(part.channel);
      continue;
    }
    const ids = mine.map(({ images }) => {
      const id = FIRST_CLUSTER + clusters.size;
      clusters.set(id, new Set(images));
      return id;
    });
    parts.push({ ...part, ids });
  }
  if (lost.length > 0) leftOut(context, lost, parts.length);
  return { parts, clusters };
}

/** Some channels without known images are left out with a note; with none left there is nothing to do. */
function leftOut({ out }: Context, lost: readonly number[], left: number): void {
  const message = `${lost.length} channels were split by clusters whose images are not known: ${lost.join(", ")}`;
  if (left > 0) {
    out.warn(`${message}; they are left out (--clusters FILE.json)`);
    return;
  }
  throw new UnbraidError(
    "input",
    "EVALUATE_CONCEPTS",
    message,
    "Pass --clusters FILE.json, as `unbraid find --concepts cluster` wrote it, and the folder of those images.",
  );
}

function chosenParts({ args }: Context, record: SplitRecord): readonly SplitPartRecord[] {
  const wanted = args.numbers("channel", { integer: true, least: 0 });
  const none = wanted.find((c) => !record.parts.some((part) => part.channel === c));
  if (none !== undefined)
    throw usageError(
      "CHANNEL_NONE",
      `channel ${none} was not split: the model has ${record.parts.map((part) => part.channel).join(", ")}`,
      "Choose among these.",
    );
  return wanted.length === 0 ? record.parts : record.parts.filter((part) => wanted.includes(part.channel));
}
