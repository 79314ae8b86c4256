/** Which images were read, as one number. Node only. */
import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { ImageItem } from "./folder.ts";
import { unreadable } from "./image-errors.ts";

/** Files asked for their size at once. */
const AT_ONCE = 64;
/** Files read at once. */
const READ_AT_ONCE = 8;

/**
 * SHA-256, in hexadecimal, over the list in its order: the line `unbraid image list 1`, then for each image its relative
 * path (UTF-8, forward slashes), a zero byte, its label in decimal, a zero byte, its file's size in bytes in decimal,
 * and a line feed. It does not depend on where the folder lies, and reads no image: files replaced by others of the same
 * size go unnoticed.
 *
 * @throws UnbraidError IMAGE_UNREADABLE when a file is gone
 */
export function imageListDigest(items: readonly ImageItem[], root: string): Promise<string> {
  return digest("unbraid image list 1", { items, root, atOnce: AT_ONCE }, async (path) => (await stat(path)).size);
}

/**
 * The same over what the files hold: the line `unbraid image files 1`, and in place of each size the file's SHA-256.
 *
 * @throws UnbraidError IMAGE_UNREADABLE when a file is gone
 */
export function imageFilesDigest(items: readonly ImageItem[], root: string): Promise<string> {
  return digest("unbraid image files 1", { items, root, atOnce: READ_AT_ONCE }, async (path) =>
    createHash("sha256")
      .update(await readFile(path))
      .digest("hex"),
  );
}

async function digest(
  header: string,
  { items, root, atOnce }: { readonly items: readonly ImageItem[]; readonly root: string; readonly atOnce: number },
  of: (path: string) => Promise<number | string>,
): Promise<string> {
  const hash = createHash("sha256").update(`${header}\n`);
  for (let i = 0; i < items.length; i += atOnce) {
    const lines = await Promise.all(
      items.slice(i, i + atOnce).map(async ({ path, label }) => {
        try {
          return `${path}\0${label}\0${await of(resolve(root, path))}\n`;
        } catch (error) {
          throw unreadable(path, error);
        }
      }),
    );
    hash.update(lines.join(""));
  }
  return hash.digest("hex");
}
