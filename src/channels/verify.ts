/**
 * Whether a split network still computes the same function (METHOD.md C, "The split is a theorem; check the floats").
 *
 * Both networks run on the same images. At the layer, every element's difference is held against a rigorous bound; at
 * the logits, flips of the top class and the largest difference are counted.
 *
 * The bound. Let n be the number of terms of one output (inputs of the group times taps, and the bias), u = 2^-24 and
 * g(n) = n u / (1 - n u). Any order of summing n products, each product and each sum rounded, errs by at most
 * g(n) A, A = sum |w| |x| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1). The K parts
 * and the residual cover A at most 2K - 1 times, since an input that all share stands in each part and, K - 1 times, in
 * the residual. Adding the parts up rounds at most K times more. So the split layer errs by at most (2K - 1) g(n + K) A,
 * and the original, which it is compared with here, by g(n) A. A itself is computed in float32, hence the last factor:
 *   |z' - z| <= ((2K - 1) g(n + K) + g(n)) A / (1 - g(n)).
 * For K = 2 the first term is METHOD.md's 3 u (n + 2) A; it bounds the distance to the exact z, so the original's own
 * rounding comes on top. Channels that were not split pass through the merge layer unchanged: their bound is 0.
 */
import { must, UnbraidError } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import type { Session } from "../engine/session.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { sizeOf } from "../graph/graph.ts";
import { convolveLaidOut, layoutWeights } from "../kernels/convolve.ts";
import { dispatchAbsolute } from "../kernels/unary.ts";
import type { ImageBatch } from "../relevance/run-study.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { sideConvolution } from "./side-convolution.ts";

/** The other engine's logits for both networks: onnxruntime where it is installed. */
export interface SecondOpinion {
  /** @returns [n, T] of the original and of the split network */
  run(images: Float32Array, shape: readonly number[]): Promise<readonly [Float32Array, Float32Array]>;
}

export interface VerifyOptions {
  readonly before: Session;
  readonly after: Session;
  /** The layer in the original; the split network has its output under the same name. */
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  /** Split channels and how many concepts each has. */
  readonly concepts: ReadonlyMap<number, number>;
  readonly input: string;
  readonly logits: string;
  readonly imageShape: readonly number[];
  readonly batch: number;
  readonly batches: AsyncIterable<ImageBatch>;
  readonly secondOpinion?: SecondOpinion;
  readonly onProgress?: (images: number) => void;
  readonly signal?: AbortSignal;
}

export interface Verification {
  readonly images: number;
  /** Largest |z' - z| at the layer's output, and the bound of that element. */
  readonly max_abs_diff: number;
  readonly bound: number;
  /** Largest difference of an element over that element's own bound: at most 1, or the split is wrong. */
  readonly ratio: number;
  /** Largest difference in a channel that was not split: 0, or the split is wrong. */
  readonly other_channels: number;
  /** Largest difference of a logit. */
  readonly logits: number;
  /** Images whose top class changed. */
  readonly flips: number;
  readonly accuracy: { readonly before: number; readonly after: number };
  readonly onnxruntime: { readonly max_abs_diff: number; readonly flips: number } | null;
}

const BOUND = "sum of |w| |x|";

/** @throws UnbraidError IMAGES_NONE without images; NOT_FINITE where a network gives NaN or Infinity; what the device throws */
export async function verify(o: VerifyOptions): Promise<Verification> {
  const request = { inputs: new Map([[o.input, [o.batch, ...o.imageShape]]]), outputs: [o.layer.output, o.logits] };
  const before = await o.before.prepare({
    ...request,
    visible: [o.layer.input],
    extend: (x) => {
      boundDispatches(x, o);
    },
  });
  let after: Executable | undefined;
  const tally = new Tally(o);
  try {
    const split = await o.after.prepare(request);
    after = split;
    for await (const batch of o.batches) {
      o.signal?.throwIfAborted();
      const n = batch.labels.length;
      const padded = new Float32Array(o.batch * sizeOf(o.imageShape));
      padded.set(batch.tensor);
      const run = async (e: Executable, names: readonly string[]) => {
        e.run(new Map([[o.input, padded]]));
        return e.read(names);
      };
      const first = await o.before.exclusively(() => run(before, [...request.outputs, BOUND]));
      const second = await o.after.exclusively(() => run(split, request.outputs));
      tally.layer(
        n,
        must(first.get(o.layer.output), "z"),
        must(second.get(o.layer.output), "z"),
        must(first.get(BOUND), BOUND),
      );
      const logits = [must(first.get(o.logits), "logits"), must(second.get(o.logits), "logits")] as const;
      tally.logits(batch, logits[0], logits[1]);
      if (o.secondOpinion) tally.opinion(n, await o.secondOpinion.run(batch.tensor, [n, ...o.imageShape]));
      o.onProgress?.(tally.images);
    }
  } finally {
    o.before.release(before);
    if (after !== undefined) o.after.release(after);
  }
  return tally.result();
}

