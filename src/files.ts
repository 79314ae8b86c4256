/** Files of the Node side: models with their external data, digests, and output that is whole or not there at all. */
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve, isAbsolute } from "node:path";
import { UnbraidError } from "./errors.ts";
import { decodeModel, externalLocations } from "./onnx/decode.ts";
import type { ExternalReader, OnnxModel } from "./onnx/model.ts";

/** Bytes read or hashed at a time. */
const PIECE = 16 * 2 ** 20;
/** Protobuf's own limit of a message; larger models keep their weights in files beside. */
const MAX_MODEL = 2 ** 31 - 1;

/**
 * Writes a file so that it is either whole or not there: beside, flushed to the disk, renamed. A device or a pipe
 * (/dev/stdout) is written to directly.
 * @param data all of it, or its parts in order
 * @throws UnbraidError kind "output": OUTPUT_UNWRITABLE, DISK_FULL; nothing is left behind then
 */
export function writeFileAtomic(path: string, data: string | Uint8Array | Iterable<Uint8Array>): void {
  const chunks =
    typeof data === "string" ? [new TextEncoder().encode(data)] : data instanceof Uint8Array ? [data] : data;
  let beside: string | undefined;
  try {
    // A link is written through: what it points to gets the new content.
    const target = existsSync(path) ? realpathSync(path) : resolve(path);
    const there = statSync(target, { throwIfNoEntry: false });
    if (there?.isDirectory()) throw unwritable(path, "it is a folder");
    if (there !== undefined && !there.isFile()) {
      writeChunks(target, "w", chunks);
      return;
    }
    beside = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
    writeChunks(beside, "wx", chunks, there?.mode);
    renameSync(beside, target);
  } catch (error) {
    if (beside !== undefined) rmSync(beside, { force: true });
    throw error instanceof UnbraidError ? error : outputError(path, error);
  }
}

function writeChunks(path: string, flag: "w" | "wx", chunks: Iterable<Uint8Array>, mode = 0o666): void {
  const file = openSync(path, flag, mode & 0o777);
  try {
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at, Math.min(PIECE, chunk.length - at));
    }
    if (flag === "wx") fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** OUTPUT_UNWRITABLE, for what is to be written at `path`. */
export const unwritable = (path: string, why: string, options?: ErrorOptions): UnbraidError =>
  new UnbraidError(
    "output",
    "OUTPUT_UNWRITABLE",
    `${path} cannot be written: ${why}`,
    "Choose another place, or make this one writable.",
    options,
  );

function outputError(path: string, error: unknown): unknown {
  const code = errorCode(error);
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new UnbraidError(
      "output",
      "DISK_FULL",
      `${path} cannot be written: the disk is full`,
      "Free some space, or choose another place with --out; nothing was left behind.",
      { cause: error },
    );
  }
  // What is not the file system's (an error of whoever makes the chunks) is passed on as it is.
  return code === undefined ? error : unwritable(path, WHY[code] ?? code, { cause: error });
}

/** @throws UnbraidError OUTPUT_UNWRITABLE, DISK_FULL */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw outputError(path, error);
  }
}

const errorCode = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

/** What the file system says, in words. */
export function whyUnreadable(error: unknown): string {
  return WHY[errorCode(error) ?? ""] ?? (error instanceof Error ? error.message : String(error));
}

const WHY: Readonly<Partial<Record<string, string>>> = {
  ENOENT: "there is no such file or folder",
  ENOTDIR: "a part of the path is not a folder",
  EISDIR: "it is a folder",
  EACCES: "permission is denied",
  EPERM: "permission is denied",
  EROFS: "the file system is read-only",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "its links go round in a circle",
};

/**
 * Reads a model from a file, its external data from beside it when it is asked for.
 * @throws UnbraidError kind "model": MODEL_UNREADABLE, MODEL_TOO_LARGE, and as decodeModel; tensors throw EXTERNAL_DATA
 * and EXTERNAL_DATA_OUTSIDE
 */
export function readModelFile(path: string): OnnxModel {
  return decodeModel(readWhole(path), externalReader(path));
}

