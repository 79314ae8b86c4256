/** Every command line that README, docs and each command's help show is one that the commands take: names, options, arguments. */
import { expect, it } from "vitest";
import { checkPositionals, parseCommandLine } from "../../src/cli/arguments.ts";
import { must } from "../../src/errors.ts";
import { COMMANDS } from "../../src/cli/main.ts";
import { documents } from "./examples.ts";
import { commandOf, helpLines, isUnbraid, programsOf, shellLines, type ShellLine } from "./shell.ts";

async function check(line: ShellLine): Promise<void> {
  const command = await commandOf(line);
  checkPositionals(command, parseCommandLine(command, line.words.slice(2)));
}

const line = (text: string): ShellLine => must(programsOf(text, "here")[0], "line");
const shown = documents()
  .flatMap((document) => shellLines(document))
  .filter(isUnbraid);
const help = await helpLines();

it("the documents show commands, and a wrong one is found", async () => {
  expect(shown.length).toBeGreaterThan(30);
  await expect(check(line("unbraid study a.onnx --imagse train"))).rejects.toThrow(/--imagse/);
  await expect(check(line("unbraid studdy a.onnx"))).rejects.toThrow(/studdy/);
  await expect(check(line("unbraid verify a.onnx --images val"))).rejects.toThrow();
});

it("lines are read as a shell reads them", () => {
  const said = programsOf("npm ci && npx unbraid x 'a b' --c \"d\" > out # why", "here");
  expect(said.map(({ words }) => words)).toEqual([
    ["npm", "ci"],
    ["unbraid", "x", "a b", "--c", "d"],
  ]);
  expect(said.map(({ to }) => to)).toEqual([undefined, "out"]);
  expect(() => programsOf("unbraid x | head", "here")).toThrow(/head/);
  const text = "# A\n\n```sh\nunbraid a \\\n  --b\n\n# no\nunbraid c\n```\n";
  expect(shellLines("x.md", text).map(({ words }) => words)).toEqual([
    ["unbraid", "a", "--b"],
    ["unbraid", "c"],
  ]);
});

it.each(shown.map((l) => [l.name, l.text, l] as const))("%s: %s", async (_, __, l) => {
  await check(l);
});

it.each(Object.keys(COMMANDS))("the example in the help of %s", async (name) => {
  const mine = help.filter((l) => l.name === `help of ${name}`);
  expect(mine.every(isUnbraid)).toBe(true);
  expect(mine.at(-1)?.words[1]).toBe(name);
  for (const l of mine) await check(l);
});
