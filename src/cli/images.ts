/** Images for commands: where they are, how they are prepared, and whether they fit the network. */
import { UnbraidError } from "../errors.ts";
import { classifierOf, type Classifier } from "../graph/classifier.ts";
import type { Graph, ShapedGraph } from "../graph/graph.ts";
import { listImages, type ImageItem, type ImageList } from "../images/folder.ts";
import type * as Loader from "../images/loader.ts";
import { resizedSize, type PreprocessSpec } from "../images/preprocess.ts";
import { mergePreprocess, parseTriple, PRESETS } from "../images/presets.ts";
import { readSidecar } from "../images/sidecar.ts";
import type { Context } from "./context.ts";
import { logitCount, shapedFor, type OpenModel } from "./model.ts";
import type { OptionSpecs } from "./options.ts";

export const PREPROCESS_OPTIONS = {
  preset: { type: "string", value: "NAME", help: `preprocessing: ${Object.keys(PRESETS).join(", ")}` },
  resize: { type: "string", value: "N", help: "resize the shorter side to N pixels, as torchvision does" },
  crop: { type: "string", value: "N", help: "cut the N x N pixels in the centre" },
  mean: { type: "string", value: "R,G,B", help: "subtracted from values in 0..1" },
  std: { type: "string", value: "R,G,B", help: "divides them after that" },
  channels: { type: "string", value: "ORDER", help: "rgb or bgr: the order that the network wants" },
} as const satisfies OptionSpecs;

export const FOLDER_OPTIONS = {
  images: { type: "string", value: "DIR", help: "a folder with a sub-folder a class, sorted by name" },
  classes: { type: "string", value: "FILE", help: "maps sub-folders to the network's classes (JSON, or one a line)" },
  limit: { type: "string", value: "N", help: "only the first N images of each class" },
  "skip-bad": { type: "boolean", help: "go on without images that cannot be read, and say how many" },
} as const satisfies OptionSpecs;

