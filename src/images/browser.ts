/**
 * An image file's bytes as RGB in a browser, page or worker: the pixels as they are stored, as `decode.ts` gives them in
 * Node. Alpha is dropped and not composited, EXIF orientation and colour profiles are ignored.
 *
 * The browser's decoder is asked for pixels as they are. A 2D canvas would multiply by alpha and back, which loses colours
 * of transparent pixels, so images with alpha are read through WebGL, which need not. Whether a JPEG's pixels equal those
 * of Node is up to the two decoders: Chromium's and sharp's are the same library. PNGs of 8 bits are equal in any case;
 * those of 16 bits are rounded by the browser.
 */
import { UnbraidError } from "../errors.ts";
import { corrupt, tooLarge } from "./image-errors.ts";
import { MAX_PIXELS, type RgbImage } from "./preprocess.ts";
import { takeRgb } from "./to-rgb.ts";

/** What is used of a browser's globals: the library is compiled without types of pages, which Node has not. */
interface Bitmap {
  readonly width: number;
  readonly height: number;
  close(): void;
}

interface Drawing {
  drawImage(bitmap: Bitmap, x: number, y: number): void;
  getImageData(x: number, y: number, width: number, height: number): { readonly data: ArrayLike<number> };
}

type WebGl = Record<
  | "UNPACK_PREMULTIPLY_ALPHA_WEBGL"
  | "UNPACK_COLORSPACE_CONVERSION_WEBGL"
  | "NONE"
  | "TEXTURE_2D"
  | "RGBA"
  | "UNSIGNED_BYTE"
  | "FRAMEBUFFER"
  | "COLOR_ATTACHMENT0"
  | "FRAMEBUFFER_COMPLETE"
  | "MAX_TEXTURE_SIZE",
  number
> & {
  pixelStorei(name: number, value: number): void;
  createTexture(): unknown;
  bindTexture(target: number, texture: unknown): void;
  texImage2D(target: number, level: number, inner: number, outer: number, type: number, bitmap: Bitmap): void;
  createFramebuffer(): unknown;
  bindFramebuffer(target: number, framebuffer: unknown): void;
  framebufferTexture2D(target: number, attachment: number, kind: number, texture: unknown, level: number): void;
  checkFramebufferStatus(target: number): number;
  getParameter(name: number): number;
  readPixels(x: number, y: number, w: number, h: number, format: number, type: number, into: Uint8Array): void;
  getExtension(name: string): { loseContext(): void } | null;
};

interface Globals {
  createImageBitmap(blob: Blob, options: Readonly<Record<string, string>>): Promise<Bitmap>;
  readonly OffscreenCanvas: new (
    width: number,
    height: number,
  ) => {
    getContext(kind: "2d", options: { readonly willReadFrequently: boolean }): Drawing | null;
    getContext(kind: "webgl"): WebGl | null;
  };
}

const STORED = { colorSpaceConversion: "none", premultiplyAlpha: "none" } as const;

/**
 * Decodes one image in a browser.
 *
 * @param bytes the whole file, of any kind that the browser knows
 * @param name of the file, for messages
 * @throws UnbraidError IMAGE_CORRUPT: damaged, or of a kind that the browser does not know; IMAGE_TOO_LARGE; IMAGE_FORMAT:
 *   partly transparent, where the browser gives no WebGL
 */
export async function decodeImageInBrowser(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  options: { readonly maxPixels?: number } = {},
): Promise<RgbImage> {
  const { maxPixels = MAX_PIXELS } = options;
  const browser = globalThis as unknown as Globals;
  let bitmap: Bitmap;
  try {
    bitmap = await browser.createImageBitmap(new Blob([withoutExif(bytes)]), STORED);
  } catch (cause) {
    throw corrupt(name, cause);
  }
  try {
    const { width, height } = bitmap;
    if (width * height > maxPixels) throw tooLarge(name, width, height, maxPixels);
    const drawing = new browser.OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (drawing === null) throw corrupt(name, "the browser gives no canvas of its size");
    drawing.drawImage(bitmap, 0, 0);
    const { data } = drawing.getImageData(0, 0, width, height);
    const samples = isOpaque(data) ? Uint8Array.from(data) : throughWebGl(browser.OffscreenCanvas, bitmap, name);
    return { width, height, data: takeRgb(samples, 4, width * height, 0) };
  } finally {
    bitmap.close();
  }
}

function isOpaque(rgba: ArrayLike<number>): boolean {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

/** RGBA, not multiplied by alpha. */
function throughWebGl(canvas: Globals["OffscreenCanvas"], bitmap: Bitmap, name: string): Uint8Array {
  const { width, height } = bitmap;
  const gl = new canvas(1, 1).getContext("webgl");
  if (gl === null || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE))
    throw new UnbraidError(
      "input",
      "IMAGE_FORMAT",
      `${name} is partly transparent, and this browser gives no WebGL that could read its ${width} x ${height} pixels as they are stored`,
      "Save it without transparency.",
    );
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, 0);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const complete = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
  const rgba = new Uint8Array(width * height * 4);
  if (complete) gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  // Browsers keep few contexts, and free them when they like.
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  if (!complete) throw corrupt(name, "WebGL cannot read its pixels");
  return rgba;
}

const EXIF = [0x45, 0x78, 0x69, 0x66, 0]; // "Exif", 0

/**
 * A JPEG without its EXIF segments (APP1, JEITA CP-3451 4.5.4): browsers turn pictures as those say, whatever they are asked.
 * Other bytes are returned as they are.
 */
export function withoutExif(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return bytes;
  const kept: Uint8Array[] = [bytes.subarray(0, 2)];
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1] ?? 0;
    // Start of scan: pixels follow. Markers without a length, or fill bytes, are left to the decoder with all that follows.
    if (marker === 0xda || marker === 0xff || marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd9)) break;
    const end = at + 2 + 256 * (bytes[at + 2] ?? 0) + (bytes[at + 3] ?? 0);
    const start = at + 4;
    const isExif = marker === 0xe1 && EXIF.every((byte, k) => bytes[start + k] === byte);
    if (!isExif) kept.push(bytes.subarray(at, end));
    at = end;
  }
  kept.push(bytes.subarray(at));
  const out = new Uint8Array(kept.reduce((n, part) => n + part.length, 0));
  let to = 0;
  for (const part of kept) {
    out.set(part, to);
    to += part.length;
  }
  return out;
}
