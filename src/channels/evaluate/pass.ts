/**
 * What evaluate needs of images, on the GPU: the tap sums of the layer's input, from which every row's sum over positions
 * follows on the host (it is linear), the layer's output and its gradient, responses of rows position by position for
 * ablations, and the values at which the network is cut (see tail.ts).
 */
import { invariant, must } from "../../errors.ts";
import type { Executable } from "../../engine/executable.ts";
import { gradientName, seedName, type PlanRequest } from "../../engine/plan.ts";
import { Session } from "../../engine/session.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { sizeOf, type Graph, type GraphNode, type HostTensor, type ShapedGraph } from "../../graph/graph.ts";
import { tapSums } from "../../relevance/tap-sums.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import { tailOf, type Tail } from "./tail.ts";

export interface EvaluationPassOptions {
  readonly graph: Graph;
  /** Its shapes for batches of `batch` images. */
  readonly shaped: ShapedGraph;
  /** The Conv whose input the parts read. */
  readonly node: GraphNode;
  readonly geometry: StudyLayer;
  /** The value that the parts add up to: z. */
  readonly output: string;
  readonly input: string;
  readonly logits: string;
  readonly batch: number;
  /** [rows][I, K] whose responses are wanted position by position; may be none. */
  readonly rows: readonly Float64Array[];
}

/** Of n images. */
export interface Responses {
  /** [n, I, K] */
  readonly tapSums: Float32Array;
  /** [batch, C, P], beyond n meaningless. */
  readonly z: Float32Array;
  /** [batch, C, P] gradient of each image's own logit; undefined where it was not asked for. */
  readonly gradient: Float32Array | undefined;
  /** [batch, rows, P] without bias; empty without rows. */
  readonly maps: Float32Array;
  /** What the tail reads besides z. */
  readonly others: ReadonlyMap<string, Float32Array>;
}

const MAPS = "responses of rows";
const WEIGHTS = "rows";
const TAP_SUMS = "tap sums";

/** What a pass asks for of the network and of its end: their plans say how much memory such a batch takes. */
export function evaluationRequests(options: EvaluationPassOptions) {
  const { shaped, geometry: g, node, output, input, logits, batch } = options;
  const cut = tailOf(shaped, output, logits);
  const x = node.inputs[0] ?? "";
  const shapeOf = (name: string): readonly number[] => must(shaped.values.get(name), name).shape;
  const forward: PlanRequest = {
    inputs: new Map([[input, shapeOf(input)]]),
    outputs: [output, ...cut.others, ...(options.rows.length > 0 ? [MAPS] : [])],
    visible: [x],
    extend: (extension) => {
      const sums = extension.result(TAP_SUMS, [batch, g.inChannels, tapsOf(g)]);
      tapSums(extension, extension.value(x), sums, g, shapeOf(output));
    },
  };
  const rest: PlanRequest = {
    inputs: new Map([output, ...cut.others].map((name) => [name, shapeOf(name)])),
    outputs: [logits],
  };
  return {
    head: { graph: withRows(options), forward, backward: { ...forward, gradient: { of: logits, wrt: [output] } } },
    tail: { ...cut, rest },
  };
}

export class EvaluationPass implements Disposable {
  readonly #options: EvaluationPassOptions;
  readonly #head: Session;
  readonly #tail: Session;
  readonly #cut: Tail;
  readonly #forward: Executable;
  readonly #backward: Executable;
  readonly #rest: Executable;
  readonly channels: number;
  readonly positions: number;

