/** Names for the network's classes. */
import { UnbraidError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { parseClasses } from "../images/classes.ts";
import type { OnnxModel } from "../onnx/model.ts";
import { readRegularFile } from "./read-file.ts";

/** Where names may lie beside a model, first to last. */
export function labelPaths(modelPath: string): string[] {
  const stem = modelPath.replace(/\.onnx$/i, "");
  return [`${modelPath}.labels.json`, `${stem}.labels.json`, `${stem}-labels.json`];
}

/**
 * The name of each class: from `file`, else from a file beside the model, else from the model's metadata (`labels`,
 * `classes` or `names`: JSON, or one a line), else none.
 * @returns undefined where nobody gives names
 * @throws UnbraidError CLASSES_INVALID; IMAGES_CLASS_COUNT where `file` has another number of names than `count`
 */
export function labelNames(
  model: OnnxModel,
  modelPath: string,
  file: string | undefined,
  count: number,
): readonly string[] | undefined {
  if (file !== undefined) {
    const names = parseNames(readText(file), file);
    if (names.length === count) return names;
    throw new UnbraidError(
      "input",
      "IMAGES_CLASS_COUNT",
      `${file} names ${names.length} classes, the network has ${count} logits`,
      "Give a file with a name for each logit, in their order.",
    );
  }
  for (const path of labelPaths(modelPath)) {
    const text = readIfThere(path);
    if (text === undefined) continue;
    const names = parseNames(text, path);
    if (names.length === count) return names;
  }
  for (const key of ["labels", "classes", "names"]) {
    const text = model.metadata.get(key);
    if (text === undefined) continue;
    const names = namesInMetadata(text);
    if (names?.length === count) return names;
  }
  return undefined;
}

function parseNames(text: string, path: string): readonly string[] {
  const classes = parseClasses(text, path);
  if ("names" in classes) return classes.names;
  const names = Array.from({ length: Math.max(-1, ...classes.indices.values()) + 1 }, (_, k) => String(k));
  for (const [name, index] of classes.indices) names[index] = name;
  return names;
}

/** What cannot be understood in a model's metadata was not meant for us. */
function namesInMetadata(text: string): readonly string[] | undefined {
  try {
    return parseNames(text, "metadata");
  } catch {
    return undefined;
  }
}

function readText(path: string): string {
  try {
    return readRegularFile(path).toString();
  } catch (cause) {
    throw new UnbraidError(
      "input",
      "CLASSES_INVALID",
      `${path} cannot be read: ${whyUnreadable(cause)}`,
      "Check the path.",
      { cause },
    );
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readRegularFile(path).toString();
  } catch {
    return undefined;
  }
}
