/**
 * Convolution dispatches, shared by Conv and ConvTranspose and by the gradient of each: one is the other's gradient with
 * regard to its input.
 */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import { spread, type DeviceTensor, type KernelCall, type Lowering } from "./operator.ts";

/** Geometry of one convolution as the kernels see it: always two spatial axes, groups explicit. */
export interface ConvGeometry {
  readonly batch: number;
  readonly groups: number;
  /** Input channels of one group. */
  readonly channels: number;
  /** Output channels of one group. */
  readonly outputs: number;
  readonly input: readonly [number, number];
  readonly output: readonly [number, number];
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  /** Top and left. */
  readonly pads: readonly [number, number];
  /** Gathers where input = (output + pad - d k) / s is whole: Conv's input gradient, ConvTranspose's forward. */
  readonly transposed: boolean;
}

/** Output channels a lane of the tiled kernels computes. */
const TILE = 16;
const PIXELS = 4;
/** Lanes a workgroup: one subgroup on lavapipe; larger groups gain nothing on software adapters. */
const WORKGROUP = 8;

/**
 * One convolution.
 * @param weight as ONNX stores it: [group][output][channel][tap], transposed [group][channel][output][tap]
 * @param constant its elements where they are known when planning; they are packed once then
 */
export function convolve(
  l: Lowering,
  g: ConvGeometry,
  tensors: { input: DeviceTensor; weight: () => DeviceTensor; bias: DeviceTensor | undefined; output: DeviceTensor },
  constant: { key: string; value: HostTensor } | undefined,
  label: string,
): void {
  const packedOutputs = Math.ceil(g.outputs / TILE) * TILE;
  const params = [
    ...[g.batch, g.channels, g.outputs, g.groups],
    ...[...g.input, ...g.output],
    ...[...g.kernel, ...g.strides],
    ...[...g.dilations, ...g.pads],
    ...[packedOutputs, tensors.bias === undefined ? 0 : 1],
  ];
  const common = {
    params,
    writes: [tensors.output.slot],
    label,
    constants: { TRANSPOSED: g.transposed ? 1 : 0 },
  };
  const reads = (weight: DeviceTensor) => [tensors.input.slot, weight.slot, (tensors.bias ?? weight).slot];

  let call: KernelCall;
  if (constant === undefined || g.outputs < TILE / 2) {
    const workgroups = spread(Math.ceil(sizeOf(tensors.output.shape) / 64));
    call = { ...common, shader: "conv_direct", reads: reads(tensors.weight()), workgroups };
  } else {
    const packed = l.constant(`${constant.key}:packed${g.transposed ? " transposed" : ""}`, () =>
      packWeights(constant.value.data, g, packedOutputs),
    );
    const pixels = g.batch * g.output[0] * g.output[1];
    const [x, z] = spread(Math.ceil(pixels / (WORKGROUP * PIXELS)));
    call = {
      ...common,
      shader: l.subgroups >= 8 ? "conv_broadcast" : "conv",
      constants: { ...common.constants, WORKGROUP },
      reads: reads(packed),
      workgroups: [x, (packedOutputs / TILE) * g.groups, z],
    };
  }
  l.dispatch(call);
}

/** To [group][tap][channel][output, padded with zeros to packedOutputs]. */
function packWeights(w: ArrayLike<number>, g: ConvGeometry, packedOutputs: number): HostTensor {
  const taps = g.kernel[0] * g.kernel[1];
  const shape = [g.groups, taps, g.channels, packedOutputs];
  const data = new Float32Array(sizeOf(shape));
  const { groups, outputs, channels, transposed } = g;
  const outputStep = (transposed ? 1 : channels) * taps;
  const channelStep = (transposed ? outputs : 1) * taps;
  for (let group = 0; group < groups; group++) {
    const from = group * outputs * channels * taps;
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        const source = from + o * outputStep + c * channelStep;
        let target = (group * taps * channels + c) * packedOutputs + o;
        for (let tap = 0; tap < taps; tap++) {
          data[target] = w[source + tap] ?? 0;
          target += channels * packedOutputs;
        }
      }
    }
  }
  return { type: "float32", shape, data };
}
