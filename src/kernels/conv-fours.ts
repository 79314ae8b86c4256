/** Convolution over tensors in fours, by the generated kernel: weights, tiles, dispatch. */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import { blockPixels, convFoursShader, tileName, type ConvTile } from "./conv-fours-shader.ts";
import type { ConvGeometry, ConvTarget } from "./conv-geometry.ts";
import { pixelRanges, pointwise, stepsOf, type PixelRange } from "./conv-tiles.ts";
import { convMemoryShader } from "./conv-memory-shader.ts";
import { foursOf, type FoursTensor } from "./fours.ts";
import { f32, type DeviceTensor, type GeneratedShader, type Slot } from "./operator.ts";

/** What is done to sums before they are written: + residual, clamped, then 0 where the mask is not positive. */
export interface Epilogue {
  /** Takes the sums as they are before all of this. */
  readonly sums?: FoursTensor | undefined;
  readonly residual?: FoursTensor | undefined;
  readonly clamp?: readonly [lowest: number, highest: number] | undefined;
  readonly mask?: FoursTensor | undefined;
}

export interface FoursOperands extends Epilogue {
  readonly input: FoursTensor;
  readonly output: FoursTensor;
  readonly bias?: DeviceTensor | undefined;
  readonly label: string;
}

/** The `override` constants of an epilogue: which of its parts there are. */
export const epilogueConstants = (o: Epilogue): Record<string, number> => ({
  RESIDUAL: o.residual === undefined ? 0 : 1,
  MASK: o.mask === undefined ? 0 : 1,
  SUMS: o.sums === undefined ? 0 : 1,
});

/** What a dispatch with an epilogue writes; a shader that declares `sums` needs a buffer for it in any case. */
export const epilogueWrites = (l: Pick<ConvTarget, "scratch">, output: Slot, o: Epilogue): Slot[] => [
  output,
  o.sums?.slot ?? l.scratch(4),
];

const shaders = new Map<string, GeneratedShader>();

export function shaderOf(tile: ConvTile): GeneratedShader {
  const name = tileName(tile);
  let shader = shaders.get(name);
  if (shader === undefined) {
    shader = { name, code: tile.share === "memory" ? convMemoryShader(tile) : convFoursShader(tile) };
    shaders.set(name, shader);
  }
  return shader;
}

/** The pads with which a plain gather does the same as a transposed one of stride 1; negative ones cut off. */
export const plainPads = (g: ConvGeometry): readonly [number, number] =>
  g.transposed
    ? [g.dilations[0] * (g.kernel[0] - 1) - g.pads[0], g.dilations[1] * (g.kernel[1] - 1) - g.pads[1]]
    : g.pads;

/** Whether the kernel can do it: groups must begin and end at whole fours, and a transposed one have no stride. */
export function suitsFours(g: ConvGeometry): boolean {
  if (g.transposed && (g.strides[0] > 1 || g.strides[1] > 1)) return false;
  return g.groups === 1 || (g.channels % 4 === 0 && g.outputs % 4 === 0);
}

/** [group][tile][tap][four][output of the tile][4] */
export const foursWeightsShape = (g: ConvGeometry, outputs: number): number[] => [
  g.groups,
  Math.ceil(g.outputs / outputs),
  g.kernel[0] * g.kernel[1],
  foursOf(g.channels),
  outputs,
  4,
];

/** How far apart a weight's neighbours are, as ONNX stores them. */
export const weightSteps = (g: ConvGeometry): { readonly output: number; readonly channel: number } => {
  const taps = g.kernel[0] * g.kernel[1];
  return { output: (g.transposed ? 1 : g.channels) * taps, channel: (g.transposed ? g.outputs : 1) * taps };
};

/**
 * Weights as ONNX stores them, to `foursWeightsShape`; transposed ones with the kernel turned round.
 * @param outputs of a tile
 */
