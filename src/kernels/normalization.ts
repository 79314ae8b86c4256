/**
 * InstanceNormalization, LayerNormalization, GroupNormalization and MeanVarianceNormalization, each a normalisation of
 * rows that differ in what a row is and in what scale and bias belong to. Gradients of data, scale and bias.
 */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { floatAttr, intAttr, intsAttr, modelError, required, requireInput, unsupported } from "./attributes.ts";
import { hasOutput } from "./lowering.ts";
import type { Affine, Normalisation } from "./normalize.ts";
import { lowerAffineGradients, lowerNormalisation, lowerNormalisationGradient } from "./normalize.ts";
import type { Lowering, Operator } from "./operator.ts";
import { rowsOf } from "./rows.ts";
import { normaliseAxes, normaliseAxis, showShape } from "./shape.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** The rule of one operator: what its rows are, from shapes and attributes; checks all of them. */
type Plan = (node: GraphNode, inputs: Inputs, opset: number) => Normalisation;

const infosOf = (l: Lowering): Inputs => l.node.inputs.map((_, k) => l.info(k));

function operator(plan: Plan): Operator {
  return {
    infer(node, inputs, opset) {
      plan(node, inputs, opset);
      const x = requireInput(node, inputs, 0);
      return [{ type: x.type, shape: x.shape }];
    },
    forward(l) {
      lowerNormalisation(l, plan(l.node, infosOf(l), l.opset));
    },
    gradient(l) {
      if (l.outputGradient(1) !== undefined || l.outputGradient(2) !== undefined) {
        throw unsupported(l.node, "no gradient of the outputs mean and deviation");
      }
      const dy = l.outputGradient(0);
      if (dy === undefined) return;
      const n = plan(l.node, infosOf(l), l.opset);
      lowerAffineGradients(l, n, dy.slot);
      if (l.wants(0)) lowerNormalisationGradient(l, n, dy.slot);
    },
  };
}

/** Axes from `first` to the last. */
const axesFrom = (first: number, rank: number): number[] => Array.from({ length: rank - first }, (_, i) => first + i);

/** Input `input`, of `count` elements, one for every `inner` neighbouring elements. */
function perRun(node: GraphNode, inputs: Inputs, input: number, count: number, inner: number): Affine {
  const { shape } = requireInput(node, inputs, input);
  if (shape.length !== 1 || shape[0] !== count) {
    throw modelError(node, "SHAPE", `input ${input} has shape ${showShape(shape)}, but must have [${count}]`);
  }
  return { input, count, inner };
}

/** [N, C, ...]: each channel of each image is a row; scale and bias [C]. Opsets 6 and 22. */
const instance: Plan = (node, inputs) => {
  const { shape } = requireInput(node, inputs, 0);
  if (shape.length < 3) throw modelError(node, "SHAPE", `input ${showShape(shape)} is not [N,C,D1,...]`);
  const channels = shape[1] ?? 1;
  const inner = sizeOf(shape.slice(2));
  return {
    rows: rowsOf(node, shape, axesFrom(2, shape.length)),
    epsilon: floatAttr(node, "epsilon", 1e-5),
    scale: perRun(node, inputs, 1, channels, inner),
    bias: perRun(node, inputs, 2, channels, inner),
  };
};

/** [N, C, ...]: each group of channels of each image is a row; scale and bias [groups] in opset 18, [C] from 21 on. */
const group: Plan = (node, inputs, opset) => {
  const { shape } = requireInput(node, inputs, 0);
  if (shape.length < 2) throw modelError(node, "SHAPE", `input ${showShape(shape)} is not [N,C,...]`);
  const groups = required(node, "num_groups", intAttr(node, "num_groups"));
  const [batch = 1, channels = 1] = shape;
  if (groups < 1 || channels % groups !== 0) {
    throw modelError(node, "SHAPE", `${channels} channels cannot be divided into num_groups ${groups}`);
  }
  const spatial = sizeOf(shape.slice(2));
  const perChannel = opset >= 21;
  const count = perChannel ? channels : groups;
  const inner = perChannel ? spatial : spatial * (channels / groups);
  return {
    rows: rowsOf(node, [batch * groups, (channels / groups) * spatial], [1]),
    epsilon: floatAttr(node, "epsilon", 1e-5),
    scale: perRun(node, inputs, 1, count, inner),
    bias: perRun(node, inputs, 2, count, inner),
  };
};

