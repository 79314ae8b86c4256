/** Which images a study has seen, as one number. Node only. */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { ImageItem } from "./folder.ts";
import { unreadable } from "./image-errors.ts";

/** Files asked for their size at once. */
const AT_ONCE = 64;

/**
 * SHA-256, in hexadecimal, over the list in its order: the line `unbraid image list 1`, then for each image its relative
 * path (UTF-8, forward slashes), a zero byte, its label in decimal, a zero byte, its file's size in bytes in decimal,
 * and a line feed. It does not depend on where the folder lies, and reads no image: files replaced by others of the same
 * size go unnoticed.
 *
 * @throws UnbraidError IMAGE_UNREADABLE when a file is gone
 */
export async function imageListDigest(items: readonly ImageItem[], root: string): Promise<string> {
  const hash = createHash("sha256").update("unbraid image list 1\n");
  for (let i = 0; i < items.length; i += AT_ONCE) {
    const lines = await Promise.all(
      items.slice(i, i + AT_ONCE).map(async ({ path, label }) => {
        try {
          return `${path}\0${label}\0${(await stat(resolve(root, path))).size}\n`;
        } catch (error) {
          throw unreadable(path, error);
        }
      }),
    );
    hash.update(lines.join(""));
  }
  return hash.digest("hex");
}
