/** The JSON documents of other commands that a report takes up: read, checked, refused where they are of something else. */
import { dirname, join } from "node:path";
import { UnbraidError } from "../errors.ts";
import { evaluationTables, type EvaluationDocument } from "../report/evaluation.ts";
import { guardsTable, type ManifestPart } from "../report/evidence.ts";
import type { LayerMap } from "../report/data.ts";
import { proofSentence, proofTable, type VerificationDocument } from "../report/proof.ts";
import type { SplitRecord } from "../channels/split-record.ts";
import type { SplitManifest } from "../channels/write-split.ts";
import { readRegularFile } from "./read-file.ts";

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @throws UnbraidError REPORT_DOCUMENT */
export function readDocument(path: string, command: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(readRegularFile(path).toString());
  } catch (cause) {
    throw unfit(path, command, cause instanceof Error ? cause.message : String(cause));
  }
  if (!isObject(value)) throw unfit(path, command, "it is not a JSON object");
  return value;
}

const unfit = (path: string, command: string, why: string): UnbraidError =>
  new UnbraidError(
    "input",
    "REPORT_DOCUMENT",
    `${path} is not what \`unbraid ${command}\` writes: ${why}`,
    `Make it anew with this version: unbraid ${command}.`,
  );

const other = (path: string, what: string): UnbraidError =>
  new UnbraidError(
    "input",
    "REPORT_OTHER",
    `${path} is of something else: ${what}`,
    "Give the documents of this very split, or leave the option out.",
  );

/** Whatever is missing in a stranger's document shows where it is used: tables are made once here, so that it shows now. */
function tried<T>(path: string, command: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof UnbraidError) throw error;
    throw unfit(path, command, error instanceof Error ? error.message : String(error));
  }
}

/** @throws UnbraidError REPORT_DOCUMENT, REPORT_OTHER */
export function readEvaluation(path: string, record: SplitRecord): EvaluationDocument {
  const value = readDocument(path, "evaluate --out") as unknown as EvaluationDocument;
  return tried(path, "evaluate --out", () => {
    if (value.layer !== record.layer) throw other(path, `layer ${value.layer}, and the split is of ${record.layer}`);
    for (const channel of value.channels) {
      evaluationTables(channel);
      const part = record.parts.find((p) => p.channel === channel.channel);
      const same = part?.rule === channel.rule && part.rho === channel.rho;
      if (!same || part.concepts.join("\n") !== channel.concepts.join("\n"))
        throw other(
          path,
          `channel ${channel.channel} between ${channel.concepts.join(" and ")}, split by ${channel.rule}`,
        );
    }
    return value;
  });
}

/** @throws UnbraidError REPORT_DOCUMENT, REPORT_OTHER */
export function readVerification(path: string, record: SplitRecord): VerificationDocument {
  const value = readDocument(path, "verify --json") as unknown as VerificationDocument;
  return tried(path, "verify --json", () => {
    if (typeof value.holds !== "boolean" || typeof value.ratio !== "number")
      throw new Error("it has no holds or ratio");
    proofTable(value);
    proofSentence(value);
    if (!value.layers.includes(record.layer))
      throw other(path, `layers ${value.layers.join(", ")}, and the split is of ${record.layer}`);
    return value;
  });
}

/** The manifest beside a split model, where there is one of it. */
export function readManifest(splitPath: string, digest: string): readonly ManifestPart[] | undefined {
  const path = `${splitPath.replace(/\.onnx$/i, "")}.split.json`;
  let value: SplitManifest;
  try {
    value = JSON.parse(readRegularFile(path).toString()) as SplitManifest;
    if (value.model.sha256 !== digest) return undefined;
    value.parts.forEach((part) => guardsTable(part));
  } catch {
    // It only adds to the report.
    return undefined;
  }
  return value.parts;
}

/** Layers as `find --json` counts them. @throws UnbraidError REPORT_DOCUMENT */
export function readFindings(path: string): LayerMap[] {
  const value = readDocument(path, "find --json");
  return tried(path, "find --json", () => {
    const { layers } = value;
    if (!Array.isArray(layers)) throw new Error("it has no layers");
    return layers.map((entry: unknown): LayerMap => {
      if (!isObject(entry) || typeof entry.layer !== "string") throw new Error("a layer has no name");
      const number = (name: string): number => {
        const v = entry[name];
        if (typeof v === "number" && v >= 0) return v;
        throw new Error(`layer ${String(entry.layer)} has no ${name}`);
      };
      const expected = entry.expected_false_pairs;
      return {
        layer: entry.layer,
        channels: number("channels"),
        relevant: number("relevant"),
        polysemantic: number("polysemantic"),
        pairs: number("pairs"),
        ...(typeof expected === "number" ? { expected } : {}),
      };
    });
  });
}

/** A file that a document names, in the document's own folder. */
export const beside = (document: string, file: string): string => join(dirname(document), file);
