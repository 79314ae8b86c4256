// The table of what must be reached, on one machine: `node bench/networks.mjs --models DIR` after `npm run build`. DIR holds
// networks as ONNX files, as tools/zoo/export.py names them, or simply resnet50.onnx, vgg16.onnx, mobilenet_v2.onnx,
// densenet121.onnx, efficientnet_b0.onnx; those that are missing are said to be. Each runs through `unbraid bench`, on
// each of --adapters (lavapipe,swiftshader), --rounds N; --prototype DIR and --python PATH as there. --study MODEL and
// --images DIR (--preset NAME) add the study beside plain forward (bench/study.mjs) and, with --python, beside the original
// procedure (bench/original.mjs). --save FILE keeps all figures as JSON.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const text = { type: "string" };
const { values } = parseArgs({
  options: {
    ...{
      models: text,
      adapters: text,
      rounds: text,
      prototype: text,
      python: text,
      study: text,
      images: text,
      preset: text,
    },
    save: text,
  },
});
if (values.models === undefined) throw new Error("--models DIR is missing: see the head of this file");
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const adapters = (values.adapters ?? "lavapipe,swiftshader").split(",");

function find(name) {
  const files = readdirSync(values.models, { recursive: true, encoding: "utf8" }).filter((f) => f.endsWith(".onnx"));
  const plain = files.find((f) => f.split(/[\\/]/).at(-1) === `${name}.onnx`);
  const file = plain ?? files.find((f) => f.includes(name) && f.includes("folded") && !f.includes("unfolded"));
  return file === undefined ? undefined : join(values.models, file);
}

function json(argv, env = {}) {
  console.error(`node ${argv.join(" ")}`);
  const options = {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  };
  const { stdout, status } = spawnSync(process.execPath, argv, options);
  try {
    return JSON.parse(stdout);
  } catch {
    return { error: { message: `exit code ${status}` } };
  }
}

const given = (name) => (values[name] === undefined ? [] : [`--${name}`, values[name]]);
function bench(model, adapter, batch, more = []) {
  const argv = [here("../bin/unbraid.mjs"), "bench", model, "--batch", batch, "--adapter", adapter, "--json"];
  return json([...argv, ...given("rounds"), ...given("prototype"), ...given("python"), ...more]);
}

const rows = [];
const all = [];
/** @param higher whether more is better */
function row(measure, where, figure, must, aim, higher = true) {
  const reached = (mark) => figure !== undefined && (higher ? figure.value >= mark : figure.value <= mark);
  const shown = (x) => Number(x.toPrecision(3));
  rows.push({
    measure,
    where,
    value: figure === undefined ? "none" : shown(figure.value),
    interval: figure === undefined ? "" : `${shown(figure.low)} to ${shown(figure.high)}`,
    must,
    aim,
    reached: reached(aim) ? "aim" : reached(must) ? "must" : "no",
  });
}

const missing = [];
const resnet = find("resnet50");
if (resnet === undefined) missing.push("resnet50");
else
  for (const adapter of adapters) {
    const software = adapter === "swiftshader";
    const document = bench(resnet, adapter, "1,8", adapter === adapters[0] ? ["--gradient"] : []);
    all.push(document);
    for (const { batch, measures: m, absent, refused } of document.networks ?? []) {
      const where = `ResNet-50, batch ${batch}, ${adapter}`;
      for (const { peer, why } of absent) console.error(`${where}: ${peer} is absent: ${why}`);
      for (const { peer } of refused) console.error(`${where}: ${peer} differs`);
      row("onnxruntime WebGPU over ours", where, m.onnxruntime_webgpu_over_ours, software ? 20 : 8, software ? 25 : 12);
      if (values.prototype !== undefined) row("prototype over ours", where, m.prototype_over_ours, 1.15, 2);
      if (software) continue;
      const cpu = m.onnxruntime_cpu_over_ours;
      const turned = cpu && { value: 1 / cpu.value, low: 1 / cpu.high, high: 1 / cpu.low };
      row("ours over onnxruntime on the processor", where, turned, 4, 2, false);
      if (batch === 8) row("share of the mul+add ceiling", where, m.share_of_ceiling, 0.3, 0.6);
      if (m.gradient_over_forward)
        row("gradient to the input over forward", where, m.gradient_over_forward, 2, 1.3, false);
      row("peak GPU bytes over weights and live", where, m.gpu_peak_over_floor, 1.25, 1.1, false);
      row(
        "processor time of the event loop, of a core",
        where,
        m.main_thread_share ?? m.event_loop_share,
        0.05,
        0.01,
        false,
      );
      if (batch !== 1) continue;
      row("cold start to first logits, ms", where, m.cold_start_ms, 6000, 3000, false);
      row("warm start to first logits, ms", where, m.warm_start_ms, 2000, 1000, false);
    }
  }
for (const name of ["vgg16", "mobilenet_v2", "densenet121", "efficientnet_b0"]) {
  const model = find(name);
  if (model === undefined) {
    missing.push(name);
    continue;
  }
  const document = bench(model, adapters[0], "1", ["--starts", "0", "--only", "onnxruntime_webgpu,onnxruntime_cpu"]);
  all.push(document);
  row(
    "onnxruntime WebGPU over ours",
    `${name}, ${adapters[0]}`,
    document.networks?.[0]?.measures.onnxruntime_webgpu_over_ours,
    4,
    8,
  );
}
if (values.study !== undefined) {
  const argv = ["--model", values.study, ...given("images"), ...given("preset")];
  const study = (...more) => {
    const figures = json([here("study.mjs"), ...argv, ...given("rounds"), ...more], { ADAPTER: adapters[0] });
    all.push(figures);
    return figures.ratio;
  };
  const last = study("--layer", "last");
  row(
    "study at the last layer, images a second over forward's",
    adapters[0],
    last && { value: 1 / last.value, low: 1 / last.high, high: 1 / last.low },
    0.85,
    0.95,
  );
  row("study of all layers, time over forward's", adapters[0], study(), 2.5, 2.5, false);
  if (values.python !== undefined) {
    const figures = json([here("original.mjs"), ...argv, "--layer", "all", "--rounds", "1", ...given("python")], {
      ADAPTER: adapters[0],
    });
    all.push(figures);
    row("original procedure in PyTorch over study and find, all layers", adapters[0], figures.ratio, 10, 50);
  }
}
const sizes = spawnSync(process.execPath, [here("../scripts/bundle-size.mjs"), "--json"], { encoding: "utf8" }).stdout;
const [bundle] = JSON.parse(sizes);
row(
  "bundle for inference and gradients, bytes of gzip",
  "",
  { value: bundle.gzip, low: bundle.gzip, high: bundle.gzip },
  80_000,
  50_000,
  false,
);

console.table(rows);
if (missing.length > 0) console.log(`not in ${values.models}: ${missing.join(", ")}`);
console.log(`load at the end: ${loadavg()[0].toFixed(1)}`);
if (values.save !== undefined)
  writeFileSync(values.save, `${JSON.stringify({ rows, sizes: JSON.parse(sizes), missing, all }, undefined, 1)}\n`);
