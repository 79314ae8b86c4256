/** Pictures by class, in the order in which `unbraid study` takes a folder's, and in batches ready for the network. */
import {
  decodeImageInBrowser,
  hexDigest,
  preprocess,
  resizedSize,
  UnbraidError,
  type ImageBatch,
  type PreprocessSpec,
  type RgbImage,
} from "unbraid";
import type { Network } from "./network.ts";
import type { Picture } from "./protocol.ts";

export interface Item extends Picture {
  /** Class, or -1. */
  readonly label: number;
}

export interface Listed {
  readonly classes: readonly string[];
  readonly items: readonly Item[];
}

/** By code points, as Python sorts. */
function compare(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (const [k, point] of left.entries()) {
    const [x, y] = [point.codePointAt(0) ?? 0, right[k]?.codePointAt(0)];
    if (y === undefined) return 1;
    if (x !== y) return x - y;
  }
  return left.length - right.length;
}

const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
const classFolder = (path: string): string => path.slice(0, Math.max(0, path.indexOf("/")));

/**
 * The classes of the sub-folders: the labels where these name them all, else the folders in their order.
 * @throws UnbraidError IMAGES_NO_CLASSES, IMAGES_CLASS_COUNT
 */
export function listed(pictures: readonly Picture[], network: Network, limit: number | null): Listed {
  const folders = [...new Set(pictures.map(({ path }) => classFolder(path)))].filter((f) => f !== "").sort(compare);
  if (folders.length === 0)
    throw new UnbraidError(
      "input",
      "IMAGES_NO_CLASSES",
      "the pictures lie in no folders that could be classes",
      "Give a folder with one sub-folder a class.",
    );
  const { labels, classes: count } = network;
  const byLabel = labels !== null && folders.every((folder) => labels.includes(folder));
  if (!byLabel && folders.length !== count)
    throw new UnbraidError(
      "input",
      "IMAGES_CLASS_COUNT",
      `the pictures have ${folders.length} classes, the network ${count} logits`,
      "Drop a JSON array, labels.json, with the name of each logit in their order; a sub-folder's name is then its class.",
    );
  const classes = byLabel ? labels : folders;
  const numbers = new Map(classes.map((name, t) => [name, t]));
  const items: Item[] = [];
  for (const folder of folders) {
    const inside = pictures
      .filter(({ path }) => classFolder(path) === folder)
      .sort((a, b) => compare(folderOf(a.path), folderOf(b.path)) || compare(nameOf(a.path), nameOf(b.path)));
    const label = numbers.get(folder) ?? -1;
    items.push(...inside.slice(0, limit ?? Infinity).map((picture) => ({ ...picture, label })));
  }
  return { classes, items };
}

/** The digest of the list with its files' sizes, as `unbraid study` records it. */
export function filesDigest(items: readonly Item[]): string {
  const lines = items.map(({ path, label, bytes }) => `${path}\0${label}\0${bytes}\n`);
  return hexDigest(new TextEncoder().encode(`unbraid image list 1\n${lines.join("")}`));
}

async function fileOf({ source, path }: Picture): Promise<Blob> {
  if (typeof source !== "string") return source;
  const response = await fetch(source);
  if (response.ok) return response.blob();
  throw new UnbraidError(
    "input",
    "IMAGE_UNREADABLE",
    `${path} cannot be read: the server says ${response.status}`,
    "Reload the page.",
  );
}

export async function decodePicture(picture: Picture): Promise<RgbImage> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = new Uint8Array(await (await fileOf(picture)).arrayBuffer());
  } catch (cause) {
    if (cause instanceof UnbraidError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    const remedy = "Choose the folder again: it may have changed since.";
    throw new UnbraidError("input", "IMAGE_UNREADABLE", `${picture.path} cannot be read: ${why}`, remedy, { cause });
  }
  return decodeImageInBrowser(bytes, picture.path);
}

