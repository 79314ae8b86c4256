/**
 * Splits anywhere in a network, run by the engine: a BatchNormalization before the Conv, a Conv straight into an
 * activation, a Conv after the activation (DenseNet's order), groups with bias, an output that feeds several nodes and is
 * a graph output, weights that two layers share.
 */
import { expect, it } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { findLayer } from "../../src/graph/conv-layers.ts";
import type { Graph, HostTensor } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { split } from "../graph/surgery-case.ts";
import { splitBound } from "../graph/surgery-reference.ts";
import { floats, makeModel, noise, node, valueInfo } from "../onnx/make.ts";
import { onAdapters } from "../support/on-adapters.ts";

const U = 2 ** -24;
const BATCH = 2;
const LOGITS = 5;
/** One logit of each image: their sum is differentiated. */
const SEEDED = [0, LOGITS + 3];
const SHAPE = [BATCH, 4, 6, 6];

const statistics = (name: string, channels: number, seed: number) => [
  floats(`${name}.scale`, [channels], noise(seed, channels)),
  floats(`${name}.shift`, [channels], noise(seed + 1, channels)),
  floats(`${name}.mean`, [channels], noise(seed + 2, channels)),
  floats(
    `${name}.variance`,
    [channels],
    noise(seed + 3, channels).map((v) => 1.5 + v),
  ),
];
const norm = (name: string, from: string, to: string) =>
  node("BatchNormalization", [from, ...["scale", "shift", "mean", "variance"].map((p) => `${name}.${p}`)], [to]);
const same = { pads: [1, 1, 1, 1] };

const model = makeModel({
  input: [valueInfo("x", ["n", 4, 6, 6])],
  output: [valueInfo("logits", ["n", LOGITS]), valueInfo("z1", ["n", 8, 6, 6])],
  node: [
    norm("before", "x", "n1"),
    node("Conv", ["n1", "first.weight", "first.bias"], ["z1"], same, "first"),
    node("Relu", ["z1"], ["r1"]),
    norm("inner", "r1", "n2"),
    node("Relu", ["n2"], ["r2"]),
    node("Conv", ["r2", "dense.weight"], ["z2"], {}, "dense"),
    node("Concat", ["r1", "z2"], ["c"], { axis: 1 }),
    node("Conv", ["c", "grouped.weight", "grouped.bias"], ["z3"], { ...same, group: 2 }, "grouped"),
    node("Sigmoid", ["z3"], ["s3"]),
    node("Conv", ["s3", "shared.weight"], ["z4"], {}, "once"),
    node("LeakyRelu", ["z4"], ["r4"]),
    node("Conv", ["r4", "shared.weight"], ["z5"], {}, "twice"),
    norm("after", "z5", "n5"),
    node("Add", ["n5", "z3"], ["a5"]),
    node("GlobalAveragePool", ["a5"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("Gemm", ["f", "head.weight"], ["logits"]),
  ],
  initializer: [
    ...statistics("before", 4, 31),
    ...statistics("inner", 8, 41),
    ...statistics("after", 12, 51),
    floats("first.weight", [8, 4, 3, 3], noise(61, 288)),
    floats("first.bias", [8], noise(62, 8)),
    floats("dense.weight", [4, 8, 1, 1], noise(63, 32)),
    floats("grouped.weight", [12, 6, 3, 3], noise(64, 648)),
    floats("grouped.bias", [12], noise(65, 12)),
    floats("shared.weight", [12, 12, 1, 1], noise(66, 144)),
    floats("head.weight", [12, LOGITS], noise(67, 12 * LOGITS)),
  ],
});

const largest = (data: ArrayLike<number>): number => Array.from(data).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const apart = (a: HostTensor, b: HostTensor): number => {
  expect(b.shape).toEqual(a.shape);
  return largest(Float64Array.from(a.data, (v, k) => v - (b.data[k] ?? NaN)));
};

onAdapters("splits anywhere", (gpu) => {
  const inputs = new Map<string, HostTensor>([["x", { type: "float32", shape: SHAPE, data: noise(71, 288) }]]);
  const seed = new Float32Array(BATCH * LOGITS);
  for (const k of SEEDED) seed[k] = 1;

  async function run(graph: Graph, values: readonly string[]) {
    using session = new Session(gpu(), graph);
    return {
      ...{ values: await session.run(inputs, values) },
      gradients: await session.gradient(inputs, { of: "logits", seed, wrt: values.filter((v) => v !== "logits") }),
    };
  }

  it.each(["first", "dense", "grouped", "once", "twice"])("%s", async (name) => {
    const graph = buildGraph(model);
    const layer = findLayer(inferShapes(graph, new Map([["x", SHAPE]]), inferRule), name);
    const perGroup = layer.inChannels / layer.groups;
    const last = layer.outChannels - 1;
    const index = model.nodes.findIndex((n) => n.name === name);
    const made = splitLayer(model, { nodeIndex: index, channels: [split(1, 2, perGroup), split(last, 3, perGroup)] });
    const values = [layer.input, layer.output, "logits"];
    const before = await run(graph, values);
    const after = await run(buildGraph(decodeModel(made.bytes)), values);
    const of = (r: typeof before, v: string): HostTensor => must(r.values.get(v), v);
    const gradient = (r: typeof before, v: string): HostTensor => must(r.gradients.get(v), v);

    // Weights are below 1, so a sum of n products of |x| is below n max |x|, and the bias below 1. The engine's kernels
    // sum in another order than the reference that the bound is for, which the bound allows; both sides err.
    const terms = perGroup * layer.kernel.reduce((n, k) => n * k, 1);
    const bound = 2 * splitBound(terms, 3, U, terms * largest(of(before, layer.input).data) + 1);
    const moved = apart(of(before, layer.output), of(after, layer.output));
    expect(moved).toBeLessThanOrEqual(bound);

    // To first order a logit moves by g dz; `slack` is for what the layers behind round differently then: at most 12
    // products a sum or 54, three layers deep, well below 2^-16 of the largest value.
    const slack = 2 ** -16;
    const reach = Array.from(gradient(before, layer.output).data).reduce((s, g) => s + Math.abs(g), 0);
    const size = largest(of(before, "logits").data);
    for (const k of SEEDED) {
      const differs = Math.abs((of(before, "logits").data[k] ?? 0) - (of(after, "logits").data[k] ?? NaN));
      expect(differs).toBeLessThanOrEqual(reach * moved + slack * size);
    }

    // The gradient at z does not know of the split, but through values that moved; the one at the layer's input comes
    // back through all parts.
    for (const value of [layer.output, layer.input]) {
      const [a, b] = [gradient(before, value), gradient(after, value)];
      expect(largest(a.data)).toBeGreaterThan(0);
      expect(apart(a, b)).toBeLessThanOrEqual(slack * largest(a.data));
    }
  });
});
