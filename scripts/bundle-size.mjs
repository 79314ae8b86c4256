// What the library weighs in a page: entries bundled by esbuild, minified, gzip -9, shaders included, against their budgets.
// `node scripts/bundle-size.mjs` prints them and fails above a budget; with --json as JSON, with --why what is heavy in each.
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Budgets in bytes of gzip. They may fall at any time, and rise only with a reason. */
export const ENTRIES = [
  {
    name: "inference and gradients",
    code: 'export { buildGraph, decodeModel, Gpu, Session } from "./src/index.ts";',
    budget: 75_800,
  },
  {
    name: "study, find, split",
    code: 'export { buildGraph, decodeModel, findPairs, Gpu, planSplits, RelevancePass, runStudy, Session, writeSplit } from "./src/index.ts";',
    budget: 123_000,
  },
  { name: "everything", code: 'export * from "./src/index.ts";', budget: 198_200 },
];

export async function measure({ name, code, budget }) {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    legalComments: "none",
    absWorkingDir: root,
  });
  const [{ contents }] = outputFiles;
  const [output] = Object.values(metafile.outputs);
  const heavy = Object.entries(output.inputs)
    .map(([file, { bytesInOutput }]) => ({ file, bytes: bytesInOutput }))
    .sort((a, b) => b.bytes - a.bytes);
  return { name, bytes: contents.length, gzip: gzipSync(contents, { level: 9 }).length, budget, heavy };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flag = (name) => process.argv.includes(`--${name}`);
  const measured = [];
  for (const entry of ENTRIES) measured.push(await measure(entry));
  if (flag("json"))
    console.log(JSON.stringify(measured.map(({ heavy, ...rest }) => ({ ...rest, heavy: heavy.slice(0, 20) }))));
  else
    for (const { name, bytes, gzip, budget, heavy } of measured) {
      console.log(`${name}: ${gzip} bytes of gzip (${bytes} before), budget ${budget}`);
      if (flag("why")) for (const { file, bytes: own } of heavy.slice(0, 15)) console.log(`  ${own}  ${file}`);
    }
  if (measured.some(({ gzip, budget }) => gzip > budget)) {
    console.error("above the budget: see what is heavy with --why");
    process.exit(1);
  }
}
