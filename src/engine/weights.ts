/** Constants on the device, uploaded once and shared by all plans of a session. */
import { must } from "../errors.ts";
import { USAGE, type Gpu } from "../gpu/gpu.ts";
import { elementsOf, sizeOf, type HostTensor } from "../graph/graph.ts";
import type { PlannedSlot } from "./plan.ts";
import type { Precision } from "./precision.ts";

/** Elements that are read and uploaded at a time, of tensors that can be had in parts: 16 MB. */
const PART = 2 ** 22;
/** Bytes that may wait in the queue: it holds a copy of what is written until the device has taken it. */
const QUEUED = 64 * 2 ** 20;

interface Entry {
  readonly buffer: GPUBuffer;
  readonly precision: Precision | undefined;
  make: (() => HostTensor) | undefined;
  /** From when the upload has begun. */
  filled?: Promise<void>;
}

export class WeightStore implements Disposable {
  readonly #gpu: Gpu;
  readonly #entries = new Map<string, Entry>();
  #queued = 0;

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** The buffer under `key`, of `bytes`: made at the first call; what `make` gives is uploaded by `fill`. */
  get(key: string, { bytes, make, precision }: Pick<PlannedSlot, "bytes" | "make" | "precision">): GPUBuffer {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      const usage = USAGE.storage | USAGE.copyDst | USAGE.copySrc;
      entry = { buffer: this.#gpu.buffer(bytes, usage, `constant ${key}`), make, precision };
      this.#entries.set(key, entry);
    }
    return entry.buffer;
  }

  /**
   * Uploads what is not there yet, one tensor after the other and large ones in parts: of the weights, the host holds no
   * more than that at any time. Integers and booleans become float32.
   * @throws UnbraidError what reading the tensors throws; what the device throws
   */
  async fill(keys: Iterable<string>): Promise<void> {
    for (const key of keys) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      entry.filled ??= this.#upload(key, entry);
      await entry.filled;
    }
  }

  async #upload(key: string, entry: Entry): Promise<void> {
    const tensor = must(entry.make, `data of constant ${key}`)();
    entry.make = undefined;
    const size = sizeOf(tensor.shape);
    const step = tensor.part === undefined ? Math.max(size, 1) : PART;
    for (let start = 0; start < size; start += step) {
      if (this.#entries.get(key) !== entry) return; // the session was closed meanwhile
      const count = Math.min(step, size - start);
      const data = tensor.part === undefined ? elementsOf(tensor) : tensor.part(start, count);
      const floats = data instanceof Float32Array ? data : Float32Array.from(data);
      const values = entry.precision?.encode(floats) ?? floats;
      const at = values.BYTES_PER_ELEMENT * start;
      this.#gpu.device.queue.writeBuffer(entry.buffer, at, values.buffer, values.byteOffset, values.byteLength);
      this.#queued += values.byteLength;
      if (this.#queued < QUEUED) continue;
      this.#queued = 0;
      this.#gpu.device.queue.submit([]);
      await this.#gpu.settle(this.#gpu.device.queue.onSubmittedWorkDone());
    }
  }

  /** The keys held now. */
  keys(): ReadonlySet<string> {
    return new Set(this.#entries.keys());
  }

  /** Drops what was added since `before`: a buffer that failed to be allocated or filled must not be found again. */
  rollBack(before: ReadonlySet<string>): void {
    for (const [key, { buffer }] of this.#entries) {
      if (before.has(key)) continue;
      this.#gpu.release(buffer);
      this.#entries.delete(key);
    }
  }

  [Symbol.dispose](): void {
    for (const { buffer } of this.#entries.values()) this.#gpu.release(buffer);
    this.#entries.clear();
  }
}