function readWhole(path: string): Uint8Array {
  try {
    return withFile(path, (file, size) => {
      if (size <= MAX_MODEL) return readExactly(file, 0, size);
      throw new UnbraidError(
        "model",
        "MODEL_TOO_LARGE",
        `${path} has ${size} bytes; a model file holds at most ${MAX_MODEL}`,
        "Save the model with external data (onnx.save with save_as_external_data=True).",
      );
    });
  } catch (error) {
    if (error instanceof UnbraidError) throw error;
    throw new UnbraidError(
      "model",
      "MODEL_UNREADABLE",
      `the model ${path} cannot be read: ${whyUnreadable(error)}`,
      "Check the path.",
      { cause: error },
    );
  }
}

/** Reads pieces of data files that lie in the folder of the model at `path`, links followed, and nowhere else. */
export function externalReader(path: string): ExternalReader {
  const folder = dirname(resolve(path));
  return (location, offset, length) => {
    const file = externalPath(folder, location);
    try {
      return withFile(file, (descriptor, size) => {
        const wanted = length ?? size - offset;
        if (wanted >= 0 && offset + wanted <= size) return readExactly(descriptor, offset, wanted);
        throw new UnbraidError(
          "model",
          "EXTERNAL_DATA",
          `the model needs bytes ${offset} to ${offset + Math.max(wanted, 0)} of its data file "${location}", which has ${size}`,
          "Download or export the data file again.",
        );
      });
    } catch (error) {
      if (error instanceof UnbraidError) throw error;
      throw missingData(location, folder, error);
    }
  };
}

const missingData = (location: string, folder: string, error: unknown): UnbraidError =>
  new UnbraidError(
    "model",
    "EXTERNAL_DATA",
    `the model's data file "${location}" cannot be read: ${whyUnreadable(error)}`,
    `Put it into the folder of the model, ${folder}.`,
    { cause: error },
  );

/** The data file's path. @throws UnbraidError EXTERNAL_DATA_OUTSIDE, EXTERNAL_DATA where it is not there */
function externalPath(folder: string, location: string): string {
  const path = resolve(folder, location);
  const inside = (parent: string, child: string): boolean => {
    const way = relative(parent, child);
    return way !== "" && way.split(/[\\/]/)[0] !== ".." && !isAbsolute(way);
  };
  const outside = (): UnbraidError =>
    new UnbraidError(
      "model",
      "EXTERNAL_DATA_OUTSIDE",
      `the model asks for data outside its folder: "${location}"`,
      "Put a copy of the data file beside the model and name it without a path.",
    );
  if (isAbsolute(location) || !inside(folder, path)) throw outside();
  let real: string;
  try {
    real = realpathSync(path);
  } catch (error) {
    throw missingData(location, folder, error);
  }
  if (!inside(realpathSync(folder), real)) throw outside();
  return real;
}

/** Opens a regular file for reading; a folder, a pipe or a device is refused before anything could wait for it. */
function withFile<T>(path: string, use: (file: number, size: number) => T): T {
  if (!statSync(path).isFile()) throw new Error("it is not a file");
  const file = openSync(path, "r");
  try {
    return use(file, fstatSync(file).size);
  } finally {
    closeSync(file);
  }
}

function readExactly(file: number, offset: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const n = readSync(file, out, at, Math.min(PIECE, length - at), offset + at);
    if (n === 0) throw new Error(`it ended after ${offset + at} of ${offset + length} bytes while it was read`);
    at += n;
  }
  return out;
}

/** SHA-256 in hexadecimal. */
export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** SHA-256 of a file, read in pieces. Throws the file system's errors. */
export function sha256File(path: string): string {
  return withFile(path, (file, size) => {
    const hash = createHash("sha256");
    for (let at = 0; at < size; at += PIECE) hash.update(readExactly(file, at, Math.min(PIECE, size - at)));
    return hash.digest("hex");
  });
}

/**
 * Digest of a model with its external data: of the file alone (what sha256sum prints) where it has none; else of a list
 * "digest, two spaces, name, newline", the model's own line first with the name "model", then each data file's by name.
 * @param model the model of `path`, where it was read already
 * @throws UnbraidError as readModelFile, and EXTERNAL_DATA, EXTERNAL_DATA_OUTSIDE
 */
export function modelDigest(path: string, model: OnnxModel = readModelFile(path)): string {
  const own = sha256(model.bytes);
  const folder = dirname(resolve(path));
  const lines = externalLocations(model).map((location) => {
    const file = externalPath(folder, location);
    try {
      return `${sha256File(file)}  ${location}\n`;
    } catch (error) {
      throw missingData(location, folder, error);
    }
  });
  return lines.length === 0 ? own : sha256(`${own}  model\n${lines.join("")}`);
}
