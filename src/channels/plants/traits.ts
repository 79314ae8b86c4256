/** What a filter looks like beside the other filters of its layer, in figures that neither scale nor folding changes. */
import { dot, form, scaled, times, type Vector } from "../linear-algebra.ts";
import type { GroupMoments } from "../moments.ts";
import type { LayerImages } from "./images.ts";

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
  /** [C/groups][D] at unit deviation over images, and at unit response. */
  readonly #byImages: readonly (Vector | undefined)[];
  readonly #byPatches: readonly (Vector | undefined)[];

  constructor(group: number, moments: GroupMoments, images: LayerImages, rows: readonly Vector[]) {
    this.group = group;
    this.#moments = moments;
    this.#images = images;
    this.#byImages = rows.map((row) => unit(row, moments.imageMeans));
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
    const norm = Math.sqrt(dot(w, w));
    const balance = w.reduce((a, b) => a + b, 0) / norm;
    const weights = skewness(w);
    return {
      detector: [response, lowest, weights, skewness(alikeInPatches), Math.max(...alike), Math.min(...alike), balance],
      guard: [
        Math.log(power / norm ** 2),
        Math.max(...alike.map(Math.abs)),
        alike.reduce((sum, r) => sum + r * r, 0) / alike.length,
        weights,
        balance,
      ],
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
