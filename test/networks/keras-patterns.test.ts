/**
 * What tf2onnx makes of Keras layers: channels last with a Transpose on either side of a Conv, a Pad before a strided
 * one, hard sigmoid as Add, Clip and Mul, squeeze-and-excitation by ReduceMean, MatMul and Add at the end. The same
 * network is written as PyTorch would (channels first, pads in the Conv, HardSigmoid, GlobalAveragePool, Gemm): logits
 * and gradients must agree, and the logits with onnxruntime's.
 */
import { expect, it } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { must } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import type { HostTensor } from "../../src/graph/graph.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import { floats, makeModel, modelBytes, node, noise, TYPE, valueInfo } from "../onnx/make.ts";
import { runOrt } from "../graph/surgery-reference.ts";
import { onAdapters } from "../support/on-adapters.ts";

const [N, H, W, C, LOGITS] = [2, 8, 6, 8, 5];
const toFirst = { perm: [0, 3, 1, 2] };
const toLast = { perm: [0, 2, 3, 1] };
const whole = (name: string, values: readonly number[]) => ({
  name,
  dims: [values.length],
  dataType: TYPE.int64,
  int64Data: [...values],
});

const weights = [
  floats("stem", [C, 3, 3, 3], noise(1, C * 27)),
  floats("squeeze", [4, C, 1, 1], noise(2, 4 * C)),
  floats("excite", [C, 4, 1, 1], noise(3, 4 * C)),
  floats("head", [C, LOGITS], noise(4, C * LOGITS)),
  floats("head.bias", [LOGITS], noise(5, LOGITS)),
];

const keras = {
  input: [valueInfo("x", ["n", H, W, 3])],
  output: [valueInfo("logits", ["n", LOGITS])],
  node: [
    node("Transpose", ["x"], ["first"], toFirst),
    // Keras's "same" padding of a strided layer is uneven: tf2onnx leaves it to a Pad.
    node("Pad", ["first", "pads"], ["padded"]),
    node("Conv", ["padded", "stem"], ["z"], { strides: [2, 2] }, "stem"),
    node("Transpose", ["z"], ["last"], toLast),
    node("Relu", ["last"], ["active"]),
    node("ReduceMean", ["active"], ["pooled"], { axes: [1, 2], keepdims: 1 }),
    node("Transpose", ["pooled"], ["pooled first"], toFirst),
    node("Conv", ["pooled first", "squeeze"], ["s"], {}, "squeeze"),
    node("Relu", ["s"], ["s active"]),
    node("Conv", ["s active", "excite"], ["e"], {}, "excite"),
    node("Transpose", ["e"], ["e last"], toLast),
    node("Add", ["e last", "three"], ["plus"]),
    node("Clip", ["plus", "zero", "six"], ["clipped"]),
    node("Mul", ["clipped", "sixth"], ["gate"]),
    node("Mul", ["active", "gate"], ["gated"]),
    node("ReduceMean", ["gated"], ["mean"], { axes: [1, 2], keepdims: 1 }),
    node("Squeeze", ["mean", "axes"], ["flat"]),
    node("MatMul", ["flat", "head"], ["product"]),
    node("Add", ["product", "head.bias"], ["logits"]),
  ],
  initializer: [
    ...weights,
    whole("pads", [0, 0, 0, 0, 0, 0, 1, 1]),
    whole("axes", [1, 2]),
    floats("three", [], Float32Array.of(3)),
    floats("zero", [], Float32Array.of(0)),
    floats("six", [], Float32Array.of(6)),
    floats("sixth", [], Float32Array.of(1 / 6)),
  ],
};

