/** verify on splits among any subsets of many concepts, by weights, of splits, and in several layers of one network. */
import { expect, test } from "vitest";
import { splitLayers } from "../../src/channels/split-layers.ts";
import type { SplitRecord } from "../../src/channels/split-record.ts";
import { verify, type Verification } from "../../src/channels/verify.ts";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { buildGraph } from "../../src/graph/build.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { splitLayer, type ChannelSplit } from "../../src/graph/surgery.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import type { ImageBatch } from "../../src/relevance/run-study.ts";
import { subsets } from "../graph/surgery-case.ts";
import { bytesOf, floats, makeModel, noise, node, TYPE, valueInfo } from "../onnx/make.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { Random } from "../support/random.ts";

const BATCH = 3;
const IMAGE = [4, 6, 5];

/** Two Convs in a row, 3x3 in two groups with bias and 1x1, and a head. */
function network(first = floats("one.weight", [8, 2, 3, 3], noise(1, 144))): OnnxModel {
  return makeModel({
    node: [
      node("Conv", ["x", "one.weight", "one.bias"], ["z1"], { group: 2, pads: [1, 1, 1, 1] }, "one"),
      node("Relu", ["z1"], ["y1"], {}, "relu1"),
      node("Conv", ["y1", "two.weight"], ["z2"], {}, "two"),
      node("Relu", ["z2"], ["y2"], {}, "relu2"),
      node("GlobalAveragePool", ["y2"], ["g"], {}, "pool"),
      node("Flatten", ["g"], ["f"], {}, "flat"),
      node("Gemm", ["f", "head"], ["logits"], {}, "head"),
    ],
    input: [valueInfo("x", ["n", ...IMAGE])],
    output: [valueInfo("logits", ["n", 3])],
    initializer: [
      first,
      floats("one.bias", [8], noise(2, 8)),
      floats("two.weight", [6, 8, 1, 1], noise(3, 48)),
      floats("head", [6, 3], noise(4, 18)),
    ],
  });
}

interface Step {
  readonly node: string;
  readonly rule?: string;
  readonly channels: readonly ChannelSplit[];
}

function chain(model: OnnxModel, steps: readonly Step[]): { model: OnnxModel; records: SplitRecord[] } {
  const records: SplitRecord[] = [];
  let at = model;
  for (const step of steps) {
    const nodeIndex = at.nodes.findIndex((n) => n.name === step.node);
    const { bytes, grown, output } = splitLayer(at, { nodeIndex, channels: step.channels });
    const [part] = [
      { channel: 0, concepts: [], classes: [], rho: null, rule: step.rule ?? "sign", sets: "", rows: [] },
    ];
    records.push({
      ...{ version: 2, layer: step.node, node: step.node, grown, output, parts: [part] },
      ...{ source: { file: "", sha256: "" }, study: { file: "", sha256: "" } },
    });
    at = decodeModel(bytes);
  }
  return { model: at, records };
}

async function* images(): AsyncGenerator<ImageBatch> {
  const random = new Random(8);
  const tensor = Float32Array.from({ length: BATCH * 120 }, () => random.normal());
  const labels = [0, 1, 2];
  yield await Promise.resolve({ tensor, labels, items: labels.map(() => ({ path: "" })), skipped: [], next: 3 });
}

const shapedOf = (graph: Graph) => inferShapes(graph, new Map([["x", [BATCH, ...IMAGE]]]), inferRule);

async function verified(gpu: Gpu, before: OnnxModel, steps: readonly Step[], after = before): Promise<Verification> {
  const made = chain(after, steps);
  const graphs = [before, made.model].map(buildGraph);
  const [one, two] = [must(graphs[0], "graph"), must(graphs[1], "graph")];
  using first = new Session(gpu, one);
  using second = new Session(gpu, two);
  return await verify({
    ...{ before: first, after: second, input: "x", logits: "logits", imageShape: IMAGE, batch: BATCH },
    layers: splitLayers({ model: before, shaped: shapedOf(one) }, shapedOf(two), made.records),
    batches: images(),
  });
}

const row = (seed: number, n: number): Float32Array => noise(seed, n);

/** w/2 + e and w/2 - e. */
function additive(model: OnnxModel, name: string, channel: number, size: number, scale: number): ChannelSplit {
  const w = must(model.initializers.get(name), name)
    .numbers()
    .subarray(channel * size, (channel + 1) * size);
  const e = row(50 + channel, size);
  const part = (sign: number) => Float64Array.from(w, (v, j) => v / 2 + sign * scale * (e[j] ?? 0));
  return { channel, parts: [part(1), part(-1)] };
}

