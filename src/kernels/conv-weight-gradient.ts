/** Gradients of Conv and ConvTranspose with regard to weight and bias, in deterministic two-stage sums. */
import { sizeOf } from "../graph/graph.ts";
import { modelError } from "./attributes.ts";
import type { ConvGeometry } from "./conv-geometry.ts";
import { spread, type DeviceTensor, type GradientLowering, type Slot } from "./operator.ts";
import { sumOver } from "./sum-to.ts";

/** Positions that one invocation sums: short enough that rounding grows little, and many invocations have work. */
const RANGE = 1024;

export function weightGradient(l: GradientLowering, g: ConvGeometry, dy: DeviceTensor): void {
  if (l.wants(1)) {
    const x = l.input(0);
    if (x === undefined) throw modelError(l.node, "INPUT_MISSING", "input 0 is missing");
    const dw = l.inputGradient(1);
    const [coarse, fine] = g.transposed ? [x, dy] : [dy, x];
    const sizes = g.transposed
      ? [g.channels, g.outputs, ...g.input, ...g.output]
      : [g.outputs, g.channels, ...g.output, ...g.input];
    const [height, width] = g.transposed ? g.input : g.output;
    const positions = g.batch * height * width;
    const ranges = Math.max(1, Math.ceil(positions / RANGE)); // an empty batch has a gradient of zeros
    const count = sizeOf(dw.shape);
    const target = ranges === 1 ? dw.slot : l.scratch(count * ranges);
    l.dispatch({
      shader: "conv_weight_gradient",
      params: [g.batch, g.groups, ...sizes, ...g.kernel, ...g.strides, ...g.dilations, ...g.pads, ranges, RANGE],
      reads: [coarse.slot, fine.slot],
      writes: [target],
      workgroups: spread(Math.ceil((count * ranges) / 64)),
      label: `${l.node.name}: gradient of the weight`,
    });
    if (ranges > 1) sumRows(l, target, dw.slot, { outer: 1, rows: ranges, inner: count }, "sum of ranges");
  }
  if (l.wants(2)) {
    const channels = g.outputs * g.groups;
    const plane = g.output[0] * g.output[1];
    const summed = [
      { size: g.batch, strides: [channels * plane] },
      { size: plane, strides: [1] },
    ];
    const kept = [{ size: channels, strides: [plane] }];
    sumOver(l, dy.slot, kept, summed, l.inputGradient(2).slot, 1, "gradient of the bias");
  }
}

/** output[o, i] = sum of input[o, r, i] over r. */
export function sumRows(
  l: GradientLowering,
  input: Slot,
  output: Slot,
  sizes: { readonly outer: number; readonly rows: number; readonly inner: number },
  step: string,
): void {
  const { outer, rows, inner } = sizes;
  const kept = [
    { size: outer, strides: [rows * inner] },
    { size: inner, strides: [1] },
  ];
  sumOver(l, input, kept, [{ size: rows, strides: [inner] }], output, 1, step);
}
