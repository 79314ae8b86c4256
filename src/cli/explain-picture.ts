/** The picture that `explain` is about, as the network takes it and as people see it. */
import { UnbraidError } from "../errors.ts";
import type { HostTensor } from "../graph/graph.ts";
import type { ImageItem } from "../images/folder.ts";
import { normalise, resizeCropRgb, type PreprocessSpec, type RgbImage } from "../images/preprocess.ts";
import { usageError } from "./arguments.ts";
import { imageLoader, sizeRemedy, type ImageNetwork } from "./images.ts";

export interface Picture {
  readonly image: RgbImage;
  /** [1, 3, height, width] */
  readonly tensor: HostTensor;
}

/** @throws UnbraidError as loadImage; IMAGE_SIZE where the network takes images of another size */
export async function loadPicture(root: string, item: ImageItem, { spec, imageShape }: ImageNetwork): Promise<Picture> {
  const image = resizeCropRgb(await (await imageLoader()).loadImage(root, item), spec);
  const [, height, width] = imageShape;
  if (image.height !== height || image.width !== width) {
    throw new UnbraidError(
      "input",
      "IMAGE_SIZE",
      `${item.path} is ${image.width} x ${image.height} after preprocessing, the network takes ${width} x ${height} (width x height)`,
      sizeRemedy(height, width),
    );
  }
  return { image, tensor: { type: "float32", shape: [1, 3, height, width], data: normalise(image, spec) } };
}

const BASELINES = ["mean", "black", "white"] as const;

/** An image for integrated gradients to begin at: the mean colour is what preprocessing turns into zeros. */
export function baselineImage(text: string, { width, height }: RgbImage, spec: PreprocessSpec): Float32Array {
  const name = BASELINES.find((b) => b === text);
  if (name === undefined)
    throw usageError(
      "OPTION_VALUE",
      `--baseline must be ${BASELINES.join(", ")}, not "${text}"`,
      "Correct --baseline.",
    );
  if (name === "mean") return new Float32Array(3 * width * height);
  const data = new Uint8Array(3 * width * height).fill(name === "white" ? 255 : 0);
  return normalise({ width, height, data }, spec);
}
