/** Gradients with regard to scales, biases and statistics of normalisations, made of elementwise kernels and sums. */
import { sizeOf } from "../graph/graph.ts";
import { dispatchBinary, type BinaryName } from "./binary.ts";
import { deviceInput } from "./lowering.ts";
import type { DeviceTensor, GradientLowering, Lowering, Slot } from "./operator.ts";
import { sumOver } from "./sum-to.ts";
import { applyUnary, dispatchScale } from "./unary.ts";

/** Where a parameter belongs: element i of the tensor has parameter (i / inner) % count. */
export interface Repeats {
  readonly inner: number;
  readonly count: number;
}

const scratch = (l: Lowering, shape: readonly number[]): DeviceTensor => ({ slot: l.scratch(sizeOf(shape)), shape });

/** Into `to`, [count]: the sum of `from` over the elements of each parameter, in the fixed order of `sumOver`. */
export function sumPerParameter(
  l: Lowering,
  from: Slot,
  elements: number,
  { inner, count }: Repeats,
  to: Slot,
  step: string,
): void {
  const outer = elements === 0 ? 0 : elements / (inner * count);
  const summed = [
    { size: outer, strides: [count * inner] },
    { size: inner, strides: [1] },
  ];
  sumOver(l, from, [{ size: count, strides: [inner] }], summed, to, 1, step);
}

/** to = name(a, b), into new memory unless told. */
function combine(l: Lowering, name: BinaryName, a: DeviceTensor, b: DeviceTensor, to?: DeviceTensor): DeviceTensor {
  const target = to ?? scratch(l, a.shape);
  dispatchBinary(l, name, a, b, target);
  return target;
}

/** Input and parameters of a BatchNormalization, [batch, channels, inner] and [channels, 1]. */
interface BatchNormParts {
  readonly channels: number;
  readonly inner: number;
  readonly epsilon: number;
}

/**
 * y = (x - mean) r scale + bias with r = 1 / sqrt(variance + epsilon): with S0 = sum dy and S1 = sum dy (x - mean) over a
 * channel, d scale = S1 r, d bias = S0, d mean = -S0 scale r, d variance = -1/2 S1 scale r^3.
 */
export function batchNormParameterGradients(l: GradientLowering, g: BatchNormParts, dy: DeviceTensor): void {
  const [scale, bias, mean, variance] = [1, 2, 3, 4].map((k) => l.wants(k));
  const { channels, inner } = g;
  const elements = sizeOf(dy.shape);
  const outer = elements === 0 ? 0 : elements / (channels * inner);
  const box = (slot: Slot): DeviceTensor => ({ slot, shape: [outer, channels, inner] });
  const perChannel = (slot: Slot): DeviceTensor => ({ slot, shape: [channels, 1] });
  const sums = (from: Slot, to: Slot, step: string): DeviceTensor => {
    sumPerParameter(l, from, elements, { inner, count: channels }, to, step);
    return perChannel(to);
  };
  const target = (k: number): DeviceTensor => perChannel(l.inputGradient(k).slot);
  if (bias === true) sums(dy.slot, l.inputGradient(2).slot, "gradient of the bias");
  if (scale !== true && mean !== true && variance !== true) return;

  const given = (k: number): DeviceTensor => perChannel(deviceInput(l, k).slot);
  const epsilon = l.constant(`batch norm: epsilon ${g.epsilon}`, () => {
    return { type: "float32", shape: [1], data: Float32Array.of(g.epsilon) };
  });
  const shifted = combine(l, "Add", given(4), epsilon);
  const root = scratch(l, [channels, 1]);
  applyUnary(l, "Sqrt", shifted.slot, channels, root.slot);
  const r = scratch(l, [channels, 1]);
  applyUnary(l, "Reciprocal", root.slot, channels, r.slot);
  if (mean === true) {
    const s0 = sums(dy.slot, l.scratch(channels), "gradient of the mean, sums");
    const product = combine(l, "Mul", combine(l, "Mul", s0, given(1)), r);
    dispatchScale(l, product.slot, channels, -1, target(3).slot);
  }
  if (scale !== true && variance !== true) return;
  const centred = combine(l, "Sub", box(deviceInput(l, 0).slot), given(3));
  const products = combine(l, "Mul", centred, box(dy.slot));
  const s1 = sums(products.slot, l.scratch(channels), "gradient of the scale, sums");
  const slope = combine(l, "Mul", s1, r, scale === true ? target(1) : undefined);
  if (variance !== true) return;
  const cubic = combine(l, "Mul", combine(l, "Mul", combine(l, "Mul", slope, r), r), given(1));
  dispatchScale(l, cubic.slot, channels, -0.5, target(4).slot);
}
