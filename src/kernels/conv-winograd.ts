/**
 * Winograd's convolution for 3x3 kernels of stride 1 (shaders/winograd.wgsl): F(4x4, 3x3) multiplies a quarter as often as
 * the plain sum, F(2x2, 3x3) 4/9 as often, and both round more.
 */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import {
  dispatchProduct,
  epilogueConstants,
  epilogueWrites,
  foursWeightsShape,
  plainPads,
  weightSteps,
  type FoursOperands,
  type Product,
  type ProductShape,
} from "./conv-fours.ts";
import type { ConvTile } from "./conv-fours-shader.ts";
import { tileFor } from "./conv-tiles.ts";
import type { ConvGeometry, ConvTarget } from "./conv-geometry.ts";
import { foursOf } from "./fours.ts";
import { BINDING_BYTES, f32, spread, type DeviceTensor, type Lowering, type Param } from "./operator.ts";

/** Side of a tile of outputs. */
export type WinogradTile = 2 | 4;

/** G of Y = A^T [(G w G^T) . (B^T d B)] A, by the side of the tile. */
export const G: Readonly<Record<WinogradTile, readonly (readonly [number, number, number])[]>> = {
  2: [
    [1, 0, 0],
    [1 / 2, 1 / 2, 1 / 2],
    [1 / 2, -1 / 2, 1 / 2],
    [0, 0, 1],
  ],
  4: [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
  ],
};

/** Fewer input channels are not worth two more passes over the tensors; nor is a smaller image. */
const LEAST_CHANNELS = 16;
const LEAST_OUTPUTS = 16;
const LEAST_SIDE = 4;

/**
 * The tile for a layer; undefined where Winograd cannot do it or gains nothing. It depends on the layer alone, not on
 * the batch: an image gives the same bits in any.
 */
export function winogradTile(g: ConvGeometry): WinogradTile | undefined {
  const plain = [...g.strides, ...g.dilations].every((n) => n === 1) && g.groups === 1;
  if (!plain || g.kernel.some((k) => k !== 3)) return undefined;
  if (g.channels < LEAST_CHANNELS || g.outputs < LEAST_OUTPUTS) return undefined;
  if (g.output.some((n) => n < LEAST_SIDE)) return undefined;
  return g.output[0] * g.output[1] > 64 ? 4 : 2;
}

interface Sizes {
  /** Of a tile's inputs; components are its square. */
  readonly side: number;
  readonly rowTiles: number;
  readonly imageTiles: number;
  readonly tiles: number;
  /** Tiles that are computed together: all, unless their components are too large for a buffer. */
  readonly slice: number;
}

function sizesOf(g: ConvGeometry, m: WinogradTile): Sizes {
  const [down, along] = [Math.ceil(g.output[0] / m), Math.ceil(g.output[1] / m)];
  const [side, tiles] = [m + 2, g.batch * down * along];
  const each = 16 * side * side * Math.max(foursOf(g.channels), foursOf(g.outputs));
  const most = Math.max(1, Math.floor(BINDING_BYTES / each));
  // About equal slices, none above what fits.
  const slice = Math.ceil(tiles / Math.max(1, Math.ceil(tiles / most)));
  return { side, rowTiles: along, imageTiles: down * along, tiles, slice };
}

/** The products of all components of some tiles, which stand as [component][four][tile]. */
function productShape(g: ConvGeometry, m: WinogradTile, tiles: number): ProductShape {
  const { side, imageTiles } = sizesOf(g, m);
  const [inFours, outFours] = [foursOf(g.channels), foursOf(g.outputs)];
  return {
    ...{ pixels: tiles, imagePixels: imageTiles, outPixels: tiles, outWidth: tiles },
    ...{ groups: 1, fours: inFours, channels: 4, outputs: g.outputs },
    input: { plane: tiles, image: 0, height: 1, width: tiles },
    ...{ kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0] },
    to: { column: 1, row: 0, first: 0, plane: tiles, image: 0 },
    products: { count: side * side, input: inFours * tiles, output: outFours * tiles },
    inside: true,
  };
}

/** The products of a slice of tiles. */
export function winogradProduct(
  adapter: Pick<Lowering, "subgroups" | "tiles">,
  g: ConvGeometry,
  m: WinogradTile,
): Product {
  const shape = productShape(g, m, sizesOf(g, m).slice);
  return { ...shape, tile: tileFor(adapter, shape) };
}

