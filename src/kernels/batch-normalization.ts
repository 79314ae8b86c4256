/**
 * BatchNormalization at inference (ONNX opsets 7 to 15): input [N, C, ...], scale, bias, mean and variance [C]; with the
 * old attribute `spatial` = 0 (opsets 7 and 8) they are [C, ...], one set an activation. Where it follows a Conv it is
 * folded away before it comes here, except at a layer under study. In training mode (from opset 14 on) each channel is
 * normalised by the mean and variance of this batch, and the moving averages are outputs 1 and 2.
 */
import { must } from "../errors.ts";
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { floatAttr, intAttr, modelError, requireInput, unsupported } from "./attributes.ts";
import { dispatchAffine } from "./channels-fours.ts";
import { wholeFours } from "./fours.ts";
import { deviceInput, dispatchElements, hasOutput } from "./lowering.ts";
import {
  lowerAffineGradients,
  lowerNormalisation,
  lowerNormalisationGradient,
  statistics,
  type Normalisation,
} from "./normalize.ts";
import type { FusionQuestion, GradientLowering, Lowering, Operator, Param, Slot } from "./operator.ts";
import { f32 } from "./operator.ts";
import { batchNormParameterGradients } from "./parameter-gradients.ts";
import { rowsOf } from "./rows.ts";
import { sameShape, showShape } from "./shape.ts";

const PARAMETERS = ["", "scale", "bias", "mean", "variance"];

/** Shape of each parameter. */
function parameterShape(node: GraphNode, shape: readonly number[], opset: number): readonly number[] {
  if (shape.length < 2) throw modelError(node, "SHAPE", `input ${showShape(shape)} is not [N,C,...]`);
  const each = opset < 9 && intAttr(node, "spatial", 1) === 0;
  return shape.slice(1, each ? undefined : 2);
}

function infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[], opset: number): ValueInfo[] {
  const x = requireInput(node, inputs, 0);
  const extra = node.outputs.slice(1).filter((o) => o !== "");
  const training = inTraining(node, opset);
  if (!training && extra.length > 0) {
    throw unsupported(
      node,
      `has ${extra.length + 1} outputs: those beyond the first belong to training mode, which is read from opset 14 on`,
      "Export the model in evaluation mode: model.eval() in PyTorch, training=False in Keras.",
    );
  }
  const wanted = parameterShape(node, x.shape, opset);
  for (let k = 1; k < PARAMETERS.length; k++) {
    const { shape } = requireInput(node, inputs, k);
    if (!sameShape(shape, wanted)) {
      throw modelError(
        node,
        "SHAPE",
        `${PARAMETERS[k] ?? ""} has shape ${showShape(shape)}, but an input of ${showShape(x.shape)} needs ${showShape(wanted)}`,
      );
    }
  }
  const running = { type: x.type, shape: wanted };
  return [{ type: x.type, shape: x.shape }, running, running].slice(0, Math.max(node.outputs.length, 1));
}

const inTraining = (node: GraphNode, opset: number): boolean => opset >= 14 && intAttr(node, "training_mode", 0) !== 0;

/** Training mode as a normalisation of rows: each channel is one, over the batch and all its positions. */
function batchRows(l: Lowering): Normalisation {
  const { shape } = deviceInput(l, 0);
  const [, channels = 1, ...positions] = shape;
  const axes = shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  const each = { inner: sizeOf(positions), count: channels };
  return {
    rows: rowsOf(l.node, shape, axes),
    epsilon: floatAttr(l.node, "epsilon", 1e-5),
    scale: { input: 1, ...each },
    bias: { input: 2, ...each },
  };
}

/** Outputs 1 and 2: the moving averages of mean and (population) variance. */
function lowerRunning(l: Lowering, n: Normalisation): void {
  if (!hasOutput(l, 1) && !hasOutput(l, 2)) return;
  const channels = n.rows.rows;
  const [mean, inverse] = [l.scratch(channels), l.scratch(channels)];
  statistics(l, { rows: n.rows, epsilon: 0 }, mean, inverse);
  const params = [channels, channels, 1, f32(floatAttr(l.node, "momentum", 0.9))];
  for (const [k, entry, from] of [
    [1, "running_mean", mean],
    [2, "running_variance", inverse],
  ] as const) {
    if (!hasOutput(l, k)) continue;
    const reads = [from, deviceInput(l, k + 2).slot];
    dispatchElements(l, channels, { shader: "batch_norm", entry, params, reads, writes: [l.output(k).slot] });
  }
}

