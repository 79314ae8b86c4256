/** Constants on the device, uploaded once and shared by all plans of a session. */
import { must } from "../errors.ts";
import { USAGE, type Gpu } from "../gpu/gpu.ts";
import type { HostTensor } from "../graph/graph.ts";

export class WeightStore implements Disposable {
  readonly #gpu: Gpu;
  readonly #buffers = new Map<string, GPUBuffer>();

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** The buffer under `key`; made by `make` at the first call. Integers and booleans become float32. */
  get(key: string, make: (() => HostTensor) | undefined): GPUBuffer {
    let buffer = this.#buffers.get(key);
    if (buffer === undefined) {
      const { data } = must(make, `data of constant ${key}`)();
      const values = data instanceof Float32Array ? data : Float32Array.from(data);
      buffer = this.#gpu.buffer(values.byteLength, USAGE.storage | USAGE.copyDst | USAGE.copySrc, `constant ${key}`);
      this.#gpu.device.queue.writeBuffer(buffer, 0, values.buffer, values.byteOffset, values.byteLength);
      this.#buffers.set(key, buffer);
    }
    return buffer;
  }

  /** The keys held now. */
  keys(): ReadonlySet<string> {
    return new Set(this.#buffers.keys());
  }

  /** Drops what was added since `before`: a buffer that failed to be allocated must not be found again. */
  rollBack(before: ReadonlySet<string>): void {
    for (const [key, buffer] of this.#buffers) {
      if (before.has(key)) continue;
      this.#gpu.release(buffer);
      this.#buffers.delete(key);
    }
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers.values()) this.#gpu.release(buffer);
    this.#buffers.clear();
  }
}
