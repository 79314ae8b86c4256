/** Hierarchies of classes: a file of --hierarchy, or WordNet's part for ImageNet, which ships with the package. */
import { readFileSync } from "node:fs";
import { ClassNodes, hierarchyFromJson, hierarchyFromPairs, type Hierarchy } from "../channels/evaluate/hierarchy.ts";
import { UnbraidError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { readRegularFile } from "./read-file.ts";
import { parseCsv } from "./targets.ts";

/** @throws UnbraidError HIERARCHY_INVALID */
export function readHierarchy(path: string): Hierarchy {
  const invalid = (why: string, cause?: unknown): UnbraidError =>
    new UnbraidError(
      "input",
      "HIERARCHY_INVALID",
      `${path}: ${why}`,
      'Give CSV lines "child,parent", or JSON: {"parents": {"dog": "mammal", ...}}, or a tree of {"name", "children"}.',
      { cause },
    );
  let text: string;
  try {
    text = readRegularFile(path)
      .toString()
      .replace(/^\uFEFF/, "");
  } catch (cause) {
    throw invalid(`it cannot be read: ${whyUnreadable(cause)}`, cause);
  }
  try {
    return /^\s*[{[]/.test(text) ? hierarchyFromJson(JSON.parse(text)) : hierarchyFromPairs(csvPairs(text));
  } catch (error) {
    if (error instanceof UnbraidError)
      throw new UnbraidError(error.kind, error.code, `${path}: ${error.message}`, error.remedy);
    throw invalid(`it is not JSON: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

/** Lines of a child and a parent, under the header child,parent or none. */
function csvPairs(text: string): [string, string][] {
  const rows = parseCsv(text).map((row) => row.map((cell) => cell.trim()));
  const [first] = rows;
  if (first?.[0]?.toLowerCase() === "child" && first[1]?.toLowerCase() === "parent") rows.shift();
  return rows.map((row) => {
    const [child = "", parent = "", third] = row;
    return third === undefined ? [child, parent] : [child, ""];
  });
}

/** WordNet's hypernyms of ImageNet's classes, where most of `names` are such classes; else undefined. */
export function imagenetHierarchy(names: readonly string[]): Hierarchy | undefined {
  const url = new URL("../../models/wordnet/imagenet.json", import.meta.url);
  const hierarchy = hierarchyFromJson(JSON.parse(readFileSync(url, "utf8")));
  const nodes = new ClassNodes(hierarchy);
  const known = names.filter((name) => nodes.find(name) !== undefined).length;
  return 2 * known > names.length ? hierarchy : undefined;
}
