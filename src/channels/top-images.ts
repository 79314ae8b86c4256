/** The images on which channels are most relevant, kept while images stream by: memory by their number, not the images'. */
import { invariant, must } from "../errors.ts";
import { inputsOf, relevanceVector } from "../relevance/arv.ts";
import { tapsOf, type StudyLayer } from "../relevance/study.ts";

export interface TopImage {
  /** Below the folder of images. */
  readonly path: string;
  readonly label: number;
  /** R_n[c] */
  readonly relevance: number;
  /** [I/groups] r_n, oriented. */
  readonly vector: Float32Array;
}

/** A batch as the engine gives it. */
export interface RelevanceBatch {
  /** [n] */
  readonly paths: readonly string[];
  /** [n] class of each image. */
  readonly labels: ArrayLike<number>;
  /** [n, C] */
  readonly relevance: Float32Array;
  /** [n, I, K] */
  readonly tapSums: Float32Array;
}

export class TopImages {
  readonly #layer: StudyLayer;
  readonly #most: number;
  /** A heap a channel: the least relevant of those kept stands first. */
  readonly #heaps: ReadonlyMap<number, TopImage[]>;

  /** @param most images a channel */
  constructor(layer: StudyLayer, channels: readonly number[], most: number) {
    invariant(most >= 1, `${most} images a channel`);
    this.#layer = layer;
    this.#most = most;
    this.#heaps = new Map(channels.map((c) => [c, []]));
  }

  /** Bytes that the vectors will take at most. */
  static bytes(layer: StudyLayer, channels: readonly number[], most: number): number {
    return channels.reduce((sum, c) => sum + 4 * most * inputsOf(layer, c).count, 0);
  }

  /** Only images that speak for their class through the channel (R > 0) are kept. */
  add({ paths, labels, relevance, tapSums }: RelevanceBatch): void {
    const { outChannels, inChannels } = this.#layer;
    const sums = inChannels * tapsOf(this.#layer);
    for (const [n, path] of paths.entries()) {
      let image: Float64Array | undefined;
      for (const [channel, heap] of this.#heaps) {
        const value = relevance[n * outChannels + channel] ?? NaN;
        const least = heap[0];
        if (!(value > 0) || (heap.length === this.#most && least !== undefined && value <= least.relevance)) continue;
        image ??= Float64Array.from(tapSums.subarray(n * sums, (n + 1) * sums));
        const vector = Float32Array.from(relevanceVector(this.#layer, image, channel, "oriented"));
        const entry = { path, label: must(labels[n], "label"), relevance: value, vector };
        if (heap.length < this.#most) rise(heap, entry);
        else sink(heap, entry);
      }
    }
  }

  /** By falling relevance, then by path. */
  of(channel: number): TopImage[] {
    const heap = must(this.#heaps.get(channel), `channel ${channel}`);
    return heap.toSorted((a, b) => b.relevance - a.relevance || (a.path < b.path ? -1 : 1));
  }
}

function rise(heap: TopImage[], entry: TopImage): void {
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = must(heap[above], "parent");
    if (parent.relevance <= entry.relevance) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = entry;
}

/** Puts `entry` in the place of the first. */
function sink(heap: TopImage[], entry: TopImage): void {
  let at = 0;
  for (;;) {
    const [left, right] = [heap[2 * at + 1], heap[2 * at + 2]];
    const least = right !== undefined && left !== undefined && right.relevance < left.relevance ? right : left;
    if (least === undefined || least.relevance >= entry.relevance) break;
    heap[at] = least;
    at = least === right ? 2 * at + 2 : 2 * at + 1;
  }
  heap[at] = entry;
}
