/** What a filter looks like beside the other filters of its layer, in figures that neither scale nor folding changes. */
import { tapsOf } from "../../relevance/study.ts";
import { cosine } from "../cosine.ts";
import { dot, form, scaled, times, type Vector } from "../linear-algebra.ts";
import type { GroupMoments } from "../moments.ts";
import { solveSmall } from "../tuned.ts";
import type { LayerImages } from "./images.ts";

/** Share of the filters' second moment in what a filter is expected to be. */
const PRIOR = 0.7;
/** Of these every two are held against each other. */
const TOP_CLASSES = 5;

export interface Traits {
  /** By which planted channels are told from others. */
  readonly detector: readonly number[];
  /** By which trained filters are told from random ones. */
  readonly guard: readonly number[];
}

/** The filters of a group, in the layer's orientation. */
export class FilterBank {
  readonly group: number;
  readonly #moments: GroupMoments;
  readonly #images: LayerImages;
  readonly #taps: number;
  /** [C/groups][D] at unit deviation over images, and at unit response. */
  readonly #byImages: readonly (Vector | undefined)[];
  readonly #byPatches: readonly (Vector | undefined)[];
  /** At unit norm. */
  readonly #byNorm: readonly (Vector | undefined)[];

  constructor(group: number, moments: GroupMoments, images: LayerImages, rows: readonly Vector[]) {
    this.group = group;
    this.#moments = moments;
    this.#images = images;
    this.#taps = tapsOf(images.layer);
    this.#byImages = rows.map((row) => unit(row, moments.imageMeans));
    this.#byNorm = rows.map((row) => {
      const norm = Math.sqrt(dot(row, row));
      return norm > 0 ? scaled(1 / norm, row) : undefined;
    });
    this.#byPatches = rows.map((row) => unit(row, moments.patches));
  }

  /**
   * @param row [D] in the layer's orientation
   * @param exclude channels of the group that it is, or is made of
   */
  traits(row: Vector, exclude: readonly number[]): Traits | undefined {
    const { imageMeans, patches, classMeans, imagesOf, mean } = this.#moments;
    const w = unit(row, imageMeans);
    if (w === undefined) return undefined;
    const response = skewness(this.#images.responses(this.group, w));
    const lowest = classMeans.reduce(
      (low, m, t) => ((imagesOf[t] ?? 0) > 0 ? Math.min(low, dot(w, m) - dot(w, mean)) : low),
      Infinity,
    );
    const kept = (units: readonly (Vector | undefined)[]): Vector[] =>
      units.flatMap((u, c) => (u === undefined || exclude.includes(c) ? [] : [u]));
    const image = times(imageMeans, w);
    const alike = kept(this.#byImages).map((u) => dot(u, image));
    const power = form(w, patches, w);
    const patchImage = scaled(1 / Math.sqrt(power), times(patches, w));
    const alikeInPatches = kept(this.#byPatches).map((u) => dot(u, patchImage));
    const classes = this.#overClasses(w);
    const norm = Math.sqrt(dot(w, w));
    const balance = w.reduce((a, b) => a + b, 0) / norm;
    const weights = skewness(w);
    return {
      detector: [
        ...[response, lowest, weights, skewness(alikeInPatches), Math.max(...alike), Math.min(...alike), balance],
        ...[classes.skewness, classes.share, classes.first, classes.second, ...classes.cosines],
      ],
      guard: [
        Math.log(power / norm ** 2),
        Math.max(...alike.map(Math.abs)),
        alike.reduce((sum, r) => sum + r * r, 0) / alike.length,
        weights,
        balance,
        ...[classes.skewness, classes.share, classes.first, classes.second],
        Math.log(this.#unlikeFilters(scaled(1 / norm, w), exclude)),
      ],
    };
  }

  /**
   * u'S^-1 u with S = 0.7 (second moment of the other filters at unit norm, trace D) + 0.3 I: sums of filters have that second
   * moment too, random filters lie where it is small. By Woodbury's identity where filters are fewer than weights.
   */
  #unlikeFilters(u: Vector, exclude: readonly number[]): number {
    const filters = this.#byNorm.flatMap((f, c) => (f === undefined || exclude.includes(c) ? [] : [f]));
    const size = u.length;
    const times = (PRIOR * size) / Math.max(1, filters.length);
    if (filters.length < size) {
      const gram = new Float64Array(filters.length ** 2);
      filters.forEach((f, i) => {
        filters.forEach((g, j) => {
          if (j <= i) gram[i * filters.length + j] = dot(f, g) + (i === j ? (1 - PRIOR) / times : 0);
        });
      });
      const along = Float64Array.from(filters, (f) => dot(f, u));
      return (dot(u, u) - dot(along, solveSmall(gram, along))) / (1 - PRIOR);
    }
    const moment = new Float64Array(size * size);
    for (let i = 0; i < size; i++) moment[i * size + i] = 1 - PRIOR;
    for (const f of filters)
      for (let i = 0; i < size; i++)
        for (let j = 0; j <= i; j++)
          moment[i * size + j] = (moment[i * size + j] ?? 0) + times * (f[i] ?? 0) * (f[j] ?? 0);
    return dot(u, solveSmall(moment, u));
  }

  /** How a filter's mean responses to classes are spread, and how unlike the inputs are by which it answers to its top classes. */
  #overClasses(w: Vector) {
    const { classMeans, imagesOf, size } = this.#moments;
    const there = classMeans.flatMap((m, t) => ((imagesOf[t] ?? 0) > 0 ? [{ m, response: dot(w, m) }] : []));
    const responses = there.map((c) => c.response);
    const centre = responses.reduce((a, b) => a + b, 0) / there.length;
    const variance = responses.reduce((sum, r) => sum + (r - centre) ** 2, 0) / there.length;
    const tops = there.toSorted((a, b) => b.response - a.response).slice(0, TOP_CLASSES);
    const standing = (k: number): number =>
      ((tops[k]?.response ?? centre) - centre) / Math.sqrt(Math.max(variance, 1e-30));
    const taps = this.#taps;
    const arvs = tops.map(({ m }) =>
      Float64Array.from({ length: size / taps }, (_, i) => {
        let sum = 0;
        for (let j = i * taps; j < (i + 1) * taps; j++) sum += (w[j] ?? 0) * (m[j] ?? 0);
        return sum;
      }),
    );
    const cosines = arvs.flatMap((a, i) => arvs.slice(i + 1).map((b) => cosine(a, b)));
    const finite = cosines.map((c) => (Number.isFinite(c) ? c : 1));
    return {
      ...{ skewness: skewness(responses), share: variance, first: standing(0), second: standing(1) },
      cosines: [finite[0] ?? 1, Math.min(1, ...finite)],
    };
  }
}

function unit(row: Vector, matrix: Float64Array): Vector | undefined {
  const size = form(row, matrix, row);
  return size > 0 ? scaled(1 / Math.sqrt(size), row) : undefined;
}

/** Third standardised moment; 0 of constants. */
export function skewness(values: ArrayLike<number>): number {
  const list = Array.from(values);
  const mean = list.reduce((a, b) => a + b, 0) / list.length;
  let [second, third] = [0, 0];
  for (const v of list) {
    second += (v - mean) ** 2 / list.length;
    third += (v - mean) ** 3 / list.length;
  }
  return second > 0 ? third / second ** 1.5 : 0;
}
