/** The file of `--classes`: which class of the network each sub-folder is. Node only. */
import { readFile } from "node:fs/promises";
import { UnbraidError } from "../errors.ts";

/** Either names in the order of the logits, or the logit's index for each folder. */
export type Classes = { readonly names: readonly string[] } | { readonly indices: ReadonlyMap<string, number> };

const HELP =
  "Give a JSON array of names in the order of the logits, a JSON object from folder to index, or a text file with one name a line.";

function invalid(path: string, problem: string, cause?: unknown): UnbraidError {
  return new UnbraidError("input", "CLASSES_INVALID", `${path}: ${problem}`, HELP, { cause });
}

/**
 * Reads a classes file: a JSON array of folder names in the order of the logits, a JSON object from folder name to index,
 * or a text file with one folder name a line in the order of the logits (blank lines only at the end).
 *
 * @throws UnbraidError CLASSES_INVALID
 */
export async function readClasses(path: string): Promise<Classes> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).replace(/^\uFEFF/, "");
  } catch (error) {
    throw invalid(path, `cannot be read: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  return parseClasses(text, path);
}

/** As {@link readClasses}, from the file's text. */
export function parseClasses(text: string, path: string): Classes {
  const trimmed = text.trimStart();
  if (!trimmed.startsWith("[") && !trimmed.startsWith("{")) {
    return { names: checkNames(text.trimEnd().split(/\r?\n/), path, "line", 1) };
  }
  let value: unknown;
  try {
    value = JSON.parse(trimmed);
  } catch (error) {
    throw invalid(path, `is not JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (Array.isArray(value)) return { names: checkNames(value as unknown[], path, "element", 0) };
  const indices = new Map<string, number>();
  for (const [folder, index] of Object.entries(value as Record<string, unknown>)) {
    if (typeof index !== "number" || !Number.isSafeInteger(index) || index < 0) {
      throw invalid(path, `"${folder}" has ${JSON.stringify(index)}, which is no index from 0 up`);
    }
    indices.set(folder, index);
  }
  return { indices };
}

function checkNames(list: readonly unknown[], path: string, unit: string, first: number): string[] {
  const seen = new Map<string, number>();
  return list.map((name, i) => {
    const at = `${unit} ${i + first}`;
    // A blank line in between would silently shift every class after it.
    if (typeof name !== "string" || name.trim() === "") throw invalid(path, `${at} is no name`);
    const before = seen.get(name);
    if (before !== undefined) throw invalid(path, `${at} repeats "${name}" of ${unit} ${before + first}`);
    seen.set(name, i);
    return name;
  });
}

/**
 * The label of each folder, and the name of each label. Labels that no folder has are named by the file, or, where that
 * gives indices only, by their number.
 *
 * @throws UnbraidError CLASSES_MISSING naming all folders that the file does not mention
 */
export function mapFolders(
  folders: readonly string[],
  classes: Classes,
  path: string,
): { classes: string[]; labels: number[] } {
  const indices = "indices" in classes ? classes.indices : new Map(classes.names.map((name, i) => [name, i]));
  const missing = folders.filter((folder) => !indices.has(folder));
  if (missing.length > 0) {
    throw new UnbraidError(
      "input",
      "CLASSES_MISSING",
      `${path} does not mention ${missing.length} of ${folders.length} class folders: ${missing.join(", ")}`,
      "Add them to the file, or remove the folders.",
    );
  }
  const labels = folders.map((folder) => indices.get(folder) ?? -1);
  if ("names" in classes) return { classes: [...classes.names], labels };
  // Only as long as the folders need: an index out of all reason in the file must not become an array of that length.
  const names: string[] = [];
  const last = labels.reduce((a, b) => Math.max(a, b), -1);
  if (last > 1_000_000) throw invalid(path, `index ${last} is above a million: no network has so many classes`);
  for (let i = 0; i <= last; i++) names.push(String(i));
  for (const [folder, index] of indices) if (index <= last) names[index] = folder;
  return { classes: names, labels };
}
