/**
 * Every TypeScript and JavaScript example of README and docs is type-checked against the package's entries and run: in Node in
 * a process of its own, on the demo network, or in Chromium where it says that it is for a browser.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build as bundle } from "esbuild";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { serve } from "../../examples/browser/serve.mjs";
import { must } from "../../src/errors.ts";
import { chromiumPath, faultsOf, launch } from "../browser/support.ts";
import { build, root } from "../cli/built.ts";
import { testAdapters } from "../support/gpu.ts";
import { resnet50 } from "../support/resnet50.ts";
import { documents, examplesIn, type Example } from "./examples.ts";

const examples = documents().flatMap((document) => examplesIn(document));
/** Where the examples stand: the package is installed there, and the files that they name. */
const folder = mkdtempSync(join(tmpdir(), "unbraid-examples-"));
const fileOf = (example: Example): string => join(folder, `example-${examples.indexOf(example)}.ts`);

/** The example as a module: with what it takes as given before it. */
function moduleOf({ code, given, where }: Example): string {
  const types = where === "browser" ? '/// <reference lib="dom" />\n' : "";
  const before = given.length === 0 ? "" : `import { ${given.join(", ")} } from "./given.js";\n`;
  return `${types}${before}${code}\nexport {};\n`;
}

const TARGET = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext } as const;
const OPTIONS: ts.CompilerOptions = {
  ...TARGET,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  moduleDetection: ts.ModuleDetectionKind.Force,
  lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
  types: ["node", "@webgpu/types"],
  typeRoots: [join(root, "node_modules", "@types"), join(root, "node_modules")],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: true,
  noEmit: true,
};

beforeAll(() => {
  build();
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules", "unbraid"));
  symlinkSync(join(root, "models"), join(folder, "models"));
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  const given = readFileSync(new URL("given.ts", import.meta.url), "utf8");
  for (const [file, text] of [
    [join(folder, "given.ts"), given],
    ...examples.map((example) => [fileOf(example), moduleOf(example)] as const),
  ] as const) {
    writeFileSync(file, text);
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { ...TARGET, module: ts.ModuleKind.ESNext },
      fileName: file,
    });
    writeFileSync(file.replace(/\.ts$/, ".js"), outputText);
  }
}, 120_000);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

it("the documents have examples, and a directive that nobody knows is an error", () => {
  expect(examples.length).toBeGreaterThan(8);
  expect(examples.filter(({ where }) => where === "browser").length).toBeGreaterThan(0);
  const [one] = examplesIn(
    "x.md",
    "text\n\n<!-- example: given a, b -->\n\n```js\nconsole.log(a); // prints 1 2\n```\n",
  );
  expect(one).toMatchObject({ given: ["a", "b"], prints: ["1 2"], where: "node", name: "x.md:5" });
  expect(() => examplesIn("x.md", "<!-- example: skip -->\n\n```ts\n1;\n```\n")).toThrow(/skip/);
});

it("all fit the types of the package", () => {
  // A browser's examples have a browser's globals: apart from the others, whose globals are Node's.
  const errors = (["node", "browser"] as const).flatMap((where) => {
    const mine = examples.filter((example) => example.where === where);
    const browser = where === "browser";
    const program = ts.createProgram(mine.map(fileOf), {
      ...OPTIONS,
      ...(browser ? { types: ["@webgpu/types"] } : {}),
    });
    return ts.getPreEmitDiagnostics(program).map((d) => {
      const example = mine.find((e) => fileOf(e) === d.file?.fileName);
      const line = d.file === undefined ? 0 : d.file.getLineAndCharacterOfPosition(d.start ?? 0).line + 1;
      return `${example?.name ?? d.file?.fileName ?? ""} line ${line}: ${ts.flattenDiagnosticMessageText(d.messageText, "\n")}`;
    });
  });
  expect(errors).toEqual([]);
});

it("finds a wrong example: the check can fail", () => {
  const file = join(folder, "wrong.ts");
  writeFileSync(file, 'import { noSuchThing } from "unbraid";\nnoSuchThing();\n');
  const found = ts.getPreEmitDiagnostics(ts.createProgram([file], OPTIONS));
  expect(found.map((d) => d.code)).toContain(2305);
});

const inNode = examples.filter(({ where }) => where === "node");
const inBrowser = examples.filter(({ where }) => where === "browser");

describe.skipIf(testAdapters.length === 0)("in Node (skipped without an adapter)", () => {
  beforeAll(() => {
    // The README's network: of its size and shape, with random weights.
    writeFileSync(join(folder, "resnet50.onnx"), resnet50({ folded: true, seed: 1 }));
  }, 120_000);

  it.each(inNode.map((example) => [example.name, example] as const))("%s", async (_, example) => {
    const main = fileOf(example).replace(/\.ts$/, ".js");
    const close = example.given.length === 0 ? "" : '(await import("./given.js")).close();';
    const code = `await import(${JSON.stringify(main)}); ${close} process.exit(0);`;
    const ran = await new Promise<{ failed: boolean; stdout: string; stderr: string }>((resolve) => {
      const options = { cwd: folder, timeout: 240_000, killSignal: "SIGKILL" } as const;
      execFile(process.execPath, ["--input-type=module", "-e", code], options, (error, stdout, stderr) => {
        resolve({ failed: error !== null, stdout, stderr });
      });
    });
    expect(ran.failed, ran.stderr).toBe(false);
    expectPrinted(example, ran.stdout.trim().split("\n"));
  });
});

describe.skipIf(chromiumPath === undefined)("in a browser (skipped without Chromium)", () => {
  it.each(inBrowser.map((example) => [example.name, example] as const))("%s", async (_, example) => {
    const made = await bundle({
      entryPoints: [fileOf(example).replace(/\.ts$/, ".js")],
      ...{ bundle: true, write: false, format: "esm", platform: "browser", target: "es2022", legalComments: "none" },
    });
    // The page itself is made here; models come from where the examples stand.
    const server = await serve(folder);
    const browser = await launch();
    try {
      const page = await browser.newPage();
      const faults = faultsOf(page);
      const printed: string[] = [];
      page.on("console", (message) => {
        if (message.type() === "log") printed.push(message.text());
      });
      await page.route(server.url, (route) =>
        route.fulfill({ contentType: "text/html", body: '<link rel="icon" href="data:,">' }),
      );
      await page.goto(server.url);
      const content = `${must(made.outputFiles[0], "bundle").text}\nglobalThis.ended = true;`;
      await page.addScriptTag({ type: "module", content });
      await expect
        .poll(async () => faults.length > 0 || (await page.evaluate("globalThis.ended === true")), { timeout: 60_000 })
        .toBe(true);
      expect(faults).toEqual([]);
      expectPrinted(example, printed);
    } finally {
      await browser.close();
      await server.close();
    }
  });
});

function expectPrinted({ prints }: Example, lines: readonly string[]): void {
  if (prints.length > 0) expect(lines).toEqual(prints);
}
