/** A plan on a device: pipelines compiled, memory allocated, bind groups made; runs as one submission. */
import { UnbraidError, must } from "../errors.ts";
import { codeOf, USAGE, type Gpu, type Pipeline, type PipelineKey } from "../gpu/gpu.ts";
import { sizeOf } from "../graph/graph.ts";
import type { DeviceTensor, KernelCall } from "../kernels/operator.ts";
import { runFirst, type FirstRun } from "./first-runs.ts";
import { usedConstants, type Plan, type PlannedSlot } from "./plan.ts";
import { timeDispatches } from "./profile.ts";
import { packParams, paramBytes } from "./uniforms.ts";
import type { WeightStore } from "./weights.ts";

interface Dispatch {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

export class Executable implements Disposable {
  readonly plan: Plan;
  readonly #gpu: Gpu;
  readonly #weights: WeightStore;
  readonly #buffers: GPUBuffer[] = [];
  readonly #dispatches: Dispatch[] = [];

  private constructor(gpu: Gpu, plan: Plan, weights: WeightStore) {
    this.#gpu = gpu;
    this.plan = plan;
    this.#weights = weights;
  }

  static async make(gpu: Gpu, plan: Plan, weights: WeightStore): Promise<Executable> {
    const made = new Executable(gpu, plan, weights);
    try {
      await made.#prepare();
    } catch (e) {
      made[Symbol.dispose]();
      throw e;
    }
    return made;
  }

  async #prepare(): Promise<void> {
    const { calls, bufferBytes } = this.plan;
    const gpu = this.#gpu;
    this.#checkSizes();
    const pipelines = await Promise.all(calls.map((c) => gpu.pipeline(keyOf(c))));
    const before = this.#weights.keys();
    const allocation = gpu.scoped("allocating the network's memory", () => {
      const usage = USAGE.storage | USAGE.copyDst | USAGE.copySrc;
      bufferBytes.forEach((bytes, i) => this.#buffers.push(gpu.buffer(bytes, usage, `activations ${i}`)));
      const { offsets, uniforms } = this.#uniforms(calls);
      for (const { slot } of this.plan.results.values())
        if (this.#slot(slot.id).kind === "constant") this.#bufferOf(slot.id);
      calls.forEach((call, i) => {
        this.#dispatches.push(this.#bind(call, must(pipelines[i], "pipeline"), uniforms, offsets[i] ?? 0));
      });
    });
    const added = this.#weights.keys();
    try {
      await allocation;
      // Compiling goes on meanwhile weights are packed.
      const { done } = await runFirst(gpu, this.#firstRuns());
      await this.#weights.fill(new Set(usedConstants(this.plan).flatMap((slot) => slot.key ?? [])));
      await done;
    } catch (e) {
      this.#weights.rollBack(new Set([...this.#weights.keys()].filter((k) => before.has(k) || !added.has(k))));
      throw e;
    }
  }

  #firstRuns(): FirstRun[] {
    return this.plan.calls.map((call, i) => {
      const dispatch = must(this.#dispatches[i], "dispatch");
      return {
        key: keyOf(call),
        pipeline: dispatch.pipeline,
        length: codeOf(call.shader).length,
        buffers: call.reads.length + call.writes.length,
        params: call.params,
        encode: (pass) => {
          encode({ ...dispatch, workgroups: [1, 1, 1] }, pass);
        },
      };
    });
  }

  /** Before anything is allocated: what no buffer of this adapter can hold. @throws UnbraidError GPU_LIMIT */
  #checkSizes(): void {
    const { slots } = this.plan;
    const used = new Set(this.plan.calls.flatMap((call) => [...call.reads, ...call.writes].map((slot) => slot.id)));
    slots.forEach((slot, id) => {
      if (slot.bytes <= this.#gpu.largestTensor || (slot.buffer < 0 && !used.has(id))) return;
      throw new UnbraidError(
        "device",
        "GPU_LIMIT",
        `${this.#nameOf(id)} needs ${slot.bytes} bytes in one buffer; this adapter allows ${this.#gpu.largestTensor}`,
        "Use a smaller --batch or smaller images (--crop, --resize), or an adapter with a larger maxStorageBufferBindingSize.",
      );
    });
  }

  /** How a message calls a slot: by its name, or by the dispatch that writes or reads it. */
  #nameOf(id: number): string {
    const { calls, inputs, results } = this.plan;
    const holds = (list: readonly { readonly id: number }[]): boolean => list.some((slot) => slot.id === id);
    for (const [what, tensors] of [
      ["input", inputs],
      ["value", results],
    ] as const)
      for (const [name, tensor] of tensors)
        if (tensor.slot.id === id) return `the ${what} "${name}" of shape ${tensor.shape.join("x")}`;
    const writer = calls.find((call) => holds(call.writes));
    if (writer !== undefined) return `the result of "${writer.label}"`;
    return `the constant that "${calls.find((call) => holds(call.reads))?.label ?? ""}" reads`;
  }

  /** All parameter blocks in one buffer, each at an offset the device allows. */
  #uniforms(calls: readonly KernelCall[]): { offsets: number[]; uniforms: GPUBuffer } {
    const step = this.#gpu.device.limits.minUniformBufferOffsetAlignment;
    const offsets: number[] = [];
    let total = 0;
    for (const call of calls) {
      offsets.push(total);
      total += Math.ceil(paramBytes(call.params) / step) * step;
    }
    const bytes = new Uint8Array(Math.max(16, total));
    calls.forEach((call, i) => {
      bytes.set(packParams(call.params), offsets[i]);
    });
    const uniforms = this.#gpu.buffer(bytes.byteLength, USAGE.uniform | USAGE.copyDst, "parameters");
    this.#gpu.device.queue.writeBuffer(uniforms, 0, bytes);
    this.#buffers.push(uniforms);
    return { offsets, uniforms };
  }

