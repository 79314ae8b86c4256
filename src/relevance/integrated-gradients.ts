/** Integrated gradients by the midpoint rule, with a measure of how nearly complete they are. */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import { UnbraidError } from "../errors.ts";
import { weightedSum, type AttributionPass, type ChannelGradients, type ExplainedChannel } from "./attribution-pass.ts";

/** f(x) - f(x') is what the attributions of an image should sum to. */
export interface Completeness {
  /** f(x) and f(x'). */
  readonly response: number;
  readonly baseline: number;
  /** Sum of the attributions. */
  readonly sum: number;
  /** sum - (f(x) - f(x')) */
  readonly gap: number;
  /**
   * V / (2 steps), V the variation of the path's slope seen at its ends and midpoints. The midpoint rule's error is at
   * most that with the true variation (Koksma's inequality; midpoints have discrepancy 1 / (2 steps)), which is larger
   * where the slope swings to and fro between two points.
   */
  readonly estimate: number;
}

export interface PathOptions {
  /** Points on the path of integrated gradients; 32 unless told. */
  readonly steps?: number;
  /** x', an image or one an image; zeros unless told. Integrated gradients only. */
  readonly baseline?: Float32Array;
  /** Aborted between batches. */
  readonly signal?: AbortSignal;
  /** How many of the network's runs, one an image or a point of its path, are done. */
  readonly onProgress?: (done: number) => void;
}

export interface IntegratedGradients {
  /** [n, ...imageShape] */
  readonly values: HostTensor;
  /** [n] f(x) */
  readonly responses: Float64Array;
  /** [n] */
  readonly completeness: readonly Completeness[];
}

/** Points on the path, where nobody says; each image takes two more runs, at the path's ends. */
export const INTEGRATION_STEPS = 32;

/** What the pass adds up of one image. */
interface Path {
  readonly sum: Float64Array;
  /** d f / d alpha at alpha = 0, the midpoints, and 1. */
  readonly slopes: number[];
  readonly ends: number[];
}

/**
 * @param images [n, ...imageShape] elements
 * @param v [n, positions] weights of positions in f
 * @throws UnbraidError OPTION_VALUE for steps that are not a whole number from 1; INPUT_SIZE for a baseline of another size
 */
export async function integrate(
  pass: AttributionPass,
  images: Float32Array,
  v: Float32Array,
  request: ExplainedChannel & PathOptions,
): Promise<IntegratedGradients> {
  const { steps = INTEGRATION_STEPS, signal } = request;
  if (!Number.isInteger(steps) || steps < 1) {
    throw new UnbraidError(
      "usage",
      "OPTION_VALUE",
      `integrated gradients in ${steps} steps; a whole number from 1 is needed`,
      "32 steps are usual; more make the gap smaller.",
    );
  }
  const { batch, imageShape } = pass.options;
  const [size, positions] = [sizeOf(imageShape), pass.positions];
  const n = images.length / size;
  const start = baselineOf(request.baseline, size, n);
  const paths = Array.from({ length: n }, (): Path => ({ sum: new Float64Array(size), slopes: [], ends: [] }));
  // Points of all images in a row: batches are full whatever the number of steps, and each image's sum has its own order.
  const points = steps + 2;
  const alpha = (m: number): number => (m === 0 ? 0 : m > steps ? 1 : (m - 0.5) / steps);
  for (let at = 0; at < n * points; at += batch) {
    signal?.throwIfAborted();
    const count = Math.min(batch, n * points - at);
    const inputs = new Float32Array(count * size);
    const weights = new Float32Array(count * positions);
    for (let k = 0; k < count; k++) {
      const [image, a] = [Math.floor((at + k) / points), alpha((at + k) % points)];
      for (let j = 0; j < size; j++) {
        const from = start[image * size + j] ?? NaN;
        inputs[k * size + j] = from + a * ((images[image * size + j] ?? NaN) - from);
      }
      weights.set(v.subarray(image * positions, (image + 1) * positions), k * positions);
    }
    const got = await pass.run(inputs, request, weights);
    for (let k = 0; k < count; k++) {
      const [image, m] = [Math.floor((at + k) / points), (at + k) % points];
      const path = paths[image];
      if (path !== undefined) extend(path, got, { k, size, ends: m === 0 || m > steps, image, images, start });
      if (m === 0 || m > steps) path?.ends.push(weightedSum(got.responses, weights, k * positions, positions));
    }
    request.onProgress?.(at + count);
  }
  const values = new Float32Array(n * size);
  paths.forEach(({ sum }, i) => {
    for (let j = 0; j < size; j++) {
      const move = (images[i * size + j] ?? NaN) - (start[i * size + j] ?? NaN);
      values[i * size + j] = (move * (sum[j] ?? NaN)) / steps;
    }
  });
  const completeness = paths.map((path) => complete(path, steps));
  return {
    values: { type: "float32", shape: [n, ...imageShape], data: values },
    responses: Float64Array.from(completeness, (c) => c.response),
    completeness,
  };
}

interface Point {
  readonly k: number;
  readonly size: number;
  readonly ends: boolean;
  readonly image: number;
  readonly images: Float32Array;
  readonly start: Float32Array;
}

function extend(path: Path, { gradients }: ChannelGradients, { k, size, ends, image, images, start }: Point): void {
  let slope = 0;
  for (let j = 0; j < size; j++) {
    const g = gradients[k * size + j] ?? NaN;
    slope += g * ((images[image * size + j] ?? NaN) - (start[image * size + j] ?? NaN));
    if (!ends) path.sum[j] = (path.sum[j] ?? NaN) + g;
  }
  path.slopes.push(slope);
}

function complete({ slopes, ends: [baseline = NaN, response = NaN] }: Path, steps: number): Completeness {
  const variation = slopes.slice(1).reduce((sum, s, k) => sum + Math.abs(s - (slopes[k] ?? NaN)), 0);
  const sum = slopes.slice(1, -1).reduce((a, b) => a + b, 0) / steps;
  return { response, baseline, sum, gap: sum - (response - baseline), estimate: variation / (2 * steps) };
}

function baselineOf(baseline: Float32Array | undefined, size: number, n: number): Float32Array {
  const all = new Float32Array(n * size);
  if (baseline === undefined) return all;
  if (baseline.length === n * size) return baseline;
  if (baseline.length !== size) {
    throw new UnbraidError(
      "input",
      "INPUT_SIZE",
      `the baseline has ${baseline.length} numbers, an image ${size}, all images ${n * size}`,
      "Give one image, or one for each.",
    );
  }
  for (let i = 0; i < n; i++) all.set(baseline, i * size);
  return all;
}
