/**
 * Patterns of networks that people export, each as a small random network: channel shuffle (ShuffleNet), chains of Concat
 * with pre-activation (DenseNet), pools in ceil mode and branches (GoogLeNet, Inception), squeeze-and-excitation with
 * hard activations (MobileNet v3), channels last in the middle with LayerNormalization (ConvNeXt). Every value and the
 * gradient of the logits at inner values against the float64 interpreter and its differences.
 */
import { describe, expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { sizeOf, type Graph, type GraphNode, type HostTensor } from "../../src/graph/graph.ts";
import { exactNumbers, graphOf, node, normalNumbers } from "../engine/network.ts";
import { interpret, type Value } from "../reference/interpret.ts";
import { numericGradient } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";

interface Pattern {
  readonly graph: Graph;
  readonly images: HostTensor;
  /** Values at which gradients are compared. */
  readonly wrt: readonly string[];
  /** Of the largest element of a value; 0 where no sum rounds. */
  readonly tolerance: number;
}

const wide = (t: HostTensor): Value => ({ shape: t.shape, data: Float64Array.from(t.data) });
const sizes = (...data: number[]): HostTensor => ({
  type: "int64",
  shape: [data.length],
  data: Float64Array.from(data),
});
const same = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
const head = (x: string): GraphNode[] => [
  node("GlobalAveragePool", [x], ["pooled"]),
  node("Flatten", ["pooled"], ["flat"]),
  node("Gemm", ["flat", "head"], ["logits"], { transB: 1 }),
];

/** Half the channels through a branch, then the halves interleaved: twice. Exact numbers (engine/network.ts). */
function shuffle(): Pattern {
  const { weights, fine, images } = exactNumbers(11);
  const unit = (x: string, k: number): GraphNode[] => [
    node("Split", [x], [`left${k}`, `right${k}`], { axis: 1 }),
    node("Conv", [`right${k}`, `point${k}`, `bias${k}`], [`p${k}`]),
    node("Relu", [`p${k}`], [`a${k}`]),
    node("Conv", [`a${k}`, `depth${k}`], [`d${k}`], { ...same, group: 4 }),
    node("Concat", [`left${k}`, `d${k}`], [`joined${k}`], { axis: 1 }),
    node("Reshape", [`joined${k}`, "two"], [`pairs${k}`]),
    node("Transpose", [`pairs${k}`], [`swapped${k}`], { perm: [0, 2, 1, 3, 4] }),
    node("Reshape", [`swapped${k}`, "whole"], [`shuffled${k}`]),
  ];
  const graph = graphOf(
    [...unit("image", 1), ...unit("shuffled1", 2), ...head("shuffled2")],
    [null, 8, 4, 4],
    ["logits"],
    {
      two: sizes(-1, 2, 4, 4, 4),
      whole: sizes(0, -1, 4, 4),
      point1: weights([4, 4, 1, 1]),
      point2: weights([4, 4, 1, 1]),
      bias1: fine([4]),
      bias2: fine([4]),
      depth1: weights([4, 1, 3, 3]),
      depth2: weights([4, 1, 3, 3]),
      head: weights([3, 8]),
    },
  );
  return { graph, images: images([2, 8, 4, 4]), wrt: ["image", "p1", "shuffled1", "p2"], tolerance: 0 };
}

/** Each layer reads all before it: every Concat takes the values themselves, and a BatchNormalization comes first. */
function dense(): Pattern {
  const { weights, fine, scales, images } = exactNumbers(12);
  const one: HostTensor = { type: "float32", shape: [2], data: Float32Array.of(1, 1) };
  const constants: Record<string, HostTensor> = { stem: weights([2, 2, 3, 3]), head: weights([3, 8]) };
  const nodes = [node("Conv", ["image", "stem"], ["f0"], same)];
  for (let k = 1; k <= 3; k++) {
    const channels = 2 * k;
    const all = Array.from({ length: k }, (_, i) => `f${i}`);
    Object.assign(constants, {
      [`scale${k}`]: scales([channels]),
      [`shift${k}`]: fine([channels]),
      [`mean${k}`]: fine([channels]),
      [`variance${k}`]: { ...one, shape: [channels], data: new Float32Array(channels).fill(1) },
      [`w${k}`]: weights([2, channels, 3, 3]),
    });
    nodes.push(
      node("Concat", all, [`c${k}`], { axis: 1 }),
      node("BatchNormalization", [`c${k}`, ...["scale", "shift", "mean", "variance"].map((s) => `${s}${k}`)], [`n${k}`], { epsilon: 0 }), // prettier-ignore
      node("Relu", [`n${k}`], [`a${k}`]),
      node("Conv", [`a${k}`, `w${k}`], [`f${k}`], same),
    );
  }
  nodes.push(node("Concat", ["f0", "f1", "f2", "f3"], ["c4"], { axis: 1 }), ...head("c4"));
  const graph = graphOf(nodes, [null, 2, 4, 4], ["logits"], constants);
  return { graph, images: images([2, 2, 4, 4]), wrt: ["image", "f0", "f1", "c2", "n3", "f3"], tolerance: 0 };
}

/** Three branches joined, one behind a pool of stride 1; the pools in between end in a part of a window. */
function inception(): Pattern {
  const { weights, fine, images } = exactNumbers(13);
  const graph = graphOf(
    [
      node("MaxPool", ["image"], ["m"], { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }),
      node("Conv", ["m", "w1", "b1"], ["z1"]),
      node("Conv", ["m", "w2", "b2"], ["z2"], same),
      node("MaxPool", ["m"], ["m3"], { ...same, strides: [1, 1], ceil_mode: 1 }),
      node("Conv", ["m3", "w3", "b3"], ["z3"]),
      node("Concat", ["z1", "z2", "z3"], ["joined"], { axis: 1 }),
      node("Relu", ["joined"], ["a"]),
      node("AveragePool", ["a"], ["v"], { kernel_shape: [2, 2], pads: [1, 1, 0, 0], count_include_pad: 1 }),
      node("AveragePool", ["v"], ["last"], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }),
      ...head("last"),
    ],
    [null, 3, 8, 8],
    ["logits"],
    {
      w1: weights([2, 3, 1, 1]),
      w2: weights([3, 3, 3, 3]),
      w3: weights([3, 3, 1, 1]),
      b1: fine([2]),
      b2: fine([3]),
      b3: fine([3]),
      head: weights([3, 8]),
    },
  );
  // A window's largest element must be one only: images have more bits than elsewhere. (Windows that overlap choose the
  // same pixel twice: ties in m are of values that change together, so m itself is left out.)
  const fineImages = images([2, 3, 8, 8]);
  fineImages.data.forEach((v, k) => (fineImages.data[k] = v + (k % 384) / 2 ** 15));
  return { graph, images: fineImages, wrt: ["image", "z1", "z2", "joined", "v"], tolerance: 0 };
}

