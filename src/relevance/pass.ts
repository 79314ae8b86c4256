/**
 * One batch of a study on the GPU, fused: forward, gradient of each image's own logit back to the layer's output, times
 * the output and summed to relevance, thresholds and counts by class, tap sums of the layer's input. METHOD.md A1, A2 and
 * B ("One pass finds").
 */
import { invariant, must, UnbraidError } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import { seedName, type Extension } from "../engine/plan.ts";
import type { Session } from "../engine/session.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { tensorKey } from "../graph/identity.ts";
import { f32, spread, type DeviceTensor } from "../kernels/operator.ts";
import type { StudyLayer } from "./study.ts";
import { tapsOf } from "./study.ts";

export interface PassOptions {
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
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

export interface PassResult {
  /** [n, I, K] */
  readonly tapSums: Float32Array;
  /** [n, C] R before any rounding. */
  readonly relevance: Float32Array;
  /** [n, T] */
  readonly logits: Float32Array;
  /** Hits by class in the batch: [2][taus][C] for each distinct class in order of appearance. */
  readonly hits: readonly { readonly class: number; readonly counts: Float32Array }[];
}

const RELEVANCE = "relevance";
const TAP_SUMS = "tap sums";
const HITS = "hits";
const CLASSES = "classes of the batch";
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
    const { layer, input, logits, imageShape, batch, taus } = options;
    checkTaus(taus);
    const executable = await session.prepare({
      inputs: new Map([[input, [batch, ...imageShape]]]),
      outputs: [logits],
      visible: [layer.input, layer.output],
      gradient: { of: logits, wrt: [layer.output], read: false },
      extend: (x) => {
        extend(x, options);
      },
    });
    return new RelevancePass(session, options, executable);
  }

  /** Bytes of GPU memory that this plan's activations take. */
  get plan(): Executable["plan"] {
    return this.#executable.plan;
  }

  /**
   * @param images [n, ...imageShape], n at most the batch
   * @param labels [n] index of each image's logit
   * @param classes [n] class that each image counts for
   */
  run(images: Float32Array, labels: ArrayLike<number>, classes: ArrayLike<number>): Promise<PassResult> {
    return this.#session.exclusively(() => this.#run(images, labels, classes));
  }

  async #run(images: Float32Array, labels: ArrayLike<number>, classes: ArrayLike<number>): Promise<PassResult> {
    const { geometry, batch, logits, logitCount, input, imageShape, taus } = this.#options;
    const n = labels.length;
    const size = imageShape.reduce((a, b) => a * b, 1);
    invariant(n <= batch && images.length === n * size, `${n} images in a batch of ${batch}`);
    const padded = new Float32Array(batch * size);
    padded.set(images);
    const seed = new Float32Array(batch * logitCount);
    const slots = new Map<number, number>();
    const slotOf = new Uint32Array(batch).fill(0xffffffff);
    for (let i = 0; i < n; i++) {
      seed[i * logitCount + must(labels[i], "label")] = 1;
      const cls = must(classes[i], "class");
      const slot = slots.get(cls) ?? slots.size;
      slots.set(cls, slot);
      slotOf[i] = slot;
    }
    const feeds = new Map<string, Float32Array | Uint32Array>([
      [input, padded],
      [seedName(logits), seed],
      [CLASSES, slotOf],
    ]);
    this.#executable.run(feeds);
    const got = await this.#executable.read([RELEVANCE, TAP_SUMS, HITS, logits]);
    const cut = (name: string, each: number) => must(got.get(name), name).subarray(0, n * each);
    const cells = 2 * taus.length * geometry.outChannels;
    const hits = must(got.get(HITS), HITS);
    return {
      relevance: cut(RELEVANCE, geometry.outChannels),
      tapSums: cut(TAP_SUMS, geometry.inChannels * tapsOf(geometry)),
      logits: cut(logits, logitCount),
      hits: [...slots].map(([cls, slot]) => ({ class: cls, counts: hits.subarray(slot * cells, (slot + 1) * cells) })),
    };
  }

  [Symbol.dispose](): void {
    this.#session.release(this.#executable);
  }
}

function extend(x: Extension, { layer, geometry, batch, taus }: PassOptions): void {
  const z = x.value(layer.output);
  const channels = geometry.outChannels;
  const relevance = x.result(RELEVANCE, [batch, channels]);
  const bias = layer.bias;
  const biasTensor = bias === undefined ? undefined : x.constant(tensorKey(bias), () => bias);
  x.dispatch({
    shader: "relevance",
    params: [batch, channels, z.shape.slice(2).reduce((a, b) => a * b, 1), bias === undefined ? 0 : 1],
    reads: [z.slot, x.gradient(layer.output).slot, (biasTensor ?? z).slot],
    writes: [relevance.slot],
    workgroups: spread(Math.ceil((batch * channels) / 8)),
    label: "relevance",
  });
  countImportance(x, relevance, batch, channels, taus);
  tapSums(
    x,
    x.value(layer.input),
    x.result(TAP_SUMS, [batch, geometry.inChannels, tapsOf(geometry)]),
    geometry,
    z.shape,
  );
}

function countImportance(
  x: Extension,
  relevance: DeviceTensor,
  batch: number,
  channels: number,
  taus: readonly number[],
): void {
  const classes = x.input(CLASSES, [batch]);
  const hits = x.result(HITS, [batch, 2, taus.length, channels]);
  const totals = x.scratch(2 * batch);
  const tau = Array.from({ length: MAX_TAUS }, (_, k) => f32(taus[k] ?? 0));
  [batch, channels * batch].forEach((lanes, phase) => {
    x.dispatch({
      shader: "importance",
      // Three words of padding: WGSL aligns the array of taus to 16 bytes.
      params: [batch, channels, taus.length, batch, phase, 0, 0, 0, ...tau],
      reads: [relevance.slot, classes.slot],
      writes: [totals, hits.slot],
      workgroups: spread(Math.ceil(lanes / 8)),
      label: "importance",
    });
  });
}

/** Tap sums of `input` for a layer of this geometry whose output has shape [n, C, ...]. */
export function tapSums(
  x: Pick<Extension, "dispatch">,
  input: DeviceTensor,
  target: DeviceTensor,
  g: StudyLayer,
  outputShape: readonly number[],
): void {
  const plane = (shape: readonly number[]) => (shape.length === 3 ? [1, shape[2] ?? 1] : shape.slice(2));
  const [batch = 0] = input.shape;
  const [top, left] = g.pads;
  x.dispatch({
    shader: "tap_sums",
    params: [
      ...[batch, g.inChannels, ...plane(input.shape)],
      ...[...plane(outputShape), ...g.kernel],
      ...[...g.strides, ...g.dilations, top, left],
    ],
    reads: [input.slot],
    writes: [target.slot],
    workgroups: spread(Math.ceil((batch * g.inChannels * tapsOf(g)) / 8)),
    label: "tap sums",
  });
}