  #bind(call: KernelCall, { pipeline, layout }: Pipeline, uniforms: GPUBuffer, offset: number): Dispatch {
    const most = this.#gpu.mostWorkgroups;
    if (call.workgroups.some((n) => n > most)) {
      throw new UnbraidError(
        "device",
        "GPU_LIMIT",
        `${call.label} needs ${call.workgroups.join("x")} workgroups; this adapter allows ${most} in each dimension`,
        "Use a smaller --batch.",
      );
    }
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: uniforms, offset, size: paramBytes(call.params) } },
    ];
    for (const slot of [...call.reads, ...call.writes]) {
      entries.push({ binding: entries.length, resource: { buffer: this.#bufferOf(slot.id) } });
    }
    const group = this.#gpu.device.createBindGroup({ layout, entries, label: call.label });
    return { pipeline, group, workgroups: call.workgroups };
  }

  #slot(id: number): PlannedSlot {
    return must(this.plan.slots[id], `slot ${id}`);
  }

  #bufferOf(slotId: number): GPUBuffer {
    const slot = this.#slot(slotId);
    if (slot.kind === "constant") return this.#weights.get(must(slot.key, "constant key"), slot);
    return must(this.#buffers[slot.buffer], `buffer of slot ${slotId}`);
  }

  /**
   * Uploads the inputs and submits all dispatches. Returns at once; `read` waits.
   * @param inputs elements of each of `plan.inputs`, row-major
   * @param only dispatches of `plan.calls` by index; all unless told
   */
  run(inputs: ReadonlyMap<string, Float32Array | Uint32Array>, only?: readonly number[]): void {
    this.#upload(inputs);
    const encoder = this.#gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const d of this.#chosen(only)) encode(d, pass);
    pass.end();
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /**
   * Runs as `run` does, each dispatch in a pass of its own, and says how long each took on the GPU.
   * @param only as for `run`
   * @returns nanoseconds, one for each of `plan.calls`, or of those chosen
   * @throws UnbraidError FEATURE_MISSING where the adapter has no timestamp queries
   */
  async profile(inputs: ReadonlyMap<string, Float32Array | Uint32Array>, only?: readonly number[]): Promise<number[]> {
    this.#upload(inputs);
    return timeDispatches(
      this.#gpu,
      this.#chosen(only).map((d) => (pass) => {
        encode(d, pass);
      }),
    );
  }

  #chosen(only: readonly number[] | undefined): readonly Dispatch[] {
    return only === undefined ? this.#dispatches : only.map((k) => must(this.#dispatches[k], `dispatch ${k}`));
  }

  #upload(inputs: ReadonlyMap<string, Float32Array | Uint32Array>): void {
    this.#gpu.check();
    for (const [name, tensor] of this.plan.inputs) {
      const data = inputs.get(name);
      const wanted = sizeOf(tensor.shape);
      if (data?.length !== wanted) {
        throw new UnbraidError(
          "input",
          "INPUT_SIZE",
          `"${name}" needs ${wanted} numbers (${tensor.shape.join("x")}), given ${data?.length ?? "none"}`,
          "Give every input an array of its shape.",
        );
      }
      if (this.plan.slots[tensor.slot.id]?.buffer === -1) continue; // nothing reads it
      const buffer = this.#bufferOf(tensor.slot.id);
      this.#gpu.device.queue.writeBuffer(buffer, 0, data.buffer, data.byteOffset, data.byteLength);
    }
  }

  /** Fills all activation memory with `value`: tests use it so that elements which no kernel writes stand out. */
  fill(value: number): void {
    for (const buffer of this.#buffers) {
      if ((buffer.usage & USAGE.storage) === 0) continue;
      this.#gpu.device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(value));
    }
  }

  /** The named results of the last run. */
  async read(names: readonly string[]): Promise<Map<string, Float32Array>> {
    const { data } = await this.startRead(names);
    return data;
  }

  /** As read, but resolves as soon as the next run may begin (`Gpu.startRead`). */
  async startRead(names: readonly string[]): Promise<{ readonly data: Promise<Map<string, Float32Array>> }> {
    const tensors = names.map((n): DeviceTensor => must(this.plan.results.get(n), `result ${n}`));
    // No kernel writes a tensor without elements, and it has no memory.
    const stored = tensors.filter((t) => sizeOf(t.shape) > 0);
    const { data } = await this.#gpu.startRead(
      stored.map((t) => ({ buffer: this.#bufferOf(t.slot.id), bytes: 4 * sizeOf(t.shape) })),
    );
    const named = data.then(
      (raw) =>
        new Map(
          names.map((n, i) => [n, new Float32Array(raw[stored.indexOf(must(tensors[i], n))] ?? new ArrayBuffer(0))]),
        ),
    );
    named.catch(() => undefined);
    return { data: named };
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers) this.#gpu.release(buffer);
    this.#buffers.length = 0;
    this.#dispatches.length = 0;
  }
}

function encode(d: Dispatch, pass: GPUComputePassEncoder): void {
  pass.setPipeline(d.pipeline);
  pass.setBindGroup(0, d.group);
  pass.dispatchWorkgroups(...d.workgroups);
}

const keyOf = ({ shader, entry, constants }: KernelCall): PipelineKey => ({
  shader,
  ...(entry === undefined ? {} : { entry }),
  ...(constants === undefined ? {} : { constants }),
});
