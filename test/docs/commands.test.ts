/** Every command line that README, docs and each command's help show is one that the commands take: names, options, arguments. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { checkPositionals, parseCommandLine } from "../../src/cli/arguments.ts";
import { COMMANDS } from "../../src/cli/main.ts";
import { root } from "../cli/built.ts";
import { documents } from "./examples.ts";

const FENCE = /^```(?:sh|bash|console)\n([\s\S]*?)^```/gm;

/** The words of one line, as a shell would hand them over: up to a comment, a redirection or another command. */
function wordsOf(line: string): string[] {
  const words = Array.from(line.matchAll(/'[^']*'|"[^"]*"|[^\s'"]+/g), ([word]) => word);
  const end = words.findIndex((word) => /^(#|>|\||&&|;)/.test(word));
  return (end < 0 ? words : words.slice(0, end)).map((word) => word.replace(/^(['"])(.*)\1$/s, "$2"));
}

function commandLines(document: string): string[] {
  const text = readFileSync(join(root, document), "utf8");
  return Array.from(text.matchAll(FENCE), ([, code = ""]) => code.replace(/\\\n\s*/g, " ").split("\n"))
    .flat()
    .flatMap((line) => /(?:^|\s)unbraid .*/.exec(line)?.[0].trim() ?? [])
    .filter((line) => !line.startsWith("unbraid COMMAND"));
}

async function check(line: string): Promise<void> {
  const [, name = "", ...rest] = wordsOf(line);
  const load = COMMANDS[name];
  if (load === undefined) throw new Error(`there is no command "${name}"`);
  const command = await load();
  checkPositionals(command, parseCommandLine(command, rest));
}

const shown = documents().flatMap((document) => commandLines(document).map((line) => [document, line] as const));

it("the documents show commands, and a wrong one is found", async () => {
  expect(shown.length).toBeGreaterThan(30);
  await expect(check("unbraid study a.onnx --imagse train")).rejects.toThrow(/--imagse/);
  await expect(check("unbraid studdy a.onnx")).rejects.toThrow(/studdy/);
  await expect(check("unbraid verify a.onnx --images val")).rejects.toThrow();
  expect(wordsOf("unbraid x 'a b' --c \"d\" > out # why")).toEqual(["unbraid", "x", "a b", "--c", "d"]);
});

it.each(shown)("%s: %s", async (_, line) => {
  await check(line);
});

it.each(Object.keys(COMMANDS))("the example in the help of %s", async (name) => {
  const command = await COMMANDS[name]?.();
  expect(command?.example).toMatch(new RegExp(`^unbraid ${name}( |$)`));
  for (const line of (command?.example ?? "").split("\n").filter((l) => l.startsWith("unbraid "))) await check(line);
});
