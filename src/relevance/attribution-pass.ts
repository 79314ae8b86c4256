/**
 * Gradients of one channel's summed response, for a batch of images at a time: what attributions are made of. The channel
 * is one of the network's, or a row of weights that is not in it and runs beside a layer.
 */
import type { Executable } from "../engine/executable.ts";
import { gradientName, seedName, type Beside } from "../engine/plan.ts";
import type { Session } from "../engine/session.ts";
import { must, UnbraidError } from "../errors.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { sizeOf } from "../graph/graph.ts";

/**
 * Where the channel is: in a value of the network, [n, channels, ...], or beside a Conv layer, whose input it reads with
 * weights of its own (a part of a split channel, say).
 */
export type ResponsePlace = { readonly value: string } | { readonly layer: ConvLayer };

export interface AttributionPassOptions {
  /** Graph input that takes the images. */
  readonly input: string;
  /** [channels, height, width] */
  readonly imageShape: readonly number[];
  /** Images at a time; fewer are filled up with zeros, so that an image's numbers never depend on their number. */
  readonly batch: number;
  readonly place: ResponsePlace;
  /** The value that gradients are with regard to, [n, ...]; the images unless told. */
  readonly wrt?: string;
}

export interface ChannelGradients {
  /** [n, positions] y: the channel's response at each of its positions. */
  readonly responses: Float32Array;
  /** [n, ...shape of wrt] d (sum over positions p of v[p] y[p]) / d wrt. */
  readonly gradients: Float32Array;
  /** [n, ...shape of wrt] the value that they are with regard to. */
  readonly values: Float32Array;
}

/** A channel of the value, or the row's weights, [inputs of the channel's group, ...kernel], and which channel it stands for. */
export interface ExplainedChannel {
  readonly channel: number;
  readonly weights?: Float32Array;
}

const ROW = "unbraid: row of weights beside the layer";
const RESPONSE = "unbraid: response beside the layer";

/** A Conv of one row over all input channels of the layer, the layer's strides, pads and dilations. */
function besideLayer({ node, input, inChannels, kernel }: ConvLayer): Beside {
  const attributes = new Map([...node.attributes].filter(([name]) => name !== "group"));
  return {
    nodes: [{ name: RESPONSE, opType: "Conv", inputs: [input, ROW], outputs: [RESPONSE], attributes }],
    inputs: [{ name: ROW, type: "float32", shape: [1, inChannels, ...kernel] }],
  };
}

export class AttributionPass implements Disposable {
  readonly options: AttributionPassOptions;
  readonly #session: Session;
  readonly #executable: Executable;
  readonly #of: string;

  private constructor(session: Session, options: AttributionPassOptions, executable: Executable, of: string) {
    this.#session = session;
    this.options = options;
    this.#executable = executable;
    this.#of = of;
  }

  /** @throws UnbraidError VALUE_UNKNOWN, GRADIENT_NONE, GRADIENT_UNSUPPORTED, and as inference throws */
  static async open(session: Session, options: AttributionPassOptions): Promise<AttributionPass> {
    const { place, input, imageShape, batch, wrt = input } = options;
    const inputs = new Map([[input, [batch, ...imageShape]]]);
    const layer = "layer" in place ? place.layer : undefined;
    const of = "value" in place ? place.value : RESPONSE;
    if (layer !== undefined) inputs.set(ROW, [1, layer.inChannels, ...layer.kernel]);
    const executable = await session.prepare({
      inputs,
      outputs: wrt === input ? [of] : [of, wrt],
      gradient: { of, wrt: [wrt] },
      ...(layer === undefined ? {} : { beside: besideLayer(layer) }),
    });
    return new AttributionPass(session, options, executable, of);
  }

