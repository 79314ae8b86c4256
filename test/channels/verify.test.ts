/** verify on small networks that are split by src/graph/surgery.ts, and on splits that are wrong on purpose. */
import { expect, test } from "vitest";
import { splitLayers } from "../../src/channels/split-layers.ts";
import type { SplitRecord } from "../../src/channels/split-record.ts";
import { verify, type Verification, type VerifyOptions } from "../../src/channels/verify.ts";
import { Session } from "../../src/engine/session.ts";
import { must, UnbraidError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { splitLayer, type LayerSplit, type SetSplit } from "../../src/graph/surgery.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import type { ImageBatch } from "../../src/relevance/run-study.ts";
import { bitsOf } from "../graph/surgery-case.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { Random } from "../support/random.ts";
import { CLASSES, convIndex, imagesFor, layerModel, layerNetwork, type LayerCase } from "./one-layer.ts";

const cases: readonly (LayerCase & { readonly split: readonly (readonly [channel: number, concepts: number])[] })[] = [
  { title: "1x1", size: [6, 5], inputs: 16, channels: 12, kernel: [1, 1], split: [[3, 2]] },
  {
    title: "3x3 with bias, three channels, one of three concepts",
    ...{ size: [7, 6], inputs: 9, channels: 10, kernel: [3, 3], pads: [1, 1, 1, 1], bias: true },
    split: [
      [0, 2],
      [4, 3],
      [9, 2],
    ],
  },
  {
    title: "few channels: another kernel before the split than after it",
    ...{ size: [8, 7], inputs: 6, channels: 7, kernel: [3, 3], strides: [2, 1], bias: true },
    split: [
      [1, 2],
      [6, 2],
    ],
  },
  {
    title: "grouped, dilated",
    ...{
      size: [8, 9],
      inputs: 12,
      channels: 16,
      kernel: [3, 2],
      group: 2,
      dilations: [2, 1],
      pads: [1, 0, 1, 1],
      bias: true,
    },
    split: [
      [2, 2],
      [12, 4],
    ],
  },
  { title: "1-D", size: [21], inputs: 6, channels: 8, kernel: [5], strides: [2], pads: [2, 2], split: [[5, 2]] },
];

const BATCH = 4;
const COUNTS = [4, 4, 2];

function splitsOf(c: LayerCase, split: readonly (readonly [number, number])[]): SetSplit[] {
  const random = new Random(77);
  const inputs = c.inputs / (c.group ?? 1);
  return split.map(([channel, concepts]) => ({
    channel,
    concepts,
    sets: bitsOf(
      Array.from({ length: inputs }, () => random.below(concepts + 1)),
      concepts,
    ),
  }));
}

/** Batches of 4, 4 and 2 images, labelled in turn. */
async function* batchesOf(
  c: LayerCase,
  edit: (images: Float32Array, batch: number) => void,
): AsyncGenerator<ImageBatch> {
  let next = 0;
  for (const [k, n] of COUNTS.entries()) {
    const tensor = imagesFor(c, n, 50 + k);
    edit(tensor, k);
    const labels = Array.from({ length: n }, (_, i) => (next + i) % CLASSES);
    const items = labels.map((_, i) => ({ path: `image ${next + i}` }));
    next += n;
    yield await Promise.resolve({ tensor, labels, items, skipped: [], next });
  }
}

async function* noImages(): AsyncGenerator<ImageBatch> {
  yield* await Promise.resolve([]);
}

const recordOf = ({ grown, output }: LayerSplit): SplitRecord => ({
  ...{ version: 2, layer: "layer", node: "conv", grown, output, parts: [] },
  ...{ source: { file: "", sha256: "" }, study: { file: "", sha256: "" } },
});

interface Wrong {
  /** What the split file was made of, where it is not the original. */
  readonly source?: OnnxModel;
  readonly edit?: (images: Float32Array, batch: number) => void;
  readonly more?: Partial<VerifyOptions>;
}

async function verified(gpu: Gpu, c: LayerCase, splits: readonly SetSplit[], wrong: Wrong = {}): Promise<Verification> {
  const model = layerModel(c);
  const { graph, imageShape } = layerNetwork(c, BATCH, model);
  const source = wrong.source ?? model;
  const made = splitLayer(source, { nodeIndex: convIndex(source), channels: splits });
  const changed = buildGraph(decodeModel(made.bytes));
  const shape = new Map([["x", [BATCH, ...imageShape]]]);
  const [shaped, shapedAfter] = [graph, changed].map((g) => inferShapes(g, shape, inferRule));
  const layers = splitLayers({ model, shaped: must(shaped, "shapes") }, must(shapedAfter, "shapes"), [recordOf(made)]);
  using before = new Session(gpu, graph);
  using split = new Session(gpu, changed);
  return await verify({
    ...{ before, after: split, layers, imageShape, input: "x", logits: "logits", batch: BATCH },
    batches: batchesOf(c, wrong.edit ?? (() => undefined)),
    ...wrong.more,
  });
}

onAdapters("verify", (gpu) => {
  test.each(cases)("a right split stays within its bound, $title", async (c) => {
    const seen: number[] = [];
    const onProgress = (images: number) => seen.push(images);
    const got = await verified(gpu(), c, splitsOf(c, c.split), { more: { onProgress } });
    expect(got.images).toBe(10);
    expect(seen).toEqual([4, 8, 10]);
    expect(got.ratio).toBeGreaterThan(0); // it does round
    expect(got.ratio).toBeLessThanOrEqual(1);
    expect(got.max_abs_diff).toBeLessThanOrEqual(got.bound);
    expect(got.other_channels).toBe(0);
    expect(got.weights).toEqual({ max_abs_diff: 0, bound: 0, holds: true });
    expect(got.flips).toBe(0);
    expect(got.accuracy.after).toBe(got.accuracy.before);
    expect(got.onnxruntime).toBeNull();
    expect(gpu().allocatedBytes).toBe(0);
  });

  test.each(cases)("a split of slightly other weights is caught, $title", async (c) => {
    const splits = splitsOf(c, c.split);
    const channel = must(c.split[0], "a split")[0];
    const row = (c.inputs / (c.group ?? 1)) * c.kernel.reduce((a, b) => a * b, 1);
    // The largest weight of a channel, by 1e-4 of itself: a thousand units in its last place.
    const changed = (at: number): OnnxModel =>
      layerModel(c, (w) => {
        const own = w.subarray(at * row, (at + 1) * row);
        const largest = own.reduce((best, v, k) => (Math.abs(v) > Math.abs(own[best] ?? 0) ? k : best), 0);
        own[largest] = (own[largest] ?? 0) * 1.0001;
      });
    const inside = changed(channel);
    const caught = await verified(gpu(), c, splits, { source: inside });
    expect(caught.ratio).toBeGreaterThan(1);
    expect(caught.other_channels).toBe(0);
    expect(caught.weights.holds).toBe(false);
    // The same in a channel that was not split.
    const elsewhere = changed(channel + 1);
    const other = await verified(gpu(), c, splits, { source: elsewhere });
    expect(other.other_channels).toBeGreaterThan(0);
    expect(other.ratio).toBeLessThanOrEqual(1);
    expect(other.weights.holds).toBe(false);
  });

  const first = must(cases[1], "a case");

  test("flips and accuracies are counted by image", async () => {
    const splits = splitsOf(first, first.split);
    const opposite = layerModel(first, (w) => {
      w.forEach((v, i) => (w[i] = -3 * v));
    });
    const got = await verified(gpu(), first, splits, { source: opposite });
    // Counted again from the two networks alone.
    const tops: number[][] = [];
    for (const model of [layerModel(first), opposite]) {
      using session = new Session(gpu(), buildGraph(model));
      const list: number[] = [];
      for await (const { tensor, labels } of batchesOf(first, () => undefined)) {
        const shape = [labels.length, first.inputs, ...first.size];
        const { data } = must(
          (await session.run(new Map([["x", { type: "float32", shape, data: tensor }]]))).get("logits"),
          "logits",
        );
        for (let i = 0; i < labels.length; i++) {
          const row = Array.from(data.slice(i * CLASSES, (i + 1) * CLASSES));
          list.push(row.indexOf(Math.max(...row)));
        }
      }
      tops.push(list);
    }
    const [before = [], after = []] = tops;
    const right = (list: readonly number[]) => list.filter((top, i) => top === i % CLASSES).length / 10;
    expect(got.flips).toBe(before.filter((top, i) => top !== after[i]).length);
    expect(got.flips).toBeGreaterThan(0);
    expect(got.accuracy).toEqual({ before: right(before), after: right(after) });
  });

  test("a second opinion is asked for every batch, and its worst is kept", async () => {
    const shapes: (readonly number[])[] = [];
    const run = (images: Float32Array, shape: readonly number[]) => {
      shapes.push(shape);
      const n = shape[0] ?? 0;
      expect(images.length).toBe(shape.reduce((a, b) => a * b, 1));
      const before = Float32Array.from({ length: n * CLASSES }, (_, i) => i % CLASSES);
      const after = before.slice();
      if (shapes.length === 2) after[0] = 10; // flips image 4
      return Promise.resolve([before, after] as const);
    };
    const got = await verified(gpu(), first, splitsOf(first, first.split), { more: { secondOpinion: { run } } });
    expect(shapes.map((s) => s[0])).toEqual(COUNTS);
    expect(got.onnxruntime).toEqual({ max_abs_diff: 10, flips: 1 });
  });

  test("what is not finite, no images, an abort: errors, and nothing is left behind", async () => {
    const splits = splitsOf(first, first.split);
    const refusal = async (wrong: Wrong): Promise<unknown> =>
      verified(gpu(), first, splits, wrong).then(
        () => "accepted",
        (e: unknown) => (e instanceof UnbraidError ? e.code : e),
      );
    expect(await refusal({ edit: (images, k) => (images[3] = k === 1 ? Infinity : 0) })).toBe("NOT_FINITE");
    expect(await refusal({ more: { batches: noImages() } })).toBe("IMAGES_NONE");
    const stop = AbortSignal.abort(new Error("stopped"));
    expect(await refusal({ more: { signal: stop } })).toEqual(new Error("stopped"));
    expect(gpu().allocatedBytes).toBe(0);
  });
});
