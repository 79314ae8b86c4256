/** Shell examples of the documents and of each command's help, line by line. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseCommandLine } from "../../src/cli/arguments.ts";
import type { Command } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/main.ts";
import { root } from "../cli/built.ts";

export interface ShellLine {
  /** "docs/guide.md:24", or "help of study" */
  readonly name: string;
  /** One program and its arguments, as a shell has them: without a comment, without `npx`, quotes gone. */
  readonly words: readonly string[];
  /** Where `>` sends its output. */
  readonly to?: string;
  /** As it is written, but for a comment. */
  readonly text: string;
}

const FENCE = /^(`{3,})(?:sh|bash|shell|console)\n([\s\S]*?)^\1[ \t]*$/gm;
const WORD = /'[^']*'|"[^"]*"|&&|[^\s'"]+/g;
const plain = (word: string): string => word.replace(/^(['"])(.*)\1$/s, "$2");

/** The programs that one line runs, one after the other. @throws for what this reader does not understand */
export function programsOf(line: string, name: string): ShellLine[] {
  const words = line.match(WORD) ?? [];
  const comment = words.findIndex((word) => word.startsWith("#"));
  const programs: string[][] = [[]];
  for (const word of comment < 0 ? words : words.slice(0, comment))
    if (word === "&&") programs.push([]);
    else programs.at(-1)?.push(word);
  return programs
    .filter((program) => program.length > 0)
    .map((program) => {
      const text = program.join(" ");
      const redirect = program.indexOf(">");
      const kept = redirect < 0 ? program : program.slice(0, redirect);
      const to = redirect < 0 ? undefined : plain(program[redirect + 1] ?? "");
      if (kept.some((word) => /^[|;&<>$(]|[;$`]/.test(word)) || (redirect >= 0 && program.length !== redirect + 2))
        throw new Error(`${name}: only words, quotes, &&, > FILE and comments are understood: ${line}`);
      const said = kept.map(plain);
      return { name, text, words: said[0] === "npx" ? said.slice(1) : said, ...(to === undefined ? {} : { to }) };
    });
}

function linesOf(code: string, nameOf: (line: number) => string): ShellLine[] {
  const joined = code.replace(/\\\n\s*/g, " ");
  return joined.split("\n").flatMap((line, k) => programsOf(line, nameOf(k)));
}

export function shellLines(document: string, text = readFileSync(join(root, document), "utf8")): ShellLine[] {
  return Array.from(text.matchAll(FENCE)).flatMap(({ 2: code = "", index }) => {
    const first = text.slice(0, index).split("\n").length + 1;
    return linesOf(code, (k) => `${document}:${first + k}`);
  });
}

export async function helpLines(): Promise<ShellLine[]> {
  const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
  return commands.flatMap(({ name, example }) => linesOf(example, () => `help of ${name}`));
}

export const isUnbraid = ({ words }: ShellLine): boolean => words[0] === "unbraid";

/** @throws where there is no such command */
export async function commandOf({ words: [, name = ""] }: ShellLine): Promise<Command> {
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) throw new Error(`there is no command "${name}"`);
  return load();
}

/** The files and folders that a command line says it writes. */
export async function outputsOf(line: ShellLine): Promise<string[]> {
  const args = parseCommandLine(await commandOf(line), line.words.slice(2));
  const files = ["out", "csv", "npz", "npy", "output"].flatMap((option) => args.texts(option));
  return [...files.map((value) => value.slice(value.indexOf("=") + 1)), ...(line.to === undefined ? [] : [line.to])];
}
