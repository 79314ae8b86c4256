/**
 * The device: buffers, pipelines, reading back, and what becomes of errors. Nothing here knows about networks.
 *
 * Dawn and browsers report trouble late: a validation error or a lost device does not fail the call that caused it, and a
 * read-back then yields zeros. So every wait goes through `settle`, which fails if the device has, and no result of a
 * device that has failed is ever handed out.
 */
import { UnbraidError } from "../errors.ts";
import { shaders, type ShaderName } from "../shaders.generated.ts";

/** GPUBufferUsage and GPUMapMode by value: the names are globals of browsers only. (WebGPU specification, 5.1.2 and 5.2) */
export const USAGE = { mapRead: 1, copySrc: 4, copyDst: 8, uniform: 64, storage: 128, queryResolve: 512 } as const;
const MAP_READ = 1;
/** How long a device that refuses work may take to say that it is lost. */
const LOSS_MS = 100;
/** Letters of a refused shader that a message shows before and behind what is refused. */
const SHOWN = 60;

/** A compiled entry point with its values of `override` constants. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export interface PipelineKey {
  /** One of shaders/, or code under a name that stands for it. */
  readonly shader: ShaderName | { readonly name: string; readonly code: string };
  readonly entry?: string;
  readonly constants?: Readonly<Record<string, number>>;
}

/** Where further devices of the same adapter come from, to compile beside this one (engine/first-runs.ts). */
export interface Helpers {
  /** How many there may be at a time: processors that are free. */
  readonly most: number;
  /** The adapter once more, for an adapter gives one device; none where it went away. */
  readonly adapter: () => Promise<GPUAdapter | null | undefined>;
}

/** Features that kernels can use where the adapter has them. */
const WANTED_FEATURES: readonly GPUFeatureName[] = ["subgroups", "shader-f16", "timestamp-query"];
/** Limits that are asked for up to what the adapter offers: the defaults are too small for real networks. */
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupStorageSize",
] as const;

export class Gpu implements Disposable {
  readonly device: GPUDevice;
  readonly info: GPUAdapterInfo;
  /** Bytes of the buffers made through `buffer` and not yet destroyed, and their highest sum so far. */
  allocatedBytes = 0;
  peakBytes = 0;
  /** Lanes of the narrowest subgroup that a dispatch may get; 0 without the feature. */
  readonly subgroups: number;
  /** Bytes of memory that a workgroup shares. */
  readonly workgroupBytes: number;
  /** `Helpers` as devices. Whoever opens one disposes of it. */
  readonly helpers: { readonly most: number; readonly open: () => Promise<Gpu | undefined> } | undefined;
  readonly #owned: boolean;
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #modules = new Map<string, GPUShaderModule>();
  #failure: UnbraidError | undefined;
  readonly #failed: Promise<never>;
  #fail: (e: UnbraidError) => void = () => undefined;
  #closed = false;

