/** Elementwise operators of one tensor: activations, roundings, signs, roots, exponentials. ONNX opset 6 to 24. */
import type { GraphNode } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { floatAttr, requireInput, stringAttr } from "./attributes.ts";
import { known, newData } from "./host.ts";
import { wholeFours } from "./fours.ts";
import { deviceInput } from "./lowering.ts";
import { memory } from "./movement.ts";
import type { GradientLowering, Lowering, Operator, Param, Slot } from "./operator.ts";
import { f32, spread } from "./operator.ts";
import { dispatchFill } from "./strided.ts";
import type { UnaryName } from "./unary-host.ts";
import { unaryCode, unaryFunctions } from "./unary-host.ts";

/** alpha, beta and gamma of shaders/unary.wgsl. */
export type UnaryParameters = readonly [number, number, number];
const NONE: UnaryParameters = [0, 0, 0];

type Target = Pick<Lowering, "dispatch"> & { readonly node: { readonly name: string } };

function call(
  l: Target,
  name: UnaryName,
  parameters: UnaryParameters,
  elements: number,
  entry: "main" | "gradient",
  reads: readonly Slot[],
  to: Slot,
): void {
  if (elements === 0) return;
  const fours = Math.ceil(elements / 4);
  const params: Param[] = [fours, ...parameters.map(f32), f32(Infinity), f32(NaN)];
  l.dispatch({
    shader: "unary",
    entry,
    constants: { OP: unaryCode(name) },
    params,
    reads,
    writes: [to],
    workgroups: spread(Math.ceil(fours / 64)),
    label: `${l.node.name}: ${name}${entry === "main" ? "" : ", gradient"}`,
  });
}

/** to = name(from), in memory of the caller's choice. */
export function applyUnary(l: Target, name: UnaryName, from: Slot, elements: number, to: Slot): void {
  call(l, name, NONE, elements, "main", [from], to);
}

/** to = |from|, for passes beside the network. */
export function dispatchAbsolute(l: Pick<Lowering, "dispatch">, from: Slot, elements: number, to: Slot): void {
  const target = { dispatch: l.dispatch, node: { name: "magnitudes" } };
  call(target, "Abs", NONE, elements, "main", [from], to);
}

/** output 0 = name(input 0) */
export function dispatchUnary(l: Lowering, name: UnaryName, parameters: UnaryParameters = NONE): void {
  if (l.standsInFours(0) && wholeFours(l.info(0)?.shape ?? [])) {
    const from = l.inputFours(0);
    call(l, name, parameters, sizeOf(from.shape), "main", [from.slot], l.outputFours(0).slot);
    return;
  }
  const from = deviceInput(l, 0);
  call(l, name, parameters, sizeOf(from.shape), "main", [from.slot], l.output(0).slot);
}

/** to = factor * from */
export function dispatchScale(l: Lowering, from: Slot, elements: number, factor: number, to: Slot): void {
  call(l, "Scale", [factor, 0, 0], elements, "main", [from], to);
}

/**
 * d output 0 / d input 0, for the operators whose gradient shaders/unary.wgsl has.
 * @param of what the slope is worked out from; a Relu's can be from its output, which is positive just where its input is
 */
export function dispatchUnaryGradient(
  l: GradientLowering,
  name: UnaryName,
  parameters: UnaryParameters = NONE,
  of: "input" | "output" = "input",
): void {
  if (!l.hasOutputGradient(0) || !l.wants(0)) return;
  const shape = l.info(0)?.shape ?? [];
  if (l.gradientStandsInFours(0) && wholeFours(shape)) {
    const g = l.outputGradientFours(0);
    if (g === undefined) return;
    const x = of === "output" ? l.resultFours(0) : l.inputFours(0);
    call(l, name, parameters, sizeOf(shape), "gradient", [x.slot, g.slot], l.inputGradientFours(0).slot);
    return;
  }
  const g = l.outputGradient(0);
  if (g === undefined) return;
  const x = of === "output" ? l.output(0) : deviceInput(l, 0);
  call(l, name, parameters, sizeOf(shape), "gradient", [x.slot, g.slot], l.inputGradient(0).slot);
}

interface Spec {
  readonly name: UnaryName | ((node: GraphNode) => UnaryName);
  readonly parameters?: (node: GraphNode) => UnaryParameters;
  /** "zero": steps, flat wherever they have a gradient. "none": to bool, which passes no gradient on. */
  readonly gradient?: "zero" | "none";
}

