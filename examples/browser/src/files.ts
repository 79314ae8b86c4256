/** What was dropped or chosen, told apart: a network, what belongs to it, pictures, a study. */
import type { Picture } from "./protocol.ts";

export interface Given {
  readonly models: readonly File[];
  readonly pictures: readonly Picture[];
  readonly studies: readonly File[];
  /** Labels, preprocessing, data files of a network. */
  readonly beside: readonly File[];
  /** Pictures of kinds that browsers do not decode. */
  readonly unreadable: number;
}

const PICTURE = /\.(jpe?g|png|webp|bmp)$/i;
const OTHER_PICTURE = /\.(tiff?|ppm|pgm|pbm)$/i;

interface Path {
  readonly path: string;
  readonly file: File;
}

/** Files and folders of a drop, folders walked to their ends. */
export async function dropped(transfer: DataTransfer): Promise<Given> {
  // Entries are valid only while the event is handled: they are all taken before anything is waited for.
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return sorted((await Promise.all(entries.map(walk))).flat());
}

export const chosen = (files: Iterable<File>): Given =>
  sorted(Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file })));

async function walk(entry: FileSystemEntry): Promise<Path[]> {
  const path = entry.fullPath.replace(/^\//, "");
  // Chrome calls the classes otherwise than the specification: their flags tell them apart.
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => {
      (entry as FileSystemFileEntry).file(resolve, reject);
    });
    return [{ path, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const below: FileSystemEntry[] = [];
  for (;;) {
    // It hands out a hundred or so at a time, and none at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (some.length === 0) break;
    below.push(...some);
  }
  return (await Promise.all(below.map(walk))).flat();
}

function sorted(paths: readonly Path[]): Given {
  const of = (kind: RegExp): Path[] => paths.filter(({ path }) => kind.test(path));
  const files = (list: readonly Path[]): File[] => list.map(({ file }) => file);
  const isKnown = (path: string): boolean =>
    [PICTURE, OTHER_PICTURE, /\.onnx$/i, /\.study$/i].some((kind) => kind.test(path)) || /(^|\/)\./.test(path);
  return {
    models: files(of(/\.onnx$/i)),
    studies: files(of(/\.study$/i)),
    pictures: belowRoot(of(PICTURE)),
    unreadable: of(OTHER_PICTURE).length,
    beside: files(paths.filter(({ path }) => !isKnown(path))),
  };
}

/** Paths below the folder whose sub-folders are the classes: without the one folder that all may lie in. */
function belowRoot(paths: readonly Path[]): Picture[] {
  const parts = paths.map(({ path, file }) => ({ names: path.split("/"), file }));
  const [first] = parts;
  const oneRoot = parts.every(({ names }) => names.length > 2 && names[0] === first?.names[0]);
  return parts.map(({ names, file }) => ({
    path: names.slice(oneRoot ? 1 : 0).join("/"),
    bytes: file.size,
    source: file,
  }));
}
