#!/usr/bin/env node
/**
 * Checks the built package on the networks that export.py wrote:
 *
 *   node tools/zoo/check.mjs DIR [NET ...] [--adapter NAME] [--json FILE] [--forms unfolded,folded,dynamo] [--compute-only]
 *
 * Logits against onnxruntime's and PyTorch's, gradients of the label's logit at two inner layers against PyTorch's in
 * float64, each over the tolerance of rounding.py; then, through the command line, inspect, and study, split and verify
 * at one or both of the layers. Prints a Markdown table; the exit code is 1 where anything fails. Heavy files are left in DIR.
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
    forms: { type: "string", default: "unfolded,folded,dynamo" },
    "compute-only": { type: "boolean", default: false },
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
  const image = readNpy(join(folder, "input.npy"));
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

async function pipeline(folder, meta, form, layer) {
  const model = join(folder, `${form.form}.onnx`);
  const work = join(folder, "work");
  mkdirSync(work, { recursive: true });
  const [study, split] = [join(work, "layer.study"), join(work, "split.onnx")];
  const images = ["--images", join(folder, "images"), "--batch", "8"];
  const scale = ["--mean", meta.mean.join(), "--std", meta.std.join()];
  try {
    const { value } = form.values[layer];
    const inspected = await unbraid("inspect", model, "--crop", String(meta.side));
    const found = inspected.layers.find((l) => l.output === value);
    if (!found?.splittable) throw new Error(`${layer} cannot be split: ${found?.why ?? "inspect does not list it"}`);
    await unbraid("study", model, ...images, ...scale, "--layer", value, "--out", study);
    const channels = [...new Set([0, found.out >> 1, found.out - 1])];
    const targets = channels.flatMap((c, k) => ["--channel", String(c), "--classes", `${k},${k + 3}`]);
    const made = await unbraid("split", model, "--study", study, ...targets, "--rho", "1", "--out", split);
    const {
      ratio,
      flips,
      other_channels,
      onnxruntime,
      images: count,
    } = await unbraid("verify", model, split, ...images, ...scale);
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
  try {
    results.push({ what, ...(await work()) });
  } catch (error) {
    results.push({ what, failed: error instanceof Error ? error.message : String(error) });
  }
}

const bad = ({ failed, logits, gradients, ratio, flips, other_channels, onnxruntime }) =>
  failed !== undefined ||
  (logits && !(Math.max(logits.onnxruntime, logits.float64) <= logits.tolerance)) ||
  (gradients ?? []).some((g) => !(g.error <= g.tolerance)) ||
  (ratio !== undefined && !(ratio <= 1 && flips === 0 && other_channels === 0 && (onnxruntime?.flips ?? 0) === 0));

const e = (x) => x.toExponential(1);

function row(name, meta, form, results) {
  const computed = results.find((r) => r.what === "compute");
  const splits = results.filter((r) => r.what === "split");
  const cells = computed?.logits
    ? [
        `${e(computed.logits.onnxruntime)} / ${e(computed.logits.tolerance)}`,
        ...computed.gradients.map((g) => `${g.layer}: ${e(g.error)} / ${e(g.tolerance)}`),
      ]
    : [computed?.failed ?? "", "", ""];
  const shown = splits.map((s) =>
    s.failed
      ? `FAILED ${s.failed.split("\n")[0]}`
      : `${s.ratio.toFixed(3)}${s.groups > 1 ? ` (${s.groups} groups)` : ""}`,
  );
  return `| ${[name, `${form.form} ${form.opset}`, `${meta.side}`, ...cells, shown.join("; "), results.some(bad) ? "FAIL" : "ok"].join(" | ")} |`;
}

const names =
  wanted.length > 0
    ? wanted
    : readdirSync(dir)
        .filter((n) => existsSync(join(dir, n, "meta.json")))
        .sort();
const forms = options.forms.split(",");
const opened = await openAdapter(options.adapter === undefined ? {} : { name: options.adapter });
const gpu = await Gpu.open(opened.adapter);
const all = [];
console.log("| network | form, opset | side | logits | gradient 1 | gradient 2 | split: error / bound | |");
console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
for (const name of names) {
  const folder = join(dir, name);
  const meta = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8"));
  for (const form of meta.forms.filter((f) => forms.includes(f.form))) {
    const results = [];
    await attempt("compute", results, () => compute(gpu, folder, meta, form));
    if (!options["compute-only"])
      for (const layer of LAYERS[form.form](meta.layers))
        await attempt("split", results, () => pipeline(folder, meta, form, layer));
    console.log(row(name, meta, form, results));
    all.push({ network: name, form: form.form, opset: form.opset, ok: !results.some(bad), results });
  }
}
gpu[Symbol.dispose]();
opened.close();
if (options.json !== undefined)
  writeFileSync(options.json, `${JSON.stringify({ adapter: opened.name, networks: all }, null, 1)}\n`);
process.exitCode = all.every((r) => r.ok) ? 0 : 1;
