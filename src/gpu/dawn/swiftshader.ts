/**
 * SwiftShader, a Vulkan driver that runs on the processor, and a Vulkan loader, both out of the optional npm package
 * `@sparticuz/chromium` (Linux on x86-64 only): they are what makes `npm ci` enough on a machine with neither GPU nor Vulkan.
 *
 * The package keeps them as a tar compressed with brotli. They are unpacked once into the user's cache folder, keyed by the
 * package's version; the folder is filled beside and renamed, so that any number of processes may do so at once.
 */
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";

const PACKAGE = "@sparticuz/chromium";
const LOADER = "libvulkan.so.1";
const DRIVER = "libvk_swiftshader.so";
const MANIFEST = "vk_swiftshader_icd.json";
const FILES: readonly string[] = [LOADER, DRIVER, MANIFEST];

/** Paths of the unpacked files. */
export interface BundledVulkan {
  readonly folder: string;
  /** libvulkan.so.1 */
  readonly loader: string;
  /** The driver's manifest, which is what `VK_DRIVER_FILES` names. */
  readonly manifest: string;
}

/** The user's folder for what can be made again (XDG Base Directory Specification 0.8). */
export function userCacheFolder(): string {
  const configured = process.env.XDG_CACHE_HOME;
  const root = configured !== undefined && isAbsolute(configured) ? configured : join(homedir(), ".cache");
  return join(root, "unbraid");
}

/** Plain files in a tar (POSIX.1-1988 ustar: headers and contents in blocks of 512 bytes), by their last name. */
export function* tarFiles(tar: Buffer): Generator<{ name: string; content: Buffer }> {
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0;) {
    const text = (from: number, length: number): string =>
      tar.toString("latin1", at + from, at + from + length).replace(/\0.*$/s, "");
    const size = Number.parseInt(text(124, 12), 8);
    const end = at + 512 + size;
    if (!Number.isInteger(size) || size < 0 || end > tar.length)
      throw new Error(`the archive is damaged at byte ${at}`);
    const type = text(156, 1);
    if (type === "" || type === "0")
      yield { name: text(0, 100).replace(/^.*\//, ""), content: tar.subarray(at + 512, end) };
    at = Math.ceil(end / 512) * 512;
  }
}

interface Package {
  readonly version: string;
  readonly archive: string;
}

/** @throws Error that says why the package cannot be used here */
async function findPackage(): Promise<Package> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error(`${PACKAGE} holds SwiftShader for linux-x64 only, and this is ${process.platform}-${process.arch}`);
  }
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(PACKAGE);
  } catch {
    throw new Error(`the optional package ${PACKAGE} is not installed`);
  }
  const root = join(dirname(entry), "..", ".."); // the entry is build/cjs/index.cjs, and package.json is not exported
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version?: unknown };
  if (typeof version !== "string") throw new Error(`the package ${PACKAGE} has no version`);
  return { version, archive: join(root, "bin", "swiftshader.tar.br") };
}

async function isComplete(folder: string): Promise<boolean> {
  const sizes = await Promise.all(
    FILES.map((name) =>
      stat(join(folder, name)).then(
        (file) => file.size,
        () => 0,
      ),
    ),
  );
  return sizes.every((size) => size > 0);
}

async function unpackInto(folder: string, archive: string): Promise<void> {
  const tar = await promisify(brotliDecompress)(await readFile(archive));
  for (const { name, content } of tarFiles(tar)) {
    if (!FILES.includes(name)) continue;
    const file = await open(join(folder, name), "wx", 0o755);
    try {
      await file.writeFile(content);
      await file.sync(); // a rename that survives a power cut must not survive its contents
    } finally {
      await file.close();
    }
  }
  if (!(await isComplete(folder))) throw new Error(`${archive} lacks one of ${FILES.join(", ")}`);
}

/** Fills `folder` unless it is complete. Of processes that race, one wins and the others use what it made. */
async function fill(folder: string, archive: string): Promise<void> {
  if (await isComplete(folder)) return;
  const beside = `${folder}.${process.pid}-${randomUUID()}`;
  await mkdir(beside, { recursive: true, mode: 0o700 });
  try {
    await unpackInto(beside, archive);
    for (let attempt = 0; !(await isComplete(folder)); attempt++) {
      try {
        await rename(beside, folder);
      } catch (error) {
        // Something is there already: another process's work, or what a cache cleaner left of it.
        if (attempt > 0) throw error;
        if (!(await isComplete(folder))) await rm(folder, { recursive: true, force: true });
      }
    }
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

/**
 * Unpacks SwiftShader and the Vulkan loader, or finds them unpacked. Where the cache cannot be written they go to a
 * temporary folder that goes when the process does.
 *
 * @throws Error that says why it cannot be had: another platform, package not installed, archive damaged
 */
export async function unpackSwiftShader(cache: string = userCacheFolder()): Promise<BundledVulkan> {
  const { version, archive } = await findPackage();
  let folder = join(cache, `swiftshader-${version}`);
  try {
    await fill(folder, archive);
  } catch {
    folder = mkdtempSync(join(tmpdir(), "unbraid-"));
    process.once("exit", () => {
      rmSync(folder, { recursive: true, force: true });
    });
    await unpackInto(folder, archive);
  }
  return { folder, loader: join(folder, LOADER), manifest: join(folder, MANIFEST) };
}
