/** Feature visualisation: pictures that make rows of weights respond most, by gradient ascent through the engine. */
import { invariant, must } from "../../errors.ts";
import type { Executable } from "../../engine/executable.ts";
import { gradientName, seedName } from "../../engine/plan.ts";
import type { Session } from "../../engine/session.ts";
import type { ConvLayer } from "../../graph/conv-layers.ts";
import { planeOf } from "../../kernels/spatial.ts";
import type { StudyLayer } from "../../relevance/study.ts";
import { Random } from "../random.ts";
import { Canvas } from "./canvas.ts";
import { FourierPlane } from "./fourier.ts";
import { likenessGradients, meanPatch, responseGradient } from "./objective.ts";
import { randomMovement, sample, sampleGradient, STILL, type Movement } from "./sampling.ts";

/** How RGB between 0 and 1 becomes the network's input: (x - mean) / std, in the order of `channels`, rgb unless given. */
export interface Normalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly channels?: "rgb" | "bgr";
}

/** Eight bits a channel, interleaved. */
export interface RgbPicture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export interface AscentOptions {
  readonly session: Session;
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  /** Graph input that takes the images, and the shape of one: [3, height, width]. */
  readonly input: string;
  readonly imageShape: readonly number[];
  readonly preprocess: Normalisation;
  /** [rows][I, K] weights over all input channels of the layer: channels, parts, whatever is to be seen. */
  readonly rows: readonly Float32Array[];
  /** Pictures a row, which are kept unlike each other. */
  readonly pictures: number;
  readonly steps: number;
  readonly seed: number;
  /** Share of the gradient that keeps pictures of one row unlike. Default 0.5. */
  readonly diversity?: number;
  readonly onProgress?: (steps: number) => void;
  readonly signal?: AbortSignal;
}

export interface Ascended {
  /** [rows][pictures] */
  readonly pictures: readonly (readonly RgbPicture[])[];
  /** [rows][pictures] mean response over positions, without bias, of the pictures as they are. */
  readonly responses: readonly (readonly number[])[];
  /** [rows][pictures][I, K] mean over positions of what each weight reads: the response of any row is its product with it. */
  readonly patches: readonly (readonly Float64Array[])[];
}

const LEARNING_RATE = 0.15;
/** Adam (Kingma and Ba 2015). */
const [BETA1, BETA2, EPSILON] = [0.9, 0.99, 1e-8];
const DIVERSITY = 0.5;

interface Climber {
  readonly canvas: Canvas;
  readonly first: Float64Array;
  readonly second: Float64Array;
}

/**
 * @throws what the device throws; the reason of `signal` when it is aborted
 */
export async function visualize(o: AscentOptions): Promise<Ascended> {
  const [channels = 0, height = 0, width = 0] = o.imageShape;
  invariant(channels === 3 && height > 1 && width > 1, `pictures for images of ${o.imageShape.join("x")}`);
  const count = o.rows.length * o.pictures;
  const executable = await o.session.prepare({
    inputs: new Map([[o.input, [count, ...o.imageShape]]]),
    outputs: [o.layer.input],
    gradient: { of: o.layer.input, wrt: [o.input] },
  });
  try {
    return await climb(o, executable, { height, width });
  } finally {
    o.session.release(executable);
  }
}

async function climb(
  o: AscentOptions,
  executable: Executable,
  view: { readonly height: number; readonly width: number },
): Promise<Ascended> {
  const random = new Random(o.seed);
  const size = 2 ** Math.ceil(Math.log2(Math.max(view.height, view.width)));
  const plane = new FourierPlane(size);
  const count = o.rows.length * o.pictures;
  const climbers = Array.from({ length: count }, (): Climber => {
    const canvas = new Canvas(plane, random);
    return {
      canvas,
      first: new Float64Array(canvas.parameters.length),
      second: new Float64Array(canvas.parameters.length),
    };
  });
  const g = o.geometry;
  const [input, output] = [planeOf(o.layer.inputShape), planeOf(o.layer.outputShape)];
  const objectives = o.rows.map((row) => responseGradient(row, g, input, output));
  const each = g.inChannels * input[0] * input[1];
  const limits = { jitter: Math.max(1, size / 16), scale: 0.1, rotate: 8 };
  // The layer's input at the step before: the likeness of pictures is taken from it, which saves a forward pass a step.
  let before: Float32Array | undefined;
  for (let step = 1; step <= o.steps; step++) {
    o.signal?.throwIfAborted();
    const movements = climbers.map(() => randomMovement(random, limits));
    const seed = seeds(o, objectives, each, before);
    const got = await run(o, executable, climbers, movements, view, seed);
    before = got.layerInput;
    climbers.forEach((climber, n) => {
      ascend(
        o,
        climber,
        got.gradient.subarray(n * 3 * view.height * view.width),
        must(movements[n], "movement"),
        view,
        step,
      );
    });
    o.onProgress?.(step);
  }
  const still = climbers.map(() => STILL);
  const { layerInput } = await run(o, executable, climbers, still, view, new Float32Array(count * each));
  const ofEach = <T>(of: (r: number, k: number) => T): T[][] =>
    o.rows.map((_, r) => Array.from({ length: o.pictures }, (__, k) => of(r, k)));
  const inputOf = (r: number, k: number): Float32Array => layerInput.subarray((r * o.pictures + k) * each);
  const responses = ofEach((r, k) => {
    const x = inputOf(r, k);
    return must(objectives[r], "objective").reduce((sum, w, j) => sum + w * (x[j] ?? 0), 0);
  });
  const patches = ofEach((r, k) => meanPatch(inputOf(r, k), g, input, output));
  const pictures = o.rows.map((_, r) =>
    climbers
      .slice(r * o.pictures, (r + 1) * o.pictures)
      .map(({ canvas }) => toBytes(sample(canvas.draw(), size, STILL, view), view)),
  );
  return { pictures, responses, patches };
}

