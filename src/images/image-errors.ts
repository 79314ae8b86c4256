/** What can be wrong with one image file. All of these are about that file alone: a run may skip it and go on. */
import { UnbraidError } from "../errors.ts";

const CODES = ["IMAGE_CORRUPT", "IMAGE_FORMAT", "IMAGE_TOO_LARGE", "IMAGE_UNREADABLE"] as const;

/** Is this error about one image file, so that `--skip-bad` may go on without it? */
export function isBadImage(error: unknown): error is UnbraidError {
  return error instanceof UnbraidError && (CODES as readonly string[]).includes(error.code);
}

/** Decoders report over several lines, and some repeat themselves. */
function reports(error: unknown): string[] {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.split("\n").map((line) => line.trim());
  return [...new Set(lines.filter((line) => line !== ""))];
}

const summary = (error: unknown): string => reports(error).join("; ");

/**
 * Does a decoder's warning mean lost pixels, as against oddities around them? The texts are the only sign that libvips
 * passes on; they are libjpeg's own, unchanged for decades. Pillow 13 refuses the same files.
 */
export function damaged(error: unknown): boolean {
  return reports(error).some(
    (line) =>
      /premature end|Huffman|found marker|corrupt|progression/i.test(line) && !/extraneous bytes before/i.test(line),
  );
}

/** Not a fault of the file: whether there is memory enough depends on what else is decoded at the time. */
const outOfMemory = (name: string, why: unknown): UnbraidError =>
  new UnbraidError(
    "input",
    "IMAGE_MEMORY",
    `there was not enough memory to decode ${name}: ${summary(why)}`,
    "Use fewer --workers, or scale the image down.",
    { cause: why },
  );

export function corrupt(name: string, why: unknown): UnbraidError {
  if (/out of memory|cannot allocate/i.test(summary(why))) return outOfMemory(name, why);
  return new UnbraidError(
    "input",
    "IMAGE_CORRUPT",
    `${name} is damaged or cut short and cannot be decoded: ${summary(why)}`,
    "Replace or remove it, or go on without such images with --skip-bad.",
    { cause: why },
  );
}

export function unknownFormat(name: string, bytes: Uint8Array): UnbraidError {
  const head = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return new UnbraidError(
    "input",
    "IMAGE_FORMAT",
    `${name} is no JPEG, PNG, WebP, TIFF, BMP, PBM, PGM or PPM image: it begins with the bytes ${head}`,
    "Convert it to PNG or remove it, or go on without such images with --skip-bad.",
  );
}

export function tooLarge(name: string, width: number, height: number, maxPixels: number): UnbraidError {
  return new UnbraidError(
    "input",
    "IMAGE_TOO_LARGE",
    `${name} declares ${width} x ${height} = ${width * height} pixels; at most ${maxPixels} are decoded`,
    "If it is what it says, scale it down first; or go on without such images with --skip-bad.",
  );
}

export function unreadable(name: string, why: unknown): UnbraidError {
  return new UnbraidError(
    "input",
    "IMAGE_UNREADABLE",
    `${name} cannot be read: ${summary(why)}`,
    "Check that it is there and readable, or go on without such images with --skip-bad.",
    { cause: why },
  );
}
