/** Reading whole files. */
import { readFileSync, statSync } from "node:fs";

/**
 * The bytes of a regular file: a device has no end (/dev/full, which may well be named as an output), and a pipe may never
 * begin. Throws the file system's errors.
 */
export function readRegularFile(path: string): Buffer {
  if (!statSync(path).isFile()) throw new Error("it is not a file");
  return readFileSync(path);
}
