/** Feature visualisation: transforms and their transposes against definitions, and ascent on a network whose answer is known. */
import { describe, expect, it } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { convLayers } from "../../src/graph/conv-layers.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import type { Graph, HostTensor } from "../../src/graph/graph.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { Random } from "../../src/channels/random.ts";
import { visualize } from "../../src/channels/visualize/ascent.ts";
import { Canvas } from "../../src/channels/visualize/canvas.ts";
import { FourierPlane } from "../../src/channels/visualize/fourier.ts";
import { likenessGradients, responseGradient } from "../../src/channels/visualize/objective.ts";
import { randomMovement, sample, sampleGradient, STILL } from "../../src/channels/visualize/sampling.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import { must } from "../../src/errors.ts";
import { onAdapters } from "../support/on-adapters.ts";

const normals = (n: number, random: Random): Float64Array => Float64Array.from({ length: n }, () => random.normal());
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, k) => sum + x * (b[k] ?? NaN), 0);

describe("pictures as spectra", () => {
  const size = 8;
  const plane = new FourierPlane(size);
  const random = new Random(1);

  it("pixels are the real part of the inverse Fourier transform of the scaled spectrum", () => {
    const spectrum = normals(plane.parameters, random);
    const frequency = (k: number): number => Math.min(k, size - k) / size;
    const scale = Array.from({ length: size * size }, (_, k) =>
      1 / Math.max(Math.hypot(frequency(Math.floor(k / size)), frequency(k % size)), 1 / size)); // prettier-ignore
    const length = Math.sqrt(dot(scale, scale));
    const pixels = plane.pixels(spectrum);
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        let sum = 0;
        scale.forEach((s, k) => {
          const angle = (2 * Math.PI * (Math.floor(k / size) * y + (k % size) * x)) / size;
          const [re, im] = [spectrum[k] ?? 0, spectrum[size * size + k] ?? 0];
          sum += (s / length) * (re * Math.cos(angle) - im * Math.sin(angle));
        });
        // 64 terms of about 1, in float64.
        expect(Math.abs((pixels[y * size + x] ?? NaN) - sum)).toBeLessThan(64 * 64 * 2 ** -52);
      }
  });

  it("its gradient is its transpose", () => {
    const [spectrum, pixels] = [normals(plane.parameters, random), normals(size * size, random)];
    expect(dot(plane.pixels(spectrum), pixels)).toBeCloseTo(dot(spectrum, plane.gradient(pixels)), 10);
  });

  it("the gradient of colours is that of finite differences", () => {
    const canvas = new Canvas(new FourierPlane(4), random);
    const rgb = canvas.draw();
    expect(rgb.every((v) => v > 0 && v < 1)).toBe(true);
    const seed = normals(rgb.length, random);
    const gradient = canvas.gradient(seed);
    const step = 1e-5;
    for (const k of [0, 17, 40, 95]) {
      const at = canvas.parameters[k] ?? 0;
      canvas.parameters[k] = at + step;
      const above = dot(canvas.draw(), seed);
      canvas.parameters[k] = at - step;
      const below = dot(canvas.draw(), seed);
      canvas.parameters[k] = at;
      expect(gradient[k]).toBeCloseTo((above - below) / (2 * step), 6);
    }
  });

  it("a still view is the middle of the canvas; a moving one has the transpose as its gradient", () => {
    const canvas = normals(3 * 64, random);
    const view = { height: 4, width: 6 };
    const still = sample(canvas, 8, STILL, view);
    expect(still[0]).toBe(canvas[2 * 8 + 1]);
    const movement = randomMovement(random, { jitter: 3, scale: 0.2, rotate: 20 });
    const other = normals(3 * 24, random);
    const moved = sample(canvas, 8, movement, view);
    expect(moved).not.toEqual(still);
    expect(dot(moved, other)).toBeCloseTo(dot(canvas, sampleGradient(other, 8, movement, view)), 10);
  });

  it("likeness is pushed down: finite differences of the cosine of Gram matrices", () => {
    const channels = 3;
    const inputs = [0, 1].map(() => Float32Array.from(normals(channels * 4, random)));
    const gram = (x: Float32Array): number[] =>
      Array.from({ length: 9 }, (_, k) => dot(x.subarray(Math.floor(k / 3) * 4, Math.floor(k / 3) * 4 + 4), x.subarray((k % 3) * 4, (k % 3) * 4 + 4))); // prettier-ignore
    const cosine = (): number => {
      const [a = [], b = []] = inputs.map(gram);
      return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    };
    const [first] = likenessGradients(inputs, channels);
    const x = must(inputs[0], "input");
    for (let k = 0; k < x.length; k++) {
      const at = x[k] ?? 0;
      const step = 2 ** -10;
      x[k] = at + step;
      const [high, above] = [x[k] ?? 0, cosine()];
      x[k] = at - step;
      const [low, below] = [x[k] ?? 0, cosine()];
      x[k] = at;
      expect(first?.[k]).toBeCloseTo((above - below) / (high - low), 4);
    }
  });
});