/** `axes`, by default 0, 2 and 3, make up a row; no scale, and 1e-9 added to the deviation. Opsets 9 and 13. */
const meanVariance: Plan = (node, inputs) => {
  const { shape } = requireInput(node, inputs, 0);
  const axes = normaliseAxes(node, intsAttr(node, "axes", [0, 2, 3]), shape.length);
  return { rows: rowsOf(node, shape, axes), epsilon: 0, epsilonOutside: 1e-9 };
};

/** A parameter broadcast to `shape`: its own axes must be neighbours, the others of size 1. */
function broadcastParameter(node: GraphNode, inputs: Inputs, input: number, shape: readonly number[]): Affine {
  const own = requireInput(node, inputs, input).shape;
  const aligned = [...new Array<number>(Math.max(shape.length - own.length, 0)).fill(1), ...own];
  const first = aligned.findIndex((d) => d !== 1);
  if (first < 0) return { input, inner: 1, count: 1 };
  const last = aligned.findLastIndex((d) => d !== 1);
  if (aligned.length > shape.length || aligned.some((d, i) => d !== 1 && d !== shape[i])) {
    const shapes = `${showShape(own)}, which cannot be broadcast to the input's ${showShape(shape)}`;
    throw modelError(node, "SHAPE", `input ${input} has shape ${shapes}`);
  }
  if (aligned.slice(first, last).some((d, i) => d !== shape[first + i])) {
    throw unsupported(
      node,
      `input ${input} of shape ${showShape(own)} is broadcast in the middle of ${showShape(shape)}`,
    );
  }
  return { input, inner: sizeOf(shape.slice(last + 1)), count: sizeOf(shape.slice(first, last + 1)) };
}

/** The axes from `axis` on make up a row; scale and bias are broadcast to the input. Opset 17. */
const layer: Plan = (node, inputs) => {
  const { shape } = requireInput(node, inputs, 0);
  const axis = normaliseAxis(node, intAttr(node, "axis", -1), shape.length);
  const base = {
    rows: rowsOf(node, shape, axesFrom(axis, shape.length)),
    epsilon: floatAttr(node, "epsilon", 1e-5),
    scale: broadcastParameter(node, inputs, 1, shape),
  };
  return inputs[2] === undefined ? base : { ...base, bias: broadcastParameter(node, inputs, 2, shape) };
};

/** With ONNX's further outputs: mean and 1 / standard deviation of each row, the row's axes having size 1. */
const LayerNormalization: Operator = {
  ...operator(layer),
  infer(node, inputs, opset) {
    layer(node, inputs, opset);
    const { type, shape } = requireInput(node, inputs, 0);
    const axis = normaliseAxis(node, intAttr(node, "axis", -1), shape.length);
    const statistics = { type, shape: shape.map((d, i) => (i < axis ? d : 1)) };
    return [{ type, shape }, statistics, statistics].slice(0, Math.max(node.outputs.length, 1));
  },
  forward(l) {
    const own = (k: number) => (hasOutput(l, k) ? l.output(k).slot : undefined);
    lowerNormalisation(l, layer(l.node, infosOf(l), l.opset), { mean: own(1), inverse: own(2) });
  },
};

export const normalization: Record<string, Operator> = {
  InstanceNormalization: operator(instance),
  GroupNormalization: operator(group),
  MeanVarianceNormalization: operator(meanVariance),
  LayerNormalization,
};
