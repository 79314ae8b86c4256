/** Elementwise operators of two tensors with numpy's broadcasting: arithmetic, comparisons, logic. ONNX opset 7 to 22. */
import type { ElementType, GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { modelError, requireInput } from "./attributes.ts";
import { allValues, known, newData, worthEvaluating } from "./host.ts";
import { dispatchScaleChannels, scaledImage } from "./channels-fours.ts";
import { foursAsPlain, wholeFours } from "./fours.ts";
import { deviceInput } from "./lowering.ts";
import type { DeviceTensor, GradientLowering, Lowering, Operator, Param } from "./operator.ts";
import { f32, spread } from "./operator.ts";
import { broadcastShapes, showShape } from "./shape.ts";
import type { StridedCopy } from "./strided.ts";
import { boxParams, broadcastBox, walk } from "./strided.ts";
import { sumTo } from "./sum-to.ts";

type Inputs = readonly (ValueInfo | undefined)[];

const truth = (b: boolean): number => (b ? 1 : 0);

/** Whole powers of integers are exact; IEEE's pow says 1^NaN = 1, JavaScript does not. */
const power = (a: number, b: number): number => (a === 1 ? 1 : a ** b);

/** On float64, in the order of their codes. */
export const binaryFunctions = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  DivInteger: (a, b) => Math.trunc(a / b),
  Pow: power,
  PRelu: (a, b) => (a < 0 ? a * b : a),
  Min: (a, b) => Math.min(a, b),
  Max: (a, b) => Math.max(a, b),
  Equal: (a, b) => truth(a === b),
  Less: (a, b) => truth(a < b),
  LessOrEqual: (a, b) => truth(a <= b),
  Greater: (a, b) => truth(a > b),
  GreaterOrEqual: (a, b) => truth(a >= b),
  And: (a, b) => truth(a !== 0 && b !== 0),
  Or: (a, b) => truth(a !== 0 || b !== 0),
  Xor: (a, b) => truth((a !== 0) !== (b !== 0)),
} as const satisfies Record<string, (a: number, b: number) => number>;

export type BinaryName = keyof typeof binaryFunctions;

/** OP of shaders/binary.wgsl, which lists the functions in this order (test/kernels/op-codes.test.ts). */
export const binaryCode = (name: BinaryName): number => Object.keys(binaryFunctions).indexOf(name);

function paramsOf(l: Lowering, shapes: readonly (readonly number[])[], out: readonly number[], scale: number): Param[] {
  const box = broadcastBox(out, shapes);
  return [sizeOf(out), box.length, f32(scale), f32(Infinity), f32(NaN), 0, 0, 0, ...boxParams(l, box)];
}

/** out = name(a, b); Add is multiplied by `scale`. */
export function dispatchBinary(
  l: Lowering,
  name: BinaryName,
  a: DeviceTensor,
  b: DeviceTensor,
  out: DeviceTensor,
  scale = 1,
): void {
  const count = sizeOf(out.shape);
  if (count === 0) return;
  const same = sizeOf(a.shape) === count && sizeOf(b.shape) === count;
  l.dispatch({
    shader: "binary",
    entry: same ? "same_shape" : "main",
    constants: { OP: binaryCode(name) },
    params: paramsOf(l, [a.shape, b.shape], out.shape, scale),
    reads: [a.slot, b.slot],
    writes: [out.slot],
    workgroups: spread(Math.ceil((same ? Math.ceil(count / 4) : count) / 64)),
    label: `${l.node.name}: ${name}`,
  });
}

/** Adds the gradient of input `k` up from `full`, a tensor of the output's shape. */
export function sumToInput(l: GradientLowering, full: DeviceTensor, k: number, scale = 1): void {
  sumTo(l, full.slot, full.shape, l.inputGradient(k), scale, `gradient of input ${k}, sum`);
}

/** d output 0 / d input `side`, for the operators whose gradient shaders/binary.wgsl has. */
function dispatchGradient(l: GradientLowering, name: BinaryName, g: DeviceTensor, side: 0 | 1): void {
  const count = sizeOf(g.shape);
  const size = sizeOf(l.info(side)?.shape ?? []);
  if (size === 0) return;
  const whole = size === count;
  // Linear ones need no product with a slope before the sum.
  if (!whole && (name === "Add" || name === "Sub")) {
    sumToInput(l, g, side, name === "Sub" && side === 1 ? -1 : 1);
    return;
  }
  const [a, b] = [deviceInput(l, 0), deviceInput(l, 1)];
  const full = whole ? l.inputGradient(side) : { slot: l.scratch(count), shape: g.shape };
  if (count > 0) {
    l.dispatch({
      shader: "binary",
      entry: "gradient",
      constants: { OP: binaryCode(name), SIDE: side },
      params: paramsOf(l, [a.shape, b.shape], g.shape, 1),
      reads: [a.slot, b.slot, g.slot],
      writes: [full.slot],
      workgroups: spread(Math.ceil(count / 64)),
      label: `${l.node.name}: ${name}, gradient of input ${side}`,
    });
  }
  if (!whole) sumToInput(l, full, side);
}