  private constructor(
    options: EvaluationPassOptions,
    sessions: { head: Session; tail: Session },
    cut: Tail,
    made: readonly [Executable, Executable, Executable],
  ) {
    this.#options = options;
    this.#head = sessions.head;
    this.#tail = sessions.tail;
    this.#cut = cut;
    [this.#forward, this.#backward, this.#rest] = made;
    const shape = must(options.shaped.values.get(options.output), options.output).shape;
    this.channels = shape[1] ?? 0;
    this.positions = sizeOf(shape.slice(2));
  }

  static async open(gpu: Gpu, options: EvaluationPassOptions): Promise<EvaluationPass> {
    const asked = evaluationRequests(options);
    const head = new Session(gpu, asked.head.graph);
    const tail = new Session(gpu, asked.tail.graph);
    try {
      const forward = await head.prepare(asked.head.forward);
      const backward = await head.prepare(asked.head.backward);
      const rest = await tail.prepare(asked.tail.rest);
      return new EvaluationPass(options, { head, tail }, asked.tail, [forward, backward, rest]);
    } catch (error) {
      head[Symbol.dispose]();
      tail[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * @param images [n, ...] n at most the batch
   * @param labels [n] the logits whose gradients are wanted; no gradient unless given
   */
  run(images: Float32Array, n: number, labels?: ArrayLike<number>): Promise<Responses> {
    const { shaped, input, logits, output, geometry, batch, rows } = this.#options;
    const size = sizeOf(must(shaped.values.get(input), input).shape) / batch;
    invariant(n <= batch && images.length === n * size, `${n} images in a batch of ${batch}`);
    const padded = new Float32Array(batch * size);
    padded.set(images);
    const feeds = new Map([[input, padded]]);
    const wanted = [TAP_SUMS, output, ...this.#cut.others, ...(rows.length > 0 ? [MAPS] : [])];
    const executable = labels === undefined ? this.#forward : this.#backward;
    if (labels !== undefined) {
      const width = sizeOf(must(shaped.values.get(logits), logits).shape) / batch;
      const seed = new Float32Array(batch * width);
      for (let i = 0; i < n; i++) seed[i * width + must(labels[i], "label")] = 1;
      feeds.set(seedName(logits), seed);
      wanted.push(gradientName(output));
    }
    return this.#head.exclusively(async () => {
      executable.run(feeds);
      const got = await executable.read(wanted);
      return {
        tapSums: must(got.get(TAP_SUMS), TAP_SUMS).subarray(0, n * geometry.inChannels * tapsOf(geometry)),
        z: must(got.get(output), output),
        gradient: got.get(gradientName(output)),
        maps: got.get(MAPS) ?? new Float32Array(0),
        others: new Map(this.#cut.others.map((name) => [name, must(got.get(name), name)])),
      };
    });
  }

  /** The logits, [batch, T], that follow from z (of `run`, maybe edited) and the other values. */
  logits(z: Float32Array, others: ReadonlyMap<string, Float32Array>): Promise<Float32Array> {
    const { output, logits } = this.#options;
    return this.#tail.exclusively(async () => {
      this.#rest.run(new Map([...others, [output, z]]));
      return must((await this.#rest.read([logits])).get(logits), logits);
    });
  }

  [Symbol.dispose](): void {
    this.#head[Symbol.dispose]();
    this.#tail[Symbol.dispose]();
  }
}

/** The graph with one more Conv at the layer's input, over all its channels. */
function withRows({ graph, shaped, node, geometry: g, rows }: EvaluationPassOptions): Graph {
  if (rows.length === 0) return graph;
  const size = g.inChannels * tapsOf(g);
  const data = new Float32Array(rows.length * size);
  rows.forEach((row, r) => {
    data.set(row, r * size);
  });
  const oneAxis = shaped.values.get(node.inputs[0] ?? "")?.shape.length === 3;
  const spatial = oneAxis ? [g.kernel[1]] : [...g.kernel];
  const weights: HostTensor = { type: "float32", shape: [rows.length, g.inChannels, ...spatial], data };
  const beside: GraphNode = {
    name: MAPS,
    opType: "Conv",
    inputs: [node.inputs[0] ?? "", WEIGHTS],
    outputs: [MAPS],
    attributes: new Map([...node.attributes].filter(([name]) => name !== "group")),
  };
  return { ...graph, nodes: [...graph.nodes, beside], constants: new Map([...graph.constants, [WEIGHTS, weights]]) };
}
