/** What tests of half precision have in common: which adapters have it, numbers that float16 holds, how far it may round. */
import { roundToHalf } from "../../src/onnx/half.ts";
import type { HostTensor } from "../../src/graph/graph.ts";
import { openTestAdapter, testAdapters } from "./gpu.ts";
import { randomTensor } from "./numbers.ts";

async function withFeature(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of testAdapters) {
    const adapter = await openTestAdapter(name);
    if (adapter.adapter.features.has("shader-f16")) found.push(name);
    adapter.close();
  }
  return found;
}

/** Those of the test adapters that have shader-f16. */
export const halfAdapters: readonly string[] = await withFeature();

/** Unit roundoff of float16, and half its spacing near 0. */
export const U16 = 2 ** -11;
const LEAST = 2 ** -25;

/** How far rounding once to the nearest float16 may go from a number of this size. */
export const halfRounding = (size: number): number => U16 * size + LEAST;

/** Random numbers that float16 holds. */
export function halfTensor(shape: readonly number[], seed: number, low = -1, high = 1): HostTensor {
  const t = randomTensor(shape, seed, low, high);
  return { ...t, data: Float32Array.from(t.data, roundToHalf) };
}
