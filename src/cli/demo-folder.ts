/** The demo's folder: made, or taken again where an earlier demo made it; never one that holds something else. */
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { UnbraidError } from "../errors.ts";

/** Written first and last: whose folder this is. */
export const MARK = "demo.json";

/** What the demo writes. */
const OWN = [
  MARK,
  "all.study",
  "find.json",
  "pairs.csv",
  "split.onnx",
  "split.split.json",
  "split.preprocess.json",
  "split.labels.json",
  "verification.json",
  "evaluation.json",
  "report.html",
  "pictures",
];

/** @throws UnbraidError OUTPUT_EXISTS, OUTPUT_UNWRITABLE */
export function prepareFolder(path: string): void {
  try {
    if (existsSync(path)) {
      if (!statSync(path).isDirectory()) throw refused(path, "it is not a folder");
      const there = readdirSync(path);
      if (there.length > 0 && !there.includes(MARK))
        throw new UnbraidError(
          "output",
          "OUTPUT_EXISTS",
          `the folder ${path} holds ${there.length} files that no demo wrote: ${there.slice(0, 3).join(", ")}${there.length > 3 ? ", ..." : ""}`,
          "Choose another with --out, or empty it.",
        );
      for (const name of OWN) rmSync(join(path, name), { recursive: true, force: true });
    }
    mkdirSync(path, { recursive: true });
  } catch (cause) {
    if (cause instanceof UnbraidError) throw cause;
    throw refused(path, cause instanceof Error ? cause.message : String(cause));
  }
}

const refused = (path: string, why: string): UnbraidError =>
  new UnbraidError(
    "output",
    "OUTPUT_UNWRITABLE",
    `${path} cannot be written: ${why}`,
    "Choose another place with --out.",
  );