/** [3, height, width] after preprocessing: the crop's, or the network's own, or the first picture's. */
export async function imageShapeOf(
  { classifier, spec }: Network,
  first: Picture | undefined,
): Promise<[number, number, number]> {
  if (spec.crop !== undefined) return [3, spec.crop, spec.crop];
  const [, height, width] = classifier.imageShape;
  if (height !== null && width !== null) return [3, height, width];
  if (first === undefined) throw new UnbraidError("input", "IMAGES_NONE", "there are no pictures", "Give some.");
  const image = await decodePicture(first);
  const size = spec.resize === undefined ? image : resizedSize(image.width, image.height, spec.resize);
  return [3, size.height, size.width];
}

/** Images at a time: about as much memory for any size of image. */
export function batchSize({ classifier }: Network, [, height, width]: readonly number[], images: number): number {
  if (classifier.batch !== null) return classifier.batch;
  const usual = 2 ** Math.max(0, Math.min(6, Math.round(Math.log2((8 * 224 * 224) / ((height ?? 1) * (width ?? 1))))));
  return Math.max(1, Math.min(usual, images));
}

export interface BatchOptions {
  readonly spec: PreprocessSpec;
  /** [3, height, width] */
  readonly imageShape: readonly number[];
  readonly batch: number;
  readonly signal: AbortSignal;
  readonly skip?: boolean;
  readonly onSkip?: (skipped: ImageBatch["skipped"][number]) => void;
}

/** What may be wrong with one picture, so that a study can go on without it. */
const BAD = ["IMAGE_CORRUPT", "IMAGE_FORMAT", "IMAGE_TOO_LARGE", "IMAGE_UNREADABLE"];

/** The items in batches, the next being decoded while one is used. */
export async function* batches(
  items: readonly Item[],
  o: BatchOptions,
): AsyncGenerator<ImageBatch & { readonly items: readonly Item[] }, void, undefined> {
  const load = (from: number): Promise<(Float32Array | UnbraidError)[]> =>
    Promise.all(items.slice(from, from + o.batch).map((item) => prepared(item, o)));
  let next = load(0);
  let skipped: { item: Item; error: UnbraidError }[] = [];
  for (let from = 0; from < items.length; from += o.batch) {
    o.signal.throwIfAborted();
    const loaded = await next;
    if (from + o.batch < items.length) {
      next = load(from + o.batch);
      next.catch(() => undefined); // awaited in its turn, if that comes
    }
    const good: { item: Item; data: Float32Array }[] = [];
    for (const [k, data] of loaded.entries()) {
      const item = items[from + k];
      if (item === undefined) continue;
      if (data instanceof UnbraidError) {
        if (o.skip !== true) throw data;
        skipped.push({ item, error: data });
        o.onSkip?.({ item, error: data });
      } else good.push({ item, data });
    }
    if (good.length === 0) continue; // counted with the next batch
    const size = good[0]?.data.length ?? 0;
    const tensor = new Float32Array(good.length * size);
    good.forEach(({ data }, k) => {
      tensor.set(data, k * size);
    });
    const labels = good.map(({ item }) => item.label);
    yield {
      tensor,
      labels,
      items: good.map(({ item }) => item),
      skipped,
      next: Math.min(from + o.batch, items.length),
    };
    skipped = [];
  }
}

async function prepared(item: Item, { spec, imageShape }: BatchOptions): Promise<Float32Array | UnbraidError> {
  try {
    const image = await decodePicture(item);
    const data = preprocess(image, spec);
    const [, height = 0, width = 0] = imageShape;
    if (data.length === 3 * height * width && fits(image, spec, width)) return data;
    throw new UnbraidError(
      "input",
      "IMAGE_SIZE",
      `${item.path} is ${image.width} x ${image.height} before preprocessing, which does not make the network's ${width} x ${height} (width x height) of it`,
      "Give a resize and a crop under Preprocessing, so that all pictures become the network's size.",
    );
  } catch (error) {
    if (error instanceof UnbraidError && BAD.includes(error.code)) return error;
    throw error;
  }
}

/** Not only as many pixels, but as wide. */
function fits(image: RgbImage, { resize, crop }: PreprocessSpec, width: number): boolean {
  if (crop !== undefined) return crop === width;
  return (resize === undefined ? image : resizedSize(image.width, image.height, resize)).width === width;
}
