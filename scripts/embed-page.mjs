// Bundles src/report/page (script and style of the HTML report) into src/page.generated.ts as two strings.
// With --check it writes nothing and fails when the file is out of date.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const folder = fileURLToPath(new URL("../src/report/page/", import.meta.url));
const target = new URL("../src/page.generated.ts", import.meta.url);
const bundle = (entry) =>
  buildSync({
    entryPoints: [folder + entry],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
  })
    .outputFiles[0].text.trim()
    // Neither can end the element that it stands in.
    .replaceAll("</", "<\\/");
const text = [
  "// Generated from src/report/page by scripts/embed-page.mjs: edit those, then run `npm run fix`.",
  `export const PAGE_SCRIPT = ${JSON.stringify(bundle("main.ts"))};`,
  `export const PAGE_STYLE = ${JSON.stringify(bundle("style.css"))};`,
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
    console.error("src/page.generated.ts is out of date: run `npm run fix`.");
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