  private constructor(device: GPUDevice, info: GPUAdapterInfo, owned: boolean, helpers?: Helpers) {
    this.helpers = helpers && {
      most: helpers.most,
      open: async () => {
        const adapter = await helpers.adapter();
        return adapter ? await Gpu.open(adapter) : undefined;
      },
    };
    this.device = device;
    this.info = info;
    this.#owned = owned;
    this.subgroups = device.features.has("subgroups") ? (info.subgroupMinSize ?? 0) : 0;
    this.workgroupBytes = device.limits.maxComputeWorkgroupStorageSize;
    this.#failed = new Promise<never>((_, reject) => {
      this.#fail = (e) => {
        this.#failure ??= e;
        reject(e);
      };
    });
    this.#failed.catch(() => undefined); // a failure while nobody waits is reported by the next wait
    device.onuncapturederror = (event) => {
      this.#fail(errorFrom(event.error));
    };
    void device.lost.then((lost) => {
      if (this.#closed) return;
      this.#fail(
        new UnbraidError(
          "device",
          "DEVICE_LOST",
          `the GPU device was lost (${lost.reason}): ${lost.message}`,
          "Run the command again; if it happens again, use a smaller --batch, less --memory or another --adapter.",
        ),
      );
    });
  }

  /**
   * Opens a device on `adapter`; `dispose` destroys it.
   * @param more `helpers`: without, all kernels are compiled by the one device
   * @throws UnbraidError DEVICE_REFUSED when the adapter gives none
   */
  static async open(adapter: GPUAdapter, more: { readonly helpers?: Helpers } = {}): Promise<Gpu> {
    const requiredLimits: Record<string, number> = {};
    for (const limit of WANTED_LIMITS) requiredLimits[limit] = adapter.limits[limit];
    const requiredFeatures = WANTED_FEATURES.filter((f) => adapter.features.has(f));
    let device: GPUDevice;
    try {
      device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
    } catch (cause) {
      throw new UnbraidError(
        "adapter",
        "DEVICE_REFUSED",
        `${adapter.info.description || "the adapter"} gives no device: ${String(cause)}`,
        "Choose another with --adapter; `unbraid doctor` lists them.",
        { cause },
      );
    }
    return new Gpu(device, adapter.info, true, more.helpers);
  }

  /** Uses a device of the caller's, which `dispose` leaves alive. Its limits and features are taken as they are. */
  static borrow(device: GPUDevice): Gpu {
    return new Gpu(device, device.adapterInfo, false);
  }

  /** What has gone wrong so far, if anything: no result may be used then. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) {
      throw new UnbraidError("device", "DEVICE_CLOSED", "the GPU device is closed", "Open a new one.");
    }
  }

  /** Waits for `work`, and fails as soon as the device does. */
  async settle<T>(work: Promise<T>): Promise<T> {
    this.check();
    work.catch(() => undefined); // when the device fails first, nobody else waits for it
    let result: T;
    try {
      result = await Promise.race([work, this.#failed]);
    } catch (e) {
      // What a lost device refuses, it may refuse before it says that it is lost: give it the time to.
      await Promise.race([this.#failed, new Promise((resolve) => setTimeout(resolve, LOSS_MS))]);
      throw e;
    }
    this.check();
    return result;
  }

  /**
   * Runs `work` and turns any validation, memory or internal error that it caused into an UnbraidError. Scopes are a
   * stack of the device's, so `work` is synchronous: nothing else can come between them.
   */
  async scoped<T>(what: string, work: () => T): Promise<T> {
    const filters = ["validation", "out-of-memory", "internal"] as const;
    for (const f of filters) this.device.pushErrorScope(f);
    let popped: Promise<(GPUError | null)[]>;
    let result: T;
    try {
      result = work();
    } finally {
      popped = Promise.all(filters.map(() => this.device.popErrorScope()));
      popped.catch(() => undefined); // where `work` throws, its own error is the one to report
    }
    const error = (await this.settle(popped)).find((e) => e !== null);
    if (error) throw errorFrom(error, what);
    return result;
  }

  /**
   * A buffer of at least `bytes` (rounded up to 16). Destroy it with `release`.
   * @param limit what one binding of this adapter can hold, unless the buffer is never bound
   * @throws UnbraidError GPU_LIMIT when it exceeds the limit
   */
  buffer(bytes: number, usage: number, label: string, limit = this.largestTensor): GPUBuffer {
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > limit) {
      throw new UnbraidError(
        "device",
        "GPU_LIMIT",
        `${label} needs ${size} bytes in one buffer; this adapter allows ${limit}`,
        "Use a smaller --batch, or an adapter with a larger maxStorageBufferBindingSize.",
      );
    }
    const buffer = this.device.createBuffer({ size, usage, label });
    this.allocatedBytes += size;
    this.peakBytes = Math.max(this.peakBytes, this.allocatedBytes);
    return buffer;
  }

  /** Bytes of the largest tensor: what a buffer, and one binding of it, can hold. */
  get largestTensor(): number {
    return Math.min(this.device.limits.maxBufferSize, this.device.limits.maxStorageBufferBindingSize);
  }

  /** Of a dispatch, in each dimension. */
  get mostWorkgroups(): number {
    return this.device.limits.maxComputeWorkgroupsPerDimension;
  }

  release(buffer: GPUBuffer): void {
    this.allocatedBytes -= buffer.size;
    buffer.destroy();
  }

  /** The compiled pipeline for a key; compiled once for each device. Unknown override names are dropped by nobody: they fail. */
  pipeline(key: PipelineKey): Promise<Pipeline> {
    const id = JSON.stringify([nameOf(key.shader), key.entry ?? "main", Object.entries(key.constants ?? {}).sort()]);
    let made = this.#pipelines.get(id);
    if (made === undefined) {
      made = this.#compile(key, id);
      this.#pipelines.set(id, made);
    }
    return made;
  }

  async #compile(key: PipelineKey, label: string): Promise<Pipeline> {
    const name = nameOf(key.shader);
    let module = this.#modules.get(name);
    if (module === undefined) {
      // The scope keeps a faulty shader from counting as an uncaptured error; its messages come with the pipeline's.
      this.device.pushErrorScope("validation");
      module = this.device.createShaderModule({ code: codeOf(key.shader), label: name });
      void this.device.popErrorScope().catch(() => undefined);
      this.#modules.set(name, module);
    }
    try {
      const pipeline = await this.settle(
        this.device.createComputePipelineAsync({
          label,
          layout: "auto",
          compute: { module, entryPoint: key.entry ?? "main", constants: { ...key.constants } },
        }),
      );
      return { pipeline, layout: pipeline.getBindGroupLayout(0) };
    } catch (cause) {
      if (cause instanceof UnbraidError) throw cause;
      const { messages } = await this.settle(module.getCompilationInfo());
      const lines = messages.map(({ message, offset }) => {
        // Shaders are embedded without lines, so the text before and behind says where.
        const at = codeOf(key.shader).slice(Math.max(0, offset - SHOWN), offset + SHOWN);
        return `${name}.wgsl: ${message}, in: ${at}`;
      });
      throw new UnbraidError(
        "device",
        "SHADER_REFUSED",
        [`${label} does not compile on this adapter: ${String(cause)}`, ...lines].join("\n"),
        "Try another --adapter, and report this with the output of `unbraid doctor --json`.",
        { cause },
      );
    }
  }

  /** Copies of the first `bytes` of each buffer, read back together, or in turns where one buffer cannot take them all. */
  async read(sources: readonly { buffer: GPUBuffer; bytes: number }[]): Promise<ArrayBuffer[]> {
    const { data } = await this.startRead(sources);
    return data;
  }

  /**
   * As read, but resolves as soon as all copies are submitted: what is submitted then may overwrite the sources. `data` may
   * be left alone.
   */
  async startRead(
    sources: readonly { buffer: GPUBuffer; bytes: number }[],
  ): Promise<{ readonly data: Promise<ArrayBuffer[]> }> {
    this.check();
    const padded = (bytes: number): number => Math.ceil(bytes / 16) * 16;
    const parts: Promise<ArrayBuffer[]>[] = [];
    for (let from = 0; from < sources.length;) {
      let [to, total] = [from, 0];
      for (; to < sources.length; to++) {
        total += padded(sources[to]?.bytes ?? 0);
        if (to > from && total > this.device.limits.maxBufferSize) break;
      }
      await parts.at(-1);
      parts.push(this.#readTogether(sources.slice(from, to)));
      from = to;
    }
    const data = Promise.all(parts).then((all) => all.flat());
    data.catch(() => undefined);
    return { data };
  }

  async #readTogether(sources: readonly { buffer: GPUBuffer; bytes: number }[]): Promise<ArrayBuffer[]> {
    this.check();
    const offsets: number[] = [];
    let total = 0;
    for (const s of sources) {
      offsets.push(total);
      total += Math.ceil(s.bytes / 16) * 16;
    }
    const staging = this.buffer(total, USAGE.mapRead | USAGE.copyDst, "read-back", this.device.limits.maxBufferSize);
    try {
      const encoder = this.device.createCommandEncoder();
      sources.forEach((s, i) => {
        const bytes = Math.ceil(s.bytes / 4) * 4;
        if (bytes > 0) encoder.copyBufferToBuffer(s.buffer, 0, staging, offsets[i] ?? 0, bytes);
      });
      this.device.queue.submit([encoder.finish()]);
      await this.settle(staging.mapAsync(MAP_READ));
      const mapped = staging.getMappedRange();
      return sources.map((s, i) => mapped.slice(offsets[i] ?? 0, (offsets[i] ?? 0) + s.bytes));
    } catch (e) {
      throw e instanceof UnbraidError ? e : gpuError("reading results back", String(e));
    } finally {
      this.release(staging);
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.device.onuncapturederror = null;
    if (this.#owned) this.device.destroy();
  }
}

export const codeOf = (shader: PipelineKey["shader"]): string =>
  typeof shader === "string" ? shaders[shader] : shader.code;

/** What a message and a profile call a shader. */
export const nameOf = (shader: PipelineKey["shader"]): string => (typeof shader === "string" ? shader : shader.name);

function errorFrom(error: GPUError, what = "GPU work"): UnbraidError {
  // By name: the class is a global of browsers only.
  if (error.constructor.name === "GPUOutOfMemoryError") {
    return new UnbraidError(
      "device",
      "GPU_MEMORY",
      `${what}: the adapter is out of memory: ${error.message}`,
      "Use a smaller --batch or less --memory, or an adapter with more memory.",
    );
  }
  return gpuError(what, error.message);
}

const gpuError = (what: string, message: string): UnbraidError =>
  new UnbraidError(
    "device",
    "GPU_ERROR",
    `${what} failed on the GPU: ${message}`,
    "Nothing was written. Report this with the output of `unbraid doctor --json`, or try another --adapter.",
  );