/**
 * MobileNet v3's block. Longest chain: products of 8 + 9 + 16 (mean) + 8 + 4 + 8 + 16 + 8 terms, and some 20 roundings of
 * activations; values and gradients that cancel to a tenth: 97 * 10 * 2^-24 is below 2^-14 of the largest element.
 */
function excitation(): Pattern {
  const draw = normalNumbers(14, 0.5);
  const graph = graphOf(
    [
      node("Conv", ["image", "expand"], ["z"]),
      node("HardSwish", ["z"], ["a"]),
      node("Conv", ["a", "depth"], ["d"], { ...same, group: 8 }),
      node("HardSwish", ["d"], ["s"]),
      node("GlobalAveragePool", ["s"], ["mean"]),
      node("Conv", ["mean", "squeeze", "squeeze.bias"], ["q"]),
      node("Sigmoid", ["q"], ["r"]),
      node("Conv", ["r", "excite"], ["e"]),
      node("HardSigmoid", ["e"], ["gate"], { alpha: Math.fround(1 / 6) }),
      node("Mul", ["gate", "s"], ["gated"]),
      node("Conv", ["gated", "project"], ["o"]),
      node("Add", ["o", "image"], ["sum"]),
      ...head("sum"),
    ],
    [null, 8, 4, 4],
    ["logits"],
    {
      expand: draw([8, 8, 1, 1]),
      depth: draw([8, 1, 3, 3]),
      squeeze: draw([4, 8, 1, 1]),
      "squeeze.bias": draw([4]),
      excite: draw([8, 4, 1, 1]),
      project: draw([8, 8, 1, 1]),
      head: draw([3, 8]),
    },
  );
  return { graph, images: draw([2, 8, 4, 4]), wrt: ["image", "z", "s", "q", "gate", "gated"], tolerance: 2 ** -14 };
}

