/** Attributions of channels and of parts of channels, against float64 and against each other. */
import { expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { readModelFile } from "../../src/files.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { findLayer, type ConvLayer } from "../../src/graph/conv-layers.ts";
import { sizeOf, type Graph, type HostTensor, type ShapedGraph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { splitWeights } from "../../src/channels/parts.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { inputsOf, relevanceVector, weightsOf } from "../../src/relevance/arv.ts";
import { AttributionPass, type ResponsePlace } from "../../src/relevance/attribution-pass.ts";
import {
  ATTRIBUTION_METHODS,
  attribute,
  attributeWith,
  channelSums,
  heatMaps,
  type AttributionRequest,
} from "../../src/relevance/attribution.ts";
import { logitWeights } from "../../src/relevance/logit-weights.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import { exactNumbers, graphOf, IMAGE, LOGITS, node, normalNumbers, residualNetwork } from "../engine/network.ts";
import { interpret } from "../reference/interpret.ts";
import { expectWithin, numericGradient, U } from "../support/numbers.ts";
import { testAdapters } from "../support/gpu.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { Random } from "../support/random.ts";

const shapedFor = (graph: Graph, input: string, shape: readonly number[]): ShapedGraph =>
  inferShapes(graph, new Map([[input, shape]]), inferRule);

/** A part of a channel: weights of random inputs, and the whole's other part and what both share. */
function partsOf(layer: ConvLayer, channel: number): Record<"whole" | "one" | "two" | "residual", Float32Array> {
  const study = studyLayer(layer);
  const whole = weightsOf(study, channel).slice();
  const random = new Random(channel);
  const sets = Uint32Array.from({ length: inputsOf(study, channel).count }, () => 1 + random.below(3));
  const { concepts, residual } = splitWeights(whole, sets, 2);
  return { whole, one: must(concepts[0], "part"), two: must(concepts[1], "part"), residual };
}

/**
 * Rounding of a gradient through the layers before, relative to its size: u times the sum over Conv of sqrt(n), n the
 * longer of its sums forward and backward (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis",
 * 2019: the worst case's n becomes sqrt(n) where roundings are independent).
 */
function epsilonOf(shaped: ShapedGraph): number {
  let sum = 0;
  for (const n of shaped.nodes) {
    if (n.opType !== "Conv") continue;
    const [out = 1, perGroup = 1, ...kernel] = shaped.values.get(n.inputs[1] ?? "")?.shape ?? [];
    sum += Math.sqrt(Math.max(out, perGroup) * sizeOf(kernel));
  }
  return U * sum;
}

const largest = (x: ArrayLike<number>): number => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

/** heat(one) + heat(two) - heat(residual) = heat(whole) within 4 times the rounding of the largest of the four. */
function expectIdentity(maps: Record<"whole" | "one" | "two" | "residual", HostTensor>, epsilon: number): number {
  const { one, two, residual, whole } = maps;
  const sum = one.data.map((v, i) => v + (two.data[i] ?? NaN) - (residual.data[i] ?? NaN));
  const size = Math.max(...Object.values(maps).map((m) => largest(m.data)));
  expect(largest(whole.data)).toBeGreaterThan(0);
  expect(largest(residual.data)).toBeGreaterThan(0);
  // Each of the four maps errs on its own, in the worst element by some four standard deviations.
  expectWithin(sum, whole.data, () => 4 * 4 * epsilon * size, "identity");
  const gap = largest(sum.map((v, i) => v - (whole.data[i] ?? NaN)));
  return gap / (16 * epsilon * size);
}

async function identity(
  session: Session,
  images: HostTensor,
  pass: { input: string; layer: ConvLayer },
  channel: number,
  request: Omit<AttributionRequest, "channel" | "weights">,
  epsilon: number,
): Promise<number> {
  const imageShape = images.shape.slice(1);
  const place: ResponsePlace = { layer: pass.layer };
  using beside = await AttributionPass.open(session, { input: pass.input, imageShape, batch: 8, place });
  const maps: Record<string, HostTensor> = {};
  for (const [part, weights] of Object.entries(partsOf(pass.layer, channel))) {
    const { values } = await attributeWith(beside, images, { channel, weights, ...request });
    maps[part] = heatMaps(values);
  }
  const { whole, one, two, residual } = maps;
  // The row of all weights beside the layer is the channel itself.
  const own = await attribute(session, images, { input: pass.input, place: { value: pass.layer.output } }, { channel, ...request }); // prettier-ignore
  const all = must(whole, "whole");
  expectWithin(heatMaps(own.values).data, all.data, () => 8 * epsilon * largest(all.data), "the channel itself");
  return expectIdentity({ whole: all, one: must(one, "1"), two: must(two, "2"), residual: must(residual, "r") }, epsilon); // prettier-ignore
}

const draw = exactNumbers(5);
const network = residualNetwork(draw.weights, draw.fine, draw.scales);
const images = draw.images([3, ...IMAGE]);

/** Conv, Relu, a grouped layer with bias, stride and dilation. */
const grouped = (() => {
  const normal = normalNumbers(8, 0.3);
  return graphOf(
    [
      node("Conv", ["image", "w1", "b1"], ["z1"], { pads: [1, 1, 1, 1] }),
      node("Relu", ["z1"], ["a"]),
      node("Conv", ["a", "w2", "b2"], ["z2"], { group: 2, pads: [2, 2, 2, 2], strides: [2, 2], dilations: [2, 2] }),
      node("Relu", ["z2"], ["c"]),
      node("GlobalAveragePool", ["c"], ["g"]),
      node("Flatten", ["g"], ["logits"]),
    ],
    [null, ...IMAGE],
    ["logits"],
    { w1: normal([16, 3, 3, 3]), b1: normal([16]), w2: normal([6, 8, 3, 3]), b2: normal([6]) },
  );
})();

onAdapters("attributions", (gpu) => {
  test("gradient and gradient x input of a channel are float64's, for every image whatever the batch", async () => {
    using session = new Session(gpu(), network);
    const channel = 4;
    const positions = 16;
    const v = Float32Array.from({ length: 3 * positions }, (_, i) => (i % 5) - 2);
    const seed = new Float64Array(3 * 12 * positions);
    for (let n = 0; n < 3; n++)
      seed.set(v.subarray(n * positions, (n + 1) * positions), (n * 12 + channel) * positions);
    const f = (x: Float64Array) =>
      interpret(network, new Map([["image", { shape: images.shape, data: x }]])).get("z3")?.data ?? [];
    const z = f(Float64Array.from(images.data));
    const sample = [0, 17, 100, 191, 192, 250, 383, 384, 500, 575];
    const at = (x: Float64Array) => {
      const data = Float64Array.from(images.data);
      sample.forEach((i, k) => (data[i] = x[k] ?? NaN));
      return f(data);
    };
    const g = Array.from(numericGradient(at, sample.map((i) => images.data[i] ?? NaN), seed, 2 ** -20), (d) => d + 0); // prettier-ignore
    for (const batch of [2, 3]) {
      const pass = { input: "image", place: { value: "z3" }, batch };
      const request = { channel, positionWeights: v };
      const plain = await attribute(session, images, pass, { ...request, method: "gradient" });
      expect(plain.values.shape).toEqual(images.shape);
      expect(sample.map((i) => (plain.values.data[i] ?? NaN) + 0)).toEqual(g);
      for (let n = 0; n < 3; n++) {
        const own = Array.from({ length: positions }, (_, p) => z[(n * 12 + channel) * positions + p] ?? NaN);
        expect(plain.responses[n]).toBe(own.reduce((s, y, p) => s + y * (v[n * positions + p] ?? NaN), 0));
      }
      const times = await attribute(session, images, pass, request);
      expect(sample.map((i) => (times.values.data[i] ?? NaN) + 0)).toEqual(
        sample.map((i, k) => Math.fround((g[k] ?? NaN) * (images.data[i] ?? NaN)) + 0),
      );
      const maps = heatMaps(times.values);
      expect(maps.shape).toEqual([3, 8, 8]);
      const third = [0, 1, 2].reduce((s, c) => s + (times.values.data[(2 * 3 + c) * 64 + 9] ?? NaN), 0);
      expect(maps.data[2 * 64 + 9]).toBe(Math.fround(third));
    }
  });

  test("with d logit / d z at positions, f is the channel's relevance and the map at the output z g", async () => {
    using session = new Session(gpu(), network);
    const layer = findLayer(shapedFor(network, "image", images.shape), "z3");
    const classes = [1, 0, 4];
    const [plane, inputs] = [16, layer.inChannels];
    const seed = new Float32Array(3 * LOGITS);
    classes.forEach((c, n) => (seed[n * LOGITS + c] = 1));
    const feed = new Map([["image", images]]);
    // Both are exact (gradient.test.ts), and so are all sums below.
    const values = await session.run(feed, ["z3", "joined"]);
    const g = must((await session.gradient(feed, { of: "logits", seed, wrt: ["z3"] })).get("z3"), "g").data;
    const [z, x] = ["z3", "joined"].map((name) => Float64Array.from(must(values.get(name), name).data));
    for (const channel of [0, 7]) {
      const options = { input: "image", logits: "logits", logitCount: LOGITS, classes, value: layer.output, channel };
      const positionWeights = await logitWeights(session, images, { ...options, batch: 2 });
      const at = { input: "image", place: { value: layer.output }, wrt: layer.output };
      const map = await attribute(session, images, at, { channel, positionWeights });
      const maps = heatMaps(map.values).data;
      const inner = await attribute(session, images, { ...at, wrt: layer.input }, { channel });
      const sums = channelSums(inner.values);
      expect(sums.shape).toEqual([3, inputs]);
      for (let n = 0; n < 3; n++) {
        const first = (n * layer.outChannels + channel) * plane;
        const own = Array.from({ length: plane }, (_, p) => (z?.[first + p] ?? NaN) * (g[first + p] ?? NaN));
        expect(Array.from(maps.subarray(n * plane, (n + 1) * plane), (v) => v + 0)).toEqual(own.map((v) => v + 0));
        expect(map.responses[n]).toBe(own.reduce((s, v) => s + v, 0));
        const tapSums = Float64Array.from({ length: inputs }, (_, i) =>
          must(x, "x")
            .subarray((n * inputs + i) * plane, (n * inputs + i + 1) * plane)
            .reduce((s, v) => s + v, 0),
        );
        const r = relevanceVector(studyLayer(layer), tapSums, channel, "oriented");
        expect(Array.from(sums.data.subarray(n * inputs, (n + 1) * inputs), (v) => v + 0)).toEqual(Array.from(r, (v) => v + 0)); // prettier-ignore
      }
    }
  });

  test.each(ATTRIBUTION_METHODS)("parts of a channel of a grouped layer with bias add up: %s", async (method) => {
    using session = new Session(gpu(), grouped);
    const shaped = shapedFor(grouped, "image", [3, ...IMAGE]);
    const layer = findLayer(shaped, "z2");
    const epsilon = epsilonOf(shaped);
    const pictures = normalNumbers(2)([3, ...IMAGE]);
    for (const channel of [1, 5]) {
      const request = { method, steps: 5 };
      await identity(session, pictures, { input: "image", layer }, channel, request, epsilon);
      const logits = { input: "image", logits: "logits", logitCount: 6, classes: [channel, channel, channel] };
      const positionWeights = await logitWeights(session, pictures, { ...logits, value: "z2", channel });
      await identity(session, pictures, { input: "image", layer }, channel, { ...request, positionWeights }, epsilon);
    }
  });

  test("integrated gradients: complete, and more nearly so in more steps", async () => {
    using session = new Session(gpu(), grouped);
    const pictures = normalNumbers(6)([2, ...IMAGE]);
    const black = normalNumbers(7)([...IMAGE]).data;
    const place: ResponsePlace = { value: "z2" };
    using pass = await AttributionPass.open(session, { input: "image", imageShape: IMAGE, batch: 7, place });
    const estimates: number[] = [];
    for (const steps of [4, 64]) {
      const request = { channel: 3, method: "integrated", steps, baseline: Float32Array.from(black) } as const;
      const { values, completeness = [], responses } = await attributeWith(pass, pictures, request);
      const plain = await attributeWith(pass, pictures, { channel: 3 });
      const start = await attributeWith(pass, { ...pictures, shape: [1, ...IMAGE], data: Float32Array.from(black) }, { channel: 3 }); // prettier-ignore
      completeness.forEach((c, n) => {
        expect(c.response).toBe(plain.responses[n]);
        expect(responses[n]).toBe(c.response);
        expect(c.baseline).toBe(start.responses[0]);
        const own = Float64Array.from(values.data).subarray(n * 192, (n + 1) * 192);
        const rounding = 8 * epsilonOf(shapedFor(grouped, "image", pictures.shape)) * 192 * largest(own);
        expect(Math.abs(own.reduce((s, x) => s + x, 0) - c.sum)).toBeLessThan(rounding);
        expect(c.gap).toBe(c.sum - (c.response - c.baseline));
        // Between neighbouring points no ReLU of this image swings back: the estimate is a bound.
        expect(Math.abs(c.gap)).toBeLessThan(c.estimate + rounding);
        expect(Math.abs(c.gap)).toBeGreaterThan(0);
        estimates.push(c.estimate);
      });
    }
    const [first = 0, second = 0, third = 0, fourth = 0] = estimates;
    expect(third).toBeLessThan(first / 8);
    expect(fourth).toBeLessThan(second / 8);
    await expect(attributeWith(pass, pictures, { channel: 3, method: "integrated", steps: 0 })).rejects.toMatchObject({ code: "OPTION_VALUE" }); // prettier-ignore
    await expect(attributeWith(pass, pictures, { channel: 3, method: "integrated", baseline: new Float32Array(5) })).rejects.toMatchObject({ code: "INPUT_SIZE" }); // prettier-ignore
  });

  test("an image's numbers do not depend on the others in its batch", async () => {
    using session = new Session(gpu(), grouped);
    const pictures = normalNumbers(12)([5, ...IMAGE]);
    const pass = { input: "image", place: { value: "z2" }, batch: 4 };
    for (const method of ATTRIBUTION_METHODS) {
      const all = await attribute(session, pictures, pass, { channel: 0, method, steps: 3 });
      const alone: HostTensor = { ...pictures, shape: [1, ...IMAGE], data: pictures.data.slice(3 * 192, 4 * 192) };
      const one = await attribute(session, alone, pass, { channel: 0, method, steps: 3 });
      expect(one.values.data).toEqual(all.values.data.subarray(3 * 192, 4 * 192));
    }
  });

  test("wrong channels, weights and places are refused with numbers", async () => {
    using session = new Session(gpu(), grouped);
    const layer = findLayer(shapedFor(grouped, "image", [1, ...IMAGE]), "z2");
    const one = normalNumbers(1)([1, ...IMAGE]);
    const ask = (place: ResponsePlace, request: AttributionRequest, wrt = "image") =>
      attribute(session, one, { input: "image", place, wrt }, request);
    await expect(ask({ value: "z2" }, { channel: 6 })).rejects.toMatchObject({
      code: "CHANNEL_RANGE",
      message: 'value "z2" has no channel 6: they go from 0 to 5',
    });
    await expect(ask({ layer }, { channel: -1 })).rejects.toMatchObject({ code: "CHANNEL_RANGE" });
    await expect(ask({ layer }, { channel: 0 })).rejects.toMatchObject({
      code: "INPUT_SIZE",
      message: "weights: 0 numbers, where a row times 8x3x3 are needed",
    });
    await expect(ask({ value: "z2" }, { channel: 0, positionWeights: new Float32Array(3) })).rejects.toMatchObject({
      code: "INPUT_SIZE",
    });
    await expect(ask({ value: "nothing" }, { channel: 0 })).rejects.toMatchObject({ code: "VALUE_UNKNOWN" });
    await expect(ask({ value: "z2" }, { channel: 0, method: "integrated" }, "a")).rejects.toMatchObject({
      code: "OPTION_CONFLICT",
    });
    await expect(ask({ value: "z1" }, { channel: 0 }, "z2")).rejects.toMatchObject({ code: "GRADIENT_NONE" });
  });
});

// Of its size: seconds on one adapter, and nothing in it that the small network lacks but depth.
onAdapters(
  "attributions in the demo network",
  (gpu) => {
    test.each(ATTRIBUTION_METHODS)("parts of a channel of the demo network add up: %s", async (method) => {
      const graph = buildGraph(readModelFile("models/demo.onnx"));
      using session = new Session(gpu(), graph);
      const pictures = normalNumbers(4)([2, 3, 64, 64]);
      const shaped = shapedFor(graph, "input", pictures.shape);
      const epsilon = epsilonOf(shaped);
      for (const name of ["last", "layer2.1.conv2"]) {
        const layer = findLayer(shaped, name);
        const ratio = await identity(session, pictures, { input: "input", layer }, 7, { method, steps: 3 }, epsilon);
        expect(ratio).toBeLessThan(1);
      }
    });
  },
  testAdapters.slice(0, 1),
);