  /** Shape of the explained value without the batch: [channels, ...positions]. */
  get responseShape(): readonly number[] {
    return must(this.#executable.plan.results.get(this.#of), this.#of).shape.slice(1);
  }

  /** Shape of what gradients are with regard to, without the batch. */
  get shape(): readonly number[] {
    const { wrt = this.options.input } = this.options;
    return must(this.#executable.plan.results.get(gradientName(wrt)), wrt).shape.slice(1);
  }

  get positions(): number {
    return sizeOf(this.responseShape.slice(1));
  }

  /**
   * @param images [n, ...imageShape], n at most the batch
   * @param weights [n, positions] v
   * @throws UnbraidError CHANNEL_RANGE; INPUT_SIZE for arrays of a wrong length
   */
  run(images: Float32Array, explained: ExplainedChannel, weights: Float32Array): Promise<ChannelGradients> {
    return this.#session.exclusively(() => this.#run(images, explained, weights));
  }

  async #run(images: Float32Array, explained: ExplainedChannel, weights: Float32Array): Promise<ChannelGradients> {
    const { input, imageShape, batch, wrt = input } = this.options;
    const { positions } = this;
    const n = images.length / sizeOf(imageShape);
    if (!Number.isInteger(n) || n > batch) throw wrongSize("images", images.length, `at most ${batch}`, imageShape);
    if (weights.length !== n * positions) throw wrongSize("position weights", weights.length, String(n), [positions]);
    const padded = new Float32Array(batch * sizeOf(imageShape));
    padded.set(images);
    const { row, at, channels } = this.#explained(explained);
    const seed = new Float32Array(batch * channels * positions);
    for (let i = 0; i < n; i++) {
      seed.set(weights.subarray(i * positions, (i + 1) * positions), (i * channels + at) * positions);
    }
    const feeds = new Map<string, Float32Array>([
      [input, padded],
      [seedName(this.#of), seed],
    ]);
    if (row !== undefined) feeds.set(ROW, row);
    this.#executable.run(feeds);
    const wanted = [this.#of, gradientName(wrt), ...(wrt === input ? [] : [wrt])];
    const got = await this.#executable.read(wanted);
    const all = must(got.get(this.#of), this.#of);
    const responses = new Float32Array(n * positions);
    for (let i = 0; i < n; i++) {
      const from = (i * channels + at) * positions;
      responses.set(all.subarray(from, from + positions), i * positions);
    }
    const size = n * sizeOf(this.shape);
    return {
      responses,
      gradients: must(got.get(gradientName(wrt)), wrt).subarray(0, size),
      values: wrt === input ? images : must(got.get(wrt), wrt).subarray(0, size),
    };
  }

  /** The channel's place in the value, and where it runs beside a layer its weights with zeros outside its group. */
  #explained({ channel, weights }: ExplainedChannel): { row?: Float32Array; at: number; channels: number } {
    const { place } = this.options;
    const layer = "layer" in place ? place.layer : undefined;
    const channels = layer?.outChannels ?? this.responseShape[0] ?? 1;
    if (!Number.isInteger(channel) || channel < 0 || channel >= channels) {
      const what = layer === undefined ? `value "${this.#of}"` : `layer "${layer.name}"`;
      throw new UnbraidError(
        "input",
        "CHANNEL_RANGE",
        `${what} has no channel ${channel}: they go from 0 to ${channels - 1}`,
        "Choose one of its channels.",
      );
    }
    if (layer === undefined) return { at: channel, channels };
    const { groups, inChannels, kernel } = layer;
    const count = inChannels / groups;
    const taps = sizeOf(kernel);
    if (weights?.length !== count * taps) throw wrongSize("weights", weights?.length ?? 0, "a row", [count, ...kernel]);
    const row = new Float32Array(inChannels * taps);
    row.set(weights, Math.floor(channel / (channels / groups)) * count * taps);
    return { row, at: 0, channels: 1 };
  }

  [Symbol.dispose](): void {
    this.#session.release(this.#executable);
  }
}

/** sum of y v, in float64, from `first` on. */
export function weightedSum(y: Float32Array, v: Float32Array, first: number, count: number): number {
  let sum = 0;
  for (let p = first; p < first + count; p++) sum += (y[p] ?? NaN) * (v[p] ?? NaN);
  return sum;
}

const wrongSize = (what: string, length: number, n: string, each: readonly number[]): UnbraidError =>
  new UnbraidError(
    "input",
    "INPUT_SIZE",
    `${what}: ${length} numbers, where ${n} times ${each.join("x")} are needed`,
    "Give arrays of the shapes that the pass was opened for.",
  );