export function foursWeights(w: ArrayLike<number>, g: ConvGeometry, outputs: number): HostTensor {
  const shape = foursWeightsShape(g, outputs);
  const data = new Float32Array(sizeOf(shape));
  const taps = g.kernel[0] * g.kernel[1];
  const fours = foursOf(g.channels);
  const step = weightSteps(g);
  const tiles = Math.ceil(g.outputs / outputs);
  // In the order of what is written, which lies far apart otherwise: 100 MB take a tenth of a second.
  let target = 0;
  for (let group = 0; group < g.groups; group++) {
    for (let first = 0; first < tiles * outputs; first += outputs) {
      const last = Math.min(first + outputs, g.outputs);
      for (let tap = 0; tap < taps; tap++) {
        const from = group * g.outputs * g.channels * taps + (g.transposed ? taps - 1 - tap : tap);
        for (let c = 0; c < 4 * fours; c += 4) {
          const there = Math.min(4, g.channels - c);
          for (let o = first; o < last; o++) {
            const source = from + o * step.output + c * step.channel;
            for (let k = 0; k < there; k++) data[target + k] = w[source + k * step.channel] ?? 0;
            target += 4;
          }
          target += 4 * (first + outputs - last);
        }
      }
    }
  }
  return { type: "float32", shape, data };
}

/** Where pixels of the output go, in vec4: between columns and rows, and before the first. */
export interface Placement {
  readonly column: number;
  readonly row: number;
  readonly first: number;
  /** Of one four of channels of the tensor that is written. */
  readonly plane: number;
}

/** Workgroups that keep a software adapter's threads busy. */
const ENOUGH = 12;
/** What keeping the input costs a workgroup once, in tiles of outputs. */
const KEEPING = 0.5;

/**
 * Tiles of outputs that a workgroup computes one after the other, where it keeps what it reads of the input for all. Of the
 * numbers that leave enough workgroups, the cheapest: workgroups should be equal and of an even number, for there are mostly as
 * many threads, and each keeps its input once.
 * @param across workgroups for one tile of outputs
 */
export function tilesEach(tiles: number, across: number): number {
  const least = Math.min(tiles, Math.ceil(ENOUGH / across));
  const choices = Array.from({ length: least + 1 }, (_, k) => Math.ceil(tiles / Math.min(tiles, least + k)));
  const cost = (each: number): number => {
    const parts = Math.ceil(tiles / each);
    const count = across * parts;
    return (parts * (each + KEEPING) * 2 * Math.ceil(count / 2)) / count;
  };
  return choices.reduce((best, each) => (cost(each) < cost(best) ? each : best));
}

/**
 * For how many steps a lane should be able to keep input (ConvTile.staged): as many as there is room for, one size for all
 * layers, since each is a pipeline to compile. Products with more steps would read the weights of all tiles for each block of
 * pixels, which the cache does not hold: they keep nothing. A window's steps are mostly too many, but keeping the first
 * saves their taps, too; not where few would be used, for the memory is filled with zeros first. Images, with fewer than four
 * channels, keep all steps or none, so that their kernel has one loop. Of a single pixel's loads most are weights.
 */
function stagedSteps(l: ConvTarget, p: Product, each: number): number {
  const { share, pixels, lanes } = p.tile;
  if (share !== "broadcast" || each < 2 || pixels === 1) return 0;
  const room = Math.floor(l.workgroupBytes / (16 * pixels * lanes));
  const steps = stepsOf(p);
  const all = steps <= room;
  const keeps = pointwise(p) ? all : 2 * steps >= room && (all || p.channels === 4);
  return keeps ? room : 0;
}

/** A product of matrices, whatever its tile: what `convolveFours` and Winograd's products have in common. */
export interface ProductShape {
  /** Of all images, and of one: by the latter alone the tile's outputs are chosen. */
  readonly pixels: number;
  readonly imagePixels: number;
  readonly outPixels: number;
  readonly outWidth: number;
  readonly groups: number;
  /** Fours of one group, and channels of each: 4, or all where the input has fewer. */
  readonly fours: number;
  readonly channels: number;
  readonly outputs: number;
  readonly input: { readonly plane: number; readonly image: number; readonly height: number; readonly width: number };
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly dilations: readonly [number, number];
  readonly pads: readonly [number, number];
  readonly to: Placement & { readonly image: number };
  readonly products?: {
    readonly count: number;
    readonly input: number;
    readonly output: number;
  };
  /** No tap leaves the image. */
  readonly inside: boolean;
}

export interface Product extends ProductShape {
  readonly tile: ConvTile;
}

/** Of the weights of one of a product's independent products, in vec4. */
export const weightFours = (p: ProductShape, outputs: number): number =>
  p.groups * Math.ceil(p.outputs / outputs) * p.kernel[0] * p.kernel[1] * p.fours * outputs;

/** Workgroups of one dimension that WebGPU guarantees. */
const MOST_WORKGROUPS = 65535;

interface Slots {
  readonly input: Slot;
  readonly weights: Slot;
  readonly output: Slot;
  readonly label: string;
}

type End = Epilogue & { readonly bias?: DeviceTensor | undefined };

