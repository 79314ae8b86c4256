/** Depthwise convolution, one kernel a channel, in fours (shaders/conv_depthwise.wgsl). */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import { epilogueConstants, epilogueWrites, plainPads, type FoursOperands } from "./conv-fours.ts";
import type { ConvGeometry, ConvTarget } from "./conv-geometry.ts";
import { f32, spread, type DeviceTensor } from "./operator.ts";

/** Whether the kernel can do it: transposed ones only without strides. */
export function suitsDepthwise(g: ConvGeometry): boolean {
  if (g.transposed && (g.strides[0] > 1 || g.strides[1] > 1)) return false;
  return g.channels === 1 && g.outputs === 1 && g.groups > 1 && g.groups % 4 === 0;
}

/** [tap][channel] */
export const depthwiseShape = (g: ConvGeometry): number[] => [g.kernel[0] * g.kernel[1], g.groups];

/** Weights as ONNX stores them, [channel][tap], to `depthwiseShape`; transposed ones with the kernel turned round. */
export function depthwiseWeights(w: ArrayLike<number>, g: ConvGeometry): HostTensor {
  const shape = depthwiseShape(g);
  const taps = g.kernel[0] * g.kernel[1];
  const data = new Float32Array(sizeOf(shape));
  for (let c = 0; c < g.groups; c++)
    for (let tap = 0; tap < taps; tap++)
      data[tap * g.groups + c] = w[c * taps + (g.transposed ? taps - 1 - tap : tap)] ?? 0;
  return { type: "float32", shape, data };
}

/** @param weights of `depthwiseWeights` */
export function convolveDepthwise(l: ConvTarget, g: ConvGeometry, o: FoursOperands, weights: DeviceTensor): void {
  const strides = g.transposed ? ([1, 1] as const) : g.strides;
  const rowLanes = Math.ceil(g.output[1] / 4);
  const count = (g.batch * g.groups * g.output[0] * rowLanes) / 4;
  const [lowest, highest] = o.clamp ?? [-Infinity, Infinity];
  l.dispatch({
    shader: "conv_depthwise",
    constants: {
      ...epilogueConstants(o),
      SLIDE: strides[1] === 1 && g.dilations[1] === 1 ? 1 : 0,
    },
    params: [
      ...[count, g.groups / 4, ...g.output],
      ...[rowLanes, ...g.input, o.bias === undefined ? 0 : 1],
      ...[...g.kernel, ...strides],
      ...[...g.dilations, ...plainPads(g)],
      ...[f32(lowest), f32(highest)],
    ],
    reads: [
      o.input.slot,
      weights.slot,
      (o.bias ?? weights).slot,
      (o.residual ?? weights).slot,
      (o.mask ?? weights).slot,
    ],
    writes: epilogueWrites(l, o.output.slot, o),
    workgroups: spread(Math.ceil(count / 32)),
    label: o.label,
  });
}