function expectHolds(v: Verification): void {
  expect(v.weights.holds).toBe(true);
  expect(v.ratio).toBeGreaterThan(0);
  expect(v.ratio).toBeLessThanOrEqual(1);
  expect(v.other_channels).toBe(0);
  expect(v.flips).toBe(0);
}

onAdapters("verify of", (gpu) => {
  test("any subsets of three to five concepts, in a layer with groups", async () => {
    const channels = [
      { channel: 6, concepts: 5, sets: subsets(2, 5, 21) },
      { channel: 1, concepts: 3, sets: subsets(2, 3, 22) },
      { channel: 2, concepts: 4, sets: Uint32Array.of(0b0111, 0b1111) },
    ];
    const found = await verified(gpu(), network(), [{ node: "one", channels }]);
    expectHolds(found);
    expect(found.weights.max_abs_diff).toBe(0);
  });

  test.each([0.01, 1, 100])("parts by weights, e up to %f", async (scale) => {
    const model = network();
    const one = { node: "one", rule: "additive", channels: [additive(model, "one.weight", 5, 18, scale)] };
    const two = { node: "two", rule: "additive", channels: [additive(model, "two.weight", 3, 8, scale)] };
    for (const steps of [[one], [two]]) {
      const found = await verified(gpu(), model, steps);
      expectHolds(found);
      expect(found.weights.max_abs_diff).toBeLessThanOrEqual(found.weights.bound);
    }
  });

  test("parts by weights that are stored in float16", async () => {
    const half = halfNetwork();
    const steps = [{ node: "one", rule: "additive", channels: [additive(half, "one.weight", 5, 18, 3)] }];
    const found = await verified(gpu(), half, steps);
    expectHolds(found);
    // float16 cannot hold what is left of a weight of 0.1 after a part of 3 was taken.
    expect(found.weights.max_abs_diff).toBeGreaterThan(0);
  });

  test("a split of a split, of both rules, and a later layer besides", async () => {
    const model = network();
    const steps: Step[] = [
      { node: "one", rule: "additive", channels: [additive(model, "one.weight", 5, 18, 1)] },
      // In the layer with groups the second part went to a side Conv; the first is split again, and another channel.
      {
        node: "one",
        channels: [
          { channel: 5, concepts: 2, sets: Uint32Array.of(1, 3) },
          { channel: 0, concepts: 3, sets: Uint32Array.of(5, 7) },
        ],
      },
      { node: "two", channels: [{ channel: 4, concepts: 4, sets: subsets(8, 4, 23) }] },
      { node: "two", channels: [{ channel: 7, concepts: 2, sets: subsets(8, 2, 24) }] },
    ];
    expectHolds(await verified(gpu(), model, steps.slice(0, 2)));
    expectHolds(await verified(gpu(), model, steps));
    // The same of another network is caught, whichever layer differs.
    const other = network(
      floats(
        "one.weight",
        [8, 2, 3, 3],
        noise(1, 144).map((w, j) => (j === 95 ? w * 1.001 : w)),
      ),
    );
    const caught = await verified(gpu(), model, steps, other);
    expect(caught.weights.holds).toBe(false);
    expect(caught.ratio).toBeGreaterThan(1);
  });
});

/** The first Conv alone, with weights and bias in float16. (The engine computes in float32 whatever the type.) */
function halfNetwork(): OnnxModel {
  const weights = Uint16Array.from(noise(9, 144), (v, k) => (v < 0 ? 0x8000 : 0) | (0x3000 + 13 * k));
  const bias = Uint16Array.from({ length: 8 }, (_, k) => 0x2c00 + 91 * k);
  return makeModel({
    node: [
      node("Conv", ["x", "one.weight", "one.bias"], ["z1"], { group: 2, pads: [1, 1, 1, 1] }, "one"),
      node("Relu", ["z1"], ["y1"], {}, "relu1"),
      node("GlobalAveragePool", ["y1"], ["g"], {}, "pool"),
      node("Flatten", ["g"], ["f"], {}, "flat"),
      node("Gemm", ["f", "head"], ["logits"], {}, "head"),
    ],
    input: [valueInfo("x", ["n", ...IMAGE])],
    output: [valueInfo("logits", ["n", 3])],
    initializer: [
      { name: "one.weight", dims: [8, 2, 3, 3], dataType: TYPE.float16, rawData: bytesOf(weights) },
      { name: "one.bias", dims: [8], dataType: TYPE.float16, rawData: bytesOf(bias) },
      floats("head", [8, 3], noise(4, 24)),
    ],
  });
}
