#!/usr/bin/env node
/**
 * Checks the built package on the networks that export.py and keras_export.py wrote:
 *
 *   node tools/zoo/check.mjs DIR [NET ...] [--adapter NAME] [--json FILE] [--forms unfolded,folded,...]
 *     [--splits FORM=COUNT,...] [--limit IMAGES]
 *
 * Logits against onnxruntime's and PyTorch's, gradients of the label's logit at two inner layers against PyTorch's in
 * float64, each over the tolerance of rounding.py; then, through the command line, inspect, and study, split and verify
 * at some of the layers (--splits: at how many of each form, --limit: on how many images of a class). Prints what it
 * finds as lines; table.mjs makes docs/networks.md of the --json files. The exit code is 1 where anything fails.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildGraph, Gpu, openAdapter, readModelFile, Session } from "../../dist/node.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    adapter: { type: "string" },
    json: { type: "string" },
    forms: { type: "string", default: "unfolded,folded,dynamo,nchw,nhwc" },
    limit: { type: "string", default: "2" },
    splits: { type: "string", default: "unfolded=2,folded=1,dynamo=1,nchw=2,nhwc=1" },
  },
});
const [dir, ...wanted] = positionals;
if (dir === undefined) throw new Error("which folder? See the top of this file.");

/** Little-endian C-ordered float32 or float64, as export.py writes them. */
function readNpy(path) {
  const file = readFileSync(path);
  const header = file.toString("latin1", 10, 10 + file.readUInt16LE(8));
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "")
    .split(",")
    .flatMap((d) => (d.trim() ? [Number(d)] : []));
  const bytes = file.buffer.slice(file.byteOffset + 10 + file.readUInt16LE(8), file.byteOffset + file.length);
  return { shape, data: header.includes("'<f8'") ? new Float64Array(bytes) : new Float32Array(bytes) };
}

const largest = (a, b) => a.reduce((most, x, i) => (Math.abs(x - b[i]) > most ? Math.abs(x - b[i]) : most), 0);

/** |a - b| / |b|, both Euclidean. NaN and other lengths give NaN. */
function relative(a, b) {
  if (a.length !== b.length) return NaN;
  let [top, bottom] = [0, 0];
  for (let i = 0; i < b.length; i++) [top, bottom] = [top + (a[i] - b[i]) ** 2, bottom + b[i] ** 2];
  return Math.sqrt(top / bottom);
}

async function compute(gpu, folder, meta, form) {
  const session = new Session(gpu, buildGraph(readModelFile(join(folder, `${form.form}.onnx`))));
  try {
    return await compare(session, folder, meta, form);
  } finally {
    session[Symbol.dispose]();
  }
}

async function compare(session, folder, meta, form) {
  // Keras's two forms take the same images in two layouts.
  const own = join(folder, `input-${form.form}.npy`);
  const image = readNpy(existsSync(own) ? own : join(folder, "input.npy"));
  const inputs = new Map([["input", { type: "float32", shape: image.shape, data: image.data }]]);
  const logits = (await session.run(inputs)).get("logits");
  const seed = new Float32Array(logits.data.length);
  meta.labels.forEach((label, n) => (seed[n * meta.classes + label] = 1));
  const wrt = meta.layers.map((layer) => form.values[layer].value);
  const gradients = await session.gradient(inputs, { of: "logits", seed, wrt });
  return {
    logits: {
      onnxruntime: largest(logits.data, readNpy(join(folder, `onnxruntime-${form.form}.npy`)).data),
      float64: largest(logits.data, readNpy(join(folder, "logits.npy")).data),
      tolerance: meta.logits_tolerance,
    },
    gradients: meta.layers.map((layer) => {
      const { value, stage } = form.values[layer];
      const { file, tolerance } = meta.gradients.find((g) => g.layer === layer && g.stage === stage);
      return { layer, stage, tolerance, error: relative(gradients.get(value).data, readNpy(join(folder, file)).data) };
    }),
  };
}

/** A command's --json, or its error as an Error. */
function unbraid(...args) {
  const all = [join(root, "bin/unbraid.mjs"), ...args, "--json"];
  if (options.adapter !== undefined && args[0] !== "inspect") all.push("--adapter", options.adapter);
  return new Promise((done, fail) => {
    execFile(process.execPath, all, { maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      let out;
      try {
        out = JSON.parse(stdout);
      } catch {
        fail(new Error(`${args.join(" ")}: ${stderr || error}`));
        return;
      }
      if (out.error) fail(new Error(`${args[0]}: ${out.error.code}: ${out.error.message}`));
      else done(out);
    });
  });
}

/**
 * What inspect says of each Conv, against the file itself: all are listed, those of one input channel an output cannot be
 * split, and any other that stores its weights can be.
 */
async function inspect(folder, meta, form) {
  const path = join(folder, `${form.form}.onnx`);
  const { layers, unsupported, problem } = await unbraid("inspect", path, "--crop", String(meta.side));
  if (unsupported.length > 0 || problem !== null) throw new Error(`inspect: ${problem ?? unsupported[0].why}`);
  const model = readModelFile(path);
  const convs = model.nodes.filter((n) => n.opType === "Conv");
  const by = new Map(layers.map((l) => [l.output, l]));
  if (by.size !== convs.length) throw new Error(`inspect: ${by.size} of ${convs.length} Conv nodes`);
  const reasons = {};
  for (const { inputs, outputs } of convs) {
    const { splittable, why, name } = by.get(outputs[0]);
    const weight = model.initializers.get(inputs[1]);
    if (weight !== undefined && splittable !== weight.dims[1] > 1)
      throw new Error(`inspect: ${name}, weights ${weight.dims.join("x")}: ${splittable ? "can be split" : why}`);
    if (!splittable) reasons[why] = (reasons[why] ?? 0) + 1;
  }
  return { layers, convs: convs.length, splittable: layers.filter((l) => l.splittable).length, reasons };
}

