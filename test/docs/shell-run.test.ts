/**
 * The shell examples, run: each document's command lines in their order, in a folder of their own with what the document takes as
 * given, must succeed and write the files that they name. What is not run stands in NOT_RUN, with the reason.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { Context } from "../../src/cli/context.ts";
import { openAdapter, type OpenAdapter } from "../../src/gpu/dawn/adapters.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { build, root } from "../cli/built.ts";
import { temporaryFolder, unbraid } from "../cli/support.ts";
import { testAdapters } from "../support/gpu.ts";
import { python } from "../support/python.ts";
import { documents } from "./examples.ts";
import { clone, imagenet } from "./shell-fixture.ts";
import { helpLines, isUnbraid, outputsOf, shellLines, type ShellLine } from "./shell.ts";

/** Programs that the documents show and that are not run here, and why. */
const NOT_RUN: Readonly<Record<string, string>> = {
  "npm ci": "needs a registry; whoever runs this test has done it",
  "npm test": "this test is a part of it",
  "npm install unbraid":
    "needs a registry: test/package/package.test.ts installs the packed package into an empty folder",
  "npx unbraid demo": "a minute: test/package/package.test.ts runs the installed package's",
  "unbraid demo --out try": "half a minute: test/cli/demo.test.ts",
  "unbraid score plants.json --preset imagenet --images val": "a minute: docs/evidence.md's is run",
  "npm run browser": "serves until it is stopped: test/browser/page.test.ts drives the page that it serves",
};

/** Options that are added to the command lines that match, so that they take seconds. */
const HASTE: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^unbraid bench /, ["--rounds", "1", "--starts", "0", "--only", "onnxruntime_cpu"]],
  [/^unbraid evaluate /, ["--sample", "60", "--draws", "20", "--ablations", "1"]],
  [/^unbraid plant /, ["--plants", "2", "--seed", "1"]],
  [/^unbraid report /, ["--sample", "10"]],
  [/^unbraid study .* --shard /, ["--limit", "2"]],
  [/^unbraid verify /, ["--limit", "1"]],
  [/^unbraid visualize /, ["--pictures", "1", "--steps", "2"]],
];

const GUIDE = "docs/guide.md";
const HELP = "help of the commands";
const all = new Map(documents().map((document) => [document, shellLines(document)]));
all.set(HELP, await helpLines());
/** Documents with a folder that begins as the one of another, which comes before, has ended. */
const after = (document: string): string | undefined =>
  document === "README.md" || document === GUIDE ? undefined : document === HELP ? GUIDE : "README.md";

const work = temporaryFolder();
const folderOf = (document: string): string => join(work, document.replace(/\W/g, "-"));
/** The fastest there is that is no SwiftShader, on which this would take half an hour. */
const adapterName = testAdapters.find((name) => name !== "swiftshader");

it("what is not run is still shown, and whatever else there is can be run", () => {
  const shown = new Set([...all.values()].flat().map(({ text }) => text));
  expect(Object.keys(NOT_RUN).filter((text) => !shown.has(text))).toEqual([]);
  const others = [...all.values()].flat().filter((line) => !isUnbraid(line) && !(line.text in NOT_RUN));
  expect(others.filter(({ words }) => words[0] !== "python").map(({ name, text }) => `${name} ${text}`)).toEqual([]);
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  for (const [, script = ""] of [...shown].join("\n").matchAll(/^npm run (\S+)/gm)) expect(scripts).toHaveProperty(script); // prettier-ignore
});

it.skipIf(!existsSync(join(root, ".git")))(
  "what a reader's clone gets of it, git and the checks do not see",
  async () => {
    const lines = [...all.entries()]
      .filter(([document]) => document !== GUIDE && document !== HELP)
      .flatMap(([, l]) => l);
    const files = (await Promise.all(lines.filter(isUnbraid).map(outputsOf))).flat();
    const ignored = execFileSync("git", ["check-ignore", "unbraid-demo", ...files], { cwd: root, encoding: "utf8" });
    expect(files.filter((file) => !ignored.split("\n").includes(file))).toEqual([]);
  },
);

/** The files that a line names, as they are: equal after a line was run and now, it need not be run again. */
function stampOf({ words, to }: ShellLine): string {
  const files = [...words.slice(2), to ?? ""].map((word) => word.slice(word.indexOf("=") + 1));
  const there = files.map(
    (file) => [file, file === "" ? undefined : statSync(file, { throwIfNoEntry: false })] as const,
  );
  return there
    .map(([file, s]) => (s?.isFile() === true ? `${file} ${s.size} ${Math.round(s.mtimeMs)}` : ""))
    .join("\n");
}

const done = new Map<string, string>();

async function run(line: ShellLine): Promise<void> {
  const outputs = isUnbraid(line) ? await outputsOf(line) : [];
  const key = [...line.words, line.to ?? ""].join(" ");
  if (done.get(key) === stampOf(line) && outputs.every((file) => existsSync(file))) return;
  for (const file of outputs) rmSync(file, { recursive: true, force: true });
  const [program = "", ...argv] = line.words;
  if (program === "python") {
    if (python !== undefined) execFileSync(python, argv, { stdio: "pipe" });
    return;
  }
  const haste = HASTE.filter(([lines]) => lines.test(key)).flatMap(([, options]) => options);
  const ran = await unbraid(...argv, ...haste);
  expect(ran.code, ran.stderr).toBe(0);
  if (line.to !== undefined) writeFileSync(line.to, ran.stdout);
  if (argv.includes("--json")) JSON.parse(ran.stdout);
  expect(outputs.filter((file) => !existsSync(file))).toEqual([]);
  done.set(key, stampOf(line));
}

describe.skipIf(adapterName === undefined)("run (skipped without an adapter that is faster than SwiftShader)", () => {
  let [adapter, gpu]: [OpenAdapter?, Gpu?] = [];
  const here = process.cwd();

  beforeAll(async () => {
    build(); // bench starts engines in processes of their own
    adapter = await openAdapter({ name: adapterName });
    gpu = await Gpu.open(adapter.adapter);
    const [shared, device] = [adapter, gpu];
    const open = Context.prototype.openDevice; // eslint-disable-line @typescript-eslint/unbound-method -- called with its own
    // One device for all of them: compiling kernels is what takes the time of small work.
    vi.spyOn(Context.prototype, "openDevice").mockImplementation(async function (this: Context, name?: string) {
      if (name !== undefined && name !== shared.name) return open.call(this, name);
      this.keep(shared, device);
      return { adapter: shared, gpu: device, [Symbol.dispose]: () => undefined };
    });
  });

  afterAll(() => {
    process.chdir(here);
    gpu?.[Symbol.dispose]();
    adapter?.close();
  });

  const order = [...all.keys()].sort((a, b) => Number(after(a) !== undefined) - Number(after(b) !== undefined));
  for (const document of order) {
    const lines = all.get(document)?.filter(({ text }) => !(text in NOT_RUN)) ?? [];
    if (lines.length === 0) continue;
    describe(document, () => {
      beforeAll(() => {
        const [folder, first] = [folderOf(document), after(document)];
        const options = { recursive: true, preserveTimestamps: true, verbatimSymlinks: true };
        if (first !== undefined) cpSync(folderOf(first), folder, options);
        else mkdirSync(folder);
        if (document === "README.md") clone(folder);
        if (document === GUIDE) imagenet(folder, { train: 6, val: 2 });
        process.chdir(folder);
      });
      it.each(lines.map((line) => [line.text, line] as const))("%s", async (_, line) => {
        await run(line);
      });
    });
  }
});
