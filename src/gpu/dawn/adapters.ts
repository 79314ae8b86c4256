/**
 * Adapters in Node: finds one that works (a GPU, then lavapipe, then SwiftShader out of an npm package), opens it, and lists
 * them all. Node only; a browser has `navigator.gpu`.
 *
 * Environment variables are how the Vulkan loader is told which driver to use, and a worker thread's `process.env` is a copy
 * that it does not see: open adapters on the main thread.
 */
import { availableParallelism } from "node:os";
import type { Helpers } from "../gpu.ts";
import { adapterNames, loadDawn, requestAdapter, type Dawn } from "./dawn.ts";
import { chooseAdapter, rank, type AdapterKind, type AdapterSource, type Candidate, type Problem } from "./search.ts";
import { ensureRuntimeFolder, ensureVulkanLoader, hardwareIsPossible, onlyDriver, type Environment } from "./vulkan.ts";
import { unpackSwiftShader } from "./swiftshader.ts";
import { throttlePolls } from "./throttle.ts";

export type { AdapterKind } from "./search.ts";

/** What the driver says of itself, as WebGPU passes it on. */
export interface AdapterDriver {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
}

/** An adapter in use. It gives one device (WebGPU: it is consumed by that); open another for a second. */
export interface OpenAdapter extends Disposable {
  readonly adapter: GPUAdapter;
  /** For `Gpu.open(opened.adapter, opened)`: devices that compile beside its own. */
  readonly helpers: Helpers;
  /** For people: "llvmpipe: Mesa 25.0.7 (LLVM 15.0.6)", "NVIDIA H200". */
  readonly name: string;
  readonly kind: AdapterKind;
  /** Runs on the processor. */
  readonly software: boolean;
  readonly driver: AdapterDriver;
  /** Destroys its devices, waiting for the work they have begun. Also done when the process exits. */
  close(): void;
}

/** For `doctor`: an adapter that works, or one that does not and why. */
export type AdapterReport =
  | {
      readonly usable: true;
      readonly name: string;
      readonly kind: AdapterKind;
      readonly software: boolean;
      readonly driver: AdapterDriver;
      readonly features: readonly string[];
      readonly limits: Readonly<Record<string, number>>;
    }
  | { readonly usable: false; readonly name: string; readonly problem: string };

/** A candidate's adapter, still unused. */
interface Found {
  readonly adapter: GPUAdapter;
  readonly again: () => Promise<GPUAdapter | undefined>;
  readonly name: string;
  readonly kind: AdapterKind;
  readonly driver: AdapterDriver;
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const lettersAndDigits = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, "");

function kindOf(driver: AdapterDriver, fallback: boolean): AdapterKind {
  const text = `${driver.device} ${driver.description}`.toLowerCase();
  if (text.includes("llvmpipe")) return "lavapipe";
  if (text.includes("swiftshader")) return "swiftshader";
  return fallback ? "software" : "hardware";
}

/** @param again asks for the same adapter once more: trying one out uses it up */
function candidate(
  first: GPUAdapter,
  again: () => Promise<GPUAdapter | undefined>,
  listedName?: string,
): Candidate<Found> {
  const { vendor, architecture, device, description, isFallbackAdapter } = first.info;
  const driver = { vendor, architecture, device, description };
  const kind = kindOf(driver, isFallbackAdapter);
  // Of a GPU the description names the driver only; of a software driver it says the most, with the version.
  const told = description.replace(/( 0\.0\.1)?$/, "");
  const name = kind === "hardware" || told === "" ? (listedName ?? device) : told;
  return {
    name,
    kind,
    description: `${device} ${listedName ?? ""} ${description}`,
    async open() {
      // A driver may be listed and yet give no device: a GPU that one may not use, a version that does not fit.
      (await first.requestDevice()).destroy();
      const adapter = await again();
      if (adapter === undefined) throw new Error("the adapter went away while it was opened");
      return { adapter, again, name, kind, driver };
    },
  };
}

/** The drivers that the system has, or that the user's environment names, best kind first. */
function systemSource(dawn: Dawn): AdapterSource<Found> {
  const here: Environment = {};
  const nothing = {
    name: "system Vulkan",
    problem: "no driver is installed that Dawn accepts (it refuses old ones, such as lavapipe of Mesa 22)",
  };
  const kindByName = (name: string): number =>
    rank(kindOf({ vendor: "", architecture: "", device: name, description: "" }, false));
  return async function* () {
    try {
      await ensureVulkanLoader(async () => (await unpackSwiftShader()).loader);
    } catch (error) {
      yield { name: "system Vulkan", problem: `no Vulkan loader (libvulkan.so.1), and ${message(error)}` };
      return;
    }
    let first: string | undefined;
    if (!hardwareIsPossible()) {
      const request = (): Promise<GPUAdapter | undefined> => requestAdapter(dawn, here);
      const adapter = await request();
      if (adapter === undefined) {
        yield nothing;
        return;
      }
      first = lettersAndDigits(adapter.info.device);
      yield candidate(adapter, request);
    }
    const names = (await adapterNames(dawn, here)).filter((name) => lettersAndDigits(name) !== first);
    if (names.length === 0 && first === undefined) yield nothing;
    for (const name of names.sort((a, b) => kindByName(a) - kindByName(b))) {
      const request = (): Promise<GPUAdapter | undefined> => requestAdapter(dawn, here, name);
      try {
        const adapter = await request();
        yield adapter === undefined
          ? { name, problem: "it went away while it was opened" }
          : candidate(adapter, request, name);
      } catch (error) {
        yield { name, problem: message(error) };
      }
    }
  };
}