/** [component][tile][four][output of the tile][4] */
export const winogradShape = (g: ConvGeometry, m: WinogradTile, tile: ConvTile): number[] => {
  const [, ...rest] = foursWeightsShape({ ...g, kernel: [1, 1] }, tile.outputs);
  return [(m + 2) ** 2, ...rest];
};

/** G w G^T of weights as ONNX stores them, transposed ones turned round, to `winogradShape`. */
export function winogradWeights(w: ArrayLike<number>, g: ConvGeometry, m: WinogradTile, t: ConvTile): HostTensor {
  const shape = winogradShape(g, m, t);
  const data = new Float32Array(sizeOf(shape));
  const { outputs } = t;
  const side = m + 2;
  const rows = Float64Array.from(G[m].flat());
  const fours = foursOf(g.channels);
  const component = sizeOf(shape) / side ** 2;
  const step = weightSteps(g);
  // G w first, side x 3, then its product with G^T.
  const half = new Float64Array(side * 3);
  const tap = new Float64Array(9);
  // In the order of what is written: side x side streams.
  for (let first = 0; first < g.outputs; first += outputs) {
    for (let c = 0; c < g.channels; c++) {
      const four = ((first / outputs) * fours + (c >> 2)) * outputs * 4 + (c & 3);
      for (let o = first; o < Math.min(first + outputs, g.outputs); o++) {
        const from = o * step.output + c * step.channel;
        for (let k = 0; k < 9; k++) tap[k] = w[from + (g.transposed ? 8 - k : k)] ?? 0;
        for (let i = 0; i < side; i++) {
          const [p, q, r] = [rows[3 * i] ?? 0, rows[3 * i + 1] ?? 0, rows[3 * i + 2] ?? 0];
          for (let j = 0; j < 3; j++) {
            half[3 * i + j] = p * (tap[j] ?? 0) + q * (tap[3 + j] ?? 0) + r * (tap[6 + j] ?? 0);
          }
        }
        let target = four + 4 * (o - first);
        for (let i = 0; i < side; i++) {
          const [x, y, z] = [half[3 * i] ?? 0, half[3 * i + 1] ?? 0, half[3 * i + 2] ?? 0];
          for (let j = 0; j < side; j++) {
            data[target] = (rows[3 * j] ?? 0) * x + (rows[3 * j + 1] ?? 0) * y + (rows[3 * j + 2] ?? 0) * z;
            target += component;
          }
        }
      }
    }
  }
  return { type: "float32", shape, data };
}

/** @param weights of `winogradWeights` */
export function convolveWinograd(
  l: ConvTarget,
  g: ConvGeometry,
  m: WinogradTile,
  { tile }: Product,
  o: FoursOperands,
  weights: DeviceTensor,
): void {
  const { side, rowTiles, imageTiles, tiles, slice } = sizesOf(g, m);
  const [inFours, outFours] = [foursOf(g.channels), foursOf(g.outputs)];
  const [transformed, products] = [
    l.scratch(4 * side * side * inFours * slice),
    l.scratch(4 * side * side * outFours * slice),
  ];
  const image = [...g.output, 0, 0];
  const clamp = (o.clamp ?? [-Infinity, Infinity]).map(f32);
  for (let first = 0; first < tiles; first += slice) {
    const count = Math.min(slice, tiles - first);
    const step = (entry: string, fours: number, rest: readonly Param[]) => ({
      entry,
      params: [first, count, imageTiles, rowTiles, fours, ...rest],
      workgroups: spread(Math.ceil((fours * count) / 32)),
    });
    l.dispatch({
      shader: "winograd",
      ...step(`input_${m}`, inFours, [...g.input, ...plainPads(g), f32(0), f32(0), 0, side]),
      reads: [o.input.slot],
      writes: [transformed],
      label: `${o.label}: tiles of the input`,
    });
    const slots = { input: transformed, weights: weights.slot, output: products };
    dispatchProduct(l, { ...productShape(g, m, count), tile }, { ...slots, label: `${o.label}: products` });
    l.dispatch({
      shader: "winograd",
      ...step(`output_${m}`, outFours, [...image, ...clamp, o.bias === undefined ? 0 : 1, side]),
      constants: epilogueConstants(o),
      reads: [
        products,
        (o.bias ?? { slot: products }).slot,
        (o.residual ?? { slot: products }).slot,
        (o.mask ?? { slot: products }).slot,
      ],
      writes: epilogueWrites(l, o.output.slot, o),
      label: o.label,
    });
  }
}