/** sum |w| |x| for the split channels, [batch, split channels, positions], by the convolution kernel itself. */
function boundDispatches(
  x: Parameters<NonNullable<Parameters<Session["prepare"]>[0]["extend"]>>[0],
  o: VerifyOptions,
): void {
  const { layer, geometry: g, batch } = o;
  const channels = [...o.concepts.keys()];
  const conv = sideConvolution(layer, g, batch, channels.length);
  const source = x.value(layer.input);
  const count = sizeOf(source.shape);
  const magnitude = x.scratch(count);
  dispatchAbsolute(x, source.slot, count, magnitude);
  const taps = tapsOf(g);
  const groupSize = g.inChannels / g.groups;
  const rows = new Float32Array(channels.length * g.inChannels * taps);
  channels.forEach((c, r) => {
    const size = groupSize * taps;
    const group = Math.floor(c / (g.outChannels / g.groups));
    const weights = g.weights.subarray(c * size, (c + 1) * size).map(Math.abs);
    rows.set(weights, r * g.inChannels * taps + group * size);
  });
  const packed = x.constant(`${layer.output}: |w| of ${channels.join()}`, () => layoutWeights(rows, conv, x.subgroups));
  const target = x.result(BOUND, [batch, channels.length, ...conv.output]);
  convolveLaidOut(x, conv, { input: { slot: magnitude, shape: source.shape }, output: target, label: BOUND }, packed);
}

class Tally {
  readonly #o: VerifyOptions;
  images = 0;
  #maxDiff = 0;
  #boundThere = 0;
  #ratio = 0;
  #other = 0;
  #logits = 0;
  #flips = 0;
  readonly #right = [0, 0];
  #opinion: { max_abs_diff: number; flips: number } | undefined;

  constructor(o: VerifyOptions) {
    this.#o = o;
  }

  layer(n: number, z: Float32Array, split: Float32Array, sums: Float32Array): void {
    const { geometry: g, layer, concepts } = this.#o;
    const positions = sizeOf(layer.outputShape.slice(2));
    const u = 2 ** -24;
    const gamma = (k: number) => (k * u) / (1 - k * u);
    const terms = (g.inChannels / g.groups) * tapsOf(g) + (g.hasBias ? 1 : 0);
    const rowOf = new Map([...concepts.keys()].map((c, r) => [c, r]));
    for (let i = 0; i < n * g.outChannels; i++) {
      const c = i % g.outChannels;
      const row = rowOf.get(c);
      const k = concepts.get(c) ?? 1;
      const factor = ((2 * k - 1) * gamma(terms + k) + gamma(terms)) / (1 - gamma(terms));
      const b = Math.abs(layer.bias?.data[c] ?? 0);
      for (let p = 0; p < positions; p++) {
        const at = i * positions + p;
        const difference = Math.abs((split[at] ?? NaN) - (z[at] ?? NaN));
        if (!Number.isFinite(difference)) throw notFinite(`output of layer ${layer.name}`, this.images);
        if (row === undefined) {
          this.#other = Math.max(this.#other, difference);
          continue;
        }
        const a = (sums[(Math.floor(i / g.outChannels) * concepts.size + row) * positions + p] ?? NaN) + b;
        const bound = factor * a;
        if (difference > this.#maxDiff) [this.#maxDiff, this.#boundThere] = [difference, bound];
        if (difference > 0) this.#ratio = Math.max(this.#ratio, difference / bound);
      }
    }
  }

  logits(batch: ImageBatch, before: Float32Array, after: Float32Array): void {
    const width = before.length / this.#o.batch;
    for (let i = 0; i < batch.labels.length; i++) {
      const rows = [before, after].map((l) => l.subarray(i * width, (i + 1) * width));
      const [a = before, b = after] = rows;
      const difference = largestDifference(a, b);
      if (!Number.isFinite(difference)) throw notFinite(`logits of ${batch.items[i]?.path ?? "an image"}`, this.images);
      this.#logits = Math.max(this.#logits, difference);
      const tops = rows.map(argmax);
      if (tops[0] !== tops[1]) this.#flips++;
      tops.forEach((top, k) => {
        if (top === batch.labels[i]) this.#right[k] = (this.#right[k] ?? 0) + 1;
      });
      this.images++;
    }
  }

  opinion(n: number, [before, after]: readonly [Float32Array, Float32Array]): void {
    const width = before.length / n;
    const tally = (this.#opinion ??= { max_abs_diff: 0, flips: 0 });
    for (let i = 0; i < n; i++) {
      const [a, b] = [before.subarray(i * width, (i + 1) * width), after.subarray(i * width, (i + 1) * width)];
      tally.max_abs_diff = Math.max(tally.max_abs_diff, largestDifference(a, b));
      if (argmax(a) !== argmax(b)) tally.flips++;
    }
  }

  result(): Verification {
    if (this.images === 0) {
      throw new UnbraidError("input", "IMAGES_NONE", "no image was verified", "Give a folder that has images.");
    }
    return {
      images: this.images,
      max_abs_diff: this.#maxDiff,
      bound: this.#boundThere,
      ratio: this.#ratio,
      other_channels: this.#other,
      logits: this.#logits,
      flips: this.#flips,
      accuracy: { before: (this.#right[0] ?? 0) / this.images, after: (this.#right[1] ?? 0) / this.images },
      onnxruntime: this.#opinion ?? null,
    };
  }
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs((a[i] ?? NaN) - (b[i] ?? NaN));
    if (!(d <= most)) most = d; // NaN too
  }
  return most;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] ?? -Infinity) > (values[best] ?? -Infinity)) best = i;
  return best;
}

const notFinite = (what: string, image: number): UnbraidError =>
  new UnbraidError(
    "model",
    "NOT_FINITE",
    `the ${what} is not finite (around image ${image})`,
    "Check the model and the preprocessing: its activations overflow float32.",
  );
