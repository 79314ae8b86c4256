/** The pictures of a report: each once, encoded by whoever makes the report, and never more than the file has room for. */
import type { Picture } from "./data.ts";
import type { RgbImage } from "../images/preprocess.ts";

/** How a report comes by images. */
export interface PictureSource {
  /** An image as the network sees it: resized and cropped, eight bits a colour. */
  readonly view: (path: string) => Promise<RgbImage>;
  /** A data: URI of a JPEG, PNG or WebP. */
  readonly encode: (image: RgbImage) => Promise<string>;
}

/** Characters of pictures and heat maps together: the file stays below 5 MB. */
export const MOST_PICTURE_BYTES = 3_000_000;
/** The longer side of a picture in the file, in pixels. */
const MOST_SIDE = 112;

export class Album {
  readonly pictures: Picture[] = [];
  readonly #source: PictureSource;
  readonly #places = new Map<string, number>();
  readonly #room: number;
  #used = 0;
  /** How many found no room. */
  left = 0;

  constructor(source: PictureSource, room = MOST_PICTURE_BYTES) {
    this.#source = source;
    this.#room = room;
  }

  /** Whether there is room for so many characters more, which are then taken. */
  take(characters: number): boolean {
    if (this.#used + characters > this.#room) {
      this.left++;
      return false;
    }
    this.#used += characters;
    return true;
  }

  /** The index of an image's picture; -1 where there is no room for it. */
  async add(path: string, className: string): Promise<number> {
    const there = this.#places.get(path);
    if (there !== undefined) return there;
    const view = await this.#source.view(path);
    const src = await this.#source.encode(smaller(view, MOST_SIDE));
    const place = this.take(src.length) ? this.pictures.length : -1;
    if (place >= 0) this.pictures.push({ name: path, class: className, src, width: view.width, height: view.height });
    this.#places.set(path, place);
    return place;
  }
}

/** Means over squares of whole pixels, so that the longer side is at most `most`. */
export function smaller(image: RgbImage, most: number): RgbImage {
  const by = Math.ceil(Math.max(image.width, image.height) / most);
  if (by <= 1) return image;
  const [width, height] = [Math.ceil(image.width / by), Math.ceil(image.height / by)];
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++) {
        let [sum, n] = [0, 0];
        for (let j = y * by; j < Math.min(image.height, (y + 1) * by); j++)
          for (let i = x * by; i < Math.min(image.width, (x + 1) * by); i++) {
            sum += image.data[3 * (j * image.width + i) + c] ?? 0;
            n++;
          }
        data[3 * (y * width + x) + c] = Math.round(sum / n);
      }
  return { width, height, data };
}
