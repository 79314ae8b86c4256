// A study of all layers in one pass, beside a plain forward pass over the same images: `node bench/study.mjs` after
// `npm run build`. Images are decoded beforehand and held in memory, so that decoding is in neither time. Nothing is
// timed before the study's logits and its last layer's bits have been held against the forward pass's and against a study of
// that layer alone. --layer NAME studies one (`last`: the last). --model, --images, --preset, --limit (images a class),
// --batch, --rounds, --folds; --save FILE keeps the
// figures as JSON; ADAPTER=lavapipe chooses.
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  accumulatorBytes,
  batches,
  buildGraph,
  classifierOf,
  convLayers,
  createSet,
  encodeStudy,
  findLayer,
  foldsOf,
  Gpu,
  inferRule,
  inferShapes,
  listImages,
  mergePreprocess,
  openAdapter,
  readModelFile,
  readSidecar,
  RelevancePass,
  runStudy,
  Session,
  studyLayer,
} from "../dist/node.js";

const text = { type: "string" };
const { values } = parseArgs({
  options: {
    ...{ model: text, images: text, preset: text, limit: text, batch: text, rounds: text, folds: text, save: text },
    layer: text,
  },
});
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const model = values.model ?? here("../models/demo.onnx");
const root = values.images ?? here("../models/images/train");
const [batchSize, rounds, folds] = [values.batch ?? 64, values.rounds ?? 3, values.folds ?? 5].map(Number);
const limit = values.limit === undefined ? {} : { limitPerClass: Number(values.limit) };

const spec = mergePreprocess(
  values.preset === undefined ? {} : { preset: values.preset },
  (await readSidecar(model))?.spec,
);
const list = await listImages(root, limit);
const held = [];
for await (const batch of batches({ root, items: list.items, spec, batchSize })) held.push(batch);
const images = list.items.length;
const imageShape = [3, held[0].height, held[0].width];

const graph = buildGraph(readModelFile(model));
const { input, logits } = classifierOf(graph);
const shaped = inferShapes(graph, new Map([[input, [batchSize, ...imageShape]]]), inferRule);
const logitCount = shaped.values.get(logits).shape[1];
const layers =
  values.layer === undefined
    ? convLayers(shaped).filter((layer) => layer.splittable)
    : [findLayer(shaped, values.layer)];
const studied = layers.map((layer) => ({ layer, geometry: studyLayer(layer) }));

// The floor: multiplications of the forward pass, and of the gradients of all inputs but the first layer's.
const multiplications = convLayers(shaped).map(
  (l) =>
    l.outputShape.slice(1).reduce((a, b) => a * b, 1) * (l.inChannels / l.groups) * l.kernel.reduce((a, b) => a * b, 1),
);
const sum = (list) => list.reduce((a, b) => a + b, 0);
const floor = (2 * sum(multiplications) - multiplications[0]) / sum(multiplications);

const adapter = await openAdapter({ name: process.env.ADAPTER, log: console.error });
const gpu = await Gpu.open(adapter.adapter, adapter);
const session = new Session(gpu, graph);
const plain = await session.prepare({ inputs: new Map([[input, [batchSize, ...imageShape]]]), outputs: [logits] });
const options = { input, logits, imageShape, logitCount, batch: batchSize, taus: [0.03] };
const pass = await RelevancePass.open(session, { ...options, layers: studied });

const size = imageShape.reduce((a, b) => a * b, 1);
const labels = list.items.map((item) => item.label);
const perClass = list.classes.map((_, t) => labels.filter((label) => label === t).length);
const common = {
  model: { file: "model.onnx", sha256: "" },
  classes: list.classes,
  labels: list.classes.map((_, t) => t),
  images: { digest: "", length: images, perClass },
  preprocess: "",
  taus: options.taus,
  folds,
  settings: {},
};

async function forward() {
  const full = new Float32Array(batchSize * size);
  for (const { tensor } of held) {
    full.set(tensor);
    plain.run(new Map([[input, tensor.length === full.length ? tensor : full]]));
    await plain.read([logits]);
  }
}

async function study(geometries = studied, by = pass) {
  const set = createSet(
    common,
    geometries.map((s) => s.geometry),
  );
  const paths = list.items.map((item) => item.path);
  async function* replay() {
    yield* held;
  }
  await runStudy({ set, pass: by, batches: replay(), paths, folds: foldsOf(labels, folds), start: 0, end: images });
  return set;
}

/** Milliseconds, and those that processors spent on this process: with a software adapter the measure of a busy machine. */
async function timed(work) {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { wall: performance.now() - began, cpu: (user + system) / 1000 };
}

// Checks, which also warm up.
const [first] = held;
const padded = new Float32Array(batchSize * size);
padded.set(first.tensor);
plain.run(new Map([[input, padded]]));
const theirs = (await plain.read([logits])).get(logits).subarray(0, first.labels.length * logitCount);
const ours = (await pass.run(first.tensor, first.labels)).logits;
if (!theirs.every((x, i) => x === ours[i]))
  throw new Error("the study's logits are not the forward pass's: nothing is timed");
const whole = await study();
const last = studied.slice(-1);
const alone = await study(last, await RelevancePass.open(session, { ...options, layers: last }));
if (!Buffer.from(encodeStudy(alone)).equals(encodeStudy({ studies: whole.studies.slice(-1) })))
  throw new Error("the last layer of the study is not what it is alone: nothing is timed");
const bytes = sum(whole.studies.map(accumulatorBytes));

const times = [];
for (let k = 0; k < rounds; k++) {
  const before = await timed(forward);
  const middle = await timed(study);
  const after = await timed(forward);
  const of = (clock) => ({
    forward: (before[clock] + after[clock]) / 2,
    study: middle[clock],
    ratio: (2 * middle[clock]) / (before[clock] + after[clock]),
  });
  times.push({ wall: of("wall"), cpu: of("cpu"), load: loadavg()[0] });
  const { wall, cpu, load } = times[k];
  console.error(
    `round ${k + 1}: forward ${Math.round(wall.forward)} ms, study ${Math.round(wall.study)} ms, ratio ${wall.ratio.toFixed(2)}; ` +
      `by processor time ${cpu.ratio.toFixed(2)} (load ${load.toFixed(1)})`,
  );
}
const measure = (clock) => {
  const ratios = times.map((t) => t[clock].ratio).sort((a, b) => a - b);
  return { value: ratios[Math.floor(ratios.length / 2)], low: ratios[0], high: ratios.at(-1), n: rounds };
};
const best = (what) => (1000 * images) / Math.min(...times.map((t) => t.wall[what]));
const figures = {
  adapter: adapter.name,
  date: new Date().toISOString(),
  layers: layers.length,
  images,
  batch: batchSize,
  folds,
  floor,
  ratio: measure("wall"),
  processor_time_ratio: measure("cpu"),
  best_images_per_second: { forward: best("forward"), study: best("study") },
  accumulator_bytes: bytes,
  activation_bytes: { forward: sum(plain.plan.bufferBytes), study: sum(pass.plan.bufferBytes) },
  live_bytes: { forward: plain.plan.liveBytes, study: pass.plan.liveBytes },
  times,
};
console.log(JSON.stringify(figures, undefined, 1));
if (values.save !== undefined) writeFileSync(values.save, `${JSON.stringify(figures, undefined, 1)}\n`);
session[Symbol.dispose]();
gpu[Symbol.dispose]();
adapter.close();
