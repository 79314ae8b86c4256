// Kernels (kernels.mjs), then forward and gradient of the demo network on the adapter at hand, beside onnxruntime on the
// processor: `npm run bench`. Nothing is timed before its logits have been held against onnxruntime's in this very run.
// What alternates, has intervals and more peers is `unbraid bench`, which runs last.
// BATCHES=1,8 and ADAPTER=lavapipe choose; --save FILE keeps the figures as JSON.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import benny from "benny";
import * as ort from "onnxruntime-node";
import { kernels } from "./kernels.mjs";
import { buildGraph, Gpu, openAdapter, readModelFile, Session } from "../dist/node.js";

const { values } = parseArgs({ options: { save: { type: "string" } } });
const model = fileURLToPath(new URL("../models/demo.onnx", import.meta.url));
const adapter = await openAdapter({ name: process.env.ADAPTER, log: console.error });
const gpu = await Gpu.open(adapter.adapter, adapter);
const session = new Session(gpu, buildGraph(readModelFile(model)));
const peer = await ort.InferenceSession.create(model);
const figures = { adapter: adapter.name, date: new Date().toISOString(), suites: [], kernels: [] };
figures.kernels = await kernels(gpu);
console.table(figures.kernels);

for (const batch of (process.env.BATCHES ?? "1,8").split(",").map(Number)) {
  const shape = [batch, 3, 64, 64];
  const data = Float32Array.from({ length: batch * 3 * 64 * 64 }, (_, i) => 1.5 * Math.sin(0.7 * i));
  const inputs = new Map([["input", { type: "float32", shape, data }]]);
  const feed = { input: new ort.Tensor("float32", data, shape) };

  const ours = (await session.run(inputs)).get("logits").data;
  const theirs = (await peer.run(feed)).logits.data;
  const size = theirs.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const difference = theirs.reduce((m, v, i) => Math.max(m, Math.abs(v - ours[i])), 0);
  // Both engines round: u times the sum over 29 layers of the root of their sums' lengths (19 on average), twice.
  const bound = 2 * 2 ** -24 * 29 * 19 * size;
  if (!(difference <= bound)) throw new Error(`logits differ by ${difference}, more than ${bound}: nothing is timed`);
  console.error(
    `batch ${batch}: logits within ${difference.toExponential(1)} of onnxruntime's (bound ${bound.toExponential(1)})`,
  );

  const seed = new Float32Array(batch * 100);
  for (let n = 0; n < batch; n++) seed[100 * n] = 1;
  const gradient = { of: "logits", seed, wrt: ["input"] };
  await session.gradient(inputs, gradient);

  const summary = await benny.suite(
    `demo network, batch ${batch}`,
    benny.add("forward", async () => {
      await session.run(inputs);
    }),
    benny.add("forward and gradient to the input", async () => {
      await session.gradient(inputs, gradient);
    }),
    benny.add("onnxruntime, processor, forward", async () => {
      await peer.run(feed);
    }),
    benny.cycle(),
    benny.complete(),
  );
  const cases = summary.results.map((r) => ({
    name: r.name,
    images_per_second: r.ops * batch,
    median_ms: 1000 * r.details.median,
    samples: r.samples,
  }));
  figures.suites.push({ batch, difference, bound, cases });
  console.table(cases);
}
if (values.save !== undefined) writeFileSync(values.save, `${JSON.stringify(figures, undefined, 1)}\n`);
session[Symbol.dispose]();
gpu[Symbol.dispose]();
adapter.close();

const bin = fileURLToPath(new URL("../bin/unbraid.mjs", import.meta.url));
const argv = [bin, "bench", "--batch", process.env.BATCHES ?? "1,8", "--adapter", adapter.name];
process.exitCode = spawnSync(process.execPath, argv, { stdio: "inherit" }).status ?? 1;
