/** Concepts of a channel without labels: clusters of the vectors of its most relevant images. */
import { must } from "../errors.ts";
import { countConcepts, type ConceptCount, type CountOptions } from "./concept-count.ts";
import { toRows } from "./kmeans.ts";
import type { TopImage } from "./top-images.ts";

export interface ImageCluster {
  /** [I/groups] mean over the cluster's images of r_n, oriented: their ARV. */
  readonly vector: Float64Array;
  /** By falling relevance. */
  readonly images: readonly TopImage[];
}

export interface ChannelClusters {
  readonly channel: number;
  /** Images that were clustered: those with a vector that is not zero. */
  readonly images: number;
  readonly count: ConceptCount;
  /** The largest first. */
  readonly clusters: readonly ImageCluster[];
}

/**
 * @param images of the channel, by falling relevance. What is clustered is each one's r_n / |r_n|_1, for the direction
 * says which inputs speak, and the length only how loudly.
 */
export function clusterChannel(channel: number, images: readonly TopImage[], options: CountOptions): ChannelClusters {
  const length = ({ vector }: TopImage): number => vector.reduce((sum, v) => sum + Math.abs(v), 0);
  const known = images.filter((image) => {
    const size = length(image);
    return size > 0 && Number.isFinite(size);
  });
  if (known.length === 0) return { channel, images: 0, count: NOTHING, clusters: [] };
  const rows = toRows(known.map((image) => Float64Array.from(image.vector, (v) => v / length(image))));
  const count = countConcepts(rows, options);
  const clusters = Array.from({ length: count.k }, (_, k): ImageCluster => {
    const own = known.filter((__, n) => count.clustering.labels[n] === k);
    return { vector: meanVector(own), images: own };
  });
  return { channel, images: known.length, count, clusters };
}

const NOTHING: ConceptCount = {
  k: 0,
  p: NaN,
  pStability: NaN,
  pEllipse: NaN,
  tried: [],
  clustering: { labels: new Uint8Array(0), centres: new Float64Array(0), within: 0 },
};

function meanVector(images: readonly TopImage[]): Float64Array {
  const sum = new Float64Array(must(images[0], "image of a cluster").vector.length);
  for (const { vector } of images) for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (vector[i] ?? 0);
  return sum.map((v) => v / images.length);
}
