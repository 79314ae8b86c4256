/**
 * What Dawn needs around it to open Vulkan from inside a running Node process: a loader, the choice of drivers, and a
 * runtime folder. Nothing has to be installed or started anew for that:
 *
 * - Dawn calls `dlopen("libvulkan.so.1")`. The dynamic linker answers with any library of that soname that the process has
 *   already, so a loader out of an npm package only has to be loaded first, and kept. (dlopen(3), glibc)
 * - The loader reads its environment when an instance is made and never again, and Dawn makes it inside the call of
 *   `requestAdapter`, so the variables that choose the driver need to be set for that call only.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { userCacheFolder } from "./swiftshader.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Runs `body`, which must not be asynchronous, with variables set (undefined: unset) and puts the former ones back. */
export function withEnvironment<T>(changes: Environment, body: () => T): T {
  const set = (name: string, value: string | undefined): void => {
    if (value === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = value;
  };
  const former = Object.keys(changes).map((name) => [name, process.env[name]] as const);
  try {
    for (const [name, value] of Object.entries(changes)) set(name, value);
    return body();
  } finally {
    for (const [name, value] of former) set(name, value);
  }
}

/** Makes the Vulkan loader use the driver of `manifest` and no other. (Vulkan-Loader, LoaderInterfaceArchitecture.md) */
export function onlyDriver(manifest: string): Environment {
  return {
    VK_DRIVER_FILES: manifest,
    VK_ICD_FILENAMES: manifest, // its name before loader 1.3.207
    VK_ADD_DRIVER_FILES: undefined,
    VK_LOADER_DRIVERS_SELECT: undefined,
    VK_LOADER_DRIVERS_DISABLE: undefined,
    NODEVICE_SELECT: "1", // with one device there is nothing for Mesa's layer to choose, and it opens the display to do so
  };
}

/** Not among Node's constants: the library stays although Node, which finds no add-on in it, closes it. (glibc, bits/dlfcn.h) */
const RTLD_NODELETE = 0x1000;

const loaderIsMapped = (): boolean => readFileSync("/proc/self/maps", "utf8").includes("/libvulkan.so");

function tryLoad(library: string): boolean {
  try {
    process.dlopen({ exports: {} }, library, constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_GLOBAL | RTLD_NODELETE);
  } catch {
    // Always: either it cannot be loaded, or it is loaded and is no add-on. The process's map tells which.
  }
  return loaderIsMapped();
}

/**
 * Sees to it that Dawn will find a Vulkan loader: the system's, or else the one that `bundled` gives the path of.
 * Elsewhere than on Linux there is nothing to do.
 *
 * @throws what `bundled` throws, when the system has none
 */
export async function ensureVulkanLoader(bundled: () => Promise<string>): Promise<void> {
  if (process.platform !== "linux" || loaderIsMapped() || tryLoad("libvulkan.so.1")) return;
  const path = await bundled();
  if (!tryLoad(path)) throw new Error(`the Vulkan loader ${path} cannot be loaded`);
}

/** Mesa and Wayland's library complain, or do without shared memory, where `XDG_RUNTIME_DIR` is unset: gives it a private folder. */
export function ensureRuntimeFolder(): void {
  if (process.platform !== "linux" || process.env.XDG_RUNTIME_DIR !== undefined) return;
  const folder = join(userCacheFolder(), "run");
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    process.env.XDG_RUNTIME_DIR = folder;
  } catch {
    // An unwritable home: Mesa manages, with a complaint.
  }
}

/**
 * Whether a GPU may be there. On Linux one shows as a device node (DRM render node, NVIDIA's or WSL's own), so that without
 * any the drivers need not be asked for their list, which takes one more Vulkan instance.
 */
export function hardwareIsPossible(): boolean {
  if (process.platform !== "linux") return true;
  if (["/dev/nvidiactl", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0"].some((node) => existsSync(node))) return true;
  try {
    return readdirSync("/dev/dri").some((node) => node.startsWith("renderD"));
  } catch {
    return false;
  }
}
