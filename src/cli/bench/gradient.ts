/**
 * The gradient of a logit of each image back to the images, timed beside the forward pass. A peer on files of ONNX has no
 * gradients, but its outputs do: along the gradient's own direction the logits must rise by its length.
 */
import type { Figure } from "../../channels/statistics.ts";
import { must } from "../../errors.ts";
import type { Output } from "../output.ts";
import type { Engine, Feed, Task } from "./engine.ts";
import { medianOf, ratioOf, scaled } from "./figures.ts";
import type { OurEngine } from "./ours.ts";

/** Steps are tried until one is small enough for the network's kinks and large enough for float32. */
const STEPS = [0.03, 0.01, 0.003, 0.001] as const;
const AGREES = 0.05;

export async function compareGradient(
  ours: OurEngine,
  peers: readonly Engine[],
  task: Task,
  rounds: number,
  out: Output,
): Promise<Record<string, Figure>> {
  const seed = new Float32Array(ours.firstOutputSize);
  const width = seed.length / task.batch;
  for (let n = 0; n < task.batch; n++) seed[n * width] = 1;
  const gradient = await ours.gradient(seed);
  try {
    const { output } = await gradient.run();
    const peer = must(peers[0], "peer");
    const error = await slopeError(peer, task, seed, output);
    if (!(error <= AGREES)) {
      out.warn(`the gradient is off by ${error} of its length from what ${peer.name} gives: not timed`);
      return {};
    }
    const [forward, both]: [number[], number[]] = [[], []];
    for (let k = 0; k < rounds; k++) {
      forward.push((await ours.run(1)).ms);
      both.push((await gradient.run()).ms);
    }
    return {
      gradient_ms_an_image: scaled(medianOf(both), 1 / task.batch),
      gradient_with_forward_over_forward: ratioOf(both, forward),
      // What comes on top of the forward pass, which a gradient needs.
      gradient_over_forward: ratioOf(
        both.map((ms, k) => ms - (forward[k] ?? NaN)),
        forward,
      ),
    };
  } finally {
    gradient.close();
  }
}

/** How far the peer's difference quotient along the gradient is from its length, over that length: the least of the steps. */
async function slopeError(peer: Engine, task: Task, seed: Float32Array, gradient: Float32Array): Promise<number> {
  const first = must(task.feeds[0], "input");
  const length = Math.sqrt(gradient.reduce((n, g) => n + g * g, 0));
  const sumAt = async (step: number): Promise<{ sum: number; largest: number }> => {
    const data = first.data.map((x, i) => x + (step * (gradient[i] ?? NaN)) / length);
    const feeds: Feed[] = [{ ...first, data }, ...task.feeds.slice(1)];
    const { output } = await peer.run(1, feeds);
    const logits = output.subarray(0, seed.length);
    return { sum: logits.reduce((n, y, i) => n + y * (seed[i] ?? 0), 0), largest: largestOf(logits) };
  };
  const { largest } = await sumAt(0);
  let least = Infinity;
  for (const share of STEPS) {
    const step = (share * largest) / length;
    const slope = ((await sumAt(step)).sum - (await sumAt(-step)).sum) / (2 * step);
    least = Math.min(least, Math.abs(slope - length) / length);
    if (least <= AGREES) break;
  }
  await peer.run(1, task.feeds);
  return least;
}

const largestOf = (values: Float32Array): number => values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
