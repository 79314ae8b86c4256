/**
 * One batch of a study on the GPU, fused: forward, gradient of each image's own logit back to the outputs of the layers
 * under study, times these outputs (or what stands for them: relevance.ts) and summed to relevance, thresholds, tap sums of
 * the layers' inputs. One forward and one backward pass serve all layers; what belongs to a layer is computed as soon as its
 * operands are made, so that they need not be kept. METHOD.md A1, A2 and B ("One pass finds").
 */
import { invariant, must } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import { seedName, type Extension, type PlanRequest } from "../engine/plan.ts";
import type { Session } from "../engine/session.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { Graph } from "../graph/graph.ts";
import type { DeviceTensor } from "../kernels/operator.ts";
import { importanceWords } from "./importance.ts";
import { checkTaus, GroupResult, groupsOf, standIns, tapOf, type Group } from "./relevance.ts";
import type { StudyLayer } from "./study.ts";
import { tapsOf } from "./study.ts";
import { tapSums, tapSumsFours, tapSumsInFours } from "./tap-sums.ts";

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

const tapSumsName = (index: number): string => `tap sums ${index}`;
export class RelevancePass implements Disposable {
  readonly #session: Session;
  readonly #options: PassOptions;
  readonly #executable: Executable;
  readonly #groups: readonly Group[];

  private constructor(session: Session, options: PassOptions, executable: Executable, groups: readonly Group[]) {
    this.#session = session;
    this.#options = options;
    this.#executable = executable;
    this.#groups = groups;
  }

  static async open(session: Session, options: PassOptions): Promise<RelevancePass> {
    const { request, groups } = relevanceRequest(session.graph, options);
    return new RelevancePass(session, options, await session.prepare(request), groups);
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
    const ofGroups = this.#groups.flatMap((group) => Object.values(group.names));
    const names = [logits, ...layers.map((_, index) => tapSumsName(index)), ...ofGroups];
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
    const { layers, logits, logitCount, taus, batch } = this.#options;
    /** Those of the images that count, `first` images from the beginning. */
    const cut = (name: string, each: number, first = 0): Float32Array =>
      must(got.get(name), name).subarray(first * each, (first + n) * each);
    const placeOf = new Map(
      this.#groups.flatMap((group) => group.layers.map((index, k) => [index, { group, first: k * batch }])),
    );
    return {
      logits: cut(logits, logitCount),
      layers: layers.map(({ geometry }, index) => {
        const { outChannels, inChannels } = geometry;
        const { group, first } = must(placeOf.get(index), "group");
        const bits = cut(group.names.bits, importanceWords(taus.length, outChannels), first);
        return {
          relevance: cut(group.names.relevance, outChannels, first),
          tapSums: cut(tapSumsName(index), inChannels * tapsOf(geometry)),
          bits: new Uint32Array(bits.buffer, bits.byteOffset, bits.length),
        };
      }),
    };
  }

  [Symbol.dispose](): void {
    this.#session.release(this.#executable);
  }
}

/** What a pass asks for of the network: its plan says how much memory such a batch takes. */
export function relevanceRequest(
  graph: Graph,
  options: PassOptions,
): { readonly request: PlanRequest; readonly groups: readonly Group[] } {
  const { layers, input, logits, imageShape, batch, taus } = options;
  checkTaus(taus);
  invariant(layers.length > 0, "a layer to study");
  const each = layers.map((studied, index) => ({ studied, index }));
  const taps = layers.map((l) => tapOf(l).output);
  const values = standIns(graph, taps, logits);
  const groups = groupsOf(layers);
  const results = groups.map((group) => new GroupResult(group, options));
  const request: PlanRequest = {
    inputs: new Map([[input, [batch, ...imageShape]]]),
    outputs: [logits],
    visible: [...layers.map((l) => l.layer.input), ...values.values()],
    gradient: { of: logits, wrt: taps, read: false },
    follow: {
      value: (name, x) => {
        for (const { studied, index } of each)
          if (studied.layer.input === name)
            sumTaps(x, studied, x.result(tapSumsName(index), sumsShape(batch, studied)));
      },
      gradient: (name, x) => {
        for (const { studied, index } of each)
          if (tapOf(studied).output === name)
            for (const result of results) result.add(x, studied, index, must(values.get(name), name));
      },
    },
  };
  return { request, groups };
}

const sumsShape = (batch: number, { geometry }: StudiedLayer) => [batch, geometry.inChannels, tapsOf(geometry)];

function sumTaps(x: Extension, { layer, geometry }: StudiedLayer, target: DeviceTensor): void {
  const [batch = 0] = target.shape;
  const outputShape = [batch, ...layer.outputShape.slice(1)];
  if (tapSumsInFours(layer.inputShape, geometry)) {
    tapSumsFours(x, x.valueFours(layer.input), target, geometry, outputShape);
  } else tapSums(x, x.value(layer.input), target, geometry, outputShape);
}
