/**
 * One workgroup of each kernel before its first real run. Software adapters compile a kernel for the processor when it first
 * runs, one after the other on a device (lavapipe: 0.1 to 1.2 s each), and keep what they compiled for all devices of the
 * process and, on disk, for the next. So where compiling shows, further devices of the same adapter (`Gpu.helpers`) compile
 * some of the kernels side by side. Hardware has compiled before, and gets none.
 */
import { must } from "../errors.ts";
import { USAGE, type Gpu, type PipelineKey } from "../gpu/gpu.ts";
import type { Param } from "../kernels/operator.ts";
import type { Encode } from "./profile.ts";
import { packParams } from "./uniforms.ts";

export interface FirstRun {
  readonly key: PipelineKey;
  readonly pipeline: GPUComputePipeline;
  /** Of its code, in letters: what it takes to compile goes with it. */
  readonly length: number;
  /** Storage buffers that it binds, after the uniform block at 0. */
  readonly buffers: number;
  readonly params: readonly Param[];
  /** One workgroup on the device itself, on whatever memory holds now: every real run writes what it reads. */
  readonly encode: Encode;
}

/** A first run that takes longer is compiling: what an adapter has compiled already is back within some 20 ms. */
const SLOW_MS = 60;
/** Of a helper's stand-ins for tensors: loads beyond it are caught, as WebGPU has it. */
const STAND_IN_BYTES = 4096;

/** By device: pipelines whose first run was begun, and helpers at work. */
interface State {
  readonly begun: WeakSet<GPUComputePipeline>;
  helping: number;
}
const states = new WeakMap<Gpu, State>();

/**
 * Submits what has not run yet; resolves when all is under way, `done` when no more is being compiled beside.
 * @throws UnbraidError what the device throws; what fails on a helper is left to the device itself
 */
export async function runFirst(gpu: Gpu, runs: readonly FirstRun[]): Promise<{ readonly done: Promise<unknown> }> {
  const state = states.get(gpu) ?? { begun: new WeakSet(), helping: 0 };
  states.set(gpu, state);
  const fresh = [...new Map(runs.map((r) => [r.pipeline, r])).values()]
    .filter((r) => !state.begun.has(r.pipeline))
    .sort((a, b) => b.length - a.length);
  for (const r of fresh) state.begun.add(r.pipeline);
  const [longest, ...rest] = fresh;
  if (longest === undefined) return { done: Promise.resolve() };

  await submit(gpu, [longest]);
  const { helpers } = gpu;
  const alone = helpers === undefined || helpers.most < 1 || rest.length === 0 || !(await isSlow(gpu));
  const free = alone ? 0 : Math.max(0, helpers.most - state.helping);
  const [own = [], ...others] = shares(rest, free + 1, longest.length);
  const help = async (share: readonly FirstRun[]): Promise<void> => {
    state.helping++;
    try {
      using helper = await helpers?.open();
      if (helper !== undefined) await runBeside(helper, share);
    } finally {
      state.helping--;
    }
  };
  const done = Promise.allSettled(others.filter((share) => share.length > 0).map(help));
  await submit(gpu, own);
  return { done };
}

async function submit(gpu: Gpu, runs: readonly FirstRun[]): Promise<void> {
  if (runs.length === 0) return;
  await gpu.scoped("running the kernels first", () => {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { encode } of runs) encode(pass);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
  });
}

async function isSlow(gpu: Gpu): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, SLOW_MS, true);
  });
  const ended = gpu.settle(gpu.device.queue.onSubmittedWorkDone()).then(() => false);
  try {
    return await Promise.race([ended, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Each run to whom has the least so far, the longest first. @param busy what the first has to do already */
function shares(runs: readonly FirstRun[], count: number, busy: number): FirstRun[][] {
  const all = Array.from({ length: count }, (_, k) => ({ load: k === 0 ? busy : 0, runs: [] as FirstRun[] }));
  for (const run of runs) {
    const least = all.reduce((a, b) => (b.load < a.load ? b : a));
    least.load += run.length;
    least.runs.push(run);
  }
  return all.map((share) => share.runs);
}

/** The same kernels with the same parameters, so that they end as there, on memory that stands in for tensors. */
async function runBeside(helper: Gpu, runs: readonly FirstRun[]): Promise<void> {
  const pipelines = await Promise.all(runs.map((r) => helper.pipeline(r.key)));
  const encoder = helper.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  runs.forEach(({ params, buffers }, k) => {
    const { pipeline, layout } = must(pipelines[k], "pipeline");
    const uniforms = packParams(params);
    const block = helper.buffer(uniforms.byteLength, USAGE.uniform | USAGE.copyDst, "parameters");
    helper.device.queue.writeBuffer(block, 0, uniforms);
    const tensors = Array.from({ length: buffers }, () => helper.buffer(STAND_IN_BYTES, USAGE.storage, "stand-in"));
    const entries = [block, ...tensors].map((buffer, binding) => ({ binding, resource: { buffer } }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, helper.device.createBindGroup({ layout, entries }));
    pass.dispatchWorkgroups(1);
  });
  pass.end();
  helper.device.queue.submit([encoder.finish()]);
  await helper.settle(helper.device.queue.onSubmittedWorkDone());
}
