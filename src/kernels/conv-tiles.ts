/** Which tile of the convolution kernel suits a layer on an adapter: a cost model, in place of which measurements may come. */
import type { ConvTile } from "./conv-fours-shader.ts";

/** How lanes share weights with subgroups of so many lanes; 0: kernels cannot use subgroups. */
export function sharingFor(subgroups: number): Pick<ConvTile, "share" | "subgroup" | "lanes" | "staged" | "point"> {
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

/**
 * The tile for a product of `pixels` with `outputs` of a group. How many outputs it has depends on the layer alone, for
 * weights are laid out by it; how many pixels, on the batch too.
 * @param imagePixels of one image
 */
export function tileFor(subgroups: number, pixels: number, imagePixels: number, outputs: number): ConvTile {
  const shared = sharingFor(subgroups);
  const tiles = SHAPES[shared.share].map(([p, o]) => ({ pixels: p, outputs: o, ...shared }));
  const best = (among: readonly ConvTile[], n: number): ConvTile =>
    among.reduce((a, b) => (cost(b, n, outputs) < cost(a, n, outputs) ? b : a));
  const width = best(tiles, imagePixels).outputs;
  return best(
    tiles.filter((t) => t.outputs === width),
    pixels,
  );
}
