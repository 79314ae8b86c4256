/** Shared by the tests of src/images: repeatable pixels, files in a folder of their own, digests. */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import sharp from "sharp";
import { onTestFinished } from "vitest";
import { UnbraidError } from "../../src/errors.ts";

/** The high byte of a 32-bit linear congruential generator, as in make_golden.py. */
export function pixels(n: number, seed: number): Uint8Array {
  const out = new Uint8Array(n);
  let s = seed;
  for (let i = 0; i < n; i++) {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    out[i] = s >>> 24;
  }
  return out;
}

export function sha256(data: Uint8Array | Float32Array): string {
  return createHash("sha256")
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest("hex");
}

/** A folder with these files (path to content), gone after the test. */
export function folderOf(files: Readonly<Record<string, Uint8Array | string>>): string {
  const dir = mkdtempSync(join(tmpdir(), "unbraid-images-"));
  onTestFinished(() => {
    rmSync(dir, { recursive: true });
  });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  return dir;
}

/** A PNG of these RGB pixels. */
export const png = (data: Uint8Array, width: number, height: number): Promise<Buffer> =>
  sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();

/** The UnbraidError that `work` ends with. */
export async function errorOf(work: () => unknown): Promise<UnbraidError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof UnbraidError) return error;
    throw error;
  }
  throw new Error("no error was thrown");
}
