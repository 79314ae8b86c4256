/**
 * Whether a split network still computes the same function (METHOD.md C, "The split is a theorem; check the floats").
 *
 * Both networks run on the same images. At each split layer, every element's difference is held against a rigorous bound; at
 * the logits, flips of the top class and the largest difference are counted.
 *
 * The bound. Let n be the number of terms of one output (inputs of the group times taps, and the bias), u = 2^-24 and
 * g(n) = n u / (1 - n u). Any order of summing n products, each product and each sum rounded, errs by at most
 * g(n) sum |w| |x| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1). A split channel is
 * sum_k f_k D_k x, of rows D_k that are stored and factors f_k of merge layers (splits of splits multiplied out). Its rows'
 * sums and L roundings of merging err by at most g(n + L) sum C |x|, with C = sum_k |f_k D_k|. Rows that source sets give
 * add up to w exactly, sum_k f_k D_k = w: stored bits are kept, or doubled. Rows by weights are rounded when they are stored,
 * the smallest to what the others leave, and miss w by at most s C, s the unit roundoff of the file's type (and u where
 * that is finer, since all is computed in float32). The original, which it is compared with, errs by g(n) sum |w| |x|:
 *   |z' - z| <= sum_i ((g(n + L) + s) C_i + g(n) |w_i|) |x_i|,
 * and the bias likewise. This sum is run by the convolution kernel itself, on |x|, and errs by a factor of 1 / (1 - g(n)).
 * For two concepts C <= 3 |w| and L = 2: METHOD.md's 3 u (n + 2) sum |w| |x|, which bounds the distance to the exact z; the
 * original's own rounding comes on top. Channels that were not split pass through the merge layer unchanged: their bound is 0.
 *
 * With splits in several layers the later ones read inputs that the earlier ones moved by their rounding. There the
 * original's rows run on the split network's own input, and the difference to those is held against the bound.
 */
import { must, UnbraidError } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import type { Session } from "../engine/session.ts";
import { sizeOf } from "../graph/graph.ts";
import { convolveLaidOut, layoutWeights } from "../kernels/convolve.ts";
import type { DeviceTensor } from "../kernels/operator.ts";
import { dispatchAbsolute } from "../kernels/unary.ts";
import type { ImageBatch } from "../relevance/run-study.ts";
import { weightsOf } from "../relevance/arv.ts";
import { tapsOf } from "../relevance/study.ts";
import { sideConvolution } from "./side-convolution.ts";
import { boundRows, weightCheck, type BoundRow, type SplitLayer, type WeightCheck } from "./split-layers.ts";

/** The other engine's logits for both networks: onnxruntime where it is installed. */
export interface SecondOpinion {
  /** @returns [n, T] of the original and of the split network */
  run(images: Float32Array, shape: readonly number[]): Promise<readonly [Float32Array, Float32Array]>;
}

export interface VerifyOptions {
  readonly before: Session;
  readonly after: Session;
  /** In the order of the network: what is before the first is the same in both. */
  readonly layers: readonly SplitLayer[];
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
  /** Of the stored rows: whether they add up to the channels' weights, and all other rows are what they were. */
  readonly weights: WeightCheck;
  /** Largest |z' - z| at a split layer's output, and the bound of that element. */
  readonly max_abs_diff: number;
  readonly bound: number;
  /** Largest difference of an element over that element's own bound: at most 1, or the split is wrong. */
  readonly ratio: number;
  /** Largest difference in a channel of the first layer that was not split: 0, or the split is wrong. */
  readonly other_channels: number;
  /** Largest difference of a logit. */
  readonly logits: number;
  /** Images whose top class changed. */
  readonly flips: number;
  readonly accuracy: { readonly before: number; readonly after: number };
  readonly onnxruntime: { readonly max_abs_diff: number; readonly flips: number } | null;
}

const boundOf = (layer: SplitLayer): string => `bound of ${layer.layer.output}`;
const originalOf = (layer: SplitLayer): string => `original of ${layer.layer.output}`;

