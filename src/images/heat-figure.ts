/**
 * Heat maps over images: red where a pixel raises what is explained, blue where it lowers it, on one symmetric scale for
 * all panels. Red and blue of unlike hue and like lightness are told apart with every common form of colour blindness;
 * the picture behind is grey and pale, so that all colour is the map's.
 */
import { fitting, textSize, write } from "./lettering.ts";
import type { RgbImage } from "./preprocess.ts";

/** [height, width] numbers, row-major; it need not have the image's size. */
export interface HeatMap {
  readonly caption: string;
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

export interface HeatFigure {
  /** What the network sees. */
  readonly image: RgbImage;
  readonly caption: string;
  readonly maps: readonly HeatMap[];
  /** What full colour stands for, either way; more is cut off. */
  readonly scale: number;
  /** The shortest side that a panel may have, in pixels; smaller images are enlarged by whole factors. 224 unless told. */
  readonly least?: number;
}

/** ColorBrewer's RdBu at its ends: dark and pure. */
const RED = [178, 24, 43] as const;
const BLUE = [33, 102, 172] as const;

const GAP = 12;
/** The widest figure, in pixels, that panels stand side by side in. */
const WIDEST = 1400;
const ZOOM = 2;
const BAR = 14;

/** Of all numbers' sizes the one that `share` of them do not exceed, so that a few pixels do not leave the rest pale. */
export function heatScale(maps: readonly Float32Array[], share = 0.995): number {
  const sizes = maps.flatMap((m) => Array.from(m, Math.abs)).sort((a, b) => a - b);
  const at = Math.min(sizes.length - 1, Math.max(0, Math.ceil(share * sizes.length) - 1));
  return sizes[at] ?? 0;
}

/**
 * Numbers smoothed by a Gaussian, edges continued outwards. Linear: what adds up still does.
 * @param sigma in numbers of the map; 0 leaves it as it is
 */
export function blurred(map: HeatMap, sigma: number): HeatMap {
  const reach = Math.ceil(3 * sigma);
  const bell = Array.from({ length: 2 * reach + 1 }, (_, i) => (sigma > 0 ? Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)) : 1)); // prettier-ignore
  const whole = bell.reduce((a, b) => a + b, 0);
  const along = (data: ArrayLike<number>, axis: "x" | "y"): Float64Array =>
    Float64Array.from(data, (_, i) => {
      const [x, y] = [i % map.width, Math.floor(i / map.width)];
      return bell.reduce((sum, weight, k) => {
        const column = axis === "x" ? Math.min(map.width - 1, Math.max(0, x + k - reach)) : x;
        const row = axis === "y" ? Math.min(map.height - 1, Math.max(0, y + k - reach)) : y;
        return sum + (weight / whole) * (data[row * map.width + column] ?? 0);
      }, 0);
    });
  return { ...map, data: Float32Array.from(along(along(map.data, "x"), "y")) };
}

/** The picture, a panel a map, captions, and the colours' meaning. */
export function drawHeatFigure({ image, caption, maps, scale, least = 224 }: HeatFigure): RgbImage {
  const factor = Math.max(1, Math.ceil(least / Math.min(image.width, image.height)));
  const [width, height] = [image.width * factor, image.height * factor];
  const panels = maps.length + 1;
  const rows = Math.ceil(panels / Math.max(1, Math.floor((WIDEST - GAP) / (width + GAP))));
  const columns = Math.ceil(panels / rows);
  const line = textSize("x", ZOOM).height + GAP / 2;
  const figure = blank(GAP + columns * (width + GAP), GAP + rows * (line + height + GAP) + BAR + line + GAP);
  const place = (k: number) => ({
    left: GAP + (k % columns) * (width + GAP),
    top: GAP + Math.floor(k / columns) * (line + height + GAP) + line,
  });
  const panel = (k: number, text: string, colour: (x: number, y: number) => ArrayLike<number>): void => {
    const { left, top } = place(k);
    write(figure, fitting(text, ZOOM, width), left, top - line, ZOOM);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) figure.data.set(colour(x, y), 3 * ((top + y) * figure.width + left + x));
    }
  };
  const pixel = (x: number, y: number): Uint8Array => {
    const at = 3 * (Math.floor(y / factor) * image.width + Math.floor(x / factor));
    return image.data.subarray(at, at + 3);
  };
  panel(0, caption, pixel);
  maps.forEach((map, k) => {
    panel(k + 1, map.caption, (x, y) => {
      const row = Math.floor((y * map.height) / height);
      const value = map.data[row * map.width + Math.floor((x * map.width) / width)] ?? 0;
      const [r = 0, g = 0, b = 0] = pixel(x, y);
      return tinted(0.299 * r + 0.587 * g + 0.114 * b, scale > 0 ? value / scale : 0);
    });
  });
  colourBar(figure, scale, GAP + rows * (line + height + GAP));
  return figure;
}

/** A pale grey under red (t > 0) or blue (t < 0), the stronger the nearer |t| is to 1. */
function tinted(grey: number, t: number): number[] {
  const strength = Math.min(1, Math.abs(t)) ** 0.7;
  const pale = 150 + (105 * grey) / 255;
  return (t > 0 ? RED : BLUE).map((c) => Math.round(pale + strength * (c - pale)));
}

function colourBar(figure: RgbImage, scale: number, top: number): void {
  const across = Math.min(figure.width - 2 * GAP, 480);
  for (let x = 0; x < across; x++) {
    const colour = tinted(255, (2 * x) / (across - 1) - 1);
    for (let y = 0; y < BAR; y++) figure.data.set(colour, 3 * ((top + y) * figure.width + GAP + x));
  }
  const text = scale.toPrecision(3);
  const below = top + BAR + 4;
  write(figure, `-${text}`, GAP, below, ZOOM);
  write(figure, "0", GAP + across / 2 - textSize("0", ZOOM).width / 2, below, ZOOM);
  write(figure, `+${text}`, GAP + across - textSize(`+${text}`, ZOOM).width, below, ZOOM);
}

const blank = (width: number, height: number): RgbImage => ({
  width,
  height,
  data: new Uint8Array(width * height * 3).fill(255),
});
