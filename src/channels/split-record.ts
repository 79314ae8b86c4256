/** What a split model says of itself in its metadata: which channels were split, between what, and where the parts went. */
import { UnbraidError } from "../errors.ts";
import type { OnnxModel } from "../onnx/model.ts";

/** Key of metadata_props. Its value: a JSON list of records, one a split, the oldest first. */
export const SPLITS_KEY = "unbraid.splits";

/** Version 2 knows parts that no source sets give, a rho of null, and several residual rows. */
export const RECORD_VERSION = 2;

export interface SplitPartRecord {
  readonly channel: number;
  /** Names of classes or clusters, concept 1 first. */
  readonly concepts: readonly string[];
  /** The classes' indices in the study; none where the concepts are clusters. */
  readonly classes: readonly number[];
  /** null where the rule knows none (sign, additive, tuned); of sets made of parts by weights, of what these hold. */
  readonly rho: number | null;
  readonly rule: string;
  /** g of a rule by weights, where it was not fitted. */
  readonly scale?: number;
  /** What g = 1 leaves the parts uncorrelated over, where that is not mean patches of images. */
  readonly over?: "patches";
  /**
   * A character an input channel: 0 shared by all, 1, 2, ... of that concept alone; letters for other sets of three concepts
   * and more (`setsToText`). Of rules by weights, the part that holds more of the input's weights.
   */
  readonly sets: string;
  /** Output channels of the grown layer: concept 1, 2, ..., then residuals. */
  readonly rows: readonly number[];
  /** Whether it was made although there was no second concept to be seen (--force). */
  readonly forced?: boolean;
}

/** Whether parts are of any weights, in place of the weights of whole inputs. */
export const isByWeights = (rule: string): boolean => rule === "additive" || rule === "tuned";

export interface SplitRecord {
  readonly version: 1 | 2;
  readonly layer: string;
  readonly node: string;
  /** The value that holds all parts, and the one that they add up to. */
  readonly grown: string;
  readonly output: string;
  readonly source: { readonly file: string; readonly sha256: string };
  readonly study: { readonly file: string; readonly sha256: string };
  readonly parts: readonly SplitPartRecord[];
}

/**
 * The records of a model, none where it was never split.
 * @param name how errors call the model
 * @throws UnbraidError SPLIT_RECORD where they make no sense
 */
export function splitRecords(model: OnnxModel, name: string): readonly SplitRecord[] {
  const text = model.metadata.get(SPLITS_KEY);
  if (text === undefined) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw senseless(name, "it is not JSON");
  }
  if (!Array.isArray(value) || !value.every(isRecord))
    throw senseless(name, "it is not a list of splits of version 1 or 2");
  return value;
}

const senseless = (name: string, why: string): UnbraidError =>
  new UnbraidError(
    "model",
    "SPLIT_RECORD",
    `the metadata "${SPLITS_KEY}" of ${name} cannot be read: ${why}`,
    "Split the model again with this version of unbraid.",
  );

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function isRecord(value: unknown): value is SplitRecord {
  if (!isObject(value) || (value.version !== 1 && value.version !== 2)) return false;
  const texts = [value.layer, value.node, value.grown, value.output];
  const digests = [value.source, value.study].map((s) => (isObject(s) ? s.sha256 : undefined));
  return (
    [...texts, ...digests].every((t) => typeof t === "string") &&
    Array.isArray(value.parts) &&
    value.parts.every((part) => isPart(part, value.version === 2))
  );
}

function isPart(value: unknown, mayLackRho: boolean): boolean {
  return (
    isObject(value) &&
    Number.isInteger(value.channel) &&
    Array.isArray(value.concepts) &&
    value.concepts.every((c) => typeof c === "string") &&
    (typeof value.rho === "number" || (mayLackRho && value.rho === null)) &&
    typeof value.rule === "string" &&
    typeof value.sets === "string" &&
    Array.isArray(value.rows) &&
    value.rows.every((row) => Number.isInteger(row))
  );
}
