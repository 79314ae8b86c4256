/** A planned split written into a model, and its manifest: the same bytes wherever it is done. */
import { UnbraidError } from "../errors.ts";
import { nodeNames } from "../graph/build.ts";
import { splitLayer, type ChannelSplit } from "../graph/surgery.ts";
import type { OnnxModel } from "../onnx/model.ts";
import { hexDigest } from "../relevance/digest.ts";
import type { Study } from "../relevance/study.ts";
import { conceptName, targetConcepts } from "./concepts.ts";
import type { PlannedSplit } from "./planning.ts";
import { setsToText } from "./sets.ts";
import { RECORD_VERSION, splitRecords, SPLITS_KEY, type SplitPartRecord, type SplitRecord } from "./split-record.ts";

/** A file's name, without its folder, and its SHA-256. */
export interface NamedFile {
  readonly file: string;
  readonly sha256: string;
}

export interface SplitFiles {
  readonly source: NamedFile;
  readonly study: NamedFile;
  /** The name that the split model will have. */
  readonly file: string;
  /** SHA-256 of bytes, hexadecimal, where something faster is at hand. */
  readonly digest?: (bytes: Uint8Array) => string;
}

/** What is written beside a split model. */
export interface SplitManifest extends SplitRecord {
  readonly model: NamedFile;
  readonly parts: readonly (SplitPartRecord & Pick<PlannedSplit, "choice" | "heldOut" | "guards">)[];
  /** What was left out because no second concept is to be seen in it; only where there is such. */
  readonly refused?: readonly (Pick<SplitPartRecord, "channel" | "concepts" | "classes" | "rho" | "rule"> &
    Pick<PlannedSplit, "guards">)[];
}

export interface WrittenSplit {
  readonly bytes: Uint8Array;
  readonly manifest: SplitManifest;
}

/**
 * @param model the file that the study was made of
 * @param planned in any order: the model's bytes do not depend on it
 * @throws what splitLayer throws
 */
export function writeSplit(
  model: OnnxModel,
  study: Study,
  { kept, refused = [] }: { readonly kept: readonly PlannedSplit[]; readonly refused?: readonly PlannedSplit[] },
  { source, study: studyFile, file, digest = hexDigest }: SplitFiles,
): WrittenSplit {
  const planned = kept.toSorted((a, b) => a.channel - b.channel);
  const { layer } = study.meta;
  const nodeIndex = nodeNames(model).indexOf(layer.nodeName);
  const channels = planned.map(channelSplit);
  // The rows' places are known only after the split, and the metadata is part of it: a dry run gives them.
  const dry = splitLayer(model, { nodeIndex, channels });
  const record: SplitRecord = {
    version: RECORD_VERSION,
    layer: layer.name,
    node: layer.nodeName,
    grown: dry.grown,
    output: dry.output,
    source,
    study: studyFile,
    parts: planned.map((p) => ({
      ...described(study, p),
      ...(p.scale === undefined ? {} : { scale: p.scale }),
      ...(p.over === undefined ? {} : { over: p.over }),
      sets: setsToText(p.sets, targetConcepts(p).length),
      rows: dry.parts.filter((part) => part.channel === p.channel).map((part) => part.row),
      ...(p.forced === true ? { forced: true } : {}),
    })),
  };
  const records = [...splitRecords(model, source.file), record];
  const { bytes } = splitLayer(model, { nodeIndex, channels, metadata: { [SPLITS_KEY]: JSON.stringify(records) } });
  const parts = record.parts.map((part, k) => {
    const { choice, heldOut, guards = null } = planned[k] ?? {};
    return {
      ...part,
      ...(choice === undefined ? {} : { choice }),
      ...(heldOut === undefined ? {} : { heldOut }),
      guards,
    };
  });
  const manifest = { ...record, model: { file, sha256: digest(bytes) }, parts };
  if (refused.length === 0) return { bytes, manifest };
  return {
    bytes,
    manifest: { ...manifest, refused: refused.map((p) => ({ ...described(study, p), guards: p.guards })) },
  };
}

const described = (study: Study, p: PlannedSplit) => ({
  channel: p.channel,
  concepts: targetConcepts(p).map((c) => conceptName(study, c)),
  classes: p.clusters === undefined ? p.classes : [],
  rho: p.rho,
  rule: p.rule,
});

const channelSplit = (p: PlannedSplit): ChannelSplit =>
  p.parts === undefined
    ? { channel: p.channel, concepts: targetConcepts(p).length, sets: p.sets }
    : { channel: p.channel, parts: p.parts };

/** Splits that are made, and splits that are not because no second concept is to be seen. */
export interface GuardedSplits {
  readonly kept: readonly PlannedSplit[];
  readonly refused: readonly PlannedSplit[];
}

/**
 * Refuses splits whose guards say that there is no second concept.
 * @param force keeps them, marked
 * @param some leaves them out as long as others remain, which suits lists of findings
 * @throws UnbraidError SPLIT_NO_SECOND_CONCEPT
 */
export function guardSplits(
  study: Study,
  planned: readonly PlannedSplit[],
  { force, some }: { readonly force: boolean; readonly some: boolean },
): GuardedSplits {
  const fails = (p: PlannedSplit): boolean => p.guards?.passed === false;
  if (force) return { kept: planned.map((p) => (fails(p) ? { ...p, forced: true } : p)), refused: [] };
  const refused = planned.filter(fails);
  if (refused.length === 0 || (some && refused.length < planned.length))
    return { kept: planned.filter((p) => !fails(p)), refused };
  const [first] = refused;
  const names = first === undefined ? [] : targetConcepts(first).map((c) => `"${conceptName(study, c)}"`);
  const more = refused.length > 1 ? ` (and ${refused.length - 1} more)` : "";
  throw new UnbraidError(
    "input",
    "SPLIT_NO_SECOND_CONCEPT",
    `channel ${first?.channel ?? ""} of ${study.meta.layer.name} shows no ${names.length > 2 ? "such concepts" : "second concept"} between ${names.join(" and ")}: ${first?.guards?.why.join("; ") ?? ""}${more}`,
    "Choose classes that the channel responds to (`unbraid find`), or pass --force to split it all the same.",
  );
}
