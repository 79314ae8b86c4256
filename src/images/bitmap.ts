/**
 * BMP and PNM, which sharp does not read, by `@napi-rs/image`: of the libraries tried it alone reads all the kinds of
 * BMP that Pillow does (depths of 1 to 32 bits, palettes, run lengths, top-down, OS/2 headers). It is an optional
 * dependency, native code for one rare format. Node only.
 */
import type * as NapiImage from "@napi-rs/image";
import { UnbraidError } from "../errors.ts";
import { corrupt, tooLarge } from "./image-errors.ts";
import type { RgbImage } from "./preprocess.ts";
import { greyToRgb, takeRgb } from "./to-rgb.ts";

interface Header {
  width: number;
  height: number;
  /** Bits of red, green and blue where a BMP packs them into 16; they need Pillow's rounding. */
  packed?: readonly [number, number, number];
}

/** The size, read before the library allocates for it. Undefined when the header is cut short or senseless. */
function bmpHeader(bytes: Uint8Array): Header | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 26) return undefined;
  // OS/2's header of 12 bytes has 16-bit sizes; all later ones have 32-bit sizes, the height negative when top-down.
  if (view.getUint32(14, true) === 12) return { width: view.getUint16(18, true), height: view.getUint16(20, true) };
  if (bytes.length < 54) return undefined;
  const width = view.getInt32(18, true);
  const height = Math.abs(view.getInt32(22, true));
  if (view.getUint16(28, true) !== 16) return { width, height };
  // Bit fields (compression 3) give masks; green's tells 5-6-5 from 5-5-5.
  const sixGreen = view.getUint32(30, true) === 3 && bytes.length >= 62 && view.getUint32(58, true) === 0x7e0;
  return { width, height, packed: sixGreen ? [5, 6, 5] : [5, 5, 5] };
}

function pnmHeader(bytes: Uint8Array): Header | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 4096)).toString("latin1");
  const match = /^P[1-6](?:\s|#[^\n]*\n)+(\d{1,10})(?:\s|#[^\n]*\n)+(\d{1,10})\s/.exec(head);
  return match === null ? undefined : { width: Number(match[1]), height: Number(match[2]) };
}

async function library(name: string): Promise<typeof NapiImage> {
  try {
    return await import("@napi-rs/image");
  } catch (error) {
    throw new UnbraidError(
      "unsupported",
      "IMAGE_DECODER_MISSING",
      `${name} is a BMP or PNM image, and the optional package @napi-rs/image, which reads them, is not installed`,
      "npm install @napi-rs/image, or convert the image to PNG.",
      { cause: error },
    );
  }
}

/** Pillow expands n bits to 8 by v * 255 / (2^n - 1) without the fraction; the library rounds to nearest. */
function pillowExpand(bits: number): Uint8Array {
  const top = 2 ** bits - 1;
  return Uint8Array.from({ length: 256 }, (_, v) => Math.floor((Math.round((v * top) / 255) * 255) / top));
}

/**
 * @throws UnbraidError IMAGE_CORRUPT, IMAGE_TOO_LARGE, IMAGE_FORMAT (more than 8 bits a sample), IMAGE_DECODER_MISSING
 */
export async function decodeBitmap(
  bytes: Uint8Array,
  name: string,
  format: "bmp" | "pnm",
  maxPixels: number,
): Promise<RgbImage> {
  const header = format === "bmp" ? bmpHeader(bytes) : pnmHeader(bytes);
  if (header === undefined || header.width < 1 || header.height < 1) throw corrupt(name, "its header makes no sense");
  const { width, height } = header;
  const pixels = width * height;
  if (pixels > maxPixels) throw tooLarge(name, width, height, maxPixels);
  const { Transformer } = await library(name);
  let raw: Buffer;
  try {
    raw = await new Transformer(bytes).rawPixels();
  } catch (error) {
    throw corrupt(name, error);
  }
  const channels = raw.length / pixels;
  const samples = new Uint8Array(raw.buffer, raw.byteOffset, raw.length);
  if (format === "pnm" && isWide(bytes)) {
    throw new UnbraidError(
      "input",
      "IMAGE_FORMAT",
      `${name} is a PNM image of more than 8 bits a sample`,
      "Convert it to PNG.",
    );
  }
  if (channels === 1) return { width, height, data: greyToRgb(samples, 1, pixels, (v) => v) };
  if (channels !== 3 && channels !== 4) throw corrupt(name, `it decodes to ${raw.length} bytes for ${pixels} pixels`);
  const data = takeRgb(samples, channels, pixels, 0);
  if (header.packed !== undefined) {
    const tables = header.packed.map(pillowExpand);
    data.forEach((v, i) => (data[i] = tables[i % 3]?.[v] ?? v));
  }
  return { width, height, data };
}

/** A third number, the largest sample, above 255 in a PGM or PPM means two bytes a sample. */
function isWide(bytes: Uint8Array): boolean {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 4096)).toString("latin1");
  const match = /^P[2356](?:(?:\s|#[^\n]*\n)+\d+){2}(?:\s|#[^\n]*\n)+(\d+)\s/.exec(head);
  return match !== null && Number(match[1]) > 255;
}
