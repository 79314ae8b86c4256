/** What a layer reads on images, kept on the host: tap sums, from which the mean response of any filter follows. */
import { invariant, UnbraidError } from "../../errors.ts";
import { tapsOf, type StudyLayer } from "../../relevance/study.ts";
import type { ClassImages } from "../concepts.ts";
import type { Vector } from "../linear-algebra.ts";
import { checkTapSums, momentBytes, MomentSums, patchSize, type MomentOptions } from "../moments.ts";
import type { MomentPass } from "../moments-pass.ts";

/** Bytes of tap sums that are kept. */
const MOST_BYTES = 2 ** 30;

export class LayerImages {
  readonly layer: StudyLayer;
  readonly positions: number;
  /** [n] class of each image, rising. */
  readonly labels: Uint32Array;
  readonly #tapSums: Float32Array;

  constructor(layer: StudyLayer, positions: number, labels: Uint32Array, tapSums: Float32Array) {
    invariant(tapSums.length === labels.length * layer.inChannels * tapsOf(layer), "tap sums of each image");
    this.layer = layer;
    this.positions = positions;
    this.labels = labels;
    this.#tapSums = tapSums;
  }

  get length(): number {
    return this.labels.length;
  }

  /** [n] mean over positions of the response of a filter of a group. @param row [D] */
  responses(group: number, row: Vector): Float64Array {
    const stride = this.layer.inChannels * tapsOf(this.layer);
    const from = group * row.length;
    return Float64Array.from(this.labels, (_, n) => {
      const at = n * stride + from;
      let sum = 0;
      for (let j = 0; j < row.length; j++) sum += (row[j] ?? 0) * (this.#tapSums[at + j] ?? 0);
      return sum / this.positions;
    });
  }

  /** [D] mean patch of some images. */
  meanPatch(group: number, images: readonly number[]): Vector {
    const size = patchSize(this.layer);
    const stride = this.layer.inChannels * tapsOf(this.layer);
    const mean = new Float64Array(size);
    for (const n of images)
      for (let j = 0; j < size; j++)
        mean[j] =
          (mean[j] ?? 0) + (this.#tapSums[n * stride + group * size + j] ?? 0) / (images.length * this.positions);
    return mean;
  }

  /** Positions in the list of the images of a class. */
  ofClass(t: number): number[] {
    return Array.from(this.labels.keys()).filter((n) => this.labels[n] === t);
  }
}

export interface GatherOptions extends Pick<MomentOptions, "layer" | "positions" | "classes" | "kept" | "memory"> {
  /** Opened for `groups`. */
  readonly pass: MomentPass;
  /** Groups whose moments are wanted; none for tap sums alone. */
  readonly groups: readonly number[];
  readonly images: ClassImages;
  readonly signal?: AbortSignal;
  readonly onProgress?: (images: number) => void;
}

export interface GatheredImages {
  readonly images: LayerImages;
  readonly sums: MomentSums | undefined;
  /** By class, positions of the images that could be read. */
  readonly read: readonly (readonly number[])[];
}

/** @throws UnbraidError PLANT_IMAGES where the tap sums would take more than a GiB; MOMENTS_MEMORY; NOT_FINITE */
export async function gatherImages(o: GatherOptions): Promise<GatheredImages> {
  const stride = o.layer.inChannels * tapsOf(o.layer);
  const counts = Array.from({ length: o.classes }, (_, t) => o.images.count(t));
  const total = counts.reduce((a, b) => a + b, 0);
  if (4 * total * stride > MOST_BYTES) throw tooMany(o.layer, total, Math.floor(MOST_BYTES / (4 * stride)));
  const sums = o.groups.length === 0 ? undefined : new MomentSums(o);
  const labels: number[] = [];
  const read = counts.map((): number[] => []);
  const tapSums = new Float32Array(total * stride);
  for (const [t, count] of counts.entries()) {
    if (count === 0) continue;
    const at = new Map(o.images.paths(t).map((path, k) => [path, k]));
    for await (const batch of o.images.batches(t)) {
      o.signal?.throwIfAborted();
      const got = await o.pass.run(batch.tensor, batch.labels.length);
      tapSums.set(got.tapSums, labels.length * stride);
      for (let n = 0; n < got.images; n++) labels.push(t);
      read[t]?.push(...batch.items.flatMap(({ path }) => at.get(path) ?? []));
      if (sums === undefined) checkTapSums(o.layer, got.tapSums, batch.items);
      else sums.add(t, got, batch.items);
      o.onProgress?.(labels.length);
    }
  }
  const kept = tapSums.subarray(0, labels.length * stride);
  return { images: new LayerImages(o.layer, o.positions, Uint32Array.from(labels), kept), sums, read };
}

/**
 * Moments of every second image of each class, from the first on: what is chosen on the others has not been seen. Undefined
 * where they and those of all images together would take more than is allowed.
 * @param read of `gatherImages`
 */
export async function gatherHalf(o: GatherOptions, read: GatheredImages["read"]): Promise<MomentSums | undefined> {
  if (o.memory !== undefined && 2 * momentBytes(o) > o.memory) return undefined;
  const sums = new MomentSums(o);
  let done = 0;
  for (const [t, positions] of read.entries()) {
    const half = positions.filter((_, n) => n % 2 === 0);
    if (half.length === 0) continue;
    for await (const batch of o.images.batches(t, half)) {
      o.signal?.throwIfAborted();
      sums.add(t, await o.pass.run(batch.tensor, batch.labels.length), batch.items);
      done += batch.labels.length;
      o.onProgress?.(done);
    }
  }
  return sums;
}

const tooMany = (layer: StudyLayer, images: number, most: number): UnbraidError =>
  new UnbraidError(
    "input",
    "PLANT_IMAGES",
    `Plants keep what layer ${layer.name} reads on every image in memory: ${images} images are more than the ${most} that fit in 1 GiB.`,
    "Pass --limit N for fewer images of each class.",
  );
