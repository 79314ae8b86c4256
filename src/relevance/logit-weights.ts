/** d logit / d y: the weights of positions with which a channel's response becomes its relevance (METHOD.md A1). */
import type { Session } from "../engine/session.ts";
import { must } from "../errors.ts";
import { sizeOf, type HostTensor } from "../graph/graph.ts";

export interface LogitWeightsOptions {
  readonly input: string;
  /** The value that holds the logits, [n, T]. */
  readonly logits: string;
  readonly logitCount: number;
  /** [n] the logit of each image. */
  readonly classes: ArrayLike<number>;
  /** The channel's value, [n, C, ...], and which channel. */
  readonly value: string;
  readonly channel: number;
  readonly batch?: number;
}

/**
 * g[n, p] = d logit(n) / d value[n, channel, p], the logit before any softmax.
 * @returns [n, positions]
 * @throws UnbraidError as Session.gradient
 */
export async function logitWeights(
  session: Session,
  images: HostTensor,
  options: LogitWeightsOptions,
): Promise<Float32Array> {
  const { input, logits, logitCount, classes, value, channel } = options;
  const [n = 0, ...imageShape] = images.shape;
  const batch = options.batch ?? Math.min(16, Math.max(n, 1));
  const size = sizeOf(imageShape);
  const rows: Float32Array[] = [];
  for (let at = 0; at < n; at += batch) {
    const count = Math.min(batch, n - at);
    const padded = new Float32Array(batch * size);
    padded.set(images.data.subarray(at * size, (at + count) * size));
    const seed = new Float32Array(batch * logitCount);
    for (let i = 0; i < count; i++) seed[i * logitCount + must(classes[at + i], "class")] = 1;
    const feed: HostTensor = { type: "float32", shape: [batch, ...imageShape], data: padded };
    const got = await session.gradient(new Map([[input, feed]]), { of: logits, seed, wrt: [value] });
    const { shape, data } = must(got.get(value), value);
    const [, channels = 1, ...plane] = shape;
    const positions = sizeOf(plane);
    for (let i = 0; i < count; i++) {
      const from = (i * channels + channel) * positions;
      rows.push(Float32Array.from(data.subarray(from, from + positions)));
    }
  }
  const all = new Float32Array(rows.reduce((sum, r) => sum + r.length, 0));
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  return all;
}