const pytorch = makeModel({
  input: [valueInfo("x", ["n", 3, H, W])],
  output: [valueInfo("logits", ["n", LOGITS])],
  node: [
    node("Conv", ["x", "stem"], ["z"], { strides: [2, 2], pads: [0, 0, 1, 1] }, "stem"),
    node("Relu", ["z"], ["active"]),
    node("GlobalAveragePool", ["active"], ["pooled"]),
    node("Conv", ["pooled", "squeeze"], ["s"], {}, "squeeze"),
    node("Relu", ["s"], ["s active"]),
    node("Conv", ["s active", "excite"], ["e"], {}, "excite"),
    node("Add", ["e", "three"], ["plus"]),
    node("Clip", ["plus", "zero", "six"], ["clipped"]),
    node("Div", ["clipped", "six"], ["gate"]),
    node("Mul", ["active", "gate"], ["gated"]),
    node("GlobalAveragePool", ["gated"], ["mean"]),
    node("Flatten", ["mean"], ["flat"]),
    node("Gemm", ["flat", "head", "head.bias"], ["logits"]),
  ],
  initializer: [
    ...weights,
    floats("three", [], Float32Array.of(3)),
    floats("zero", [], Float32Array.of(0)),
    floats("six", [], Float32Array.of(6)),
  ],
});

/** [n, channels, height, width] as [n, height, width, channels]. */
function channelsLast(x: Float32Array): Float32Array {
  const out = new Float32Array(x.length);
  x.forEach((v, k) => {
    const [w, h] = [k % W, Math.floor(k / W) % H];
    const [c, n] = [Math.floor(k / (W * H)) % 3, Math.floor(k / (W * H * 3))];
    out[((n * H + h) * W + w) * 3 + c] = v;
  });
  return out;
}

const largest = (data: ArrayLike<number>): number => Array.from(data).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const apart = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(b.length).toBe(a.length);
  return largest(Float64Array.from(a, (v, k) => v - (b[k] ?? NaN)));
};

// The longest chain is 27 + 12 + 8 + 4 + 12 + 8 products in float32, twice, with intermediate values that cancel to a
// tenth: 2 * 71 * 10 * 2^-24 is below 2^-13 of the largest value.
const TOLERANCE = 2 ** -13;

onAdapters("Keras through tf2onnx, its patterns", (gpu) => {
  const x = noise(9, N * 3 * H * W);
  const last = channelsLast(x);

  async function run(model: OnnxModel, data: Float32Array, shape: readonly number[]) {
    using session = new Session(gpu(), buildGraph(model));
    const inputs = new Map<string, HostTensor>([["x", { type: "float32", shape, data }]]);
    const seed = noise(10, N * LOGITS);
    const values = await session.run(inputs, ["z", "e", "logits"]);
    return { values, gradients: await session.gradient(inputs, { of: "logits", seed, wrt: ["z", "e"] }) };
  }

  it.each([
    [11, "the older Squeeze and ReduceMean"],
    [13, "axes as an input of Squeeze"],
    [17, "as exported today"],
  ])("opset %i: %s", async (opset) => {
    const old = opset < 13;
    const nodes = keras.node.map((n) =>
      old && n.opType === "Squeeze" ? node("Squeeze", ["mean"], ["flat"], { axes: [1, 2] }) : n,
    );
    const parts = { ...keras, opset, node: nodes };
    const model = makeModel(parts);
    const shape = [N, H, W, 3];
    const [ours, plain] = [await run(model, last, shape), await run(pytorch, x, [N, 3, H, W])];
    const theirs = must((await runOrt(modelBytes(parts), "x", last, shape)).logits, "logits");
    const logits = must(ours.values.get("logits"), "logits").data;
    expect(apart(logits, theirs.data)).toBeLessThanOrEqual(TOLERANCE * largest(theirs.data));
    for (const value of ["z", "e", "logits"]) {
      const [a, b] = [must(plain.values.get(value), value), must(ours.values.get(value), value)];
      expect(apart(a.data, b.data)).toBeLessThanOrEqual(TOLERANCE * largest(a.data));
    }
    for (const value of ["z", "e"]) {
      const [a, b] = [must(plain.gradients.get(value), value), must(ours.gradients.get(value), value)];
      expect(largest(a.data)).toBeGreaterThan(0);
      expect(b.shape).toEqual(a.shape);
      expect(apart(a.data, b.data)).toBeLessThanOrEqual(TOLERANCE * largest(a.data));
    }
  });
});