/** [count, I, positions] what is asked of the layer's input: more response, less likeness. */
function seeds(
  o: AscentOptions,
  objectives: readonly Float64Array[],
  each: number,
  before: Float32Array | undefined,
): Float32Array {
  const seed = new Float32Array(objectives.length * o.pictures * each);
  const diversity = o.diversity ?? DIVERSITY;
  objectives.forEach((objective, r) => {
    const first = r * o.pictures;
    const inputs = Array.from({ length: o.pictures }, (_, k) =>
      before?.subarray((first + k) * each, (first + k + 1) * each),
    );
    const known = inputs.flatMap((x) => (x === undefined ? [] : [x]));
    const alike = diversity > 0 && known.length > 1 ? likenessGradients(known, o.geometry.inChannels) : [];
    const length = norm(objective);
    inputs.forEach((_, k) => {
      const away = alike[k];
      const scale = away === undefined ? 0 : (diversity * length) / Math.max(norm(away), 1e-30);
      objective.forEach((w, j) => {
        seed[(first + k) * each + j] = w - scale * (away?.[j] ?? 0);
      });
    });
  });
  return seed;
}

const norm = (v: Float64Array): number => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));

async function run(
  o: AscentOptions,
  executable: Executable,
  climbers: readonly Climber[],
  movements: readonly Movement[],
  view: { readonly height: number; readonly width: number },
  seed: Float32Array,
): Promise<{ layerInput: Float32Array; gradient: Float32Array }> {
  const area = view.height * view.width;
  const images = new Float32Array(climbers.length * 3 * area);
  climbers.forEach(({ canvas }, n) => {
    const rgb = sample(canvas.draw(), canvas.plane.size, movements[n] ?? STILL, view);
    for (let c = 0; c < 3; c++) {
      const { mean, std, source } = channelOf(o, c);
      for (let k = 0; k < area; k++) images[(n * 3 + c) * area + k] = ((rgb[source * area + k] ?? 0) - mean) / std;
    }
  });
  return o.session.exclusively(async () => {
    executable.run(
      new Map([
        [o.input, images],
        [seedName(o.layer.input), seed],
      ]),
    );
    const got = await executable.read([o.layer.input, gradientName(o.input)]);
    return {
      layerInput: must(got.get(o.layer.input), "layer input"),
      gradient: must(got.get(gradientName(o.input)), "gradient"),
    };
  });
}

/** The network's input channel c: its normalisation, and which of red, green and blue it is. */
function channelOf({ preprocess: p }: AscentOptions, c: number): { mean: number; std: number; source: number } {
  return { mean: p.mean[c] ?? 0, std: p.std[c] ?? 1, source: p.channels === "bgr" ? 2 - c : c };
}

/** One step of Adam, uphill. @param gradient [3, height, width] with regard to the network's input */
function ascend(
  o: AscentOptions,
  { canvas, first, second }: Climber,
  gradient: Float32Array,
  movement: Movement,
  view: { readonly height: number; readonly width: number },
  step: number,
): void {
  const area = view.height * view.width;
  const rgb = new Float64Array(3 * area);
  for (let c = 0; c < 3; c++) {
    const { std, source } = channelOf(o, c);
    for (let k = 0; k < area; k++) rgb[source * area + k] = (gradient[c * area + k] ?? 0) / std;
  }
  const slope = canvas.gradient(sampleGradient(rgb, canvas.plane.size, movement, view));
  // Adam divides by the slope's own size, so responses of any scale climb alike.
  const [correct1, correct2] = [1 - BETA1 ** step, 1 - BETA2 ** step];
  for (let j = 0; j < slope.length; j++) {
    const s = slope[j] ?? 0;
    const m = BETA1 * (first[j] ?? 0) + (1 - BETA1) * s;
    const v = BETA2 * (second[j] ?? 0) + (1 - BETA2) * s * s;
    first[j] = m;
    second[j] = v;
    canvas.parameters[j] =
      (canvas.parameters[j] ?? 0) + (LEARNING_RATE * (m / correct1)) / (Math.sqrt(v / correct2) + EPSILON);
  }
}

function toBytes(
  rgb: Float64Array,
  { height, width }: { readonly height: number; readonly width: number },
): RgbPicture {
  const area = height * width;
  const data = new Uint8Array(3 * area);
  for (let k = 0; k < area; k++)
    for (let c = 0; c < 3; c++) data[3 * k + c] = Math.round(255 * Math.min(1, Math.max(0, rgb[c * area + k] ?? 0)));
  return { width, height, data };
}
