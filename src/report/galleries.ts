/** Galleries: the images on which a channel and its parts are most relevant and most active, with heat by part. */
import type { SplitChannel } from "../channels/evaluate/channel.ts";
import type { Crop, Gallery, GalleryItem } from "./data.ts";
import type { HeatPass } from "./heat.ts";
import type { Album } from "./pictures.ts";
import type { Window } from "./receptive-field.ts";
import type { ChannelScan, TopImage } from "./scan.ts";

export interface GallerySources {
  readonly album: Album;
  readonly heat: HeatPass;
  /** What a position of the layer's output sees; undefined where that is the whole image. */
  readonly field: ((position: number) => Window) | undefined;
  /** [3, height, width] */
  readonly imageShape: readonly number[];
  readonly classOf: (label: number) => string;
}

/** Two for the channel, two for each part. */
export async function galleriesOf(
  channel: SplitChannel,
  scan: ChannelScan,
  sources: GallerySources,
): Promise<Gallery[]> {
  const all = channel.parts.map((_, k) => k);
  const found: Gallery[] = [];
  for (const [row, { relevant, activating }] of scan.tops.entries()) {
    const parts = row === 0 ? all : [row - 1];
    const name = row === 0 ? "the channel" : `part ${row} (${channel.concepts[row - 1] ?? ""})`;
    const kinds = [
      { title: `Where ${name} is most relevant`, measure: "relevance for the image's own class", images: relevant },
      { title: `Where ${name} is most active`, measure: "response of the strongest position", images: activating },
    ];
    for (const { title, measure, images } of kinds) {
      const items = await itemsOf(channel, parts, images, sources);
      if (items.length > 0) found.push({ title, measure, items, part: row });
    }
  }
  return found;
}

async function itemsOf(
  channel: SplitChannel,
  parts: readonly number[],
  images: readonly TopImage[],
  { album, heat, field, imageShape, classOf }: GallerySources,
): Promise<GalleryItem[]> {
  const maps = await heat.draw(channel, parts, images);
  const items: GalleryItem[] = [];
  for (const [n, { path, label, value, position }] of images.entries()) {
    const picture = await album.add(path, classOf(label));
    if (picture < 0) continue;
    const map = maps[n];
    const crop = cropOf(field?.(position), imageShape);
    items.push({
      picture,
      value,
      ...(crop === undefined ? {} : { crop }),
      ...(map !== undefined && album.take(map.length) ? { heat: map } : {}),
    });
  }
  return items;
}

/** The window as a square inside the image, so that all stand alike in the page; undefined where it is the whole image. */
function cropOf(window: Window | undefined, [, height = 1, width = 1]: readonly number[]): Crop | undefined {
  if (window === undefined || (window.width >= width && window.height >= height)) return undefined;
  const side = Math.min(Math.max(window.width, window.height), width, height);
  const start = (at: number, length: number, size: number): number =>
    Math.min(Math.max(0, Math.round(at + length / 2 - side / 2)), size - side);
  return {
    x: start(window.x, window.width, width),
    y: start(window.y, window.height, height),
    width: side,
    height: side,
  };
}
