/** TypeScript and JavaScript examples of the documents, taken out of their Markdown. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../cli/built.ts";

export interface Example {
  /** "docs/library.md:17" */
  readonly name: string;
  readonly code: string;
  readonly where: "node" | "browser";
  /** Names that test/docs/given.ts provides. */
  readonly given: readonly string[];
  /** What `console.log(...); // prints ...` says, in order. */
  readonly prints: readonly string[];
}

const LANGUAGES = ["ts", "typescript", "js", "javascript", "mjs", "tsx", "jsx"];
/** A fence, its info string, what is inside, and the comment that stands before it. */
const FENCE = /^(`{3,})(\S*)[^\n]*\n([\s\S]*?)^\1[ \t]*$/gm;
const DIRECTIVE = /<!--\s*example:\s*([^>]*?)\s*-->\s*$/;

export function documents(): string[] {
  const docs = readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`);
  const others = ["examples/browser/README.md", "examples/python/README.md", "models/README.md"];
  return ["README.md", "CONTRIBUTING.md", ...docs, ...others];
}

export function examplesIn(document: string, text = readFileSync(join(root, document), "utf8")): Example[] {
  const found: Example[] = [];
  for (const { 2: language = "", 3: code = "", index } of text.matchAll(FENCE)) {
    if (!LANGUAGES.includes(language.toLowerCase())) continue;
    const before = text.slice(0, index);
    const name = `${document}:${before.split("\n").length}`;
    const directive = DIRECTIVE.exec(before)?.[1] ?? "";
    const given = /^given (.+)$/.exec(directive)?.[1]?.split(/,\s*/) ?? [];
    if (directive !== "" && directive !== "browser" && given.length === 0)
      throw new Error(`${name}: unknown directive "${directive}"`);
    const prints = Array.from(code.matchAll(/console\.log\(.*\); \/\/ prints (.*)$/gm), ([, line = ""]) => line.trim());
    found.push({ name, code, where: directive === "browser" ? "browser" : "node", given, prints });
  }
  return found;
}