export function binaryGradient(l: GradientLowering, name: BinaryName): void {
  if (!l.hasOutputGradient(0)) return;
  for (const side of [0, 1] as const) {
    if (!l.wants(side) || l.info(side)?.type !== "float32") continue;
    // An Add passes it on as it stands, in rows or in fours, and needs none of its inputs.
    const other = l.info(1 - side)?.shape ?? [];
    const shape = l.info(side)?.shape ?? [];
    if (name === "Add" && sizeOf(shape) > 0 && sizeOf(broadcastShapes(l.node, [shape, other])) === sizeOf(shape)) {
      l.passGradient(side, 0);
      continue;
    }
    const g = l.outputGradient(0);
    if (g !== undefined) dispatchGradient(l, name, g, side);
  }
}

/** name(a, b) on the host, broadcast to `shape`. */
export function binaryOnHost(
  name: BinaryName,
  a: { shape: readonly number[]; data: ArrayLike<number> },
  b: { shape: readonly number[]; data: ArrayLike<number> },
  shape: readonly number[],
  type: ElementType,
): ValueInfo {
  const data = newData(type, sizeOf(shape));
  const f = binaryFunctions[name];
  const copy: StridedCopy = { dims: broadcastBox(shape, [a.shape, b.shape]), fromOffset: 0, toOffset: 0 };
  let i = 0;
  walk(copy, (p, q) => {
    data[i++] = f(a.data[p] ?? 0, b.data[q] ?? 0);
  });
  return known(type, shape, data);
}

/** Whether both inputs are of one shape and at least one stands in fours, with nothing beyond the last channel. */
function sameFours(l: Lowering): boolean {
  const [a = [], b = []] = [l.info(0)?.shape, l.info(1)?.shape];
  return wholeFours(a) && a.join() === b.join() && (l.standsInFours(0) || l.standsInFours(1));
}

type Result = "same" | "bool";

/** @throws UnbraidError INPUT_TYPE unless all inputs are of the first one's type */
export function commonType(node: GraphNode, inputs: Inputs): ElementType {
  const { type } = requireInput(node, inputs, 0);
  const other = inputs.find((i) => i !== undefined && i.type !== type);
  if (other !== undefined) throw modelError(node, "INPUT_TYPE", `inputs of types ${type} and ${other.type} do not mix`);
  return type;
}

function binaryOperator(
  name: BinaryName,
  result: Result = "same",
  rule: { readonly mixed?: boolean; readonly oneWay?: boolean } = {},
): Operator {
  const nameFor = (type: ElementType): BinaryName => (name === "Div" && type !== "float32" ? "DivInteger" : name);
  return {
    infer: (node, inputs) => {
      const [a, b] = [requireInput(node, inputs, 0), requireInput(node, inputs, 1)];
      const from = rule.mixed === true ? a.type : commonType(node, inputs);
      const type = result === "bool" ? "bool" : from;
      const shape = broadcastShapes(node, [a.shape, b.shape]);
      if (rule.oneWay === true && sizeOf(shape) !== sizeOf(a.shape)) {
        throw modelError(node, "SHAPE", `input 1, ${showShape(b.shape)}, cannot be broadcast to ${showShape(a.shape)}`);
      }
      const [x, y] = allValues([a, b]) ?? [];
      if (x === undefined || y === undefined || !worthEvaluating(sizeOf(shape), inputs)) return [{ type, shape }];
      return [binaryOnHost(nameFor(from), x, y, shape, type)];
    },
    forward: (l) => {
      const type = l.info(0)?.type ?? "float32";
      if (sameFours(l)) {
        const [a, b, out] = [l.inputFours(0), l.inputFours(1), l.outputFours(0)].map(foursAsPlain);
        if (a && b && out) dispatchBinary(l, nameFor(type), a, b, out);
        return;
      }
      const scaled = name === "Mul" ? scaledImage(l) : undefined;
      if (scaled !== undefined) {
        dispatchScaleChannels(l, ...scaled);
        return;
      }
      dispatchBinary(l, nameFor(type), deviceInput(l, 0), deviceInput(l, 1), l.output(0));
    },
    // Booleans and integers pass no gradient on.
    gradient: (l) => {
      if (result === "same") binaryGradient(l, name);
    },
  };
}

export const binary: Record<string, Operator> = {
  Add: binaryOperator("Add"),
  Sub: binaryOperator("Sub"),
  Mul: binaryOperator("Mul"),
  Div: binaryOperator("Div"),
  // From opset 12 on the exponent may be of another type; the result is of the base's.
  Pow: binaryOperator("Pow", "same", { mixed: true }),
  PRelu: binaryOperator("PRelu", "same", { oneWay: true }),
  Equal: binaryOperator("Equal", "bool"),
  Less: binaryOperator("Less", "bool"),
  LessOrEqual: binaryOperator("LessOrEqual", "bool"),
  Greater: binaryOperator("Greater", "bool"),
  GreaterOrEqual: binaryOperator("GreaterOrEqual", "bool"),
  And: binaryOperator("And", "bool"),
  Or: binaryOperator("Or", "bool"),
  Xor: binaryOperator("Xor", "bool"),
};
