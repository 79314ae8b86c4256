/**
 * Average relevance vectors (ARVs): what each input channel contributes to a channel, on average over the images of a
 * class (METHOD.md A3, in the one-pass form of B).
 */
import { roundToHalf } from "../onnx/half.ts";
import { tapsOf, tapSumsOf } from "./study.ts";
import type { Study, StudyLayer } from "./study.ts";

/**
 * How ARVs are given. "oriented": in float64 and multiplied by the layer's sign, so that larger means more active
 * whether or not the BatchNormalization that follows was folded (METHOD.md B, "Folded BatchNorm"). "official": as the
 * file's weights give them, rounded to float16 once.
 */
export type ArvForm = "oriented" | "official";

/** The input channels that an output channel of a grouped Conv reads: [first, first + count). */
export function inputsOf(layer: StudyLayer, channel: number): { readonly first: number; readonly count: number } {
  const count = layer.inChannels / layer.groups;
  return { first: Math.floor(channel / (layer.outChannels / layer.groups)) * count, count };
}

/** [I/groups, K] the weights of one channel, as a view. */
export function weightsOf(layer: StudyLayer, channel: number): Float32Array {
  const size = inputsOf(layer, channel).count * tapsOf(layer);
  return layer.weights.subarray(channel * size, (channel + 1) * size);
}

/** [I, K] mean tap sums of a class, over the images of `folds` or all; undefined where none was accumulated. */
export function meanTapSums(study: Study, label: number, folds?: readonly number[]): Float64Array | undefined {
  const sums = tapSumsOf(study, label, folds);
  return sums?.toFloat64().map((sum) => sum / sums.contributions);
}

/**
 * v[i] = sum_k W[c,i,k] S[i,k] for the input channels of c's group.
 * @param tapSums [I, K] the mean over a class, or those of one image
 * @returns [I/groups]
 */
export function relevanceVector(
  layer: StudyLayer,
  tapSums: Float64Array,
  channel: number,
  form: ArvForm,
): Float64Array {
  const { first, count } = inputsOf(layer, channel);
  const taps = tapsOf(layer);
  const weights = weightsOf(layer, channel);
  const sign = form === "oriented" ? (layer.sign[channel] ?? 1) : 1;
  const vector = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let sum = 0;
    for (let k = 0; k < taps; k++) sum += (weights[i * taps + k] ?? 0) * (tapSums[(first + i) * taps + k] ?? 0);
    vector[i] = sign * sum;
  }
  return form === "official" ? vector.map(roundToHalf) : vector;
}

/** Gives ARVs of a study, keeping each class's mean tap sums once they are asked for. */
export class AverageRelevance {
  readonly #study: Study;
  readonly #means = new Map<string, Float64Array | undefined>();

  constructor(study: Study) {
    this.#study = study;
  }

  /** [I/groups] the ARV of (channel, class) over the images of `folds` or all; undefined where there are none. */
  vector(channel: number, label: number, form: ArvForm, folds?: readonly number[]): Float64Array | undefined {
    const key = `${label} ${folds?.join() ?? "all"}`;
    if (!this.#means.has(key)) this.#means.set(key, meanTapSums(this.#study, label, folds));
    const mean = this.#means.get(key);
    return mean === undefined ? undefined : relevanceVector(this.#study.meta.layer, mean, channel, form);
  }
}