/**
 * ConvNeXt's block, its Gelu as the older exporter writes it. Longest chain: 49 + 8 (mean, twice) + 8 + 16 + 8 + 16 terms
 * and some 20 roundings, gradients through it again: 2 * 130 * 4 * 2^-24 is below 2^-13 of the largest element.
 */
function layerNormalised(): Pattern {
  const draw = normalNumbers(15, 0.5);
  const number = (v: number): HostTensor => ({ type: "float32", shape: [], data: Float32Array.of(v) });
  const graph = graphOf(
    [
      node("Conv", ["image", "depth", "depth.bias"], ["z"], { kernel_shape: [7, 7], pads: [3, 3, 3, 3], group: 8 }),
      node("Transpose", ["z"], ["last"], { perm: [0, 2, 3, 1] }),
      node("LayerNormalization", ["last", "scale", "shift"], ["n"], { axis: -1, epsilon: 1e-6 }),
      node("MatMul", ["n", "up"], ["u"]),
      node("Add", ["up.bias", "u"], ["b"]),
      node("Div", ["b", "root"], ["scaled"]),
      node("Erf", ["scaled"], ["erf"]),
      node("Add", ["erf", "one"], ["plus"]),
      node("Mul", ["b", "plus"], ["twice"]),
      node("Mul", ["twice", "half"], ["gelu"]),
      node("MatMul", ["gelu", "down"], ["w"]),
      node("Transpose", ["w"], ["first"], { perm: [0, 3, 1, 2] }),
      node("Mul", ["layer scale", "first"], ["weighted"]),
      node("Add", ["weighted", "image"], ["sum"]),
      ...head("sum"),
    ],
    [null, 8, 4, 4],
    ["logits"],
    {
      depth: draw([8, 1, 7, 7]),
      "depth.bias": draw([8]),
      scale: draw([8]),
      shift: draw([8]),
      up: draw([8, 16]),
      "up.bias": draw([16]),
      root: number(Math.SQRT2),
      one: number(1),
      half: number(0.5),
      down: draw([16, 8]),
      "layer scale": draw([8, 1, 1]),
      head: draw([3, 8]),
    },
  );
  return { graph, images: draw([2, 8, 4, 4]), wrt: ["image", "z", "n", "b", "gelu", "first"], tolerance: 2 ** -13 };
}

const patterns: Readonly<Record<string, Pattern>> = {
  "channel shuffle": shuffle(),
  "chains of Concat": dense(),
  "branches and pools in ceil mode": inception(),
  "squeeze and excitation": excitation(),
  "layer normalisation with channels last": layerNormalised(),
};

/** Elements looked at: each costs two runs of the interpreter. */
const SAMPLE = 24;

const references = new Map(
  Object.entries(patterns).map(([title, { graph, images }]) => [
    title,
    interpret(graph, new Map([["image", wide(images)]])),
  ]),
);
const seeds = (count: number): Float32Array => Float32Array.from({ length: count }, (_, i) => (i % 3) - 1 || 2);

/** The values that do not change with this one. */
function others(graph: Graph, all: ReadonlyMap<string, Value>, name: string): Map<string, Value> {
  const reached = new Set([name]);
  for (const n of graph.nodes) if (n.inputs.some((i) => reached.has(i))) for (const o of n.outputs) reached.add(o);
  return new Map([...all].filter(([n]) => !reached.has(n)));
}

