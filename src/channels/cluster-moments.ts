/**
 * Moments of clusters of images, apart from the sums by class: an image of a cluster counts once among all images and its class,
 * and once more here. Concepts are numbered by their place in the list of clusters.
 */
import { must } from "../errors.ts";
import type { Vector } from "./linear-algebra.ts";
import { aboutMean, KeptMatrices, noMoments, withinMean, type ConceptMoments, type Summed } from "./moment-matrices.ts";
import type { GroupMoments } from "./moments.ts";

/** What was summed over a cluster's images. */
export interface ClusterSums extends Summed {
  readonly name: string;
  /** [D] sum of the images' tap sums. */
  readonly first: Float64Array;
}

export class ClusterMoments implements ConceptMoments {
  readonly size: number;
  readonly images: number;
  readonly mean: Vector;
  readonly meanOfClasses: Vector;
  readonly patches: Float64Array;
  readonly imageMeans: Float64Array;
  readonly #all: GroupMoments;
  readonly #clusters: readonly (ClusterSums & { readonly mean: Vector })[];
  readonly #kept = new KeptMatrices();

  /** @param all over the images of all classes, those of the clusters among them */
  constructor(all: GroupMoments, clusters: readonly ClusterSums[]) {
    this.#all = all;
    this.size = all.size;
    this.images = all.images;
    this.mean = all.mean;
    this.meanOfClasses = all.meanOfClasses;
    this.patches = all.patches;
    this.imageMeans = all.imageMeans;
    this.#clusters = clusters.map((c) => ({
      ...c,
      mean: c.first.map((s) => s / (Math.max(1, c.images) * c.positions)),
    }));
  }

  pooled(kappa: number): Float64Array {
    return this.#all.pooled(kappa);
  }

  nameOf(k: number): string {
    return this.#clusters[k]?.name ?? `cluster ${k + 1}`;
  }

  countOf(k: number): number {
    return this.#clusters[k]?.images ?? 0;
  }

  meanOf(k: number): Vector {
    return must(this.#clusters[k], "cluster").mean;
  }

  /** @throws UnbraidError MOMENTS_CLASS */
  aboutMean(k: number, kappa: number): Float64Array {
    const cluster = this.#of(k);
    return this.#kept.get(`about ${k} ${kappa}`, () => aboutMean(cluster, cluster.mean, this.mean, kappa));
  }

  /** @throws UnbraidError MOMENTS_CLASS */
  withinClass(k: number, means = 0): Float64Array {
    const cluster = this.#of(k);
    return this.#kept.get(`within ${k} ${means}`, () => withinMean(cluster, cluster.mean, this.meanOfClasses, means));
  }

  #of(k: number): ClusterSums & { readonly mean: Vector } {
    const cluster = this.#clusters[k];
    if (cluster === undefined || cluster.images === 0) throw noMoments(this.nameOf(k), "it has no image");
    return cluster;
  }
}
