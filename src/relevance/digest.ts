/** SHA-256 in any JavaScript (the library entry has no node:crypto, and a browser's is asynchronous). */
import { sha256 } from "@noble/hashes/sha2.js";

/** The 32 bytes of the digest. */
export function digestOf(bytes: Uint8Array): Uint8Array {
  return sha256(bytes);
}

/** The digest as 64 lower-case hexadecimal digits. */
export function hexDigest(bytes: Uint8Array): string {
  return Array.from(digestOf(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One image of a study's list: its path below the images' folder, with forward slashes, and its class. */
export interface ListedImage {
  readonly path: string;
  readonly class: number;
}

/**
 * The digest of a list of images in its order: two studies with the same one ran over the same files (by name), so that
 * positions in the list mean the same images.
 */
export function listDigest(images: readonly ListedImage[]): string {
  // JSON strings: no path can be mistaken for the end of another.
  const lines = images.map((image) => `${JSON.stringify(image.path)} ${image.class}\n`);
  return hexDigest(new TextEncoder().encode(lines.join("")));
}
