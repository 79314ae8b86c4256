/** Pictures for reports: decoded as the network sees them, encoded by sharp. */
import { UnbraidError } from "../errors.ts";
import { resizeCropRgb, type PreprocessSpec, type RgbImage } from "../images/preprocess.ts";
import { dataUri } from "../report/png.ts";
import type { PictureSource } from "../report/pictures.ts";
import { imageLoader } from "./images.ts";

/** Enough for small pictures on a page; libjpeg's scale. */
const QUALITY = 82;
/** Views kept at once: a gallery's, so that heat and picture decode an image once. */
const KEPT = 32;

/** @throws UnbraidError as loadImage; IMAGE_DECODER_MISSING */
export function pictureSource(root: string, spec: PreprocessSpec): PictureSource {
  const views = new Map<string, RgbImage>();
  return {
    view: async (path) => {
      const there = views.get(path);
      if (there !== undefined) return there;
      const view = resizeCropRgb(await (await imageLoader()).loadImage(root, { path }), spec);
      if (views.size >= KEPT) views.delete(views.keys().next().value ?? "");
      views.set(path, view);
      return view;
    },
    encode: async (image) => dataUri("image/jpeg", await encodeJpeg(image)),
  };
}

async function encodeJpeg({ width, height, data }: RgbImage): Promise<Uint8Array> {
  const { default: sharp } = await loadSharp();
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: QUALITY, chromaSubsampling: "4:4:4", mozjpeg: false })
    .toBuffer();
}

async function loadSharp() {
  try {
    return await import("sharp");
  } catch (cause) {
    throw new UnbraidError(
      "unsupported",
      "IMAGE_DECODER_MISSING",
      `the package sharp, which encodes images, cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      "Install it again: npm install sharp",
      { cause },
    );
  }
}
