/** Pictures side by side, a row a row, with captions. */
import { fitting, textSize, write } from "../images/lettering.ts";
import type { RgbImage } from "../images/preprocess.ts";

export interface SheetRow {
  readonly caption: string;
  readonly pictures: readonly RgbImage[];
}

const GAP = 8;
const ZOOM = 2;
/** The least side of a picture on the sheet, in pixels; smaller ones are enlarged by whole factors. */
const LEAST = 128;
/** Letters of a caption for which a sheet of few pictures is made wider. */
const LETTERS = 48;

/** @param rows of pictures of one size */
export function contactSheet(rows: readonly SheetRow[]): RgbImage {
  const first = rows[0]?.pictures[0] ?? { width: 1, height: 1 };
  const factor = Math.max(1, Math.ceil(LEAST / Math.min(first.width, first.height)));
  const [width, height] = [first.width * factor, first.height * factor];
  const columns = Math.max(1, ...rows.map(({ pictures }) => pictures.length));
  const line = textSize("x", ZOOM).height + GAP;
  const captions = rows.map(({ caption }) => textSize(caption.slice(0, LETTERS), ZOOM).width);
  const sheet = {
    width: GAP + Math.max(columns * (width + GAP), ...captions.map((w) => w + GAP)),
    height: GAP + rows.length * (line + height + GAP),
    data: new Uint8Array(0),
  };
  sheet.data = new Uint8Array(3 * sheet.width * sheet.height).fill(255);
  rows.forEach(({ caption, pictures }, r) => {
    const top = GAP + r * (line + height + GAP);
    write(sheet, fitting(caption, ZOOM, sheet.width - 2 * GAP), GAP, top, ZOOM);
    pictures.forEach((picture, k) => {
      const left = GAP + k * (width + GAP);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const at = 3 * (Math.floor(y / factor) * picture.width + Math.floor(x / factor));
          sheet.data.set(picture.data.subarray(at, at + 3), 3 * ((top + line + y) * sheet.width + left + x));
        }
    });
  });
  return sheet;
}
