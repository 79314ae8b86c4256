/** Writing PNG files. Node only: sharp encodes. */
import sharp from "sharp";
import type { RgbImage } from "./preprocess.ts";

/** The bytes of a PNG of these pixels. */
export async function encodePng({ width, height, data }: RgbImage): Promise<Uint8Array> {
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 9 })
    .toBuffer();
}