/** SwiftShader out of the npm package. */
function packagedSource(dawn: Dawn): AdapterSource<Found> {
  return async function* () {
    const name = "SwiftShader (npm package)";
    try {
      const { loader, manifest } = await unpackSwiftShader();
      await ensureVulkanLoader(() => Promise.resolve(loader));
      const request = (): Promise<GPUAdapter | undefined> => requestAdapter(dawn, onlyDriver(manifest));
      const adapter = await request();
      yield adapter === undefined ? { name, problem: "Dawn does not accept it" } : candidate(adapter, request);
    } catch (error) {
      yield { name, problem: message(error) };
    }
  };
}

const opened = new Set<Disposable>();

/** Node that exits under a device at work may crash in the driver, and its exit code is lost; destroying waits instead. */
function closeAllAtExit(): void {
  for (const adapter of opened) adapter[Symbol.dispose]();
}

/** Devices beside the first that may compile at a time: more of them wait for the few kernels that take longest. */
const MOST_HELPERS = 3;

function openFound({ adapter, again, name, kind, driver }: Found): OpenAdapter {
  const throttle = throttlePolls();
  const devices = new Set<GPUDevice>();
  let closed = false;

  const checkOpen = (): void => {
    if (closed) throw new Error(`the adapter ${name} has been closed`);
  };
  /** Its devices are destroyed with this adapter. */
  const held = (adapter: GPUAdapter): GPUAdapter => {
    const requestDevice = adapter.requestDevice.bind(adapter);
    return Object.defineProperty(adapter, "requestDevice", {
      configurable: true,
      async value(descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
        checkOpen();
        const device = await requestDevice(descriptor);
        try {
          checkOpen();
        } catch (error) {
          device.destroy();
          throw error;
        }
        devices.add(device);
        void device.lost.then(() => devices.delete(device));
        return device;
      },
    });
  };

  const result: OpenAdapter = {
    adapter: held(adapter),
    helpers: {
      // Hardware's compilers are done before anything runs.
      most: kind === "hardware" ? 0 : Math.min(MOST_HELPERS, availableParallelism() - 1),
      adapter: async () => {
        const another = await again();
        return another && held(another);
      },
    },
    name,
    kind,
    software: kind !== "hardware",
    driver,
    close() {
      if (closed) return;
      for (const device of devices) device.destroy();
      devices.clear();
      closed = true;
      throttle[Symbol.dispose]();
      opened.delete(result);
    },
    [Symbol.dispose]() {
      result.close();
    },
  };
  if (!process.listeners("exit").includes(closeAllAtExit)) process.on("exit", closeAllAtExit);
  opened.add(result);
  return result;
}

function announcement({ name, kind }: OpenAdapter): string {
  if (kind === "hardware") return `adapter: ${name}`;
  return `adapter: ${name} (${kind === "software" ? "" : `${kind}, `}a software adapter: it runs on the processor)`;
}

/** The sources in the order of the search: asking for SwiftShader need not start the system's drivers first. */
function sources(dawn: Dawn, wanted?: string): readonly AdapterSource<Found>[] {
  const order = [systemSource(dawn), packagedSource(dawn)];
  return wanted?.toLowerCase() === "swiftshader" ? order.reverse() : order;
}

/**
 * Opens an adapter: a GPU if there is one, or else lavapipe, or else SwiftShader.
 *
 * @param options `name`: a kind, or part of a name or description, in any case of letters; `log` is given one line that says
 * which adapter runs and whether it is a software one.
 * @throws UnbraidError ADAPTER_UNKNOWN, ADAPTER_NONE or ADAPTER_WEBGPU
 */
export async function openAdapter(
  options: { name?: string | undefined; log?: (line: string) => void } = {},
): Promise<OpenAdapter> {
  const dawn = await loadDawn();
  ensureRuntimeFolder();
  const adapter = openFound(await chooseAdapter(sources(dawn, options.name), options.name));
  options.log?.(announcement(adapter));
  return adapter;
}

function limitsOf(adapter: GPUAdapter): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const name in adapter.limits) {
    const value: unknown = Reflect.get(adapter.limits, name);
    if (typeof value === "number") limits[name] = value;
  }
  return limits;
}

async function report(found: Candidate<Found> | Problem): Promise<AdapterReport> {
  if ("problem" in found) return { usable: false, ...found };
  const { name, kind } = found;
  try {
    const { adapter, driver } = await found.open();
    const features = [...adapter.features].sort();
    return { usable: true, name, kind, software: kind !== "hardware", driver, features, limits: limitsOf(adapter) };
  } catch (error) {
    return { usable: false, name, problem: message(error) };
  }
}

/**
 * All adapters, best kind first, and what was looked for in vain.
 *
 * @throws UnbraidError ADAPTER_WEBGPU
 */
export async function listAdapters(): Promise<AdapterReport[]> {
  const dawn = await loadDawn();
  ensureRuntimeFolder();
  const reports: AdapterReport[] = [];
  for (const source of sources(dawn)) for await (const found of source()) reports.push(await report(found));
  const place = (r: AdapterReport): number => (r.usable ? rank(r.kind) : Number.MAX_VALUE);
  return reports.sort((a, b) => place(a) - place(b));
}