const tensor = (shape: number[], data: number[]): HostTensor => ({
  type: "float32",
  shape,
  data: Float32Array.from(data),
});

/** Red and green planes through a ReLU each, then a Conv with a row for either and one for their difference. */
const graph: Graph = {
  opset: 17,
  nodes: [
    { name: "colours", opType: "Conv", inputs: ["image", "pick"], outputs: ["picked"], attributes: new Map() },
    { name: "relu", opType: "Relu", inputs: ["picked"], outputs: ["h"], attributes: new Map() },
    { name: "layer", opType: "Conv", inputs: ["h", "w"], outputs: ["z"], attributes: new Map() },
  ],
  constants: new Map([
    ["pick", tensor([2, 3, 1, 1], [1, 0, 0, 0, 1, 0])],
    ["w", tensor([2, 2, 1, 1], [1, -1, -1, 1])],
  ]),
  inputs: [{ name: "image", type: "float32", shape: [null, 3, 16, 16] }],
  outputs: ["z"],
};

onAdapters("ascent", (gpu) => {
  it("makes the pictures that rows of weights answer to, and repeats them", async () => {
    using session = new Session(gpu(), graph);
    const shaped = inferShapes(graph, new Map([["image", [1, 3, 16, 16]]]), inferRule);
    const layer = must(
      convLayers(shaped).find((l) => l.node.name === "layer"),
      "layer",
    );
    const geometry = studyLayer(layer);
    const rows = [Float32Array.of(1, -1), Float32Array.of(-1, 1)];
    const options = {
      session,
      layer,
      geometry,
      input: "image",
      imageShape: [3, 16, 16],
      preprocess: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] } as const,
      rows,
      pictures: 2,
      seed: 5,
    };
    const first = await visualize({ ...options, steps: 25 });
    const { pictures, responses, patches } = first;
    const meanOf = (r: number, k: number, c: number): number => {
      const data = must(pictures[r]?.[k], "picture").data;
      return data.reduce((sum, v, j) => (j % 3 === c ? sum + v : sum), 0) / 256;
    };
    for (const k of [0, 1]) {
      expect(meanOf(0, k, 0)).toBeGreaterThan(meanOf(0, k, 1) + 10);
      expect(meanOf(1, k, 1)).toBeGreaterThan(meanOf(1, k, 0) + 10);
    }
    const before = await visualize({ ...options, steps: 0 });
    responses.flat().forEach((r, k) => {
      expect(r).toBeGreaterThan(before.responses.flat()[k] ?? NaN);
    });
    expect(await visualize({ ...options, steps: 25 })).toEqual(first);
    // A row's response is its product with the mean patch: sums of 2 products of float32 inputs, in float64.
    rows.forEach((row, r) => {
      responses[r]?.forEach((response, k) => {
        expect(dot(row, must(patches[r]?.[k], "patch"))).toBeCloseTo(response, 10);
      });
    });
  });
});

it("the gradient of a response is the transposed convolution", () => {
  const shaped = inferShapes(graph, new Map([["image", [1, 3, 16, 16]]]), inferRule);
  const layer = studyLayer(must(convLayers(shaped).find((l) => l.node.name === "layer"), "layer")); // prettier-ignore
  const geometry = { ...layer, kernel: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2] } as const;
  const row = Float32Array.from({ length: 18 }, (_, k) => k - 8);
  const got = responseGradient(row, geometry, [5, 5], [3, 3]);
  // By definition y[p] = sum w[i, k] x[i, 2 p + k - 1], so x[1, 2, 2] enters at p = (1, 1) with the middle tap only.
  expect(got[25 + 2 * 5 + 2]).toBeCloseTo((row[9 + 4] ?? 0) / 9, 12);
  // x[0, 1, 1] enters at p of {0, 1} x {0, 1}, with the taps in the corners.
  expect(got[5 + 1]).toBeCloseTo(((row[0] ?? 0) + (row[2] ?? 0) + (row[6] ?? 0) + (row[8] ?? 0)) / 9, 12);
});
