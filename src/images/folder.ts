/**
 * A folder of images as torchvision's ImageFolder sees it: one sub-folder a class, in the order in which Python sorts
 * their names; below each, at any depth and through links, all files with an image's extension. Node only.
 */
import { readdir, realpath, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { UnbraidError } from "../errors.ts";
import { mapFolders, readClasses } from "./classes.ts";
import { whyUnreadable } from "../files.ts";
import { unreadable } from "./image-errors.ts";

/** torchvision's IMG_EXTENSIONS; case does not count. */
export const IMAGE_EXTENSIONS = [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"] as const;

export interface ImageItem {
  /** Relative to the folder that was listed, with forward slashes. */
  readonly path: string;
  /** Index into `classes`; -1 where no class is known. */
  readonly label: number;
}

export interface ImageList {
  /** Names by label: the sub-folders, or what a classes file says. */
  readonly classes: readonly string[];
  readonly items: readonly ImageItem[];
}

export interface ListOptions {
  /** At most this many images of each sub-folder: the first ones. All unless given. */
  readonly limitPerClass?: number;
  /** A file that maps sub-folders to the network's classes; see {@link readClasses}. */
  readonly classesFile?: string;
}

/** Order of code points, which is Python's order of strings; JavaScript's own differs beyond U+FFFF. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Surrogates, which stand for the code points beyond U+FFFF, moved above the rest of the 16-bit range. */
function rank(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

const isImageName = (name: string): boolean => {
  const lower = name.toLowerCase();
  return IMAGE_EXTENSIONS.some((extension) => lower.endsWith(extension));
};

/** Names of the sub-folders (links to folders included) and of everything else, unsorted. */
async function entries(dir: string): Promise<{ folders: string[]; files: string[] }> {
  const folders: string[] = [];
  const files: string[] = [];
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const folder = entry.isSymbolicLink() ? await isFolder(join(dir, entry.name)) : entry.isDirectory();
    (folder ? folders : files).push(entry.name);
  }
  return { folders, files };
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false; // a link to nowhere, or a circle of links
  }
}

/**
 * All image files below `dir`: folders in the order of their paths, files of each in the order of their names.
 * A link back to a folder that is being walked is not followed (torchvision would go round until the path is too long).
 *
 * @returns paths relative to `dir`, with forward slashes
 */
async function walk(dir: string): Promise<string[]> {
  const found: { folder: string; files: string[] }[] = [];
  const visit = async (folder: string, above: ReadonlySet<string>): Promise<void> => {
    const real = await realpath(join(dir, folder));
    if (above.has(real)) return;
    const { folders, files } = await entries(join(dir, folder));
    found.push({ folder, files: files.filter(isImageName).sort(compareCodePoints) });
    for (const name of folders) await visit(folder === "" ? name : `${folder}/${name}`, new Set([...above, real]));
  };
  await visit("", new Set());
  found.sort((a, b) => compareCodePoints(a.folder, b.folder));
  return found.flatMap(({ folder, files }) => files.map((name) => (folder === "" ? name : `${folder}/${name}`)));
}

/**
 * Lists a folder with a sub-folder a class.
 *
 * Files beside the sub-folders are ignored, as are files without an image's extension.
 *
 * @throws UnbraidError IMAGES_UNREADABLE: no such folder, or not readable; IMAGES_NO_CLASSES: no sub-folders;
 *   IMAGES_EMPTY_CLASS: sub-folders without an image, all named; CLASSES_INVALID and CLASSES_MISSING of the classes file
 */
export async function listImages(dir: string, options: ListOptions = {}): Promise<ImageList> {
  const { limitPerClass = Infinity } = options;
  if (!(limitPerClass >= 1)) throw new RangeError(`limitPerClass is ${limitPerClass}, not at least 1`);
  const folders = (await readable(dir, () => entries(dir))).folders.sort(compareCodePoints);
  if (folders.length === 0) {
    throw new UnbraidError(
      "input",
      "IMAGES_NO_CLASSES",
      `${dir} holds no sub-folders`,
      "Give a folder with one sub-folder a class, as torchvision's ImageFolder expects.",
    );
  }
  const mapping =
    options.classesFile === undefined
      ? { classes: folders, labels: folders.map((_, i) => i) }
      : mapFolders(folders, await readClasses(options.classesFile), options.classesFile);

  const items: ImageItem[] = [];
  const empty: string[] = [];
  for (const [i, folder] of folders.entries()) {
    const paths = await readable(join(dir, folder), () => walk(join(dir, folder)));
    if (paths.length === 0) empty.push(folder);
    for (const path of paths.slice(0, limitPerClass)) {
      items.push({ path: `${folder}/${path}`, label: mapping.labels[i] ?? -1 });
    }
  }
  if (empty.length > 0) {
    throw new UnbraidError(
      "input",
      "IMAGES_EMPTY_CLASS",
      `${empty.length} of ${folders.length} class folders in ${dir} hold no image: ${empty.join(", ")}`,
      `Remove them or fill them; extensions read are ${IMAGE_EXTENSIONS.join(" ")}.`,
    );
  }
  return { classes: mapping.classes, items };
}

/**
 * Files given one by one, and images below folders given; without labels (-1).
 *
 * @returns absolute paths with forward slashes, in the order given
 * @throws UnbraidError IMAGES_UNREADABLE: not there, or a folder without an image
 */
export async function listFiles(paths: readonly string[]): Promise<ImageItem[]> {
  const items: ImageItem[] = [];
  for (const path of paths) {
    const full = resolve(path).replaceAll("\\", "/");
    if (!(await readable(path, () => stat(path))).isDirectory()) {
      items.push({ path: full, label: -1 });
      continue;
    }
    const below = await readable(path, () => walk(path));
    if (below.length === 0) {
      throw unreadableFolder(path, "it holds no image");
    }
    items.push(...below.map((name) => ({ path: `${full}/${name}`, label: -1 })));
  }
  return items;
}

const unreadableFolder = (path: string, why: unknown): UnbraidError =>
  new UnbraidError(
    "input",
    "IMAGES_UNREADABLE",
    unreadable(path, typeof why === "string" ? why : whyUnreadable(why)).message,
    "Check the path and its permissions.",
    {
      cause: why,
    },
  );

/** `work`, whose failures are about `path`. */
async function readable<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw unreadableFolder(path, error);
  }
}
