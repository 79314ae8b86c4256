/** What an adapter can do at most: arithmetic and memory, each measured for about a second. For `doctor`. */
import { must } from "../errors.ts";
import { USAGE, type Gpu } from "../gpu/gpu.ts";
import { probeCopyShader, probeMultiplyAddShader } from "../shaders.generated.ts";

export interface Speed {
  /** 10^9 multiplications and additions a second, each counted as one. */
  readonly gflops: number;
  /** 10^9 bytes read and written a second by a copying kernel. */
  readonly gbytes_per_second: number;
}

/** Seconds of one measured submission, and of all that are measured of a kind. */
const SUBMISSION = 0.15;
const BUDGET = 0.7;

/** Workgroup sizes: must be those of the shaders. */
const LANES = { multiplyAdd: 64, copy: 256 } as const;
/** Chains of a lane times 2 operations times steps of the unrolled body: see probe_multiply_add.wgsl. */
const OPERATIONS = 8 * 2 * 32;

/** @param software whether the adapter runs on the processor */
export async function measureSpeed(gpu: Gpu, software: boolean): Promise<Speed> {
  return { gflops: (await multiplyAdds(gpu)) / 1e9, gbytes_per_second: (await copies(gpu, software)) / 1e9 };
}

/**
 * The best rate of several submissions.
 * @param submit submits `amount` units of work
 * @returns units a second
 */
async function best(gpu: Gpu, submit: (amount: number) => void): Promise<number> {
  const time = async (amount: number): Promise<number> => {
    const start = performance.now();
    submit(amount);
    await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
    return (performance.now() - start) / 1000;
  };
  await time(1); // compiles: some drivers do that at the first dispatch
  let amount = 1;
  let seconds = await time(amount);
  while (seconds < SUBMISSION / 2 && amount < 2 ** 24) {
    amount = Math.ceil(amount * Math.min(16, Math.max(2, SUBMISSION / Math.max(seconds, 1e-4))));
    seconds = await time(amount);
  }
  let rate = amount / seconds;
  for (let spent = seconds; spent < BUDGET;) {
    seconds = await time(amount);
    rate = Math.max(rate, amount / seconds);
    spent += seconds;
  }
  return rate;
}

async function multiplyAdds(gpu: Gpu): Promise<number> {
  const { pipeline, layout } = await gpu.pipeline({ shader: probeMultiplyAddShader });
  const groups = 1024;
  const params = gpu.buffer(16, USAGE.uniform | USAGE.copyDst, "probe parameters");
  const output = gpu.buffer(4 * groups * LANES.multiplyAdd, USAGE.storage, "probe output");
  try {
    const group = bindGroup(gpu, layout, [params, output]);
    const loops = 8;
    const rate = await best(gpu, (amount) => {
      const words = new DataView(new ArrayBuffer(16));
      words.setUint32(0, loops * amount, true);
      words.setFloat32(4, 0.999, true);
      words.setFloat32(8, 0.001, true);
      gpu.device.queue.writeBuffer(params, 0, words.buffer);
      dispatch(gpu, pipeline, group, groups, 1);
    });
    return rate * loops * OPERATIONS * groups * LANES.multiplyAdd;
  } finally {
    gpu.release(params);
    gpu.release(output);
  }
}

async function copies(gpu: Gpu, software: boolean): Promise<number> {
  const { pipeline, layout } = await gpu.pipeline({ shader: probeCopyShader });
  // Larger than the caches: of a processor's, or of a GPU's.
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits;
  const most = Math.min(maxStorageBufferBindingSize, maxBufferSize, software ? 2 ** 26 : 2 ** 28);
  const groups = Math.min(65535, Math.floor(most / (16 * LANES.copy)));
  const bytes = groups * 16 * LANES.copy;
  const from = gpu.buffer(bytes, USAGE.storage, "probe source");
  const to = gpu.buffer(bytes, USAGE.storage, "probe target");
  try {
    const group = bindGroup(gpu, layout, [from, to]);
    const rate = await best(gpu, (amount) => {
      dispatch(gpu, pipeline, group, groups, amount);
    });
    return rate * 2 * bytes;
  } finally {
    gpu.release(from);
    gpu.release(to);
  }
}

function bindGroup(gpu: Gpu, layout: GPUBindGroupLayout, buffers: readonly GPUBuffer[]): GPUBindGroup {
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer: must(buffer, "buffer") } }));
  return gpu.device.createBindGroup({ layout, entries });
}

function dispatch(gpu: Gpu, pipeline: GPUComputePipeline, group: GPUBindGroup, groups: number, times: number): void {
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  for (let k = 0; k < times; k++) pass.dispatchWorkgroups(groups);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
}
