/** Tiles by what they were measured for: pure data, to be kept between runs (docs/formats.md). */
import { tileName, type ConvTile } from "./conv-fours-shader.ts";
import type { ProductShape } from "./conv-fours.ts";
import { candidateTiles } from "./conv-tiles.ts";

/** What was measured, for planning: undefined where nothing was. */
export interface TileChoices {
  /** Outputs of the tiles of a layer, whatever the batch. */
  outputs(p: ProductShape): number | undefined;
  tile(p: ProductShape): ConvTile | undefined;
}

/** All of a product that does not depend on the batch. */
export function layerKey(p: ProductShape): string {
  const each = (sizes: readonly number[]): string => sizes.join("x");
  const window = `${each(p.kernel)} stride ${each(p.strides)} dilation ${each(p.dilations)} pads ${each(p.pads)}`;
  const products = p.products === undefined ? "" : `, ${p.products.count} products`;
  // A product's tiles stand behind one another; an image has rows.
  const image =
    p.products === undefined ? `${each([p.input.height, p.input.width])} to rows of ${p.outWidth}` : "a row";
  const channels = p.channels < 4 ? ` of ${p.channels}` : "";
  return `${p.imagePixels} pixels, ${p.fours} fours${channels} to ${p.outputs}, ${p.groups} groups, ${window}, ${image}${products}`;
}

/** By layer, then by the pixels of all images, the name of a tile. */
export type TileRecord = Readonly<Record<string, Readonly<Record<string, string>>>>;

export class TileTable implements TileChoices {
  /** The tiles of one layer all have the same number of outputs. */
  readonly #layers = new Map<string, Map<number, ConvTile>>();

  /** Takes what `record` gave, leaving out what is not among the tiles of the adapter. */
  static from(record: TileRecord, subgroups: number): TileTable {
    const known = new Map(candidateTiles(subgroups).map((t) => [tileName(t), t]));
    const table = new TileTable();
    for (const [layer, choices] of Object.entries(record))
      for (const [pixels, name] of Object.entries(choices)) {
        const tile = known.get(name);
        if (tile !== undefined && /^\d+$/.test(pixels)) table.#set(layer, Number(pixels), tile);
      }
    return table;
  }

  record(): TileRecord {
    return Object.fromEntries(
      [...this.#layers].map(([layer, choices]) => [
        layer,
        Object.fromEntries([...choices].map(([pixels, tile]) => [String(pixels), tileName(tile)])),
      ]),
    );
  }

  outputs(p: ProductShape): number | undefined {
    const [first] = this.#layers.get(layerKey(p))?.values() ?? [];
    return first?.outputs;
  }

  tile(p: ProductShape): ConvTile | undefined {
    return this.#layers.get(layerKey(p))?.get(p.pixels);
  }

  /** Where the layer's other tiles have another number of outputs, it forgets them. */
  set(p: ProductShape, tile: ConvTile): void {
    this.#set(layerKey(p), p.pixels, tile);
  }

  #set(layer: string, pixels: number, tile: ConvTile): void {
    const choices = this.#layers.get(layer);
    const [first] = choices?.values() ?? [];
    if (choices !== undefined && first?.outputs === tile.outputs) choices.set(pixels, tile);
    else this.#layers.set(layer, new Map([[pixels, tile]]));
  }
}
