/**
 * From an image file's bytes to RGB, equal to `PIL.Image.open(file).convert("RGB")`, which is torchvision's loader:
 * EXIF orientation and colour profiles are ignored, alpha is dropped and not composited, palettes are expanded, grey is
 * repeated, CMYK goes by Pillow's naive formula, the first of several pages counts. Node only.
 *
 * sharp (libvips with libjpeg, libpng, libwebp, libtiff) decodes; it is asked for the pixels as they are stored, and the
 * way to RGB is here. BMP and PNM, which sharp lacks, are in `bitmap.ts`. One known difference from Pillow: TIFF that
 * stores YCbCr without JPEG compression goes by libtiff's formula.
 */
import sharp from "sharp";
import { UnbraidError } from "../errors.ts";
import { decodeBitmap } from "./bitmap.ts";
import { corrupt, damaged, tooLarge, unknownFormat } from "./image-errors.ts";
import { MAX_PIXELS } from "./preprocess.ts";
import type { RgbImage } from "./preprocess.ts";
import { cmykToRgb, greyToRgb, takeRgb } from "./to-rgb.ts";

export interface DecodeOptions {
  /** The most pixels that an image may declare; {@link MAX_PIXELS} unless given. Checked before anything is allocated. */
  readonly maxPixels?: number;
}

type Format = "jpeg" | "png" | "webp" | "tiff" | "bmp" | "pnm";

/** The format by the first bytes, as Pillow tells it; names do not count. */
function sniff(bytes: Uint8Array): Format | undefined {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 16)).toString("latin1");
  if (head.startsWith("\xff\xd8\xff")) return "jpeg";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (head.startsWith("RIFF") && head.startsWith("WEBP", 8)) return "webp";
  if (/^(?:II[*+]\0|MM\0[*+])/.test(head)) return "tiff";
  if (head.startsWith("BM")) return "bmp";
  if (/^P[1-6][\s#]/.test(head)) return "pnm";
  return undefined;
}

/**
 * Decodes one image.
 *
 * @param bytes the whole file: JPEG, PNG, WebP, TIFF, BMP, PBM, PGM or PPM
 * @param name of the file, for messages
 * @throws UnbraidError IMAGE_FORMAT: no image, or of a kind that is not read; IMAGE_CORRUPT: damaged or cut short;
 *   IMAGE_TOO_LARGE: more pixels than `maxPixels`
 */
export async function decodeImage(bytes: Uint8Array, name: string, options: DecodeOptions = {}): Promise<RgbImage> {
  const maxPixels = options.maxPixels ?? MAX_PIXELS;
  if (bytes.length === 0) throw corrupt(name, "the file is empty");
  const format = sniff(bytes);
  if (format === undefined) throw unknownFormat(name, bytes);
  if (format === "bmp" || format === "pnm") return decodeBitmap(bytes, name, format, maxPixels);

  const stored = await readHeader(bytes, name);
  if (stored.width * stored.height > maxPixels) throw tooLarge(name, stored.width, stored.height, maxPixels);
  const raw = await readPixels(bytes, name, stored);
  return { width: raw.width, height: raw.height, data: toRgb(raw, stored, format, bytes, name) };
}

interface Stored {
  width: number;
  height: number;
  /** libvips' name of the colour space: b-w, srgb, cmyk, grey16, rgb16. */
  space: "b-w" | "srgb" | "cmyk" | "grey16" | "rgb16";
}

async function readHeader(bytes: Uint8Array, name: string): Promise<Stored> {
  let metadata;
  try {
    // Only the header: nothing of the pixels' size is allocated yet, so no limit here.
    metadata = await sharp(bytes, { limitInputPixels: false, failOn: "none" }).metadata();
  } catch (error) {
    throw corrupt(name, error);
  }
  const { width, height, space, depth } = metadata;
  if ((space === "b-w" || space === "srgb" || space === "cmyk") && depth === "uchar") return { width, height, space };
  if ((space === "grey16" || space === "rgb16") && depth === "ushort") return { width, height, space };
  throw new UnbraidError(
    "input",
    "IMAGE_FORMAT",
    `${name} stores ${space} pixels as ${depth}; read are grey, RGB and CMYK of 8 bits, grey and RGB of 16`,
    "Convert it to a PNG of 8 bits a channel.",
  );
}

interface Raw {
  width: number;
  height: number;
  channels: number;
  /** Interleaved; 8 or 16 bits as stored. */
  samples: Uint8Array | Uint16Array;
}

/** The pixels as stored: no colour management, no orientation, no change of colour space or depth. */
async function readPixels(bytes: Uint8Array, name: string, stored: Stored): Promise<Raw> {
  const wide = stored.space === "grey16" || stored.space === "rgb16";
  const read = async (failOn: "warning" | "error"): Promise<Raw> => {
    const { data, info } = await sharp(bytes, { failOn, ignoreIcc: true, limitInputPixels: false })
      .pipelineColourspace(stored.space)
      .toColourspace(stored.space)
      .raw({ depth: wide ? "ushort" : "uchar" })
      .toBuffer({ resolveWithObject: true });
    const samples = wide
      ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2)
      : new Uint8Array(data.buffer, data.byteOffset, data.length);
    return { width: info.width, height: info.height, channels: info.channels, samples };
  };
  try {
    return await read("warning");
  } catch (error) {
    // Many healthy photographs draw warnings (stray bytes between markers, odd profiles); Pillow reads them, and so do we.
    if (damaged(error)) throw corrupt(name, error);
    try {
      return await read("error");
    } catch (fatal) {
      throw corrupt(name, fatal);
    }
  }
}

function toRgb(raw: Raw, stored: Stored, format: Format, bytes: Uint8Array, name: string): Uint8Array {
  const { samples, channels } = raw;
  const pixels = raw.width * raw.height;
  if (samples.length !== pixels * channels) throw corrupt(name, "the decoder gave a wrong number of samples");
  switch (stored.space) {
    case "srgb":
      return takeRgb(samples, channels, pixels, 0);
    case "cmyk":
      return cmykToRgb(samples, channels, pixels);
    case "b-w":
      return greyToRgb(samples, channels, pixels, (v) => v);
    case "rgb16":
      return takeRgb(samples, channels, pixels, 8);
    case "grey16":
      // Pillow keeps the upper byte of grey with alpha, but lets plain 16-bit grey saturate at 255.
      return greyToRgb(
        samples,
        channels,
        pixels,
        isGreyAlphaPng(format, bytes) ? (v) => v >> 8 : (v) => Math.min(v, 255),
      );
  }
}

/** Colour type 4 in the PNG header (byte 25); grey with a transparent key is type 0. */
const isGreyAlphaPng = (format: Format, bytes: Uint8Array): boolean => format === "png" && bytes[25] === 4;
