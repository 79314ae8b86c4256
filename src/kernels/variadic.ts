/** Sum, Mean, Min, Max of any number of tensors (broadcasting from opset 8 on), and Clip, which is a Min of a Max. */
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { floatAttr, modelError, requireInput, scalarInput } from "./attributes.ts";
import { binaryGradient, binaryOnHost, commonType, dispatchBinary, sumToInput } from "./binary.ts";
import { allValues, known, newData, worthEvaluating } from "./host.ts";
import { deviceInput } from "./lowering.ts";
import { infosOf } from "./movement.ts";
import type { DeviceTensor, GradientLowering, Lowering, Operator } from "./operator.ts";
import { broadcastShapes } from "./shape.ts";
import type { UnaryParameters } from "./unary.ts";
import { dispatchScale, dispatchUnary, dispatchUnaryGradient } from "./unary.ts";
import { clip } from "./unary-host.ts";

type Inputs = readonly (ValueInfo | undefined)[];
type Name = "Sum" | "Mean" | "Min" | "Max";

const steps = { Sum: "Add", Mean: "Add", Min: "Min", Max: "Max" } as const;

const scratch = (l: Lowering, shape: readonly number[]): DeviceTensor => ({ slot: l.scratch(sizeOf(shape)), shape });

function onHost(name: Name, values: readonly HostTensor[], shape: readonly number[]): ValueInfo {
  const type = values[0]?.type ?? "float32";
  // In float64, rounded once at the end.
  const zero = { shape, data: new Float64Array(sizeOf(shape)) };
  const first = values[0] ?? zero;
  const spreadOut = binaryOnHost("Add", first, zero, shape, "int64").value ?? zero;
  const total = values
    .slice(1)
    .reduce<{ shape: readonly number[]; data: ArrayLike<number> }>(
      (sum, t) => binaryOnHost(steps[name], sum, t, shape, "int64").value ?? sum,
      spreadOut,
    );
  const data = newData(type, sizeOf(shape));
  for (let i = 0; i < data.length; i++) data[i] = (total.data[i] ?? 0) / (name === "Mean" ? values.length : 1);
  return known(type, shape, data);
}

/** From left to right, through scratch memory: a dispatch must not read what it writes. */
function forward(l: Lowering, name: Name): void {
  const inputs = l.node.inputs.map((_, k) => deviceInput(l, k));
  const [first, ...rest] = inputs;
  if (first === undefined) return;
  if (rest.length === 0) {
    l.alias(0, 0);
    return;
  }
  const output = l.output(0);
  let sum = first;
  rest.forEach((t, i) => {
    const last = i === rest.length - 1;
    const shape = last ? output.shape : broadcastShapes(l.node, [sum.shape, t.shape]);
    const to = last ? output : scratch(l, shape);
    dispatchBinary(l, steps[name], sum, t, to, last && name === "Mean" ? 1 / inputs.length : 1);
    sum = to;
  });
}

/** Sum and Mean: the same for every input. */
function sumGradient(l: GradientLowering, g: DeviceTensor, scale: number): void {
  l.node.inputs.forEach((_, k) => {
    if (!l.wants(k)) return;
    const size = sizeOf(deviceInput(l, k).shape);
    if (size !== sizeOf(g.shape)) sumToInput(l, g, k, scale);
    else if (scale === 1) l.passGradient(k, 0);
    else dispatchScale(l, g.slot, size, scale, l.inputGradient(k).slot);
  });
}

/**
 * Min and Max of more than two: inputs that tie share the gradient equally, as in PyTorch's maximum (of two) and amax.
 */
function extremumGradient(l: GradientLowering, g: DeviceTensor): void {
  const y = l.output(0);
  const holds = (k: number): DeviceTensor => {
    const to = scratch(l, g.shape);
    dispatchBinary(l, "Equal", deviceInput(l, k), y, to);
    return to;
  };
  const masks = l.node.inputs.map((_, k) => holds(k));
  const count = masks.reduce((a, b) => {
    const to = scratch(l, g.shape);
    dispatchBinary(l, "Add", a, b, to);
    return to;
  });
  const share = scratch(l, g.shape);
  dispatchBinary(l, "Div", g, count, share);
  masks.forEach((mask, k) => {
    if (!l.wants(k)) return;
    const whole = sizeOf(deviceInput(l, k).shape) === sizeOf(g.shape);
    const part = whole ? { slot: l.inputGradient(k).slot, shape: g.shape } : scratch(l, g.shape);
    dispatchBinary(l, "Mul", share, mask, part);
    if (!whole) sumToInput(l, part, k);
  });
}

function variadic(name: Name): Operator {
  return {
    infer: (node, inputs) => {
      const type = commonType(node, inputs);
      const shape = broadcastShapes(
        node,
        inputs.map((_, k) => requireInput(node, inputs, k).shape),
      );
      const values = allValues(inputs);
      if (values === undefined || !worthEvaluating(sizeOf(shape), inputs)) return [{ type, shape }];
      return [onHost(name, values, shape)];
    },
    forward: (l) => {
      forward(l, name);
    },
    gradient: (l) => {
      const g = l.outputGradient(0);
      if (g === undefined) return;
      const n = l.node.inputs.length;
      if (n === 1) l.passGradient(0, 0);
      else if (name === "Sum" || name === "Mean") sumGradient(l, g, name === "Mean" ? 1 / n : 1);
      else if (n === 2) binaryGradient(l, name);
      else extremumGradient(l, g);
    },
  };
}

