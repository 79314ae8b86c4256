// A model with more than 2 GB of weights beside it: what reading, running and splitting it take, in time and in memory.
//
//   npm run build && node bench/large-model.mjs [--layers N] [--adapter NAME] [--json]
//
// The data file is sparse (zeros but for a few weights), so it takes hardly any disk. Software adapters keep the device's
// memory in this process: there, peak memory must stay near the weights once; on hardware, near nothing.
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import onnxProto from "onnx-proto";
import { buildGraph, Gpu, openAdapter, readModelFile, Session, splitLayer } from "../dist/node.js";

const { values: options } = parseArgs({
  options: {
    layers: { type: "string", default: "9" },
    adapter: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const { onnx } = onnxProto;
const WIDTH = 8192;
const LAYERS = Number(options.layers);
const LAYER_BYTES = 4 * WIDTH * WIDTH; // 256 MiB
const PLACES = Array.from({ length: 1000 }, (_, k) => [(k * 7919) % WIDTH, (k * 104729 + 1) % WIDTH, 1 + (k % 5)]);

const folder = mkdtempSync(join(tmpdir(), "unbraid-large-model-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

function write() {
  const file = openSync(join(folder, "weights.bin"), "w");
  ftruncateSync(file, LAYERS * LAYER_BYTES);
  for (let layer = 0; layer < LAYERS; layer++)
    for (const [row, column, value] of PLACES)
      writeSync(file, Float32Array.of(value), 0, 4, layer * LAYER_BYTES + 4 * (row * WIDTH + column));
  closeSync(file);
  const { INT } = onnx.AttributeProto.AttributeType;
  const value = (name, dims) => ({
    name,
    type: { tensorType: { elemType: 1, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } },
  });
  const conv = Float32Array.from({ length: 8 * 3 * 9 }, (_, k) => Math.sin(k));
  const layers = Array.from({ length: LAYERS }, (_, k) => k);
  const external = (k) => Object.entries({ location: "weights.bin", offset: k * LAYER_BYTES, length: LAYER_BYTES });
  const model = onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: "", version: 17 }],
    graph: {
      name: "large",
      node: [
        { name: "conv", opType: "Conv", input: ["image", "c"], output: ["z"] },
        { name: "flatten", opType: "Flatten", input: ["z"], output: ["h0"] },
        ...layers.map((k) => ({
          name: `dense${k}`,
          opType: "Gemm",
          input: [`h${k}`, `w${k}`],
          output: [`h${k + 1}`],
          attribute: [{ name: "transB", i: 1, type: INT }],
        })),
      ],
      input: [value("image", [1, 3, 34, 34])],
      output: [value(`h${LAYERS}`, [1, WIDTH])],
      initializer: [
        { name: "c", dims: [8, 3, 3, 3], dataType: 1, rawData: new Uint8Array(conv.buffer) },
        ...layers.map((k) => ({
          name: `w${k}`,
          dims: [WIDTH, WIDTH],
          dataType: 1,
          dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
          externalData: external(k).map(([key, v]) => ({ key, value: String(v) })),
        })),
      ],
    },
  });
  const path = join(folder, "large.onnx");
  writeFileSync(path, model.finish());
  return path;
}

/** The most memory that this process has held so far, anonymous pages: VmHWM counts the file's own pages too. */
const status = (key) => Number(/\d+/.exec(readFileSync("/proc/self/status", "utf8").split(`${key}:`)[1])?.[0]) * 1024;
const start = status("VmRSS");
const measures = {};
async function step(name, work) {
  const at = performance.now();
  const result = await work();
  measures[name] = { seconds: (performance.now() - at) / 1000, peak_bytes: status("VmHWM") - start };
  return result;
}

const path = await step("write the file", write);
const model = await step("read the model", () => readModelFile(path));
const graph = await step("build the graph", () => buildGraph(model));
const split = await step("split a channel", () =>
  splitLayer(model, {
    nodeIndex: 0,
    channels: [{ channel: 2, concepts: 2, sets: Uint32Array.of(1, 2, 3) }],
  }),
);
const adapter = await openAdapter({ name: options.adapter });
const gpu = await Gpu.open(adapter.adapter, adapter);
const session = new Session(gpu, graph);
const data = Float32Array.from({ length: 3 * 34 * 34 }, (_, k) => Math.sin(3 * k));
const inputs = new Map([["image", { type: "float32", shape: [1, 3, 34, 34], data }]]);
const results = await step("first run", () => session.run(inputs, ["h0", `h${LAYERS}`]));
const device = gpu.allocatedBytes;
await step("second run", () => session.run(inputs, ["h0", `h${LAYERS}`]));

// The few weights that are not zero give the result by hand.
let h = Float64Array.from(results.get("h0").data);
for (let layer = 0; layer < LAYERS; layer++) {
  const next = new Float64Array(WIDTH);
  for (const [row, column, value] of PLACES) next[row] += value * h[column];
  h = next;
}
const y = results.get(`h${LAYERS}`).data;
const largest = h.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
const error = y.reduce((a, v, k) => Math.max(a, Math.abs(v - h[k])), 0);
if (!(error <= 1e-4 * largest)) throw new Error(`the result is wrong by ${error} of ${largest}`);

const bytes = LAYERS * LAYER_BYTES;
const summary = {
  adapter: adapter.name,
  software: adapter.software,
  weight_bytes: bytes,
  device_bytes: device,
  split_file_bytes: split.bytes.length,
  disk_bytes: statSync(join(folder, "weights.bin")).blocks * 512,
  peak_over_weights: measures["first run"].peak_bytes / bytes,
  steps: measures,
};
session[Symbol.dispose]();
gpu[Symbol.dispose]();
adapter.close();
if (options.json) console.log(JSON.stringify(summary, undefined, 1));
else {
  const mb = (n) => `${(n / 1e6).toFixed(0)} MB`;
  console.log(
    `${adapter.name}: ${mb(bytes)} of weights, ${mb(summary.disk_bytes)} on disk, ${mb(device)} on the device`,
  );
  for (const [name, m] of Object.entries(measures))
    console.log(
      `${name.padEnd(16)} ${m.seconds.toFixed(2).padStart(8)} s   peak so far ${mb(m.peak_bytes).padStart(8)}`,
    );
  console.log(`peak over weights: ${summary.peak_over_weights.toFixed(3)}`);
}