/** @throws UnbraidError IMAGES_NONE without images; NOT_FINITE where a network gives NaN or Infinity; what the device throws */
export async function verify(o: VerifyOptions): Promise<Verification> {
  const [first] = o.layers;
  if (first === undefined) throw new Error("internal error: no split layer to verify");
  const inputs = new Map([[o.input, [o.batch, ...o.imageShape]]]);
  const before = await o.before.prepare({ inputs, outputs: [first.layer.output, o.logits], plainSums: true });
  let after: Executable | undefined;
  const tally = new Tally(o);
  try {
    const outputs = [...o.layers.map((l) => l.layer.output), o.logits];
    const split = await o.after.prepare({
      ...{ inputs, outputs, plainSums: true },
      visible: o.layers.map((l) => l.layer.input),
      extend: (x) => {
        for (const layer of o.layers) layerDispatches(x, o, layer, layer !== first);
      },
    });
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
      const one = await o.before.exclusively(() => run(before, [first.layer.output, o.logits]));
      const names = [...outputs, ...o.layers.map(boundOf), ...o.layers.slice(1).map(originalOf)];
      const two = await o.after.exclusively(() => run(split, names));
      for (const layer of o.layers) {
        const z = must(two.get(layer.layer.output), "z");
        const sums = must(two.get(boundOf(layer)), "bound");
        if (layer === first) tally.layer(layer, n, must(one.get(layer.layer.output), "z"), z, sums);
        else tally.rows(layer, n, must(two.get(originalOf(layer)), "rows"), z, sums);
      }
      const logits = [must(one.get(o.logits), "logits"), must(two.get(o.logits), "logits")] as const;
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

type Extending = Parameters<NonNullable<Parameters<Session["prepare"]>[0]["extend"]>>[0];

/**
 * In the split network: the bound's sum for the split channels, [batch, split channels, positions], on |x| by the convolution
 * kernel itself; and, where `original`, the channels' own rows on x.
 */
function layerDispatches(x: Extending, o: VerifyOptions, split: SplitLayer, original: boolean): void {
  const { layer, geometry: g } = split;
  const bounds = boundRows(split);
  const channels = [...split.channels.keys()];
  const conv = sideConvolution(layer, g, o.batch, channels.length);
  const source = x.value(layer.input);
  const run = (name: string, from: DeviceTensor, row: (channel: number) => ArrayLike<number>): void => {
    const size = g.inChannels * tapsOf(g);
    const rows = new Float32Array(channels.length * size);
    channels.forEach((c, r) => {
      const at = Math.floor(c / (g.outChannels / g.groups)) * (size / g.groups);
      rows.set(row(c), r * size + at);
    });
    const packed = x.constant(`${name}: channels ${channels.join()}`, () => layoutWeights(rows, conv, x.subgroups));
    const target = x.result(name, [o.batch, channels.length, ...conv.output]);
    convolveLaidOut(x, conv, { input: from, output: target, label: name }, packed);
  };
  const count = sizeOf(source.shape);
  const magnitude = x.scratch(count);
  dispatchAbsolute(x, source.slot, count, magnitude);
  run(boundOf(split), { slot: magnitude, shape: source.shape }, (c) => must(bounds.get(c), "bound").weights);
  if (original) run(originalOf(split), source, (c) => weightsOf(g, c));
}

class Tally {
  readonly #o: VerifyOptions;
  readonly #bounds: ReadonlyMap<SplitLayer, ReadonlyMap<number, BoundRow>>;
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
    this.#bounds = new Map(o.layers.map((layer) => [layer, boundRows(layer)]));
  }

  /** The first layer: all its channels, against the original network's. */
  layer(split: SplitLayer, n: number, z: Float32Array, changed: Float32Array, sums: Float32Array): void {
    const { outChannels } = split.geometry;
    const positions = sizeOf(split.layer.outputShape.slice(2));
    const rowOf = new Map([...split.channels.keys()].map((c, r) => [c, r]));
    const bounds = [...must(this.#bounds.get(split), "bounds").values()];
    for (let i = 0; i < n * outChannels; i++) {
      const row = rowOf.get(i % outChannels);
      const bound = row === undefined ? undefined : must(bounds[row], "bound");
      for (let p = 0; p < positions; p++) {
        const at = i * positions + p;
        const difference = this.#difference(split, changed[at], z[at]);
        if (bound === undefined || row === undefined) this.#other = Math.max(this.#other, difference);
        else {
          const sum = sums[(Math.floor(i / outChannels) * bounds.length + row) * positions + p] ?? NaN;
          this.#element(difference, bound.total(sum));
        }
      }
    }
  }

  /** A later layer: its split channels, against their own rows on the same input. */
  rows(split: SplitLayer, n: number, own: Float32Array, changed: Float32Array, sums: Float32Array): void {
    const { outChannels } = split.geometry;
    const positions = sizeOf(split.layer.outputShape.slice(2));
    const bounds = must(this.#bounds.get(split), "bounds");
    [...split.channels.keys()].forEach((c, r) => {
      const bias = split.layer.bias?.data[c] ?? 0;
      for (let image = 0; image < n; image++)
        for (let p = 0; p < positions; p++) {
          const at = (image * bounds.size + r) * positions + p;
          const z = Math.fround((own[at] ?? NaN) + bias);
          const difference = this.#difference(split, changed[(image * outChannels + c) * positions + p], z);
          this.#element(difference, must(bounds.get(c), "bound").total(sums[at] ?? NaN));
        }
    });
  }

  #difference({ layer }: SplitLayer, a: number | undefined, b: number | undefined): number {
    const difference = Math.abs((a ?? NaN) - (b ?? NaN));
    if (!Number.isFinite(difference)) throw notFinite(`output of layer ${layer.name}`, this.images);
    return difference;
  }

  #element(difference: number, bound: number): void {
    if (difference > this.#maxDiff) [this.#maxDiff, this.#boundThere] = [difference, bound];
    if (difference > 0) this.#ratio = Math.max(this.#ratio, difference / bound);
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
      weights: weightCheck(this.#o.layers),
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
