/**
 * Convolution dispatches, shared by Conv and ConvTranspose and by the gradient of each: one is the other's gradient with
 * regard to its input.
 */
import { convolvePacked, packedShape, packWeights, suitsPacked } from "./convolve-packed.ts";
import { convolvePhases, suitsPhases } from "./convolve-phases.ts";
import { elementsOf, sizeOf, type HostTensor } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { lazyTensor } from "../graph/lazy.ts";
import {
  packedOutputs,
  PIXELS,
  TILE,
  WORKGROUP,
  type ConvGeometry,
  type ConvOperands,
  type ConvTarget,
} from "./conv-geometry.ts";
import { spread, type DeviceTensor, type Lowering } from "./operator.ts";

const paramsOf = (g: ConvGeometry, bias: boolean): number[] => [
  ...[g.batch, g.channels, g.outputs, g.groups],
  ...[...g.input, ...g.output],
  ...[...g.kernel, ...g.strides],
  ...[...g.dilations, ...g.pads],
  ...[packedOutputs(g), bias ? 1 : 0],
];

/**
 * One convolution by the variant that suits it.
 * @param weight as ONNX stores it: [group][output][channel][tap], transposed [group][channel][output][tap]
 * @param constant its elements where they are known when planning; they are packed once then
 */
export function convolve(
  l: Lowering,
  g: ConvGeometry,
  operands: ConvOperands,
  weight: () => DeviceTensor,
  constant: HostTensor | undefined,
): void {
  if (constant === undefined || g.outputs < TILE / 2) {
    convolveDirect(l, g, operands, weight());
    return;
  }
  if (suitsPhases(g, l.subgroups, operands.bias !== undefined)) {
    convolvePhases(l, g, operands, constant);
    return;
  }
  const layout = suitsPacked(g, l.subgroups) ? "packed" : "tiled";
  const key = `conv: ${tensorKey(constant)}, ${layout} in ${g.groups} groups${g.transposed ? ", transposed" : ""}`;
  const { subgroups } = l;
  const weights = l.constant(key, () =>
    lazyTensor("float32", laidOutShape(g, subgroups), () => layoutWeights(elementsOf(constant), g, subgroups).data),
  );
  convolveLaidOut(l, g, operands, weights);
}

/**
 * Shape of weights in the layout that `convolveLaidOut` takes on an adapter with such subgroups.
 */
export const laidOutShape = (g: ConvGeometry, subgroups: number): number[] =>
  suitsPacked(g, subgroups) ? packedShape(g) : tiledShape(g);

/** Weights as ONNX stores them in that layout. */
export const layoutWeights = (w: ArrayLike<number>, g: ConvGeometry, subgroups: number): HostTensor =>
  suitsPacked(g, subgroups) ? packWeights(w, g) : tileWeights(w, g);

/** A convolution with weights in that layout, whatever their number. */
export function convolveLaidOut(l: ConvTarget, g: ConvGeometry, o: ConvOperands, weights: DeviceTensor): void {
  (suitsPacked(g, l.subgroups) ? convolvePacked : convolveTiled)(l, g, o, weights);
}

function convolveDirect(l: ConvTarget, g: ConvGeometry, o: ConvOperands, weight: DeviceTensor): void {
  l.dispatch({
    shader: "conv_direct",
    constants: { TRANSPOSED: g.transposed ? 1 : 0 },
    params: paramsOf(g, o.bias !== undefined),
    reads: [o.input.slot, weight.slot, (o.bias ?? weight).slot],
    writes: [o.output.slot],
    workgroups: spread(Math.ceil(sizeOf(o.output.shape) / 64)),
    label: o.label,
  });
}

/** With weights from `tileWeights`. */
function convolveTiled(l: ConvTarget, g: ConvGeometry, o: ConvOperands, packed: DeviceTensor): void {
  const pixels = g.batch * g.output[0] * g.output[1];
  const [x, z] = spread(Math.ceil(pixels / (WORKGROUP * PIXELS)));
  l.dispatch({
    shader: "conv",
    constants: { TRANSPOSED: g.transposed ? 1 : 0, WORKGROUP },
    params: paramsOf(g, o.bias !== undefined),
    reads: [o.input.slot, packed.slot, (o.bias ?? packed).slot],
    writes: [o.output.slot],
    workgroups: [x, (packedOutputs(g) / TILE) * g.groups, z],
    label: o.label,
  });
}

/** Shape of what `tileWeights` makes: [group][tap][channel][output, padded to a multiple of the tile]. */
const tiledShape = (g: ConvGeometry): number[] => [g.groups, g.kernel[0] * g.kernel[1], g.channels, packedOutputs(g)];

/** Weights as ONNX stores them to `tiledShape`, padded with zeros. */
function tileWeights(w: ArrayLike<number>, g: ConvGeometry): HostTensor {
  const taps = g.kernel[0] * g.kernel[1];
  const shape = tiledShape(g);
  const width = packedOutputs(g);
  const data = new Float32Array(sizeOf(shape));
  const { groups, outputs, channels, transposed } = g;
  const outputStep = (transposed ? 1 : channels) * taps;
  const channelStep = (transposed ? outputs : 1) * taps;
  for (let group = 0; group < groups; group++) {
    const from = group * outputs * channels * taps;
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        const source = from + o * outputStep + c * channelStep;
        let target = (group * taps * channels + c) * width + o;
        for (let tap = 0; tap < taps; tap++) {
          data[target] = w[source + tap] ?? 0;
          target += channels * width;
        }
      }
    }
  }
  return { type: "float32", shape, data };
}
