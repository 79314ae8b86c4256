/** Whole networks in half precision beside onnxruntime in float32: errors, decisions, memory. */
import { existsSync, readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { differenceOf, workOf } from "../../src/cli/bench/work.ts";
import { f16 } from "../../src/engine/halves.ts";
import type { Precision } from "../../src/engine/precision.ts";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { readModelFile } from "../../src/files.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { sizeOf, type Graph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { listImages } from "../../src/images/folder.ts";
import { batches } from "../../src/images/loader.ts";
import { PRESETS } from "../../src/images/presets.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { halfAdapters, U16 } from "../support/half.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { resnet50 } from "../support/resnet50.ts";
import { sharedDir } from "../support/shared.ts";

interface Outcome {
  /** Root of the mean square, over that of the logits. */
  readonly relative: number;
  readonly largest: number;
  readonly flips: number;
  readonly holds: boolean;
}

async function compared(
  gpu: Gpu,
  file: Uint8Array,
  graph: Graph,
  data: Float32Array,
  shape: number[],
): Promise<Outcome> {
  const [input, output] = [must(graph.inputs[0], "input").name, must(graph.outputs[0], "output")];
  using session = new Session(gpu, graph, { precision: f16 });
  const got = await session.run(new Map([[input, { type: "float32", shape, data }]]));
  const ours = Float32Array.from(must(got.get(output), output).data);
  const oracle = await ort.InferenceSession.create(file);
  const theirs = must((await oracle.run({ [input]: new ort.Tensor("float32", data, shape) }))[output], output).data;
  await oracle.release();
  if (!(theirs instanceof Float32Array)) throw new Error("float32 logits");
  const n = shape[0] ?? 1;
  const top = (l: Float32Array, k: number) => {
    const row = l.slice((k * l.length) / n, ((k + 1) * l.length) / n);
    return row.indexOf(Math.max(...row));
  };
  const rms = (v: ArrayLike<number>) => Math.sqrt(Array.from(v).reduce((sum, x) => sum + x * x, 0) / v.length);
  const error = ours.map((v, i) => v - (theirs[i] ?? NaN));
  const shaped = inferShapes(graph, new Map([[input, shape]]), inferRule);
  return {
    relative: rms(error) / rms(theirs),
    largest: Math.max(...error.map(Math.abs)),
    flips: Array.from({ length: n }, (_, k) => k).filter((k) => top(ours, k) !== top(theirs, k)).length,
    // Linear in the layers, each rounding as it may: what `bench` holds outputs to.
    holds: differenceOf(ours, theirs, workOf(shaped), f16).holds,
  };
}

/**
 * Roundings are independent of each other: in quadrature. A layer rounds its output and its weights, by u16 of their size at
 * most, 8 times as much where they are Winograd's (cli/bench/work.ts).
 * @param layers convolutions, 3x3 of stride 1 among them
 */
const quadrature = (layers: number, winograd: number): number => U16 * Math.sqrt(2 * layers + 63 * winograd);

onAdapters(
  "networks in half precision",
  (gpu) => {
    describe.skipIf(sharedDir === undefined || !existsSync(`${sharedDir}/images/cifar10`))("trained on CIFAR", () => {
      it.each([
        { name: "cifar10-resnet20", layers: 20, winograd: 17 },
        { name: "cifar100-bottleneck26", layers: 29, winograd: 8 },
      ])("$name on 200 images", async ({ name, layers, winograd }) => {
        const dataset = name.startsWith("cifar100") ? "cifar100" : "cifar10";
        const root = `${sharedDir ?? ""}/images/${dataset}/train`;
        const { items: all } = await listImages(root);
        const items = all.filter((_, i) => i % Math.floor(all.length / 200) === 0).slice(0, 200);
        const path = `${sharedDir ?? ""}/models/${name}.onnx`;
        for await (const { tensor } of batches({ root, items, spec: PRESETS[dataset], batchSize: 200 })) {
          const graph = buildGraph(readModelFile(path));
          const found = await compared(gpu(), readFileSync(path), graph, tensor, [200, 3, 32, 32]);
          expect(found.holds).toBe(true);
          expect(found.relative).toBeLessThan(quadrature(layers, winograd));
          expect(found.relative).toBeGreaterThan(U16 / 16);
          // Two logits a hair apart may change places: of two hundred images one or none.
          expect(found.flips).toBeLessThanOrEqual(1);
        }
      });
    });

    it("ResNet-50 of the true size: logits, and memory beside float32's", async () => {
      const file = resnet50({ folded: true, seed: 1 });
      const graph = buildGraph(decodeModel(file));
      const shape = [2, 3, 224, 224];
      const data = Float32Array.from({ length: sizeOf(shape) }, (_, i) => 1.5 * Math.sin(0.7 * i));
      const found = await compared(gpu(), file, graph, data, shape);
      expect(found.holds).toBe(true);
      expect(found.relative).toBeLessThan(quadrature(54, 13));
      expect(found.relative).toBeGreaterThan(U16 / 16);
      const peak = async (precision?: Precision): Promise<number> => {
        const before = gpu().allocatedBytes;
        gpu().peakBytes = before;
        using session = new Session(gpu(), graph, { precision });
        await session.prepare({ inputs: new Map([["input", shape]]), outputs: ["logits"] });
        return gpu().peakBytes - before;
      };
      const [full, half] = [await peak(), await peak(f16)];
      // Weights are half of it to the byte; Winograd's components and what is read in rows stay as they are.
      expect(half / full).toBeLessThan(0.6);
    });
  },
  halfAdapters.slice(0, 1),
);
