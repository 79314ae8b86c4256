/** Which tile of the convolution kernel suits a layer on an adapter: what was measured there (engine/tuner.ts), or a cost model. */
import { must } from "../errors.ts";
import type { ProductShape } from "./conv-fours.ts";
import type { ConvTile } from "./conv-fours-shader.ts";
import type { Capabilities } from "./operator.ts";

type Sharing = Pick<ConvTile, "share" | "subgroup" | "lanes" | "staged" | "point">;

/** How lanes share weights with subgroups of so many lanes; 0: kernels cannot use subgroups. */
export function sharingFor(subgroups: number): Sharing {
  if (subgroups >= 16) return { share: "load", subgroup: 0, lanes: 64, staged: 0, point: false };
  if (subgroups >= 8) return { share: "broadcast", subgroup: 8, lanes: 8, staged: 0, point: false };
  if (subgroups >= 4) return { share: "quad", subgroup: 0, lanes: 16, staged: 0, point: false };
  return { share: "load", subgroup: 0, lanes: 32, staged: 0, point: false };
}

/** [pixels, outputs], the largest first. Few, since each is a pipeline to compile. */
const SHAPES: Readonly<Record<ConvTile["share"], readonly (readonly [number, number])[]>> = {
  broadcast: [
    [4, 32],
    [4, 16],
    [2, 32],
    [1, 32],
    [4, 4],
  ],
  quad: [
    [8, 32],
    [4, 32],
    [2, 32],
    [1, 32],
    [4, 4],
  ],
  load: [
    [4, 8],
    [1, 8],
    [4, 4],
  ],
};

/** Instructions of a load (a vec4, all lanes) and of a multiply-add, as measured on software adapters; hardware is nearer. */
const COST = { broadcast: [300, 2.5], quad: [75, 2.5], load: [8, 1] } as const;

function cost(t: ConvTile, pixels: number, outputs: number): number {
  const [load, multiply] = COST[t.share];
  const each = t.share === "load" ? 1 : t.share === "quad" ? 4 : t.subgroup;
  const steps = Math.ceil(pixels / (t.lanes * t.pixels)) * Math.ceil(outputs / t.outputs);
  const loads = t.pixels + Math.ceil(t.outputs / each);
  return steps * (load * loads + multiply * 4 * t.pixels * t.outputs);
}

const tilesOf = (shared: Sharing): ConvTile[] =>
  SHAPES[shared.share].map(([pixels, outputs]) => ({ pixels, outputs, ...shared }));

/** Every tile worth measuring on an adapter, those that the cost model chooses among first. All give the same bits. */
export function candidateTiles(subgroups: number): ConvTile[] {
  const usual = sharingFor(subgroups);
  const narrower = [4, 0].filter((n) => n < subgroups && subgroups < 16).map(sharingFor);
  const lanes = usual.share === "load" ? [32, 64, 128].filter((n) => n !== usual.lanes) : [];
  return [usual, ...narrower, ...lanes.map((n) => ({ ...usual, lanes: n }))].flatMap(tilesOf);
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
  const tiles = tilesOf(sharingFor(subgroups));
  const width = measured?.outputs(p) ?? ranked(tiles, { ...p, pixels: p.imagePixels })[0]?.outputs;
  const wide = (t: ConvTile): boolean => t.outputs === width;
  const usual = tiles.some(wide) ? tiles : candidateTiles(subgroups);
  return measured?.tile(p) ?? must(ranked(usual.filter(wide), p)[0], `a tile of ${width ?? "no"} outputs`);
}
