// Turns shaders/*.wgsl into src/shaders.generated.ts, so that programs need no loader for .wgsl files.
// Comments and indentation stay in the files: lines keep their numbers, and a bundle is 9 kB of gzip lighter. (WGSL has no strings for
// // to stand in.)
// With --check it writes nothing and fails when the two differ.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const folder = new URL("../shaders/", import.meta.url);
const target = new URL("../src/shaders.generated.ts", import.meta.url);
const files = readdirSync(folder)
  .filter((f) => f.endsWith(".wgsl"))
  .sort();
const embedded = (f) => readFileSync(new URL(f, folder), "utf8").replace(/[ \t]*\/\/.*$|^[ \t]+/gm, "");
const text = [
  "// Generated from shaders/*.wgsl by scripts/embed-shaders.mjs: edit those, then run `npm run fix`.",
  "export const shaders = {",
  ...files.map((f) => `  ${JSON.stringify(f.slice(0, -5))}: ${JSON.stringify(embedded(f))},`),
  "} as const;",
  "",
  "export type ShaderName = keyof typeof shaders;",
  "",
].join("\n");

if (process.argv.includes("--check")) {
  let old = "";
  try {
    old = readFileSync(target, "utf8");
  } catch {
    // A missing file is a difference like any other.
  }
  if (old !== text) {
    console.error("src/shaders.generated.ts is out of date: run `npm run fix`.");
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
