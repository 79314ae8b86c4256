/**
 * Attributions: how much each element of an image contributes to one channel's response, f = sum over positions p of
 * v[p] y[p]. docs/gradients.md has the formulas.
 *
 * - gradient: df/dx (Simonyan, Vedaldi and Zisserman, arXiv 1312.6034, there its size).
 * - gradient x input: x df/dx (Shrikumar, Greenside, Shcherbina and Kundaje, arXiv 1605.01713).
 * - integrated gradients: (x - x') times the mean of df/dx on the straight path from a baseline x' to x (Sundararajan,
 *   Taly and Yan, arXiv 1703.01365), by the midpoint rule.
 */
import type { Session } from "../engine/session.ts";
import { UnbraidError } from "../errors.ts";
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import {
  AttributionPass,
  weightedSum,
  type AttributionPassOptions,
  type ExplainedChannel,
} from "./attribution-pass.ts";
import { integrate, type Completeness, type PathOptions } from "./integrated-gradients.ts";

export const ATTRIBUTION_METHODS = ["gradient", "gradient-x-input", "integrated"] as const;
export type AttributionMethod = (typeof ATTRIBUTION_METHODS)[number];

export interface AttributionRequest extends ExplainedChannel, PathOptions {
  /** "gradient-x-input" unless told. */
  readonly method?: AttributionMethod;
  /** [n, positions] v; 1 everywhere unless told. With d logit / d y (`logitWeights`), f is the channel's relevance. */
  readonly positionWeights?: Float32Array;
}

export interface Attribution {
  /** [n, ...shape of the image, or of `wrt`] */
  readonly values: HostTensor;
  /** [n] f */
  readonly responses: Float64Array;
  /** [n] integrated gradients only: how nearly the values sum to f(x) - f(x'). */
  readonly completeness?: readonly Completeness[];
}

/** Images at a time, where nobody says. */
const BATCH = 16;

/**
 * Attributions of a batch of images.
 * @param images [n, ...imageShape], as the network takes them
 * @throws UnbraidError as AttributionPass; OPTION_CONFLICT for integrated gradients of an inner value
 * @example
 * const layer = findLayer(shaped, "last");
 * const part = { channel: 7, weights: rowOfPart1 };
 * const { values } = await attribute(session, images, { input: "input", place: { layer } }, part);
 * const maps = heatMaps(values); // [n, height, width]
 */
export async function attribute(
  session: Session,
  images: HostTensor,
  pass: Omit<AttributionPassOptions, "imageShape" | "batch"> & { readonly batch?: number },
  request: AttributionRequest,
): Promise<Attribution> {
  const [n = 0, ...imageShape] = images.shape;
  using opened = await AttributionPass.open(session, { ...pass, imageShape, batch: pass.batch ?? Math.min(BATCH, Math.max(n, 1)) }); // prettier-ignore
  return await attributeWith(opened, images, request);
}

/** As `attribute`, with a pass that stays open for more. */
export async function attributeWith(
  pass: AttributionPass,
  images: HostTensor,
  request: AttributionRequest,
): Promise<Attribution> {
  const { method = "gradient-x-input", signal } = request;
  const { batch, imageShape, input, wrt = input } = pass.options;
  const n = images.shape[0] ?? 0;
  const data = Float32Array.from(images.data);
  const v = request.positionWeights ?? new Float32Array(n * pass.positions).fill(1);
  if (method === "integrated") {
    if (wrt !== input) {
      throw new UnbraidError(
        "usage",
        "OPTION_CONFLICT",
        `integrated gradients need a path of images; they cannot be with regard to "${wrt}"`,
        "Use gradient-x-input for values inside the network.",
      );
    }
    return integrate(pass, data, v, request);
  }
  const [from, size, positions] = [sizeOf(imageShape), sizeOf(pass.shape), pass.positions];
  const values = new Float32Array(n * size);
  const responses = new Float64Array(n);
  for (let at = 0; at < n; at += batch) {
    signal?.throwIfAborted();
    const to = Math.min(n, at + batch);
    const weights = v.subarray(at * positions, to * positions);
    const got = await pass.run(data.subarray(at * from, to * from), request, weights);
    const g = got.gradients;
    values.set(method === "gradient" ? g : g.map((x, i) => x * (got.values[i] ?? NaN)), at * size);
    for (let i = at; i < to; i++) responses[i] = weightedSum(got.responses, weights, (i - at) * positions, positions);
    request.onProgress?.(to);
  }
  return { values: { type: "float32", shape: [n, ...pass.shape], data: values }, responses };
}

/** Heat maps: attributions [n, channels, ...positions] summed over their channels in float64: [n, ...positions]. */
export function heatMaps({ shape, data }: HostTensor): HostTensor {
  const [n = 0, channels = 1, ...positions] = shape;
  const plane = sizeOf(positions);
  const maps = new Float32Array(n * plane);
  for (let i = 0; i < n; i++) {
    for (let p = 0; p < plane; p++) {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += data[(i * channels + c) * plane + p] ?? NaN;
      maps[i * plane + p] = sum;
    }
  }
  return { type: "float32", shape: [n, ...positions], data: maps };
}

/**
 * Attributions summed over positions instead: [n, channels]. At the layer's input, with gradient x input and positions
 * that weigh 1, this is the r[i] that average relevance vectors are means of (METHOD.md A3).
 */
export function channelSums({ shape, data }: HostTensor): HostTensor {
  const [n = 0, channels = 1, ...positions] = shape;
  const plane = sizeOf(positions);
  const sums = Float32Array.from({ length: n * channels }, (_, row) => {
    let sum = 0;
    for (let p = row * plane; p < (row + 1) * plane; p++) sum += data[p] ?? NaN;
    return sum;
  });
  return { type: "float32", shape: [n, channels], data: sums };
}
