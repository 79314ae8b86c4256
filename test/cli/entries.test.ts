/** What the package's entries import: the library must run in a browser, the command line where native code does not. */
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import ts from "typescript";
import { beforeAll, expect, it } from "vitest";
import { build, dist } from "./built.ts";

/** Modules that a module imports: statically, and by import(). */
function imports(path: string): { fixed: string[]; late: string[] } {
  const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.ES2022, true);
  const [fixed, late]: [string[], string[]] = [[], []];
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined)
      fixed.push((node.moduleSpecifier as ts.StringLiteral).text);
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      late.push((node.arguments[0] as ts.StringLiteral).text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { fixed, late };
}

/** All packages and built-in modules that `entry` comes to, each with the file that imports it. */
function reached(entry: string, followLate: boolean): Map<string, string> {
  const outside = new Map<string, string>();
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const { fixed, late } = imports(path);
    for (const name of followLate ? [...fixed, ...late] : fixed) {
      if (name.startsWith(".")) visit(resolve(dirname(path), name));
      else outside.set(name, relative(dist, path));
    }
  };
  visit(entry);
  expect(seen.size).toBeGreaterThan(5);
  return outside;
}

const NATIVE = ["webgpu", "sharp", "onnxruntime-node", "@napi-rs/image", "@sparticuz/chromium"];

beforeAll(build, 120_000);

it("the library entry needs nothing of Node and no native code, late imports included", () => {
  const outside = reached(join(dist, "index.js"), true);
  const bad = [...outside].filter(
    ([name]) => name.startsWith("node:") || builtinModules.includes(name) || NATIVE.includes(name),
  );
  expect(bad).toEqual([]);
  expect([...outside.keys()].sort()).toEqual(["@noble/hashes/sha2.js", "fflate", "protobufjs/minimal.js"]);
});

it("the Node entry loads native code late", () => {
  const outside = reached(join(dist, "node.js"), false);
  expect(NATIVE.filter((name) => outside.has(name))).toEqual([]);
  expect(outside.has("node:fs")).toBe(true);
});

it("no command loads native code before it runs", () => {
  const commands = readdirSync(join(dist, "cli", "commands")).filter((f) => f.endsWith(".js"));
  expect(commands.length).toBeGreaterThan(9);
  for (const file of [...commands.map((f) => join("commands", f)), "main.js"]) {
    const outside = reached(join(dist, "cli", file), false);
    expect([file, NATIVE.filter((name) => outside.has(name))]).toEqual([file, []]);
  }
});

it("the walk finds what is there: the whole command line reaches all of it", () => {
  const outside = reached(join(dist, "cli", "main.js"), true);
  expect(NATIVE.filter((name) => !outside.has(name))).toEqual(["@sparticuz/chromium"]); // found by require.resolve
});
