/** The package as users get it: packed, checked by publint and are-the-types-wrong, installed into an empty folder, run. */
import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, expect, it } from "vitest";
import { build, root } from "../cli/built.ts";
import { testAdapters } from "../support/gpu.ts";

interface Manifest {
  readonly name: string;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const work = mkdtempSync(join(tmpdir(), "unbraid-package-"));
const app = join(work, "app");
const installed = join(app, "node_modules", "unbraid");
let tarball = "";
let files: readonly { readonly path: string; readonly size: number }[] = [];

function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, [...args], { cwd, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    });
  });
}

/** Lifecycle scripts would build again, and a developer's settings of npm are not a user's. */
const NPM = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];

beforeAll(async () => {
  build();
  const packed = await run("npm", ["pack", "--json", "--pack-destination", work, ...NPM], root);
  expect(packed.code, packed.stderr).toBe(0);
  const [made] = JSON.parse(packed.stdout) as { filename: string; files: { path: string; size: number }[] }[];
  tarball = join(work, made?.filename ?? "");
  files = made?.files ?? [];
}, 300_000);

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

it("holds what it needs and nothing else", () => {
  const paths = files.map(({ path }) => path);
  for (const path of [
    "bin/unbraid.mjs",
    "dist/index.d.ts",
    "dist/node.js",
    "docs/errors.md",
    "models/demo.onnx",
    "shaders/conv.wgsl",
    "LICENSE",
    "README.md",
  ])
    expect(paths).toContain(path);
  expect(paths.filter((path) => /^(src|test|bench|tools|examples|node_modules)\//.test(path))).toEqual([]);
  expect(files.reduce((n, { size }) => n + size, 0)).toBeLessThan(15e6);
  expect(statSync(tarball).size).toBeLessThan(8e6);
});

it("publint has nothing to say", async () => {
  await install();
  const pkg = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as Record<string, unknown>;
  const { messages } = await publint({ pkgDir: installed, strict: true, pack: false });
  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
});

it("are-the-types-wrong finds nothing but that the package is for ES modules alone", async () => {
  const result = await checkPackage(createPackageFromTarballData(readFileSync(tarball)));
  if (result.types === false) throw new Error("no types");
  const problems = result.problems.map((p) => ("resolutionKind" in p ? `${p.kind} ${p.resolutionKind}` : p.kind));
  expect(problems.filter((problem) => problem !== "CJSResolvesToESM node16-cjs")).toEqual([]);
  expect(Object.keys(result.entrypoints)).toEqual(expect.arrayContaining([".", "./node"]));
});

/** Into an empty folder, without a network: what the package depends on is linked from here, as npm finds it already there. */
async function install(): Promise<void> {
  if (existsSync(installed)) return;
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync(join(root, "package.json"), "utf8"),
  ) as Manifest;
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
    const there = join(root, "node_modules", name);
    if (!existsSync(there)) continue; // an optional one that is not for this platform
    const link = join(app, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(there, link);
  }
  const ran = await run("npm", ["install", "--offline", ...NPM, tarball], app);
  expect(ran.code, ran.stderr).toBe(0);
}

it("installs into an empty folder, and both entries can be imported and typed there", async () => {
  await install();
  const code = `
    import { decodeModel, buildGraph, findPairs, reportHtml } from "unbraid";
    import * as node from "unbraid/node";
    import { readFileSync } from "node:fs";
    import { createRequire } from "node:module";
    const path = createRequire(import.meta.url).resolve("unbraid/shaders/conv.wgsl");
    const graph = buildGraph(decodeModel(readFileSync("node_modules/unbraid/models/demo.onnx")));
    console.log(typeof findPairs, typeof reportHtml, typeof node.openAdapter, graph.nodes.length > 50, readFileSync(path, "utf8").includes("@compute"));`;
  const ran = await run(process.execPath, ["--input-type=module", "-e", code], app);
  expect(ran.stdout.trim(), ran.stderr).toBe("function function function true true");

  writeFileSync(
    join(app, "try.ts"),
    `import { Gpu, Session, buildGraph, type Graph } from "unbraid";
     import { openAdapter, readModelFile } from "unbraid/node";
     export const graph: Graph = buildGraph(readModelFile("a.onnx"));
     export async function go(): Promise<number> {
       using adapter = await openAdapter();
       using gpu = await Gpu.open(adapter.adapter);
       using session = new Session(gpu, graph);
       // @ts-expect-error a name is no graph: the types are there
       new Session(gpu, "a.onnx");
       return session.graph.nodes.length;
     }\n`,
  );
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const options = [
    "--noEmit",
    "--strict",
    "--skipLibCheck",
    "--target",
    "es2022",
    "--lib",
    "es2023,esnext.disposable,dom",
  ];
  for (const module of [
    ["--module", "nodenext"],
    ["--module", "esnext", "--moduleResolution", "bundler"],
  ]) {
    const typed = await run(process.execPath, [tsc, ...options, ...module, "--types", "@webgpu/types", "try.ts"], app);
    expect(typed.stdout).toBe("");
  }
});

it.skipIf(testAdapters.length === 0)(
  "`unbraid classify` runs there on the demo network (skipped without an adapter)",
  async () => {
    await install();
    const bin = join(app, "node_modules", ".bin", "unbraid");
    const models = join("node_modules", "unbraid", "models");
    const argv = ["classify", join(models, "demo.onnx"), join(models, "images", "val", "panda"), "--json"];
    const ran = await run(bin, argv, app);
    expect(ran.code, ran.stderr).toBe(0);
    // The thread's module is found where the package lies.
    const threaded = await run(bin, [...argv, "--workers", "1"], app);
    expect(threaded.stdout, threaded.stderr).toBe(ran.stdout);
    const rows = JSON.parse(ran.stdout) as { top: { label: string; probability: number }[] }[];
    expect(rows.length).toBe(6);
    expect(rows.filter(({ top }) => top[0]?.label === "panda").length).toBeGreaterThan(4);
  },
);

// On SwiftShader it takes minutes; the benchmark of it is elsewhere.
it.skipIf(!testAdapters.includes("lavapipe"))(
  "`unbraid demo` runs there (skipped without lavapipe)",
  async () => {
    await install();
    const bin = join(app, "node_modules", ".bin", "unbraid");
    const ran = await run(bin, ["demo", "--out", "tried", "--adapter", "lavapipe"], app);
    expect(ran.code, ran.stderr).toBe(0);
    const html = readFileSync(join(app, "tried", "report.html"), "utf8");
    expect(html).toMatch(/^<!doctype html>/);
    expect(html.length).toBeLessThan(5e6);
  },
  600_000,
);