function unaryOperator({ name, parameters = () => NONE, gradient }: Spec): Operator {
  const nameOf = (node: GraphNode): UnaryName => (typeof name === "string" ? name : name(node));
  return {
    infer: (node, inputs) => {
      const { shape, value, ...input } = requireInput(node, inputs, 0);
      const type = nameOf(node) === "Not" ? "bool" : input.type;
      // Read even where they are not needed yet: a wrong attribute is reported at once.
      const [a, b, c] = parameters(node);
      const f = unaryFunctions[nameOf(node)];
      if (value === undefined) return [{ type, shape }];
      const data = newData(type, value.data.length);
      value.data.forEach((x, i) => {
        data[i] = f(x, a, b, c);
      });
      return [known(type, shape, data)];
    },
    forward: (l) => {
      dispatchUnary(l, nameOf(l.node), parameters(l.node));
    },
    gradient: (l) => {
      if (gradient === "none" || !l.wants(0)) return;
      if (gradient === "zero") dispatchFill(l, memory(l.inputGradient(0)), 0, "gradient, zero");
      else dispatchUnaryGradient(l, nameOf(l.node), parameters(l.node));
    },
  };
}

const alpha =
  (fallback: number) =>
  (node: GraphNode): UnaryParameters => [floatAttr(node, "alpha", fallback), 0, 0];

export const unary: Record<string, Operator> = {
  Relu: {
    ...unaryOperator({ name: "Relu" }),
    clamp: () => [0, Infinity],
    gradientOfOutput: true,
    gradient: (l) => {
      dispatchUnaryGradient(l, "Relu", NONE, "output");
    },
  },
  LeakyRelu: unaryOperator({ name: "LeakyRelu", parameters: alpha(0.01) }),
  // All three are gamma * (x, or alpha (e^(beta x) - 1) below 0).
  Elu: unaryOperator({ name: "Elu", parameters: (node) => [floatAttr(node, "alpha", 1), 1, 1] }),
  Selu: unaryOperator({
    name: "Elu",
    parameters: (node) => [
      floatAttr(node, "alpha", 1.67326319217681884765625),
      1,
      floatAttr(node, "gamma", 1.05070102214813232421875),
    ],
  }),
  Celu: unaryOperator({
    name: "Elu",
    parameters: (node) => [floatAttr(node, "alpha", 1), 1 / floatAttr(node, "alpha", 1), 1],
  }),
  Sigmoid: unaryOperator({ name: "Sigmoid" }),
  HardSigmoid: unaryOperator({
    name: "HardSigmoid",
    parameters: (node) => [floatAttr(node, "alpha", 0.2), floatAttr(node, "beta", 0.5), 0],
  }),
  HardSwish: unaryOperator({ name: "HardSwish" }),
  Swish: unaryOperator({ name: "Swish", parameters: alpha(1) }),
  Mish: unaryOperator({ name: "Mish" }),
  Gelu: unaryOperator({
    name: (node) => (stringAttr(node, "approximate", "none", ["none", "tanh"]) === "tanh" ? "GeluTanh" : "Gelu"),
  }),
  Erf: unaryOperator({ name: "Erf" }),
  Tanh: unaryOperator({ name: "Tanh" }),
  Softplus: unaryOperator({ name: "Softplus" }),
  Softsign: unaryOperator({ name: "Softsign" }),
  ThresholdedRelu: unaryOperator({ name: "ThresholdedRelu", parameters: alpha(1) }),
  Sqrt: unaryOperator({ name: "Sqrt" }),
  Exp: unaryOperator({ name: "Exp" }),
  Log: unaryOperator({ name: "Log" }),
  Neg: unaryOperator({ name: "Scale", parameters: () => [-1, 0, 0] }),
  Abs: unaryOperator({ name: "Abs" }),
  Reciprocal: unaryOperator({ name: "Reciprocal" }),
  Sign: unaryOperator({ name: "Sign", gradient: "zero" }),
  Floor: unaryOperator({ name: "Floor", gradient: "zero" }),
  Ceil: unaryOperator({ name: "Ceil", gradient: "zero" }),
  Round: unaryOperator({ name: "Round", gradient: "zero" }),
  Not: unaryOperator({ name: "Not", gradient: "none" }),
};