/** sharp is native code: it is loaded with the first image, so that everything else works where it does not. */
export async function imageLoader(): Promise<typeof Loader> {
  try {
    return await import("../images/loader.ts");
  } catch (cause) {
    throw new UnbraidError(
      "unsupported",
      "IMAGE_DECODER_MISSING",
      `the package sharp, which decodes images, cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      "Install it again: npm install sharp",
      { cause },
    );
  }
}

/**
 * Options over the JSON beside the model.
 * @throws UnbraidError PREPROCESS_INVALID, OPTION_VALUE
 */
async function preprocessOf(context: Context, modelPath: string): Promise<PreprocessSpec> {
  const { args, out } = context;
  const whole = { integer: true, least: 1 };
  const { preset, channels } = { preset: args.text("preset"), channels: args.text("channels") };
  const [resize, crop] = [args.number("resize", whole), args.number("crop", whole)];
  const [mean, std] = [args.text("mean"), args.text("std")];
  const options = {
    ...(preset === undefined ? {} : { preset }),
    ...(channels === undefined ? {} : { channels }),
    ...(resize === undefined ? {} : { resize }),
    ...(crop === undefined ? {} : { crop }),
    ...(mean === undefined ? {} : { mean: parseTriple(mean, "mean") }),
    ...(std === undefined ? {} : { std: parseTriple(std, "std") }),
  };
  const beside = await readSidecar(modelPath);
  if (beside !== undefined) out.note(`preprocessing: ${beside.path}`);
  else if (Object.keys(options).length === 0)
    out.warn(
      "no preprocessing is given: values in 0..1 as they are. Most networks want --preset, or --mean and --std, or a .preprocess.json beside the model",
    );
  return mergePreprocess(options, beside?.spec);
}

/** The preprocessing as a study records it: one line of JSON, fields in a fixed order. */
export const showPreprocess = ({ resize, crop, mean, std, channels }: PreprocessSpec): string =>
  JSON.stringify({ resize, crop, mean, std, channels: channels ?? "rgb" });

/**
 * [3, height, width] of the prepared images: the crop's, or else the network's own, or else the first image's.
 * That each image has it is seen when it is loaded.
 */
async function imageShapeOf(
  spec: PreprocessSpec,
  classifier: Classifier,
  root: string,
  first: ImageItem | undefined,
): Promise<[number, number, number]> {
  if (spec.crop !== undefined) return [3, spec.crop, spec.crop];
  const [, height, width] = classifier.imageShape;
  if (height !== null && width !== null) return [3, height, width];
  if (first === undefined) throw new Error("internal error: no image to take the size from");
  const image = await (await imageLoader()).loadImage(root, first);
  const size = spec.resize === undefined ? image : resizedSize(image.width, image.height, spec.resize);
  return [3, size.height, size.width];
}

/** The most images at a time, where nobody says. */
const MOST_IMAGES = 64;

/**
 * The folder of --images.
 * @param mapped whether --classes is the file that maps sub-folders to classes
 * @throws UnbraidError OPTION_MISSING, and as listImages
 */
export async function imagesOption(context: Context, mapped = true): Promise<{ root: string; list: ImageList }> {
  const { args } = context;
  const root = args.required("images", "the folder of images, with a sub-folder a class");
  const limit = args.number("limit", { integer: true, least: 1 });
  const classesFile = mapped ? args.text("classes") : undefined;
  const list = await listImages(root, {
    ...(limit === undefined ? {} : { limitPerClass: limit }),
    ...(classesFile === undefined ? {} : { classesFile }),
  });
  return { root, list };
}

/**
 * The classes must be the network's: each image's label chooses a logit.
 * @throws UnbraidError IMAGES_CLASS_COUNT
 */
export function checkClassCount(context: Context, list: ImageList, logits: number): void {
  const file = context.args.text("classes");
  const n = list.classes.length;
  // A file may leave classes out at its end only as an object of indices: those are in range if the largest is.
  const fits = file === undefined ? n === logits : n <= logits;
  if (fits) return;
  throw new UnbraidError(
    "input",
    "IMAGES_CLASS_COUNT",
    file === undefined
      ? `the folder has ${n} classes, the network ${logits} logits`
      : `${file} has ${n} classes, the network ${logits} logits`,
    "Say with --classes FILE which of the network's classes each sub-folder is: names in the order of the logits, or an object from folder to index.",
  );
}

/** A model that classifies images, and how images become its input. */
export interface ImageNetwork {
  readonly classifier: Classifier;
  readonly spec: PreprocessSpec;
  /** [3, height, width] */
  readonly imageShape: readonly [number, number, number];
  /** --batch, or the file's, or the most that is taken at a time: `fitBatch` makes it what fits. */
  readonly batch: number;
  /** Shapes for such a batch. */
  readonly shaped: ShapedGraph;
  /** Classes; 0 where nobody asks for them and the network's output is something else. */
  readonly logits: number;
}

/**
 * @param items the images to come, relative to `root`
 * @param needs "images" where the first output may be anything: no logits are used
 * @throws UnbraidError NOT_A_CLASSIFIER, PREPROCESS_INVALID, INPUT_SHAPE, INPUT_BATCH, and what shape inference throws
 */
export async function imageNetwork(
  context: Context,
  { path, graph }: OpenModel,
  root: string,
  items: readonly ImageItem[],
  needs: "logits" | "images" = "logits",
): Promise<ImageNetwork> {
  const classifier = classifierOf(graph);
  const spec = await preprocessOf(context, path);
  const imageShape = await imageShapeOf(spec, classifier, root, items[0]);
  const batch = context.batch(classifier.batch ?? Math.max(1, Math.min(MOST_IMAGES, items.length)));
  const shaped = shapedFor(graph, classifier, batch, imageShape);
  const logits = needs === "images" ? 0 : logitCount(shaped, classifier.logits);
  return { classifier, spec, imageShape, batch, shaped, logits };
}

/** The same for another size of batch. */
export const withBatch = (network: ImageNetwork, graph: Graph, batch: number): ImageNetwork => ({
  ...network,
  batch,
  shaped: shapedFor(graph, network.classifier, batch, network.imageShape),
});

/** How images become the network's size: only squares are cut. */
export const sizeRemedy = (height: number, width: number): string =>
  height === width
    ? `Give --resize and --crop ${width}, so that all become the network's size.`
    : `Scale them to ${width} x ${height} first; --resize ${Math.min(width, height)} is enough where they have that shape.`;

export interface ImageSource {
  readonly root: string;
  readonly items: readonly ImageItem[];
  readonly start?: number;
  readonly onSkip?: (skipped: Loader.SkippedImage) => void;
}

/**
 * Batches of the network's images, decoded ahead; images gone without are said on stderr.
 * @throws UnbraidError as loader.batches; IMAGE_SIZE for images of another size than the network is prepared for
 */
export async function* imageBatches(
  context: Context,
  { spec, imageShape, batch }: ImageNetwork,
  source: ImageSource,
): AsyncGenerator<Loader.Batch, void, undefined> {
  const { batches } = await imageLoader();
  const [, height, width] = imageShape;
  const pool = context.imagePool(source.items.length - (source.start ?? 0));
  const loaded = batches({
    root: source.root,
    items: source.items,
    ...(source.start === undefined ? {} : { start: source.start }),
    spec,
    batchSize: batch,
    ...(pool === undefined ? {} : { pool }),
    signal: context.signal,
    skipBad: context.args.flag("skip-bad"),
    onSkip: (skipped) => {
      context.out.warn(`skipped: ${skipped.error.message}`, { code: skipped.error.code, image: skipped.item.path });
      source.onSkip?.(skipped);
    },
  });
  for await (const images of loaded) {
    if (images.width !== width || images.height !== height)
      throw new UnbraidError(
        "input",
        "IMAGE_SIZE",
        `${images.items[0]?.path ?? "an image"} is ${images.width} x ${images.height} after preprocessing, the network is run on ${width} x ${height} (width x height)`,
        sizeRemedy(height, width),
      );
    yield images;
  }
}
