/** Which tile of the convolution kernel suits a layer on an adapter: what was measured there (engine/tuner.ts), or a cost model. */
import { must } from "../errors.ts";
import type { Product, ProductShape } from "./conv-fours.ts";
import { blockPixels, type ConvTile } from "./conv-fours-shader.ts";
import type { Capabilities } from "./operator.ts";

type Sharing = Omit<ConvTile, "pixels" | "outputs">;

/** A group of fewer outputs would leave most of a workgroup of "memory" idle. */
const LEAST_OUTPUTS = 16;

/**
 * How lanes share weights with subgroups of so many lanes; 0: kernels cannot use subgroups. Wide ones are hardware's.
 * @param outputs of a group
 */
export function sharingFor(subgroups: number, outputs: number): Sharing {
  const plain = { subgroup: 0, across: 1, staged: 0, point: false, channels: 4 } as const;
  if (subgroups >= 16 && outputs >= LEAST_OUTPUTS) return { ...plain, share: "memory", lanes: 64, across: 8 };
  if (subgroups >= 16) return { ...plain, share: "load", lanes: 64 };
  if (subgroups >= 8) return { ...plain, share: "broadcast", subgroup: 8, lanes: 8 };
  if (subgroups >= 4) return { ...plain, share: "quad", lanes: 4 };
  return { ...plain, share: "load", lanes: 32 };
}

type Shape = readonly [pixels: number, outputs: number, other?: Partial<Sharing>];

/** The largest first. Few, since each is a pipeline to compile. */
const SHAPES: Readonly<Record<ConvTile["share"], readonly Shape[]>> = {
  broadcast: [
    [4, 32],
    [4, 16],
    [2, 32],
    [1, 32],
    [4, 4],
  ],
  // Seven pixels of four lanes: images of 224 pixels have layers of 28 times a whole number, and 49.
  quad: [
    [7, 64],
    [4, 64],
    [1, 64],
    [7, 32],
    [4, 32],
    [7, 16],
    [4, 4],
  ],
  // Within 16 KiB of workgroup memory and 256 lanes, which WebGPU guarantees.
  memory: [
    [8, 8, { lanes: 128 }],
    [8, 8],
    [4, 8],
    [4, 8, { across: 4 }],
    [2, 8, { across: 4 }],
  ],
  load: [
    [4, 8],
    [1, 8],
    [4, 4],
  ],
};

/** Instructions of a load (a vec4, all lanes) and of a multiply-add, as measured on software adapters; hardware is nearer. */
const COST = { broadcast: [300, 2.5], quad: [75, 2.5], load: [8, 1], memory: [8, 1] } as const;

/** Lanes that hardware computes at once, whether there are so many or not. An estimate: from integrated to large ones. */
const BUSY = 8192;

function cost(t: ConvTile, pixels: number, outputs: number): number {
  const [load, multiply] = COST[t.share];
  const each = t.share === "broadcast" ? t.subgroup : t.share === "quad" ? 4 : 1;
  const workgroups = Math.ceil(pixels / blockPixels(t)) * Math.ceil(outputs / (t.outputs * t.across));
  // In workgroups of 64 lanes.
  const steps = t.share === "memory" ? Math.max(workgroups * t.lanes, BUSY) / 64 : workgroups;
  const loads = t.pixels + Math.ceil(t.outputs / each);
  return steps * (load * loads + multiply * 4 * t.pixels * t.outputs);
}

/** What a dispatch of its own costs, in instructions: 50 us of a software adapter that does 20 a nanosecond. */
const DISPATCH = 1e6;

/** 1x1 without padding, and products of matrices: no loops over taps. */
export const pointwise = (p: ProductShape): boolean => p.inside && p.kernel[0] * p.kernel[1] === 1;

/** Steps of a tile's sums: fours of all taps. */
export const stepsOf = (p: ProductShape): number => p.kernel[0] * p.kernel[1] * p.fours;

/** Some of a product's pixels, from `first` on, and the tile that computes them. */
export interface PixelRange {
  readonly tile: ConvTile;
  readonly first: number;
  readonly pixels: number;
}

/**
 * The pixels of a last block that is not full are computed by the smallest tile of the same outputs, where that saves more
 * than its dispatch costs: on software adapters, for hardware computes other blocks meanwhile. Products of points only, since
 * each kind of kernel is a pipeline to compile.
 */
export function pixelRanges(p: Product): PixelRange[] {
  const { tile, pixels } = p;
  const all = [{ tile, first: 0, pixels }];
  const rest = pixels % blockPixels(tile);
  const software = tile.share === "broadcast" || tile.share === "quad";
  if (!software || !pointwise(p) || rest === pixels) return all;
  const [small = tile] = tilesOf(tile)
    .filter((t) => t.outputs === tile.outputs)
    .sort((a, b) => a.pixels - b.pixels);
  const saved = cost(tile, rest, p.outputs) - cost(small, rest, p.outputs);
  if (saved * stepsOf(p) * p.groups * (p.products?.count ?? 1) < DISPATCH) return all;
  const first = pixels - rest;
  return [
    { tile, first: 0, pixels: first },
    { tile: small, first, pixels: rest },
  ];
}

const tilesOf = (shared: Sharing): ConvTile[] =>
  SHAPES[shared.share].map(([pixels, outputs, other]) => ({ ...shared, ...other, pixels, outputs }));

/** Every tile worth measuring on an adapter, those that the cost model chooses among first. All give the same bits. */
export function candidateTiles(subgroups: number): ConvTile[] {
  const usual = sharingFor(subgroups, 0);
  const hardware = subgroups >= 16 ? [sharingFor(subgroups, Infinity)] : [];
  const narrower = [4, 0].filter((n) => n < subgroups && subgroups < 16).map((n) => sharingFor(n, 0));
  const lanes = usual.share === "load" ? [32, 64, 128].filter((n) => n !== usual.lanes) : [];
  return [...hardware, usual, ...narrower, ...lanes.map((n) => ({ ...usual, lanes: n }))].flatMap(tilesOf);
}

/** The cheapest first by the cost model. */
export const ranked = (tiles: readonly ConvTile[], { pixels, outputs }: ProductShape): ConvTile[] =>
  [...tiles].sort((a, b) => cost(a, pixels, outputs) - cost(b, pixels, outputs));

/**
 * The tile for a product. How many outputs it has depends on the layer alone, for weights are laid out by it; all else, on
 * the batch too.
 */
export function tileFor(
  { subgroups, tiles: measured }: Pick<Capabilities, "subgroups" | "tiles">,
  p: ProductShape,
): ConvTile {
  const tiles = tilesOf(sharingFor(subgroups, p.outputs));
  const width = measured?.outputs(p) ?? ranked(tiles, { ...p, pixels: p.imagePixels })[0]?.outputs;
  const wide = (t: ConvTile): boolean => t.outputs === width;
  const usual = tiles.some(wide) ? tiles : candidateTiles(subgroups);
  return measured?.tile(p) ?? must(ranked(usual.filter(wide), p)[0], `a tile of ${width ?? "no"} outputs`);
}