/** The largest finite float32: the limit of Clip where none is given. */
const LARGEST = 3.4028234663852886e38;

/** Limits of Clip: attributes before opset 11, inputs from there on; undefined where computed on the device. */
function limits(node: GraphNode, inputs: Inputs): UnaryParameters | undefined {
  const [low, high] = (["min", "max"] as const).map((name, i) => {
    const info = inputs[i + 1];
    if (info === undefined) return floatAttr(node, name, i === 0 ? -LARGEST : LARGEST);
    if (sizeOf(info.shape) !== 1) throw modelError(node, "SHAPE", `${name} must be one number`);
    return info.value === undefined ? undefined : scalarInput(node, inputs, i + 1, name);
  });
  return low === undefined || high === undefined ? undefined : [low, high, 0];
}

/**
 * Clip as min(max(x, low), high) with limits that are tensors: a limit gets the gradient of the elements that it replaces,
 * x that of the others, and where they are equal each gets half, as from PyTorch 2.14.1's clamp with tensors (2.13.0: x
 * gets all).
 */
function clipGradients(l: GradientLowering, data: boolean): void {
  const g = l.outputGradient(0);
  if (g === undefined) return;
  const [x, low, high] = [deviceInput(l, 0), l.input(1), l.input(2)];
  const combine = (name: "Mul" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" | "Max") => {
    return (a: DeviceTensor, b: DeviceTensor, to = scratch(l, a.shape)): DeviceTensor => {
      dispatchBinary(l, name, a, b, to);
      return to;
    };
  };
  const mean = (a: DeviceTensor, b: DeviceTensor): DeviceTensor => {
    const to = scratch(l, a.shape);
    dispatchBinary(l, "Add", a, b, to, 0.5);
    return to;
  };
  if (data) {
    const above = (t: DeviceTensor) => mean(combine("Greater")(x, t), combine("GreaterOrEqual")(x, t));
    const below = (t: DeviceTensor) => mean(combine("Less")(x, t), combine("LessOrEqual")(x, t));
    const kept = low === undefined ? g : combine("Mul")(g, above(low));
    const to = l.inputGradient(0);
    if (high !== undefined) combine("Mul")(kept, below(high), to);
    else dispatchScale(l, kept.slot, sizeOf(x.shape), 1, to.slot);
  }
  if (low !== undefined && l.wants(1)) {
    const replaced = combine("Mul")(g, mean(combine("Less")(x, low), combine("LessOrEqual")(x, low)));
    sumToInput(l, high === undefined ? replaced : combine("Mul")(replaced, combine("LessOrEqual")(low, high)), 1);
  }
  if (high !== undefined && l.wants(2)) {
    const over = combine("Greater")(low === undefined ? x : combine("Max")(x, low), high);
    sumToInput(l, combine("Mul")(g, mean(over, combine("Max")(over, combine("GreaterOrEqual")(x, high)))), 2);
  }
}

const clipOperator: Operator = {
  infer: (node, inputs) => {
    const { shape, value } = requireInput(node, inputs, 0);
    const type = commonType(node, inputs);
    const p = limits(node, inputs);
    if (value === undefined || p === undefined) return [{ type, shape }];
    const data = newData(type, value.data.length);
    value.data.forEach((x, i) => {
      data[i] = clip(x, p[0], p[1]);
    });
    return [known(type, shape, data)];
  },
  forward: (l) => {
    const p = limits(l.node, infosOf(l));
    if (p !== undefined) {
      dispatchUnary(l, "Clip", p);
      return;
    }
    const [x, low, high] = [deviceInput(l, 0), l.input(1), l.input(2)];
    const output = l.output(0);
    const raised = low === undefined ? x : high === undefined ? output : scratch(l, x.shape);
    if (low !== undefined) dispatchBinary(l, "Max", x, low, raised);
    if (high !== undefined) dispatchBinary(l, "Min", raised, high, output);
  },
  clamp: (l) => {
    const p = limits(l.node, infosOf(l));
    return p === undefined || p[0] > p[1] ? undefined : [p[0], p[1]];
  },
  /** 1 between the limits and 0 at them, as PyTorch's relu6 and hardtanh have it (clamp from 2.14 on, before that 1). */
  gradient: (l) => {
    const p = limits(l.node, infosOf(l));
    if (p !== undefined) dispatchUnaryGradient(l, "Clip", p);
    if (p === undefined || l.wants(1) || l.wants(2)) clipGradients(l, p === undefined && l.wants(0));
  },
};

export const variadics: Record<string, Operator> = {
  Sum: variadic("Sum"),
  Mean: variadic("Mean"),
  Min: variadic("Min"),
  Max: variadic("Max"),
  Clip: clipOperator,
};
