/** Heat over pictures: where in an image each part of a channel finds what it answers to, in the colour of its concept. */
import type { Session } from "../engine/session.ts";
import { must } from "../errors.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { SplitChannel } from "../channels/evaluate/channel.ts";
import { blurred, heatScale } from "../images/heat-figure.ts";
import { AttributionPass } from "../relevance/attribution-pass.ts";
import { attributeWith, heatMaps } from "../relevance/attribution.ts";
import { dataUri, encodeRgba } from "./png.ts";
import type { TopImage } from "./scan.ts";

/** The page's hues of concepts, --one to --five of page/style.css in light mode. */
const HUES = [
  [0, 103, 168],
  [179, 71, 0],
  [0, 116, 90],
  [155, 63, 127],
  [106, 93, 0],
] as const;

/** Levels of opacity: few, so that the files are small. */
const LEVELS = 12;
/** The longer side of a heat map in the file, in pixels. */
const MOST_SIDE = 64;
/** Images at a time. */
const BATCH = 8;

export interface HeatOptions {
  readonly session: Session;
  /** The split layer: parts read its input. */
  readonly layer: ConvLayer;
  readonly input: string;
  /** [3, height, width] */
  readonly imageShape: readonly number[];
  /** [3, height, width] of an image, as the network takes it. */
  readonly tensorOf: (path: string) => Promise<Float32Array>;
  readonly signal?: AbortSignal | undefined;
}

/** Draws maps for rows of weights beside the layer. */
export class HeatPass implements Disposable {
  readonly #options: HeatOptions;
  readonly #pass: AttributionPass;

  private constructor(options: HeatOptions, pass: AttributionPass) {
    this.#options = options;
    this.#pass = pass;
  }

  static async open(options: HeatOptions): Promise<HeatPass> {
    const { session, layer, input, imageShape } = options;
    return new HeatPass(
      options,
      await AttributionPass.open(session, { input, imageShape, batch: BATCH, place: { layer } }),
    );
  }

  /**
   * A PNG with alpha for each image: the colours of the parts that raise what the image is there for (its relevance, or its
   * strongest position), gradient x input summed over colours. What lowers it is left clear.
   * @param parts which of the channel's parts, from 0
   * @returns [images] data: URIs
   */
  async draw(channel: SplitChannel, parts: readonly number[], images: readonly TopImage[]): Promise<string[]> {
    const [, height = 1, width = 1] = this.#options.imageShape;
    if (images.length === 0) return [];
    const tensors: Float32Array[] = [];
    for (const { path } of images) tensors.push(await this.#options.tensorOf(path));
    const batch = joined(tensors);
    const maps: Float32Array[][] = [];
    for (const k of parts) {
      const { first, count, taps } = channel;
      const weights = Float32Array.from(must(channel.parts[k], "part").subarray(first * taps, (first + count) * taps));
      const shape = [images.length, ...this.#options.imageShape];
      const got = await attributeWith(
        this.#pass,
        { type: "float32", shape, data: batch },
        {
          ...{ channel: channel.channel, weights, positionWeights: joined(images.map((image) => image.weights)) },
          ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
        },
      );
      const all = Float32Array.from(heatMaps(got.values).data);
      const sigma = Math.min(height, width) / 32;
      maps.push(
        images.map((_, n) => {
          const data = all.subarray(n * height * width, (n + 1) * height * width);
          return blurred({ caption: "", width, height, data }, sigma).data;
        }),
      );
    }
    return images.map((_, n) => overlay(parts, maps.map((m) => must(m[n], "map")), width, height)); // prettier-ignore
  }

  [Symbol.dispose](): void {
    this.#pass[Symbol.dispose]();
  }
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(arrays.reduce((n, a) => n + a.length, 0));
  let at = 0;
  for (const array of arrays) {
    out.set(array, at);
    at += array.length;
  }
  return out;
}

/** Of several parts the one that raises most gives a pixel its colour. All share one scale. */
export function overlay(
  parts: readonly number[],
  maps: readonly Float32Array[],
  width: number,
  height: number,
): string {
  const shrink = Math.max(1, Math.ceil(Math.max(width, height) / MOST_SIDE));
  const size = { width: Math.ceil(width / shrink), height: Math.ceil(height / shrink) };
  const small = maps.map((map) => shrunk(map, width, height, shrink));
  const scale = heatScale(small);
  const data = new Uint8Array(4 * size.width * size.height);
  for (let p = 0; p < size.width * size.height; p++) {
    let [best, which] = [0, 0];
    small.forEach((map, k) => {
      const v = map[p] ?? 0;
      if (v > best) [best, which] = [v, parts[k] ?? 0];
    });
    const level = scale > 0 ? Math.round(LEVELS * Math.min(1, best / scale) ** 0.7) : 0;
    if (level === 0) continue;
    data.set([...(HUES[which % HUES.length] ?? HUES[0]), Math.round((225 * level) / LEVELS)], 4 * p);
  }
  return dataUri("image/png", encodeRgba({ ...size, data }));
}

/** Means over squares of `by` pixels. */
function shrunk(map: Float32Array, width: number, height: number, by: number): Float32Array {
  if (by === 1) return map;
  const [w, h] = [Math.ceil(width / by), Math.ceil(height / by)];
  const [sums, counts] = [new Float64Array(w * h), new Float64Array(w * h)];
  map.forEach((v, p) => {
    const at = Math.floor(Math.floor(p / width) / by) * w + Math.floor((p % width) / by);
    sums[at] = (sums[at] ?? 0) + v;
    counts[at] = (counts[at] ?? 0) + 1;
  });
  return Float32Array.from(sums, (s, k) => s / Math.max(1, counts[k] ?? 1));
}
