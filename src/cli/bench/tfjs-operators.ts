/** ONNX's operators of usual classification networks by tfjs' own functions. What has rank 4 lies as [N, H, W, C] there. */
import { elementsOf, sizeOf } from "../../graph/graph.ts";
import { floatAttr, intAttr, intsAttr } from "../../kernels/attributes.ts";
import type { Pair, Tensor } from "./tfjs-api.ts";
import { channelsFirst, constant, operand, refusal, TO_LAST, upload, windowOf, type Site } from "./tfjs-site.ts";

/** @param x gives input k, in tfjs' layout */
export type Compute = (x: (k: number) => Tensor) => Tensor;

/** Refuses what it cannot do; uploads its weights. */
type Lower = (at: Site) => Compute;

function conv(at: Site): Compute {
  const { tf, node, activation } = at;
  const weight = constant(at, 1);
  const [, channels = 0] = at.shape(0);
  const [outputs = 0, inGroup = 0, ...kernel] = weight.shape;
  const { strides, dilations, pad } = windowOf(at, kernel);
  const groups = intAttr(node, "group", 1);
  const depthwise = groups > 1 && groups === channels && inGroup === 1;
  if (groups !== 1 && !depthwise)
    throw refusal(at, `it has ${groups} groups, and tfjs has 1, or as many as there are channels`);
  const filter = depthwise
    ? upload(at, weight, (w) => tf.transpose(tf.reshape(w, [groups, outputs / groups, ...kernel]), [2, 3, 0, 1]))
    : upload(at, weight, (w) => tf.transpose(w, [2, 3, 1, 0]));
  const bias = at.node.inputs[2] ? upload(at, constant(at, 2)) : undefined;
  const run = depthwise ? tf.fused.depthwiseConv2d : tf.fused.conv2d;
  return (x) => run({ x: x(0), filter, strides, pad, dilations, bias, activation });
}

function pool(type: "maxPool" | "avgPool"): Lower {
  return (at) => {
    if (at.node.outputs.length > 1) throw refusal(at, "its positions are asked for");
    const { kernel, strides, dilations, pad } = windowOf(at, intsAttr(at.node, "kernel_shape") ?? []);
    if (dilations.some((d) => d !== 1)) throw refusal(at, "it is dilated");
    const padded = pad.flat().some((p) => p !== 0);
    // tfjs never counts padding.
    if (type === "avgPool" && padded && intAttr(at.node, "count_include_pad", 0) !== 0)
      throw refusal(at, "it counts its padding");
    return (x) => at.tf[type](x(0), kernel, strides, pad);
  };
}

function gemm(at: Site): Compute {
  const { tf, node, activation } = at;
  if (at.output.length !== 2) throw refusal(at, `its output has rank ${at.output.length}, and only 2 is mapped`);
  if (intAttr(node, "transA", 0) !== 0 || floatAttr(node, "alpha", 1) !== 1 || floatAttr(node, "beta", 1) !== 1)
    throw refusal(at, "transA, alpha and beta are not mapped");
  const turned = intAttr(node, "transB", 0) !== 0;
  const b = upload(at, constant(at, 1), (w) => (turned ? tf.transpose(w, [1, 0]) : w));
  const [, columns = 0] = at.output;
  const c = node.inputs[2] ? constant(at, 2) : undefined;
  if (c !== undefined && (sizeOf(c.shape) !== columns || c.shape.at(-1) !== columns))
    throw refusal(at, "its bias is not one number a column");
  const bias = c && upload(at, c, (v) => tf.reshape(v, [columns]));
  return (x) => tf.fused.matMul({ a: x(0), b, bias, activation });
}

function batchNorm(at: Site): Compute {
  if (![2, 4].includes(at.output.length)) throw refusal(at, `its rank is ${at.output.length}, and 2 or 4 are mapped`);
  if (intAttr(at.node, "training_mode", 0) !== 0) throw refusal(at, "it trains");
  const [scale, offset, mean, variance] = [1, 2, 3, 4].map((k) => upload(at, constant(at, k))) as [
    ...[Tensor, Tensor, Tensor, Tensor],
  ];
  const epsilon = floatAttr(at.node, "epsilon", 1e-5);
  return (x) => at.tf.batchNorm(x(0), mean, variance, offset, scale, epsilon);
}

/** Of a Clip; infinite where it has none. */
export function clipBounds(at: Site): Pair {
  const [low, high] = (["min", "max"] as const).map((name, k) =>
    at.node.inputs[k + 1] ? elementsOf(constant(at, k + 1))[0] : floatAttr(at.node, name),
  );
  return [low ?? -Infinity, high ?? Infinity];
}

function clip(at: Site): Compute {
  const [low, high] = clipBounds(at);
  return low === 0 && high === 6 ? (x) => at.tf.relu6(x(0)) : (x) => at.tf.clipByValue(x(0), low, high);
}

/** Elements keep ONNX's order: images are turned back first, unless they have one pixel. */
function flatten(at: Site): Compute {
  const { tf, output } = at;
  const from = at.shape(0);
  if (output.length === 4) throw refusal(at, "its output has rank 4");
  const pixels = from.length === 4 ? sizeOf(from.slice(2)) : 1;
  return (x) => tf.reshape(pixels === 1 ? x(0) : channelsFirst(tf, x(0)), output);
}

function concat(at: Site): Compute {
  const rank = at.output.length;
  const axis = intAttr(at.node, "axis", 1);
  const positive = axis < 0 ? axis + rank : axis;
  const place = rank === 4 ? TO_LAST.indexOf(positive) : positive;
  const parts = at.node.inputs.map((_, k) => operand(at, k));
  return (x) =>
    at.tf.concat(
      parts.map((part, k) => part ?? x(k)),
      place,
    );
}

function globalAverage(at: Site): Compute {
  if (at.output.length !== 4) throw refusal(at, `its rank is ${at.output.length}, and only 4 is mapped`);
  return (x) => at.tf.mean(x(0), [1, 2], true);
}

const unary =
  (type: "relu" | "sigmoid" | "clone"): Lower =>
  ({ tf }) =>
  (x) =>
    tf[type](x(0));

function binary(type: "add" | "mul"): Lower {
  return (at) => {
    const [a, b] = [operand(at, 0), operand(at, 1)];
    return (x) => at.tf[type](a ?? x(0), b ?? x(1));
  };
}

export const TFJS_OPERATORS: ReadonlyMap<string, Lower> = new Map<string, Lower>([
  ["Add", binary("add")],
  ["AveragePool", pool("avgPool")],
  ["BatchNormalization", batchNorm],
  ["Clip", clip],
  ["Concat", concat],
  ["Conv", conv],
  // A clone shares its numbers, and can be disposed of by itself.
  ["Dropout", unary("clone")],
  ["Flatten", flatten],
  ["Gemm", gemm],
  ["GlobalAveragePool", globalAverage],
  ["Identity", unary("clone")],
  ["MatMul", gemm],
  ["MaxPool", pool("maxPool")],
  ["Mul", binary("mul")],
  ["Relu", unary("relu")],
  ["Reshape", flatten],
  ["Sigmoid", unary("sigmoid")],
]);
