/**
 * The fast convolution: input packed with its padding, four channels to a vec4, then shaders/conv_packed.wgsl. A
 * transposed convolution of stride 1 is a plain one with the kernel turned round, and comes here too.
 */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import {
  packedOutputs,
  PIXELS,
  TILE,
  WORKGROUP,
  type ConvGeometry,
  type ConvOperands,
  type ConvTarget,
} from "./conv-geometry.ts";
import { spread, type DeviceTensor } from "./operator.ts";

const fours = (g: ConvGeometry): number => Math.ceil(g.channels / 4);

/** The pads with which a plain gather does the same; negative where there is none. */
const plainPads = (g: ConvGeometry): readonly [number, number] =>
  g.transposed
    ? [g.dilations[0] * (g.kernel[0] - 1) - g.pads[0], g.dilations[1] * (g.kernel[1] - 1) - g.pads[1]]
    : g.pads;

/** Height and width of the padded input, as far as windows reach. */
function packedSize(g: ConvGeometry): readonly [number, number] {
  const span = (axis: 0 | 1): number =>
    (g.output[axis] - 1) * (g.transposed ? 1 : g.strides[axis]) + (g.kernel[axis] - 1) * g.dilations[axis] + 1;
  return [span(0), span(1)];
}

/** Elements of the packed input that are made without a second thought; beyond, padding must not outgrow the data. */
const FREELY = 2 ** 22;

/**
 * Whether this kernel can do it, and gains by it: a tile of output channels must not be mostly empty, nor the padding (of
 * windows dilated far beyond the image) many times the data.
 */
export function suitsPacked(g: ConvGeometry, subgroups: number): boolean {
  const plain = !g.transposed || (g.strides[0] === 1 && g.strides[1] === 1);
  if (subgroups < WORKGROUP || !plain || g.outputs < TILE / 2 || plainPads(g).some((p) => p < 0)) return false;
  const [height, width] = packedSize(g);
  // Of one image: the choice, and with it the order of sums, does not depend on the batch.
  const packed = g.groups * 4 * fours(g) * height * width;
  const input = g.groups * g.channels * g.input[0] * g.input[1];
  const output = g.groups * g.outputs * g.output[0] * g.output[1];
  return packed <= FREELY || packed <= 16 * (input + output);
}

/** [group][tap][four][output, padded to a multiple of the tile][4] */
export const packedShape = (g: ConvGeometry): number[] => [
  g.groups,
  g.kernel[0] * g.kernel[1],
  fours(g),
  packedOutputs(g),
  4,
];

/** Weights as ONNX stores them to `packedShape`, zeros where there are none. */
export function packWeights(w: ArrayLike<number>, g: ConvGeometry): HostTensor {
  const shape = packedShape(g);
  const data = new Float32Array(sizeOf(shape));
  const { groups, outputs, channels, transposed } = g;
  const taps = g.kernel[0] * g.kernel[1];
  const width = packedOutputs(g);
  const outputStep = (transposed ? 1 : channels) * taps;
  const channelStep = (transposed ? outputs : 1) * taps;
  for (let group = 0; group < groups; group++) {
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        const source = group * outputs * channels * taps + o * outputStep + c * channelStep;
        for (let tap = 0; tap < taps; tap++) {
          const k = transposed ? taps - 1 - tap : tap;
          const four = ((group * taps + k) * fours(g) + (c >> 2)) * width + o;
          data[4 * four + (c & 3)] = w[source + tap] ?? 0;
        }
      }
    }
  }
  return { type: "float32", shape, data };
}

/** How far outputs lie apart in memory: columns, rows, channels, and elements before the first. */
export interface OutputPitch {
  readonly column: number;
  readonly row: number;
  readonly plane: number;
  readonly first: number;
}

/**
 * @param weights packed by `packWeights`
 * @param pitch as a tensor of the output's shape has it, unless told
 */
export function convolvePacked(
  l: ConvTarget,
  g: ConvGeometry,
  o: ConvOperands,
  weights: DeviceTensor,
  pitch: OutputPitch = { column: 1, row: g.output[1], plane: g.output[0] * g.output[1], first: 0 },
): void {
  const [padTop, padLeft] = plainPads(g);
  const [strideY, strideX] = g.transposed ? [1, 1] : g.strides;
  const [height, width] = packedSize(g);
  const count = g.batch * g.groups * fours(g) * height * width;
  const packed = l.scratch(4 * count);
  l.dispatch({
    shader: "conv_pack",
    params: [count, g.channels, fours(g), ...g.input, padTop, padLeft, height, width],
    reads: [o.input.slot],
    writes: [packed],
    workgroups: spread(Math.ceil(count / 32)),
    label: `${o.label}: packing`,
  });
  const outPlane = g.output[0] * g.output[1];
  const [x, z] = spread(Math.ceil((g.batch * outPlane) / (WORKGROUP * PIXELS)));
  l.dispatch({
    shader: "conv_packed",
    constants: { WORKGROUP },
    params: [
      ...[g.batch * outPlane, fours(g), g.outputs, g.groups],
      ...[width, height * width, g.output[1], outPlane],
      ...[...g.kernel, strideY, strideX],
      ...[...g.dilations, packedOutputs(g), o.bias === undefined ? 0 : 1],
      ...[pitch.column, pitch.row, pitch.plane, pitch.first],
    ],
    reads: [packed, weights.slot, (o.bias ?? weights).slot],
    writes: [o.output.slot],
    workgroups: [x, (packedOutputs(g) / TILE) * g.groups, z],
    label: o.label,
  });
}
