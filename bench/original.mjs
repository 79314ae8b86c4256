// `unbraid study` and `unbraid find`, all channels and classes, beside the original procedure in PyTorch
// (original.py: one more run over a class's images for each relevant channel and class), on the same images and processor:
// `node bench/original.mjs --model M --images DIR [--layer last|all|A,B] [--preset NAME] [--python PATH] [--rounds N]` after
// `npm run build`. Ours are whole processes, start included; PyTorch's time begins when torch is imported and the weights are
// read. Images must have the network's size, for PyTorch neither resizes nor crops them. Nothing is printed unless both
// find the same relevant channels and the same cosines. --save FILE keeps the figures; ADAPTER=lavapipe chooses.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { torchNetwork } from "../dist/cli/bench/torch.js";
import { TORCH_NETWORK } from "../dist/cli/bench/torch-program.js";
import {
  buildGraph,
  classifierOf,
  convLayers,
  decodeImage,
  findLayer,
  inferRule,
  inferShapes,
  listImages,
  mergePreprocess,
  readModelFile,
  readSidecar,
} from "../dist/node.js";

const text = { type: "string" };
const { values } = parseArgs({
  options: { model: text, images: text, layer: text, preset: text, python: text, rounds: text, save: text },
});
const { model, images: root, layer: asked = "last", python = "python3" } = values;
if (model === undefined || root === undefined)
  throw new Error("--model and --images are missing: see the head of this file");
const rounds = Number(values.rounds ?? 3);
const [TAU, P] = [0.03, 0.75];
/** Of a cosine: float32 sums of some hundreds of terms on both sides, and vectors whose sums cancel by a factor of ten at most. */
const COSINE = 1e-4;

const folder = mkdtempSync(join(tmpdir(), "unbraid-original-"));
process.on("exit", () => {
  rmSync(folder, { recursive: true });
});
const preset = values.preset === undefined ? [] : ["--preset", values.preset];
const run = (program, argv, input) => {
  const began = performance.now();
  const io = { stdio: ["pipe", "pipe", "inherit"], encoding: "utf8", maxBuffer: 2 ** 28 };
  const { stdout, status } = spawnSync(program, argv, { ...io, input });
  if (status !== 0) throw new Error(`${program} ended with ${status}`);
  return { stdout, seconds: (performance.now() - began) / 1000 };
};
const unbraid = (...argv) => {
  const adapter = process.env.ADAPTER === undefined ? [] : ["--adapter", process.env.ADAPTER];
  const bin = fileURLToPath(new URL("../bin/unbraid.mjs", import.meta.url));
  return run(process.execPath, [bin, ...argv, ...adapter, "--json", "--quiet"]);
};

async function makeJob() {
  const spec = mergePreprocess(
    values.preset === undefined ? {} : { preset: values.preset },
    (await readSidecar(model))?.spec,
  );
  const { classes, items } = await listImages(root, {});
  const { width, height } = await decodeImage(readFileSync(join(root, items[0].path)), items[0].path);
  const perClass = classes.map((_, label) => items.filter((item) => item.label === label).map((item) => item.path));
  const sizes = new Set(perClass.map((paths) => paths.length));
  if (sizes.size !== 1)
    throw new Error(`classes of ${[...sizes].join(", ")} images: PyTorch's batches are classes, all of one size`);
  const graph = buildGraph(readModelFile(model));
  const { input, logits } = classifierOf(graph);
  const shaped = inferShapes(graph, new Map([[input, [perClass[0].length, 3, height, width]]]), inferRule);
  const layers =
    asked === "all"
      ? convLayers(shaped).filter((l) => l.splittable)
      : asked.split(",").map((name) => findLayer(shaped, name));
  return {
    ...{ root, input, logits, classes: perClass, mean: spec.mean, std: spec.std, tau: TAU, p: P },
    layers: layers.map((l) => ({ name: l.name, input: l.input, output: l.output })),
    program: torchNetwork(shaped, join(folder, "weights")),
  };
}

const job = JSON.stringify(await makeJob());
const program = TORCH_NETWORK + readFileSync(new URL("original.py", import.meta.url), "utf8");
const study = join(folder, "layer.study");

function ours() {
  rmSync(study, { force: true });
  const pass = unbraid("study", model, "--images", root, "--layer", asked, ...preset, "--tau", TAU, "--out", study);
  const found = unbraid("find", study, "--p", P);
  return { study: pass.seconds, find: found.seconds, seconds: pass.seconds + found.seconds };
}

const sum = (list) => list.reduce((a, b) => a + b, 0);

/** Pairs that one side has and the other has not, and the largest difference of a cosine. */
function compare(theirs) {
  const listed = JSON.parse(unbraid("find", study, "--p", P, "--all").stdout).pairs;
  const key = (layer, c, a, b) => `${layer} ${c} ${Math.min(a, b)} ${Math.max(a, b)}`;
  const mine = new Map(listed.map((p) => [key(p.layer, p.channel, p.class1, p.class2), p.cosine_similarity]));
  const other = new Map(
    theirs.flatMap((l) => l.pairs).map(([layer, c, a, b, cosine]) => [key(layer, c, a, b), cosine]),
  );
  const shared = [...mine].filter(([k]) => other.has(k));
  const difference = Math.max(0, ...shared.map(([k, v]) => Math.abs(v - other.get(k))));
  return { pairs: shared.length, missing: mine.size + other.size - 2 * shared.length, difference };
}

const times = [];
let agreed;
for (let k = 0; k < rounds; k++) {
  const mine = ours();
  const theirs = JSON.parse(run(python, ["-c", program], job).stdout);
  agreed = compare(theirs);
  // A channel that is important on just as many images as it must be, some within rounding of tau, may be found by one alone.
  if (agreed.missing > 0.01 * agreed.pairs || !(agreed.difference <= COSINE))
    throw new Error(`PyTorch finds other things than ours (${JSON.stringify(agreed)}): nothing is timed`);
  const original = {
    seconds: sum(theirs.map((l) => l.seconds)),
    relevance_seconds: sum(theirs.map((l) => l.relevance_seconds)),
    runs: sum(theirs.map((l) => l.runs)),
  };
  const ratio = original.seconds / mine.seconds;
  times.push({ ours: mine, original, ratio, load: loadavg()[0] });
  console.error(
    `round ${k + 1}: study ${mine.study.toFixed(1)} s, find ${mine.find.toFixed(1)} s; original ${original.seconds.toFixed(1)} s ` +
      `(${original.relevance_seconds.toFixed(1)} of relevance, ${original.runs} runs over a class): ${ratio.toFixed(1)} times`,
  );
}
const ratios = times.map((t) => t.ratio).sort((a, b) => a - b);
const figures = {
  date: new Date().toISOString(),
  layers: JSON.parse(job).layers.length,
  ratio: { value: ratios[Math.floor(ratios.length / 2)], low: ratios[0], high: ratios.at(-1), n: rounds },
  agreed,
  times,
};
console.log(JSON.stringify(figures, undefined, 1));
if (values.save !== undefined) writeFileSync(values.save, `${JSON.stringify(figures, undefined, 1)}\n`);
