// Turns shaders/*.wgsl into src/shaders.generated.ts, so that programs need no loader for .wgsl files.
// They are embedded small (minify-wgsl.mjs), which makes a bundle 15 kB of gzip lighter; comments and names stay in the files.
// With --check it writes nothing and fails when the two differ.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { minifyShaders } from "./minify-wgsl.mjs";

/** No operator needs these: each stands by itself, so that a page which only runs networks does not carry them. */
const APART = new Set(
  "importance patches positive_sums probe_copy probe_multiply_add relevance second_moments tap_sums".split(" "),
);

const folder = new URL("../shaders/", import.meta.url);
const target = new URL("../src/shaders.generated.ts", import.meta.url);
const files = readdirSync(folder)
  .filter((f) => f.endsWith(".wgsl"))
  .sort();
const sources = Object.fromEntries(files.map((f) => [f.slice(0, -5), readFileSync(new URL(f, folder), "utf8")]));
// In the order of their lengths gzip finds more of one in those before it (0.5 kB).
const small = Object.entries(minifyShaders(sources)).sort(([, a], [, b]) => a.length - b.length);
const camelCase = (name) => name.replace(/_./g, (joint) => joint[1].toUpperCase());
const text = [
  "// Generated from shaders/*.wgsl by scripts/embed-shaders.mjs: edit those, then run `npm run fix`.",
  "export const shaders = {",
  ...small
    .filter(([name]) => !APART.has(name))
    .map(([name, wgsl]) => `  ${JSON.stringify(name)}: ${JSON.stringify(wgsl)},`),
  "} as const;",
  "",
  "export type ShaderName = keyof typeof shaders;",
  "",
  ...small
    .filter(([name]) => APART.has(name))
    .map(
      ([name, code]) =>
        `export const ${camelCase(name)}Shader = { name: "${name}", code: ${JSON.stringify(code)} } as const;`,
    ),
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