async function pipeline(folder, meta, form, layer, layers) {
  const model = join(folder, `${form.form}.onnx`);
  const work = join(folder, "work");
  mkdirSync(work, { recursive: true });
  const [study, split] = [join(work, "layer.study"), join(work, "split.onnx")];
  const images = ["--images", join(folder, "images"), "--batch", "8", "--limit", options.limit];
  const scale = ["--mean", meta.mean.join(), "--std", meta.std.join()];
  try {
    const { value } = form.values[layer];
    const found = layers.find((l) => l.output === value);
    if (!found?.splittable) throw new Error(`${layer} cannot be split: ${found?.why ?? "inspect does not list it"}`);
    await unbraid("study", model, ...images, ...scale, "--layer", value, "--out", study);
    const channels = [...new Set([0, found.out >> 1, found.out - 1])];
    const targets = channels.flatMap((c, k) => ["--channel", String(c), "--classes", `${k},${k + 3}`]);
    // At rho 1 an input is shared only where both concepts give it the very same relevance, so that a channel with no
    // input on one side means that the two concepts do not differ on it at all: a dead or a mistaken layer.
    const made = await unbraid("split", model, "--study", study, ...targets, "--rho", "1", "--out", split);
    const verified = await unbraid("verify", model, split, ...images, ...scale);
    const { ratio, flips, other_channels, onnxruntime, images: count } = verified;
    const sides = made.parts.filter((p) => /1/.test(p.sets) && /2/.test(p.sets)).length;
    if (sides === 0) throw new Error(`${layer}: no channel was divided`);
    return {
      layer,
      name: found.name,
      groups: found.groups,
      channels: channels.length,
      sides,
      images: count,
      ratio,
      flips,
      other_channels,
      onnxruntime,
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function attempt(what, results, work) {
  const began = performance.now();
  const took = () => ({ seconds: (performance.now() - began) / 1000 });
  try {
    results.push({ what, ...(await work()), ...took() });
  } catch (error) {
    results.push({ what, failed: error instanceof Error ? error.message : String(error), ...took() });
  }
  return results.at(-1);
}

const bad = ({ failed, logits, gradients, ratio, flips, other_channels, onnxruntime }) =>
  failed !== undefined ||
  (logits && !(Math.max(logits.onnxruntime, logits.float64) <= logits.tolerance)) ||
  (gradients ?? []).some((g) => !(g.error <= g.tolerance)) ||
  (ratio !== undefined && !(ratio <= 1 && flips === 0 && other_channels === 0 && (onnxruntime?.flips ?? 0) === 0));

function line({ what, failed, ...result }) {
  if (failed !== undefined) return `${what} FAILED ${failed}`;
  if (what === "inspect") return `${result.splittable} of ${result.convs} Conv can be split`;
  if (what === "split") return `${result.layer}: error / bound ${result.ratio.toFixed(3)}, ${result.flips} flips`;
  const e = (x) => x.toExponential(1);
  const { onnxruntime, float64, tolerance } = result.logits;
  const gradients = result.gradients.map((g) => `${g.layer} ${e(g.error)} / ${e(g.tolerance)}`);
  return `logits ${e(onnxruntime)}, ${e(float64)} / ${e(tolerance)}; ${gradients.join("; ")}`;
}

const names =
  wanted.length > 0
    ? wanted
    : readdirSync(dir)
        .filter((n) => existsSync(join(dir, n, "meta.json")))
        .sort();
const forms = options.forms.split(",");
const splits = new Map(options.splits.split(",").map((s) => s.split("=")));
const opened = await openAdapter(options.adapter === undefined ? {} : { name: options.adapter });
const gpu = await Gpu.open(opened.adapter);
const all = [];
for (const name of names) {
  const folder = join(dir, name);
  const meta = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8"));
  const { side, versions } = meta;
  for (const form of meta.forms.filter((f) => forms.includes(f.form))) {
    const results = [];
    const show = (result) => console.log(`${name} ${form.form}: ${line(result)}${bad(result) ? " BAD" : ""}`);
    show(await attempt("compute", results, () => compute(gpu, folder, meta, form)));
    const inspected = await attempt("inspect", results, () => inspect(folder, meta, form));
    show(inspected);
    const count = Number(splits.get(form.form) ?? 0);
    for (const layer of count === 0 ? [] : meta.layers.slice(-count))
      show(await attempt("split", results, () => pipeline(folder, meta, form, layer, inspected.layers ?? [])));
    delete inspected.layers;
    const images = meta.labels.length;
    all.push({
      network: name,
      form: form.form,
      opset: form.opset,
      side,
      images,
      versions,
      ok: !results.some(bad),
      results,
    });
  }
}
gpu[Symbol.dispose]();
opened.close();
const date = new Date().toISOString().slice(0, 10);
if (options.json !== undefined)
  writeFileSync(options.json, `${JSON.stringify({ adapter: opened.name, date, networks: all }, null, 1)}\n`);
process.exitCode = all.every((r) => r.ok) ? 0 : 1;
