// Builds the page into examples/browser/dist, with the demo's network and pictures beside it.
// `node examples/browser/build.mjs` or, built and served: `npm run browser`.
import { cpSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

/** @returns the folder */
export async function buildPage(folder = at("dist")) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(`${folder}/demo`, { recursive: true });
  await build({
    entryPoints: [at("src/main.ts"), at("src/worker.ts")],
    outdir: folder,
    bundle: true,
    minify: true,
    sourcemap: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    // Where the example says "unbraid" it means this checkout's sources; a project of yours installs the package instead.
    tsconfig: at("tsconfig.json"),
    legalComments: "none",
    logLevel: "warning",
  });
  for (const file of ["index.html", "style.css"]) cpSync(at(file), `${folder}/${file}`);
  copyDemo(`${folder}/demo`);
  return folder;
}

/** The network, what belongs to it, and the pictures that it is studied on. */
function copyDemo(folder) {
  const models = at("../../models");
  const files = ["demo.onnx", "demo.preprocess.json", "demo-labels.json"];
  for (const file of files) cpSync(`${models}/${file}`, `${folder}/${file}`);
  for (const file of ["NOTICE", "LICENSES"]) cpSync(`${models}/${file}`, `${folder}/${file}`, { recursive: true });
  const images = `${models}/images/train`;
  cpSync(images, `${folder}/images`, { recursive: true });
  const pictures = readdirSync(images, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => /\.jpe?g$/.test(path))
    .sort()
    .map((path) => [path, statSync(`${images}/${path}`).size]);
  writeFileSync(`${folder}/index.json`, JSON.stringify({ files, pictures }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(`built in ${await buildPage()}`);
