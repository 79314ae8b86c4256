/** ResNet-50 of the true size with random weights, as the exporters write it: BatchNormalization kept, or folded into Conv. */
import type { onnx as Onnx } from "onnx-proto";
import { attribute, floats, modelBytes, node, valueInfo } from "../onnx/make.ts";
import { uniform } from "./numbers.ts";

/**
 * Weights have variance 1 / fan-in and BatchNormalization nearly keeps its input, so that values stay of size 1 to 10
 * through all 16 blocks.
 */
export function resnet50(options: { readonly folded: boolean; readonly seed: number }): Uint8Array {
  const next = uniform(options.seed);
  for (let i = 0; i < 64; i++) next();
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const nodes: Onnx.INodeProto[] = [];
  const initializer: Onnx.ITensorProto[] = [];

  function conv(x: string, path: string, inputs: number, outputs: number, kernel: number, stride: number, bn: string) {
    const name = `/${path
      .split(".")
      .map((_, i, all) => (/^layer\d$/.test(all[0] ?? "") && i === 1 ? `${all[0]}.${all[1]}` : all[i]))
      .join("/")}/Conv`;
    const size = inputs * kernel * kernel;
    const weights = Float32Array.from({ length: outputs * size }, () => normal() / Math.sqrt(size));
    const scale = Float32Array.from({ length: outputs }, () => 0.5 + next() * 0.5);
    const beta = Float32Array.from({ length: outputs }, () => 0.1 * normal());
    const mean = Float32Array.from({ length: outputs }, () => 0.1 * normal());
    const variance = Float32Array.from({ length: outputs }, () => 0.8 + 0.4 * next());
    const pad = (kernel - 1) / 2;
    const attributes = {
      dilations: [1, 1],
      group: 1,
      kernel_shape: [kernel, kernel],
      pads: [pad, pad, pad, pad],
      strides: [stride, stride],
    };
    const output = `${path}_output`;
    if (options.folded) {
      const s = scale.map((g, c) => g / Math.sqrt((variance[c] ?? 1) + 1e-5));
      weights.forEach((w, i) => {
        weights[i] = w * (s[Math.floor(i / size)] ?? 0);
      });
      const bias = s.map((v, c) => (beta[c] ?? 0) - (mean[c] ?? 0) * v);
      const [w, b] = [`onnx::Conv_${initializer.length}`, `onnx::Conv_${initializer.length + 1}`];
      initializer.push(floats(w, [outputs, inputs, kernel, kernel], weights), floats(b, [outputs], bias));
      nodes.push(node("Conv", [x, w, b], [output], attributes, name));
      return output;
    }
    initializer.push(floats(`${path}.weight`, [outputs, inputs, kernel, kernel], weights));
    nodes.push(node("Conv", [x, `${path}.weight`], [output], attributes, name));
    const parameters = { weight: scale, bias: beta, running_mean: mean, running_var: variance };
    for (const [key, data] of Object.entries(parameters)) initializer.push(floats(`${bn}.${key}`, [outputs], data));
    const names = Object.keys(parameters).map((key) => `${bn}.${key}`);
    nodes.push(node("BatchNormalization", [output, ...names], [`${bn}_output`], {}, `/${bn}/BatchNormalization`));
    return `${bn}_output`;
  }
  const relu = (x: string) => {
    nodes.push(node("Relu", [x], [`${x}_relu`]));
    return `${x}_relu`;
  };

  let x = relu(conv("input", "conv1", 3, 64, 7, 2, "bn1"));
  const pool = { kernel_shape: [3, 3], pads: [1, 1, 1, 1], strides: [2, 2] };
  nodes.push(node("MaxPool", [x], ["pooled"], pool));
  x = "pooled";
  let channels = 64;
  for (const [stage, [width, blocks]] of [
    [64, 3],
    [128, 4],
    [256, 6],
    [512, 3],
  ].entries() as Iterable<[number, [number, number]]>) {
    for (let b = 0; b < blocks; b++) {
      const path = `layer${stage + 1}.${b}`;
      const stride = b === 0 && stage > 0 ? 2 : 1;
      let y = relu(conv(x, `${path}.conv1`, channels, width, 1, 1, `${path}.bn1`));
      y = relu(conv(y, `${path}.conv2`, width, width, 3, stride, `${path}.bn2`));
      y = conv(y, `${path}.conv3`, width, 4 * width, 1, 1, `${path}.bn3`);
      const skip =
        b === 0 ? conv(x, `${path}.downsample.0`, channels, 4 * width, 1, stride, `${path}.downsample.1`) : x;
      nodes.push(node("Add", [y, skip], [`${path}_sum`]));
      x = relu(`${path}_sum`);
      channels = 4 * width;
    }
  }
  nodes.push(node("GlobalAveragePool", [x], ["average"]), node("Flatten", ["average"], ["features"], { axis: 1 }));
  const fc = Float32Array.from({ length: 1000 * 2048 }, () => normal() / Math.sqrt(2048));
  initializer.push(floats("fc.weight", [1000, 2048], fc), floats("fc.bias", [1000], new Float32Array(1000)));
  const gemm = node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"], {}, "/fc/Gemm");
  gemm.attribute = [attribute("transB", 1)];
  nodes.push(gemm);
  return modelBytes({
    node: nodes,
    initializer,
    input: [valueInfo("input", ["N", 3, 224, 224])],
    output: [valueInfo("logits", ["N", 1000])],
  });
}