function lowerTrainingGradient(l: GradientLowering, dy: Slot): void {
  if (l.outputGradient(1) !== undefined || l.outputGradient(2) !== undefined || l.wants(3) || l.wants(4)) {
    throw unsupported(l.node, "no gradient through the running statistics of training mode");
  }
  const n = batchRows(l);
  lowerAffineGradients(l, n, dy);
  if (l.wants(0)) lowerNormalisationGradient(l, n, dy);
}

interface Parts {
  readonly count: number;
  readonly channels: number;
  readonly inner: number;
  readonly epsilon: number;
  readonly params: readonly Param[];
}

function partsOf(l: Lowering): Parts {
  const { shape } = deviceInput(l, 0);
  const count = sizeOf(shape);
  const channels = sizeOf(parameterShape(l.node, shape, l.opset));
  const inner = count === 0 ? 1 : count / (channels * (shape[0] ?? 1));
  const epsilon = floatAttr(l.node, "epsilon", 1e-5);
  return { count, channels, inner, epsilon, params: [count, channels, inner, f32(epsilon)] };
}

/** One tensor of what affine in shaders/channels_fours.wgsl needs, where all of it is known: three vec4 a four. */
function affineConstants(l: FusionQuestion): HostTensor | undefined {
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((k) => l.info(k)?.value);
  if (scale === undefined || bias === undefined || mean === undefined || variance === undefined) return undefined;
  const epsilon = floatAttr(l.node, "epsilon", 1e-5);
  const channels = scale.data.length;
  const data = new Float32Array(3 * channels);
  for (let c = 0; c < channels; c++) {
    const at = Math.floor(c / 4) * 12 + (c % 4);
    data[at] = mean.data[c] ?? NaN;
    data[at + 4] = (scale.data[c] ?? NaN) / Math.sqrt((variance.data[c] ?? NaN) + epsilon);
    data[at + 8] = bias.data[c] ?? NaN;
  }
  return { type: "float32", shape: [3 * channels], data };
}

/** Whether it runs in fours, with an epilogue: one known set of numbers a channel, channels in whole fours. */
function affine(l: FusionQuestion): boolean {
  const shape = l.info(0)?.shape ?? [];
  const each = l.opset < 9 && intAttr(l.node, "spatial", 1) === 0;
  const parameters = [1, 2, 3, 4].every((k) => l.info(k)?.value !== undefined);
  return wholeFours(shape) && !each && parameters && !inTraining(l.node, l.opset);
}

function lowerAffine(l: Lowering): boolean {
  const { residual, clamp } = l.epilogue;
  const asked = residual !== undefined || clamp !== undefined || l.standsInFours(0);
  if (!asked || !affine(l)) return false;
  const key = [1, 2, 3, 4].map((k) => tensorKey(must(l.info(k)?.value, "parameter"))).join();
  const epsilon = floatAttr(l.node, "epsilon", 1e-5);
  const constants = l.constant(`batch norm: ${key}, ${epsilon}`, () => must(affineConstants(l), "parameters"));
  dispatchAffine(l, l.inputFours(0), constants, l.outputFours(0), l.node.name, l.epilogue);
  return true;
}

const BatchNormalization: Operator = {
  infer,
  fuses: affine,
  forward(l) {
    if (lowerAffine(l)) return;
    if (inTraining(l.node, l.opset)) {
      const n = batchRows(l);
      lowerNormalisation(l, n);
      lowerRunning(l, n);
      return;
    }
    const { count, params } = partsOf(l);
    dispatchElements(l, count, {
      shader: "batch_norm",
      entry: "forward",
      params,
      // x, scale, variance, mean, bias
      reads: [0, 1, 4, 3, 2].map((k) => deviceInput(l, k).slot),
      writes: [l.output(0).slot],
    });
  },
  gradient(l) {
    const dy = l.outputGradient(0);
    if (inTraining(l.node, l.opset)) {
      if (dy !== undefined) lowerTrainingGradient(l, dy.slot);
      return;
    }
    if (dy === undefined) return;
    const parts = partsOf(l);
    batchNormParameterGradients(l, parts, dy);
    if (!l.wants(0)) return;
    const { count, params } = parts;
    dispatchElements(l, count, {
      shader: "batch_norm",
      entry: "gradient",
      params,
      reads: [dy.slot, deviceInput(l, 1).slot, deviceInput(l, 4).slot],
      writes: [l.inputGradient(0).slot],
    });
  },
};

export const batchNormalization: Record<string, Operator> = { BatchNormalization };
