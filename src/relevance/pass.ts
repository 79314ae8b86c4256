/**
 * One batch of a study on the GPU, fused: forward, gradient of each image's own logit back to the outputs of the layers
 * under study, times these outputs and summed to relevance, thresholds, tap sums of the layers' inputs. One forward and one
 * backward pass serve all layers; what belongs to a layer is computed as soon as its operands are made, so that they need
 * not be kept. METHOD.md A1, A2 and B ("One pass finds").
 */
import { invariant, must, UnbraidError } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import { seedName, type Extension } from "../engine/plan.ts";
import type { Session } from "../engine/session.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { Graph } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { readers } from "../graph/prune.ts";
import { wholeFours } from "../kernels/fours.ts";
import { f32, spread, type DeviceTensor } from "../kernels/operator.ts";
import { importanceWords } from "./importance.ts";
import type { StudyLayer } from "./study.ts";
import { tapsOf } from "./study.ts";
import { lanesFor, tapSums, tapSumsFours, tapSumsInFours } from "./tap-sums.ts";

export { tapSums } from "./tap-sums.ts";

/** A layer of the network, and as the study records it. */
export interface StudiedLayer {
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
}

export interface PassOptions {
  readonly layers: readonly StudiedLayer[];
  /** Graph input that takes the images, and the value that holds the logits, [n, T]. */
  readonly input: string;
  readonly logits: string;
  /** [channels, height, width] of an image. */
  readonly imageShape: readonly number[];
  readonly logitCount: number;
  /** Images a batch; a shorter last batch is filled up with zeros, so that an image's numbers never depend on it. */
  readonly batch: number;
  /** Rising, at most `MAX_TAUS`: those of the study. */
  readonly taus: readonly number[];
}

/** What a batch gives of one layer. */
export interface LayerResult {
  /** [n, I, K] */
  readonly tapSums: Float32Array;
  /** [n, C] R before any rounding. */
  readonly relevance: Float32Array;
  /** [n][2][taus][words] a bit a channel: see `addImportanceBits`. */
  readonly bits: Uint32Array;
}

export interface PassResult {
  /** [n, T] */
  readonly logits: Float32Array;
  /** One for each of the options' layers. */
  readonly layers: readonly LayerResult[];
}

const resultNames = (index: number) => ({
  relevance: `relevance ${index}`,
  tapSums: `tap sums ${index}`,
  bits: `importance ${index}`,
});
/** What shaders/importance.wgsl holds. */
export const MAX_TAUS = 32;

function checkTaus(taus: readonly number[]): void {
  const rising = taus.every((tau, k) => k === 0 || tau > (taus[k - 1] ?? 0));
  if (taus.length > 0 && taus.length <= MAX_TAUS && rising) return;
  throw new UnbraidError(
    "usage",
    "OPTION_TAU",
    `a pass takes 1 to ${MAX_TAUS} rising values of tau, given ${taus.join(", ") || "none"}`,
    "Pass the taus of the study, which are sorted, and at most so many.",
  );
}

/**
 * Where relevance is taken: z, or behind a BatchNormalization that can be merged into the layer, so that it is merged. There
 * z' - b' = s (z - b) and the gradient is 1/s of z's: their product is the same.
 */
const tapOf = ({ layer }: StudiedLayer) => layer.norm ?? { output: layer.output, bias: layer.bias };

/**
 * The value that stands for each of `names` in the product with its gradient: where a Relu alone reads it, the Relu's result.
 * They differ where the gradient is 0, and the convolution need not write both.
 */
function standIns(graph: Graph, names: readonly string[]): Map<string, string> {
  const uses = readers(graph);
  const relus = graph.nodes.filter((n) => n.opType === "Relu" && uses.get(n.inputs[0] ?? "") === 1);
  const resultOf = new Map(relus.map((n) => [n.inputs[0], n.outputs[0]]));
  return new Map(names.map((name) => [name, resultOf.get(name) ?? name]));
}

export class RelevancePass implements Disposable {
  readonly #session: Session;
  readonly #options: PassOptions;
  readonly #executable: Executable;

  private constructor(session: Session, options: PassOptions, executable: Executable) {
    this.#session = session;
    this.#options = options;
    this.#executable = executable;
  }

  static async open(session: Session, options: PassOptions): Promise<RelevancePass> {
    const { layers, input, logits, imageShape, batch, taus } = options;
    checkTaus(taus);
    invariant(layers.length > 0, "a layer to study");
    const each = layers.map((studied, index) => ({ studied, index }));
    const taps = layers.map((l) => tapOf(l).output);
    const values = standIns(session.graph, taps);
    const executable = await session.prepare({
      inputs: new Map([[input, [batch, ...imageShape]]]),
      outputs: [logits],
      visible: [...layers.map((l) => l.layer.input), ...values.values()],
      gradient: { of: logits, wrt: taps, read: false },
      follow: {
        value: (name, x) => {
          for (const { studied, index } of each)
            if (studied.layer.input === name)
              sumTaps(x, studied, x.result(resultNames(index).tapSums, sumsShape(batch, studied)));
        },
        gradient: (name, x) => {
          for (const { studied, index } of each)
            if (tapOf(studied).output === name) relevance(x, studied, index, must(values.get(name), name), options);
        },
      },
    });
    return new RelevancePass(session, options, executable);
  }

  /** What this pass runs, and the GPU memory that its activations take (`liveBytes`, `bufferBytes`). */
  get plan(): Executable["plan"] {
    return this.#executable.plan;
  }

