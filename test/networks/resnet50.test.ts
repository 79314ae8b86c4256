/** ResNet-50 of the true size, random weights, both forms: logits against onnxruntime, and studies at two layers. */
import * as ort from "onnxruntime-node";
import { expect, it } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { findLayer } from "../../src/graph/conv-layers.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { RelevancePass } from "../../src/relevance/pass.ts";
import { runStudy, type ImageBatch } from "../../src/relevance/run-study.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import { accumulatorBytes, createStudy, isComplete, tapsOf, tapSumsOf } from "../../src/relevance/study.ts";
import { testAdapters } from "../support/gpu.ts";
import { uniform } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { resnet50 } from "../support/resnet50.ts";

const IMAGE = [3, 224, 224];
const SIZE = sizeOf(IMAGE);

/** Smooth random images of about the range that ImageNet's normalisation gives. */
function images(n: number, seed: number): Float32Array {
  const next = uniform(seed);
  const data = new Float32Array(n * SIZE);
  for (let plane = 0; plane < n * 3; plane++) {
    const waves = Array.from({ length: 6 }, () => [0.2 * next(), 0.2 * next(), 6.28 * next(), next() - 0.5]);
    for (let y = 0; y < 224; y++) {
      for (let x = 0; x < 224; x++) {
        let sum = 0;
        for (const [a = 0, b = 0, c = 0, d = 0] of waves) sum += d * Math.sin(a * x + b * y + c);
        data[plane * 224 * 224 + y * 224 + x] = 1.5 * sum;
      }
    }
  }
  return data;
}

/** The first adapter only: SwiftShader would take many minutes; its kernels have tests of their own. */
onAdapters(
  "ResNet-50",
  (gpu) => {
    it.each([false, true])("logits of 8 images equal onnxruntime's (folded: %s)", async (folded) => {
      const file = resnet50({ folded, seed: 1 });
      using session = new Session(gpu(), buildGraph(decodeModel(file)));
      const data = images(8, 3);
      const shape = [8, ...IMAGE];
      const ours = must(
        (await session.run(new Map([["input", { type: "float32", shape, data }]]))).get("logits"),
        "logits",
      ).data;
      const oracle = await ort.InferenceSession.create(file);
      const theirs = must((await oracle.run({ input: new ort.Tensor("float32", data, shape) })).logits, "logits").data;
      if (!(theirs instanceof Float32Array)) throw new Error("float32 logits");
      // Both engines round: twice the network's epsilon of test/support/golden-run.ts, u times the sum over the 54 layers
      // of the root of their sums' lengths (64 to 4608 products, 27.4 on average), times the largest logit.
      const size = theirs.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      const tolerance = 2 * 2 ** -24 * 54 * 27.4 * size;
      const worst = theirs.reduce((m, v, i) => Math.max(m, Math.abs(v - (ours[i] ?? NaN))), 0);
      expect(size).toBeGreaterThan(0.5);
      expect(worst).toBeLessThanOrEqual(tolerance);
      for (let n = 0; n < 8; n++) {
        const top = (l: ArrayLike<number>) => {
          const row = Array.from(l).slice(1000 * n, 1000 * (n + 1));
          return row.indexOf(Math.max(...row));
        };
        expect(top(ours)).toBe(top(theirs));
      }
      await oracle.release();
    });

    it.each(["layer4.2.conv3", "layer2.0.conv2"])("a study of 64 images at %s stays under 25 MB", async (name) => {
      const graph = buildGraph(decodeModel(resnet50({ folded: false, seed: 1 })));
      const batch = 8;
      using session = new Session(gpu(), graph);
      const layer = findLayer(inferShapes(graph, new Map([["input", [batch, ...IMAGE]]]), inferRule), name);
      const geometry = studyLayer(layer);
      const classes = Array.from({ length: 1000 }, (_, t) => `class ${t}`);
      const study = createStudy({
        model: { file: "resnet50.onnx", sha256: "00".repeat(32) },
        layer: geometry,
        classes,
        labels: classes.map((_, t) => t),
        images: { digest: "00".repeat(32), length: 64, perClass: classes.map((_, t) => (t < 16 ? 4 : 0)) },
        preprocess: "test",
        taus: [0.03],
        folds: 1,
        settings: {},
      });
      const layers = [{ layer, geometry }];
      const options = { layers, input: "input", logits: "logits", imageShape: IMAGE, logitCount: 1000, batch };
      using pass = await RelevancePass.open(session, { ...options, taus: study.meta.taus });
      const paths = Array.from({ length: 64 }, (_, n) => `${n}.png`);
      async function* batches(): AsyncGenerator<ImageBatch> {
        for (let at = 0; at < 64; at += batch) {
          const labels = paths.slice(at, at + batch).map((_, k) => Math.floor((at + k) / 4));
          const items = paths.slice(at, at + batch).map((path) => ({ path }));
          yield await Promise.resolve({ tensor: images(batch, at + 5), labels, items, skipped: [], next: at + batch });
        }
      }
      const { images: done } = await runStudy({
        set: { studies: [study] },
        pass,
        batches: batches(),
        paths,
        start: 0,
        end: 64,
      });
      expect(done).toBe(64);
      expect(isComplete(study)).toBe(true);
      expect(accumulatorBytes(study)).toBeLessThan(25e6);
      // The tap sums, through the weights, give what the layer computes: sum over p of z, for the class of the last batch.
      const last = images(batch, 56 + 5);
      const feed = new Map([["input", { type: "float32" as const, shape: [batch, ...IMAGE], data: last }]]);
      const z = must((await session.run(feed, [layer.output])).get(layer.output), "z");
      const positions = sizeOf(z.shape.slice(2));
      const sums = must(tapSumsOf(study, 15), "class 15").toFloat64();
      const inputs = geometry.inChannels * tapsOf(geometry);
      for (let c = 0; c < geometry.outChannels; c += 37) {
        let expected = 0;
        let size = 0;
        for (let n = 4; n < 8; n++) {
          for (let p = 0; p < positions; p++) {
            const value = z.data[(n * geometry.outChannels + c) * positions + p] ?? NaN;
            expected += value;
            size += Math.abs(value);
          }
        }
        let ours = 0;
        let terms = 0;
        for (let i = 0; i < inputs; i++) {
          const term = (geometry.weights[c * inputs + i] ?? NaN) * (sums[i] ?? NaN);
          ours += term;
          terms += Math.abs(term);
        }
        // Each z is a sum of `inputs` products (rounding grows with its root, as above) and each tap sum one of `positions`.
        const tolerance = 2 ** -24 * (4 * Math.sqrt(inputs) * (size + terms) + Math.sqrt(positions) * terms);
        expect(Math.abs(ours - expected)).toBeLessThanOrEqual(tolerance);
      }
    });
  },
  testAdapters.slice(0, 1),
);
