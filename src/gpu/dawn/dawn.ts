/**
 * Dawn in Node: loading the `webgpu` package, and asking it for adapters. One GPU object of it is one Dawn instance, with
 * the drivers it found when its first adapter was asked for; several may live side by side.
 */
import { UnbraidError } from "../../errors.ts";
import { withEnvironment, type Environment } from "./vulkan.ts";

/** What we use of the `webgpu` package. */
export interface Dawn {
  create(flags: string[]): GPU;
}

function glibcVersion(): string {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime ?? "none";
}

function loadingError(error: unknown): UnbraidError {
  const why = error instanceof Error ? error.message : String(error);
  const missing = /Cannot find (package|module)/.test(why);
  let remedy = "Install it again: npm install webgpu@0.6.2";
  if (why.includes("GLIBC")) {
    remedy = `It needs glibc 2.34 or newer (Debian 12, Ubuntu 22.04) and finds ${glibcVersion()}: use a newer system, or a container of one.`;
  } else if (missing) {
    remedy = `Install it: npm install webgpu@0.6.2; it has builds for Linux, macOS and Windows on x64 and arm64, and this is ${process.platform}-${process.arch}.`;
  }
  return new UnbraidError("adapter", "ADAPTER_WEBGPU", `the webgpu package (Dawn) cannot be loaded: ${why}`, remedy, {
    cause: error,
  });
}

/**
 * Loads the `webgpu` package, late, so that commands that need no GPU work where it does not.
 *
 * @throws UnbraidError ADAPTER_WEBGPU
 */
export async function loadDawn(load: () => Promise<Dawn> = () => import("webgpu")): Promise<Dawn> {
  try {
    return await load();
  } catch (error) {
    throw loadingError(error);
  }
}

/** Vulkan's drivers on Linux; elsewhere the system's own interface. */
const BACKEND = process.platform === "darwin" ? "metal" : process.platform === "win32" ? "d3d12" : "vulkan";
const REQUEST: GPURequestAdapterOptions = { powerPreference: "high-performance" };

/**
 * GPU objects by what they were made with, kept as long as the process lives: when one is collected, promises of its devices
 * never settle, and what is left of them crashes the process. Asking one again for an adapter is also quick (2 ms), since it
 * has its drivers loaded.
 */
const kept = new Map<string, GPU>();

/** What the loader's choice of drivers may depend on: a GPU object made under another is another. */
const driversOf = (): string =>
  JSON.stringify(Object.entries(process.env).filter(([name]) => name.startsWith("VK_") || name.startsWith("MESA_VK_")));

/** The adapter called `name`, or Dawn's first choice (a discrete GPU before an integrated one before software), if any. */
export async function requestAdapter(
  dawn: Dawn,
  environment: Environment,
  name?: string,
): Promise<GPUAdapter | undefined> {
  const flags = [`backend=${BACKEND}`, ...(name === undefined ? [] : [`adapter=${name}`])];
  const request = withEnvironment(environment, () => {
    const key = JSON.stringify([flags, driversOf()]);
    const gpu = kept.get(key) ?? dawn.create(flags);
    kept.set(key, gpu);
    return gpu.requestAdapter(REQUEST);
  });
  return (await request) ?? undefined;
}

/** Names of all adapters, in Dawn's order of preference. It lists them when asked for one that is not there. */
export async function adapterNames(dawn: Dawn, environment: Environment): Promise<string[]> {
  try {
    await requestAdapter(dawn, environment, "(list of adapters)");
    return []; // with no adapter at all it does not complain
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return [...new Set(Array.from(text.matchAll(/name: '(.*)'$/gm), (match) => match[1] ?? ""))];
  }
}