/** Differences are the same for every adapter. */
const known = new Map<string, Float64Array>();
function differences(title: string, name: string, chosen: readonly number[]): Float64Array {
  const key = `${title}: ${name}`;
  const { graph, tolerance } = must(patterns[title], title);
  const all = must(references.get(title), title);
  const start = must(all.get(name), name);
  const given = others(graph, all, name);
  const logits = (x: Float64Array): ArrayLike<number> => {
    const data = Float64Array.from(start.data);
    chosen.forEach((at, i) => (data[at] = x[i] ?? NaN));
    return interpret(graph, new Map([...given, [name, { shape: start.shape, data }]])).get("logits")?.data ?? [];
  };
  const point = chosen.map((at) => start.data[at] ?? NaN);
  // Where nothing rounds the network is linear between corners, and 2^-20 is a step that crosses none.
  const count = must(all.get("logits"), "logits").data.length;
  const found = known.get(key) ?? numericGradient(logits, point, seeds(count), tolerance === 0 ? 2 ** -20 : 1e-5);
  known.set(key, found);
  return found;
}

const largest = (data: ArrayLike<number>): number => Array.from(data).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

describe("exact patterns", () => {
  const exact = Object.entries(patterns).filter(([, p]) => p.tolerance === 0);
  test.each(exact.map(([title]) => title))("every value of %s is a float32, and none lies on a corner", (title) => {
    const all = must(references.get(title), title);
    for (const [name, { data }] of all) {
      expect(
        data.every((v) => Math.fround(v) === v),
        name,
      ).toBe(true);
    }
    const { graph } = must(patterns[title], title);
    for (const n of graph.nodes.filter(({ opType }) => opType === "Relu")) {
      expect(
        must(all.get(n.inputs[0] ?? ""), n.name).data.every((v) => Math.abs(v) > 2 ** -19),
        n.name,
      ).toBe(true);
    }
  });
});

onAdapters("patterns of the zoo", (gpu) => {
  test.each(Object.keys(patterns))("%s", async (title) => {
    const { graph, images, wrt, tolerance } = must(patterns[title], title);
    const all = must(references.get(title), title);
    using session = new Session(gpu(), graph);
    const inputs = new Map([["image", images]]);
    const near = (got: ArrayLike<number>, expected: ArrayLike<number>, scale: number, what: string): void => {
      expect(got.length, what).toBe(expected.length);
      const apart = largest(Float64Array.from(got, (v, k) => v - (expected[k] ?? NaN)));
      expect(apart, what).toBeLessThanOrEqual(tolerance * scale);
    };

    const names = graph.nodes.flatMap((n) => n.outputs);
    const values = await session.run(inputs, names);
    for (const name of names) {
      const [got, expected] = [must(values.get(name), name), must(all.get(name), name)];
      expect(got.shape, name).toEqual(expected.shape);
      near(got.data, expected.data, largest(expected.data), name);
    }
    const alone = must((await session.run(inputs)).get("logits"), "logits");
    near(alone.data, must(all.get("logits"), "logits").data, largest(alone.data), "logits alone");

    const seed = seeds(alone.data.length);
    const gradients = await session.gradient(inputs, { of: "logits", seed, wrt });
    for (const name of wrt) {
      const { shape, data } = must(gradients.get(name), name);
      expect(shape, name).toEqual(must(all.get(name), name).shape);
      const step = Math.max(1, Math.floor(sizeOf(shape) / SAMPLE));
      const chosen = Array.from({ length: Math.floor(sizeOf(shape) / step) }, (_, i) => i * step);
      const expected = differences(title, name, chosen);
      expect(largest(expected), name).toBeGreaterThan(0);
      const got = chosen.map((at) => data[at] ?? NaN);
      near(got, expected, largest(data), `gradient at ${name}`);
    }
  });
});
