/** The JSON of preprocessing that may lie beside a model. Node only. */
import { readFile } from "node:fs/promises";
import { UnbraidError } from "../errors.ts";
import { parsePreprocess } from "./presets.ts";
import type { PreprocessSpec } from "./preprocess.ts";

/** Where it is looked for, first to last: `net.onnx.preprocess.json`, `net.preprocess.json`. */
export function sidecarPaths(modelPath: string): string[] {
  const stem = modelPath.replace(/\.onnx$/i, "");
  return [...new Set([modelPath, stem])].map((path) => `${path}.preprocess.json`);
}

/**
 * Reads it, if there is one.
 *
 * @throws UnbraidError PREPROCESS_INVALID, also when the file is there and cannot be read
 */
export async function readSidecar(modelPath: string): Promise<{ path: string; spec: PreprocessSpec } | undefined> {
  for (const path of sidecarPaths(modelPath)) {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) continue;
      throw new UnbraidError(
        "input",
        "PREPROCESS_INVALID",
        `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        "Make it readable, or remove it and give the preprocessing as options.",
        { cause: error },
      );
    }
    return { path, spec: parsePreprocess(text, path) };
  }
  return undefined;
}
