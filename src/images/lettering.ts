/** A font of five by nine pixels for the captions of figures: no font file, the same pixels everywhere. */
import type { RgbImage } from "./preprocess.ts";

/** Nine rows from the top, two of them below the line; each a digit of base 32, its five bits being pixels from the left. */
const GLYPHS: Readonly<Partial<Record<string, string>>> = {
  "0": "ehjlphe00",
  "1": "4c4444e00",
  "2": "eh1248v00",
  "3": "eh161he00",
  "4": "26aiv2200",
  "5": "vgu11he00",
  "6": "68guhhe00",
  "7": "v12488800",
  "8": "ehhehhe00",
  "9": "ehhf12c00",
  "+": "044v44000",
  "-": "000v00000",
  ".": "00000cc00",
  ",": "00000c480",
  ":": "0cc0cc000",
  "/": "11248gg00",
  a: "00e1fhf00",
  b: "gguhhhu00",
  c: "00ehghe00",
  d: "11fhhhf00",
  e: "00ehvgf00",
  f: "698s88800",
  g: "00fhhhf1e",
  h: "ggmphhh00",
  i: "40c444e00",
  j: "2062222ic",
  k: "ggikoki00",
  l: "c44444e00",
  m: "00qllll00",
  n: "00mphhh00",
  o: "00ehhhe00",
  p: "00uhhhugg",
  q: "00fhhhf11",
  r: "00mpggg00",
  s: "00fge1u00",
  t: "88s889600",
  u: "00hhhjd00",
  v: "00hhha400",
  w: "00hhlla00",
  x: "00ha4ah00",
  y: "00hhhhf1e",
  z: "00v248v00",
};

const [WIDTH, HEIGHT] = [5, 9];

/** Pixels of a line of text at this zoom, one pixel's width (zoomed) between letters. */
export const textSize = (text: string, zoom: number): { readonly width: number; readonly height: number } => ({
  width: Math.max(0, text.length * (WIDTH + 1) - 1) * zoom,
  height: HEIGHT * zoom,
});

/** The beginning of `text` that fits into `width` pixels. */
export const fitting = (text: string, zoom: number, width: number): string =>
  text.slice(0, Math.max(0, Math.floor((width / zoom + 1) / (WIDTH + 1))));

/** Writes in dark grey, in small letters; a character that the font lacks is left blank. Parts outside are cut off. */
export function write(image: RgbImage, text: string, left: number, top: number, zoom: number): void {
  Array.from(text.toLowerCase()).forEach((letter, index) => {
    const rows = GLYPHS[letter] ?? "";
    for (let y = 0; y < rows.length * zoom; y++) {
      const bits = parseInt(rows[Math.floor(y / zoom)] ?? "0", 32);
      for (let x = 0; x < WIDTH * zoom; x++) {
        const [px, py] = [left + index * (WIDTH + 1) * zoom + x, top + y];
        const inked = (bits >> (WIDTH - 1 - Math.floor(x / zoom))) & 1;
        if (inked === 0 || px < 0 || px >= image.width || py < 0 || py >= image.height) continue;
        image.data.fill(60, 3 * (py * image.width + px), 3 * (py * image.width + px) + 3);
      }
    }
  });
}
