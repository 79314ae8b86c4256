/** GPU time of every dispatch of a plan, by timestamp queries: each in a pass of its own. */
import { UnbraidError } from "../errors.ts";
import { USAGE, type Gpu } from "../gpu/gpu.ts";

/** How one dispatch is encoded into a pass. */
export type Encode = (pass: GPUComputePassEncoder) => void;

/** Two queries a dispatch; WebGPU guarantees sets of 4096. */
const MOST = 2048;

/**
 * Runs the dispatches in order and gives the nanoseconds that each took. Passes of their own cost a little: the sum is more
 * than a run takes.
 * @throws UnbraidError FEATURE_MISSING where the adapter has no timestamp queries
 */
export async function timeDispatches(gpu: Gpu, dispatches: readonly Encode[]): Promise<number[]> {
  gpu.check();
  const { device } = gpu;
  if (!device.features.has("timestamp-query")) {
    throw new UnbraidError(
      "device",
      "FEATURE_MISSING",
      `${gpu.info.description || "the adapter"} has no timestamp queries`,
      "Choose another with --adapter; `unbraid doctor` lists what each has.",
    );
  }
  const times: number[] = [];
  for (let from = 0; from < dispatches.length; from += MOST) {
    const part = dispatches.slice(from, from + MOST);
    const querySet = device.createQuerySet({ type: "timestamp", count: 2 * part.length });
    const bytes = 16 * part.length;
    const resolved = gpu.buffer(bytes, USAGE.queryResolve | USAGE.copySrc, "timestamps");
    try {
      const encoder = device.createCommandEncoder();
      part.forEach((encode, i) => {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        encode(pass);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, 2 * part.length, resolved, 0);
      device.queue.submit([encoder.finish()]);
      const [data = new ArrayBuffer(0)] = await gpu.read([{ buffer: resolved, bytes }]);
      const stamps = new BigUint64Array(data);
      for (let i = 0; i < part.length; i++) times.push(Number((stamps[2 * i + 1] ?? 0n) - (stamps[2 * i] ?? 0n)));
    } finally {
      gpu.release(resolved);
      querySet.destroy();
    }
  }
  return times;
}