  /**
   * @param images [n, ...imageShape], n at most the batch
   * @param labels [n] index of each image's logit
   */
  async run(images: Float32Array, labels: ArrayLike<number>): Promise<PassResult> {
    const { result } = await this.start(images, labels);
    return result;
  }

  /**
   * As run, but resolves as soon as the batch is submitted: what the host does before it awaits the result, it does beside
   * the GPU, and the next batch may be started before that. `result` may be left alone.
   */
  async start(images: Float32Array, labels: ArrayLike<number>): Promise<{ readonly result: Promise<PassResult> }> {
    const { logits, layers } = this.#options;
    const names = [logits, ...layers.flatMap((_, index) => Object.values(resultNames(index)))];
    const { data } = await this.#session.exclusively(() => {
      this.#submit(images, labels);
      return this.#executable.startRead(names);
    });
    const result = data.then((got) => this.#cut(got, labels.length));
    result.catch(() => undefined);
    return { result };
  }

  #submit(images: Float32Array, labels: ArrayLike<number>): void {
    const { batch, logits, logitCount, input, imageShape } = this.#options;
    const n = labels.length;
    const size = imageShape.reduce((a, b) => a * b, 1);
    invariant(n <= batch && images.length === n * size, `${n} images in a batch of ${batch}`);
    let full = images;
    if (n < batch) {
      full = new Float32Array(batch * size);
      full.set(images);
    }
    const seed = new Float32Array(batch * logitCount);
    for (let i = 0; i < n; i++) seed[i * logitCount + must(labels[i], "label")] = 1;
    this.#executable.run(
      new Map([
        [input, full],
        [seedName(logits), seed],
      ]),
    );
  }

  /** @param n images of the batch that count */
  #cut(got: ReadonlyMap<string, Float32Array>, n: number): PassResult {
    const { layers, logits, logitCount, taus } = this.#options;
    const cut = (name: string, each: number) => must(got.get(name), name).subarray(0, n * each);
    return {
      logits: cut(logits, logitCount),
      layers: layers.map(({ geometry }, index) => {
        const { outChannels, inChannels } = geometry;
        const name = resultNames(index);
        const bits = cut(name.bits, importanceWords(taus.length, outChannels));
        return {
          relevance: cut(name.relevance, outChannels),
          tapSums: cut(name.tapSums, inChannels * tapsOf(geometry)),
          bits: new Uint32Array(bits.buffer, bits.byteOffset, bits.length),
        };
      }),
    };
  }

  [Symbol.dispose](): void {
    this.#session.release(this.#executable);
  }
}

const sumsShape = (batch: number, { geometry }: StudiedLayer) => [batch, geometry.inChannels, tapsOf(geometry)];

function sumTaps(x: Extension, { layer, geometry }: StudiedLayer, target: DeviceTensor): void {
  const [batch = 0] = target.shape;
  const outputShape = [batch, ...layer.outputShape.slice(1)];
  if (tapSumsInFours(layer.inputShape, geometry)) {
    tapSumsFours(x, x.valueFours(layer.input), target, geometry, outputShape);
  } else tapSums(x, x.value(layer.input), target, geometry, outputShape);
}

/**
 * Behind the gradient: relevance, and which channels reach the thresholds.
 * @param value of `standIns`
 */
function relevance(
  x: Extension,
  studied: StudiedLayer,
  index: number,
  value: string,
  { batch, taus }: PassOptions,
): void {
  const { output, bias } = tapOf(studied);
  const { relevance: name, bits: bitsName } = resultNames(index);
  const channels = studied.geometry.outChannels;
  const result = x.result(name, [batch, channels]);
  const biasTensor = bias === undefined ? undefined : x.constant(tensorKey(bias), () => bias);
  const lanes = lanesFor(x.subgroups);
  // By the shape alone, so that a layer's relevance has the same bits whatever else is studied.
  const { outputShape } = studied.layer;
  const inFours = wholeFours(outputShape);
  const [z, g] = inFours ? [x.valueFours(value), x.gradientFours(output)] : [x.value(value), x.gradient(output)];
  x.dispatch({
    shader: "relevance",
    entry: inFours ? "fours" : "main",
    constants: { LANES: lanes },
    params: [batch, channels, outputShape.slice(2).reduce((a, b) => a * b, 1), bias === undefined ? 0 : 1],
    reads: [z.slot, g.slot, (biasTensor ?? z).slot],
    writes: [result.slot],
    workgroups: spread(Math.ceil((batch * channels) / (inFours ? 4 : 1) / lanes)),
    label: "relevance",
  });
  markImportant(x, result, x.result(bitsName, [batch, importanceWords(taus.length, channels)]), taus);
}

/**
 * Which channels are important on each image.
 * @param relevance [n, C]
 * @param bits [n, words] as `addImportanceBits` takes them
 * @param totals 2 n elements, the images' total relevance by each variant; for tests
 */
export function markImportant(
  x: Pick<Extension, "dispatch" | "subgroups" | "scratch">,
  relevance: DeviceTensor,
  bits: DeviceTensor,
  taus: readonly number[],
  totals = x.scratch(2 * (relevance.shape[0] ?? 0)),
): void {
  const [batch = 0, channels = 0] = relevance.shape;
  x.dispatch({
    shader: "importance",
    constants: { LANES: lanesFor(x.subgroups) },
    // A word of padding: WGSL aligns the array of taus to 16 bytes.
    params: [batch, channels, taus.length, 0, ...Array.from({ length: MAX_TAUS }, (_, k) => f32(taus[k] ?? 0))],
    reads: [relevance.slot],
    writes: [totals, bits.slot],
    workgroups: spread(batch),
    label: "importance",
  });
}
