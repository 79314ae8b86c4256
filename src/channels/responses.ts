/**
 * The second pass: how rows of weights that are not in the network would respond to images, at the input of one layer.
 * rho, densities and fractions need it (METHOD.md A7 to A9); it runs only over the images of the classes concerned.
 */
import { invariant, must } from "../errors.ts";
import type { Executable } from "../engine/executable.ts";
import type { PlanRequest } from "../engine/plan.ts";
import type { Session } from "../engine/session.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { ConvGeometry } from "../kernels/conv-geometry.ts";
import { convolveLaidOut, laidOutShape, layoutWeights } from "../kernels/convolve.ts";
import { spread } from "../kernels/operator.ts";
import { tapSums } from "../relevance/tap-sums.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";
import { positiveSumsShader } from "../shaders.generated.ts";
import { sideConvolution } from "./side-convolution.ts";

export interface ResponseOptions {
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly input: string;
  /** [channels, height, width] */
  readonly imageShape: readonly number[];
  readonly batch: number;
  /** Rows of weights at a time. */
  readonly rows: number;
}

export interface Responses {
  /** [n, rows, 2] sum over positions of max(y, 0), and of y. */
  readonly sums: Float32Array;
  /** [n, I, K] */
  readonly tapSums: Float32Array;
}

const ROWS = "rows";
const SUMS = "positive sums";
const TAP_SUMS = "tap sums";

/** What a pass asks for of the network: its plan says how much memory such a batch takes. */
export function responseRequest(options: ResponseOptions): PlanRequest {
  const { layer, geometry: g, batch, rows, input, imageShape } = options;
  const conv = sideConvolution(layer, g, batch, rows);
  return {
    inputs: new Map([[input, [batch, ...imageShape]]]),
    outputs: [],
    visible: [layer.input],
    extend: (x) => {
      const source = x.value(layer.input);
      const y = {
        slot: x.scratch(batch * rows * conv.output[0] * conv.output[1]),
        shape: [batch, rows, ...conv.output],
      };
      const rowsInput = x.input(ROWS, laidOutShape(conv, x.subgroups));
      convolveLaidOut(x, conv, { input: source, output: y, label: "responses" }, rowsInput);
      const sums = x.result(SUMS, [batch, rows, 2]);
      x.dispatch({
        shader: positiveSumsShader,
        params: [batch * rows, conv.output[0] * conv.output[1]],
        reads: [y.slot],
        writes: [sums.slot],
        workgroups: spread(Math.ceil((batch * rows) / 8)),
        label: "positive sums",
      });
      tapSums(x, source, x.result(TAP_SUMS, [batch, g.inChannels, tapsOf(g)]), g, layer.outputShape);
    },
  };
}

export class ResponsePass implements Disposable {
  readonly #session: Session;
  readonly #options: ResponseOptions;
  readonly #geometry: ConvGeometry;
  readonly #executable: Executable;

  private constructor(session: Session, options: ResponseOptions, geometry: ConvGeometry, executable: Executable) {
    this.#session = session;
    this.#options = options;
    this.#geometry = geometry;
    this.#executable = executable;
  }

  static async open(session: Session, options: ResponseOptions): Promise<ResponsePass> {
    const conv = sideConvolution(options.layer, options.geometry, options.batch, options.rows);
    return new ResponsePass(session, options, conv, await session.prepare(responseRequest(options)));
  }

  /** How many rows run together. */
  get rows(): number {
    return this.#options.rows;
  }

  /** Packs rows once for many batches. @param weights [rows', I, K], rows' at most `options.rows`; the rest is zero */
  pack(weights: Float32Array): Float32Array {
    const full = new Float32Array(this.#options.rows * this.#geometry.channels * tapsOf(this.#options.geometry));
    invariant(weights.length <= full.length, "rows that fit the pass");
    full.set(weights);
    const { data } = layoutWeights(full, this.#geometry, this.#session.gpu.subgroups);
    invariant(data instanceof Float32Array, "packed weights are float32");
    return data;
  }

  /** @param images [n, ...imageShape], n at most the batch */
  run(images: Float32Array, n: number, packedRows: Float32Array): Promise<Responses> {
    return this.#session.exclusively(async () => {
      const { batch, imageShape, rows, geometry, input } = this.#options;
      const size = imageShape.reduce((a, b) => a * b, 1);
      invariant(n <= batch && images.length === n * size, `${n} images in a batch of ${batch}`);
      const padded = new Float32Array(batch * size);
      padded.set(images);
      this.#executable.run(
        new Map([
          [input, padded],
          [ROWS, packedRows],
        ]),
      );
      const got = await this.#executable.read([SUMS, TAP_SUMS]);
      return {
        sums: must(got.get(SUMS), SUMS).subarray(0, n * rows * 2),
        tapSums: must(got.get(TAP_SUMS), TAP_SUMS).subarray(0, n * geometry.inChannels * tapsOf(geometry)),
      };
    });
  }

  [Symbol.dispose](): void {
    this.#session.release(this.#executable);
  }
}
