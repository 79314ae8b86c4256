/** The example of docs/gradients.md, as it stands there. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { testAdapters } from "../support/gpu.ts";
import * as library from "../../src/node.ts";

test.skipIf(testAdapters.length === 0)("the example of docs/gradients.md runs and gives what it says", async () => {
  const text = readFileSync("docs/gradients.md", "utf8");
  const example = /```ts\n(import \{ [^`]*)```/.exec(text)?.[1] ?? "";
  const [imports = "", ...lines] = example.split("\n");
  const names = /\{ (.*) \}/.exec(imports)?.[1] ?? "";
  const { transpileModule, ScriptTarget } = (await import("typescript")).default;
  const body = `async function example({ ${names} }, console) {\n${lines.join("\n")}\n}\nexample`;
  const { outputText } = transpileModule(body, { compilerOptions: { target: ScriptTarget.ES2022 } });
  const printed: unknown[][] = [];
  const log = { log: (...values: unknown[]) => printed.push(values) };
  const adapter = testAdapters[0] ?? "";
  const here = { ...library, openAdapter: () => library.openAdapter({ name: adapter }) };
  // Indirect: the example is a script of its own.
  const run = (0, eval)(outputText) as (names: object, console: object) => Promise<void>;
  await run(here, log);
  const [, said = ""] = /\/\/ (\[1, .*)$/m.exec(example) ?? [];
  expect(printed.map((values) => values.map((v) => `[${(v as number[]).join(", ")}]`).join(" "))).toEqual([said]);
});
