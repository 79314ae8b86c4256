/** Times one product of matrices with several tiles, on memory of its own. */
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import { dispatchProduct, weightFours, type ProductShape } from "../kernels/conv-fours.ts";
import type { ConvTile } from "../kernels/conv-fours-shader.ts";
import { Executable } from "./executable.ts";
import { makePlan } from "./plan.ts";
import { WeightStore } from "./weights.ts";

/** Measured rounds, fewer where they take long: at least LEAST, until BUDGET milliseconds are spent. */
const ROUNDS = 5;
const LEAST = 2;
const BUDGET = 300;
/** A tile that takes so many times as long as the best is out after a round. */
const HOPELESS = 1.5;

const EMPTY: Graph = { opset: 17, nodes: [], constants: new Map(), inputs: [], outputs: [] };

/**
 * Medians of runs that alternate between the tiles, in milliseconds; Infinity for those given up. GPU time where the adapter
 * has timestamp queries, otherwise time until the queue is done. What is multiplied are zeros.
 * @throws UnbraidError what compiling and allocating throw
 */
export async function timeTiles(gpu: Gpu, p: ProductShape, tiles: readonly ConvTile[]): Promise<number[]> {
  const { count, input, output } = p.products ?? { count: 1, input: 0, output: 0 };
  const images = p.pixels / p.outPixels;
  // What of the plan's calls belongs to each tile.
  const calls: number[][] = [];
  const plan = makePlan(
    EMPTY,
    {
      inputs: new Map(),
      outputs: [],
      extend: (x) => {
        const slots = {
          input: x.scratch(4 * Math.max(count * input, images * p.input.image)),
          weights: x.scratch(4 * count * Math.max(...tiles.map((t) => weightFours(p, t.outputs)))),
          output: x.scratch(4 * Math.max(count * output, images * p.to.image)),
        };
        for (const tile of tiles) {
          const first = calls.flat().length;
          const length = dispatchProduct(x, { ...p, tile }, { ...slots, label: "tuning" });
          calls.push(Array.from({ length }, (_, k) => first + k));
        }
      },
    },
    gpu,
  );
  using weights = new WeightStore(gpu);
  using executable = await Executable.make(gpu, plan, weights);
  const time = gpu.device.features.has("timestamp-query") ? onGpu(executable) : onClock(gpu, executable);
  return await alternate(tiles.length, (k) => time(calls[k] ?? []));
}

/** @param time of one run of the k-th tile */
async function alternate(count: number, time: (k: number) => Promise<number>): Promise<number[]> {
  const times = Array.from({ length: count }, (): number[] => []);
  let left = times.map((_, k) => k);
  for (const k of left) await time(k); // some drivers compile at the first run
  const start = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    if (round >= LEAST && performance.now() - start > BUDGET) break;
    for (const k of left) times[k]?.push(await time(k));
    const best = Math.min(...left.map((k) => median(times[k] ?? [])));
    left = left.filter((k) => median(times[k] ?? []) <= HOPELESS * best);
  }
  return times.map((list, k) => (left.includes(k) ? median(list) : Infinity));
}

const onGpu =
  (executable: Executable) =>
  async (calls: readonly number[]): Promise<number> =>
    (await executable.profile(new Map(), calls)).reduce((sum, ns) => sum + ns, 0) / 1e6;

const onClock =
  (gpu: Gpu, executable: Executable) =>
  async (calls: readonly number[]): Promise<number> => {
    const start = performance.now();
    executable.run(new Map(), calls);
    await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
    return performance.now() - start;
  };

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Infinity;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Infinity) + upper) / 2;
}
