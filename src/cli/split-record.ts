/** What a split model says of itself: its metadata, and the manifest beside it. */
import { UnbraidError } from "../errors.ts";
import type { OnnxModel } from "../onnx/model.ts";

/** Key of metadata_props. Its value: a JSON list of records, one a split, the oldest first. */
export const SPLITS_KEY = "unbraid.splits";

export interface SplitPartRecord {
  readonly channel: number;
  /** Class names, concept 1 first. */
  readonly concepts: readonly string[];
  /** Their indices in the study. */
  readonly classes: readonly number[];
  readonly rho: number;
  readonly rule: string;
  /** A character an input channel: 0 shared, 1, 2, ... */
  readonly sets: string;
  /** Output channels of the grown layer, concept 1 first, the residual last. */
  readonly rows: readonly number[];
}

export interface SplitRecord {
  readonly version: 1;
  readonly layer: string;
  readonly node: string;
  /** The value that holds all parts, and the one that they add up to. */
  readonly grown: string;
  readonly output: string;
  readonly source: { readonly file: string; readonly sha256: string };
  readonly study: { readonly file: string; readonly sha256: string };
  readonly parts: readonly SplitPartRecord[];
}

/** The records of a model, none where it was never split. @throws UnbraidError SPLIT_RECORD where they make no sense */
export function splitRecords(model: OnnxModel, path: string): readonly SplitRecord[] {
  const text = model.metadata.get(SPLITS_KEY);
  if (text === undefined) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw senseless(path, "it is not JSON");
  }
  if (!Array.isArray(value) || !value.every(isRecord)) throw senseless(path, "it is not a list of splits of version 1");
  return value;
}

const senseless = (path: string, why: string): UnbraidError =>
  new UnbraidError(
    "model",
    "SPLIT_RECORD",
    `the metadata "${SPLITS_KEY}" of ${path} cannot be read: ${why}`,
    "Split the model again with this version of unbraid.",
  );

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isRecord(value: unknown): value is SplitRecord {
  if (!isObject(value) || value.version !== 1) return false;
  const texts = [value.layer, value.node, value.grown, value.output];
  const digests = [value.source, value.study].map((s) => (isObject(s) ? s.sha256 : undefined));
  return (
    [...texts, ...digests].every((t) => typeof t === "string") &&
    Array.isArray(value.parts) &&
    value.parts.every(isPart)
  );
}

function isPart(value: unknown): boolean {
  return (
    isObject(value) &&
    Number.isInteger(value.channel) &&
    Array.isArray(value.concepts) &&
    value.concepts.every((c) => typeof c === "string") &&
    typeof value.rho === "number" &&
    typeof value.rule === "string" &&
    typeof value.sets === "string"
  );
}