/**
 * Weights as `foursWeightsShape` has them, for the tile's outputs. In one dispatch, or two: the second for what whole blocks
 * leave of the pixels (conv-tiles.ts).
 * @returns how many dispatches
 */
export function dispatchProduct(l: ConvTarget, p: Product, slots: Slots, o: End = {}): number {
  if (p.pixels === 0) return 0;
  const ranges = pixelRanges(p);
  for (const range of ranges) dispatchRange(l, p, range, slots, o);
  return ranges.length;
}

function dispatchRange(l: ConvTarget, p: Product, { tile, first, pixels }: PixelRange, slots: Slots, o: End): void {
  const tiles = Math.ceil(p.outputs / tile.outputs);
  const across = Math.ceil(pixels / blockPixels(tile));
  const x = Math.min(across, MOST_WORKGROUPS);
  const products = p.products ?? { count: 1, input: 0, output: 0 };
  const several = tilesEach(tiles, across * p.groups * products.count);
  const staged = stagedSteps(l, { ...p, tile }, several);
  // Without, neighbouring workgroups share a tile of weights while it is in the cache.
  const each = staged > 0 ? several : tile.across;
  const held = Math.min(staged, stepsOf(p));
  const channels = tile.share === "memory" ? 4 : p.channels;
  const kernel = shaderOf({ ...tile, staged, channels, point: pointwise(p) });
  const [lowest, highest] = o.clamp ?? [-Infinity, Infinity];
  l.dispatch({
    shader: kernel,
    constants: epilogueConstants(o),
    params: [
      ...[first + pixels, p.outPixels, p.outWidth, p.fours],
      ...[p.input.plane, p.input.image, p.input.height, p.input.width],
      ...[...p.kernel, ...p.strides],
      ...[...p.dilations, ...p.pads],
      ...[p.to.column, p.to.row, p.to.plane, p.to.image],
      ...[p.to.first, tiles, foursOf(p.outputs), o.bias === undefined ? 0 : 1],
      ...[products.count, products.input, weightFours(p, tile.outputs), products.output],
      ...[f32(lowest), f32(highest)],
      ...[each, f32(1 / p.outPixels), f32(1 / p.outWidth), tile.pixels, held, first],
    ],
    reads: [
      slots.input,
      slots.weights,
      (o.bias ?? { slot: slots.weights }).slot,
      (o.residual ?? { slot: slots.weights }).slot,
      (o.mask ?? { slot: slots.weights }).slot,
    ],
    writes: epilogueWrites(l, slots.output, o),
    workgroups: [x, Math.ceil(tiles / each) * p.groups, products.count * Math.ceil(across / x)],
    label: slots.label,
  });
}

/** @param to as a tensor of the output's shape has it, unless told */
export function foursProduct(
  g: ConvGeometry,
  to: Placement = { column: 1, row: g.output[1], first: 0, plane: g.output[0] * g.output[1] },
): ProductShape {
  const pads = plainPads(g);
  const strides = g.transposed ? ([1, 1] as const) : g.strides;
  const inPlane = g.input[0] * g.input[1];
  const outPixels = g.output[0] * g.output[1];
  const reach = (axis: 0 | 1): number =>
    (g.output[axis] - 1) * strides[axis] + (g.kernel[axis] - 1) * g.dilations[axis];
  const within = (axis: 0 | 1): boolean => pads[axis] <= 0 && reach(axis) - pads[axis] < g.input[axis];
  return {
    ...{ outPixels, imagePixels: outPixels, strides, pads },
    pixels: g.batch * outPixels,
    outWidth: g.output[1],
    groups: g.groups,
    fours: foursOf(g.channels),
    // Kernels have one at least; with none there are no steps.
    channels: Math.max(1, Math.min(4, g.channels)),
    outputs: g.outputs,
    input: {
      plane: inPlane,
      image: foursOf(g.channels) * g.groups * inPlane,
      height: g.input[0],
      width: g.input[1],
    },
    kernel: g.kernel,
    dilations: g.dilations,
    to: { ...to, image: foursOf(g.outputs) * g.groups * to.plane },
    inside: within(0) && within(1),
  };
}

/** @param weights of `foursWeights` with the tile's outputs */
export function convolveFours(l: ConvTarget, p: Product, o: FoursOperands, weights: DeviceTensor): void {
  dispatchProduct(l, p, { input: o.input.slot, weights: weights.slot, output: o.output.slot, label: o.label }, o);
}
