/** Studies of a 1x1 Conv whose images are drawn: each class has a mean input, each image its own noise around it. */
import { accumulate } from "../../src/relevance/accumulate.ts";
import { foldsOf } from "../../src/relevance/folds.ts";
import { createStudy, type Study } from "../../src/relevance/study.ts";
import { Random } from "../support/random.ts";
import { pointLayer } from "./point-layer.ts";

export interface NoisyStudy {
  /** [T][I] mean tap sums. */
  readonly means: readonly (readonly number[])[];
  /** [C][I] */
  readonly weights: readonly (readonly number[])[];
  /** [C] the classes that each channel is relevant for. */
  readonly relevant: readonly (readonly number[])[];
  /** Of each class. */
  readonly images: number | readonly number[];
  /** Standard deviation of each input of an image, as a share of the largest mean. */
  readonly noise: number;
  readonly seed: number;
  readonly folds?: number;
}

export function noisyStudy({ means, weights, relevant, images, noise, seed, folds = 5 }: NoisyStudy): Study {
  const random = new Random(seed);
  const perClass = means.map((_, t) => (typeof images === "number" ? images : (images[t] ?? 0)));
  const labels = perClass.flatMap((n, t) => Array.from({ length: n }, () => t));
  const spread = noise * Math.max(...means.flat());
  const study = createStudy({
    model: { file: "m.onnx", sha256: "00" },
    layer: pointLayer(weights),
    classes: means.map((_, t) => `class ${t}`),
    labels: means.map((_, t) => t),
    images: { digest: "00", length: labels.length, perClass },
    preprocess: "",
    taus: [0.03],
    folds,
    settings: {},
  });
  accumulate(study, {
    range: [0, labels.length],
    labels,
    folds: foldsOf(labels, folds),
    tapSums: Float32Array.from(labels.flatMap((t) => (means[t] ?? []).map((m) => m + spread * random.normal()))),
    importance: { relevance: Float32Array.from(labels.flatMap((t) => relevant.map((of) => (of.includes(t) ? 1 : 0)))) },
  });
  return study;
}

/** Mean inputs of a class as behind a ReLU: a third of the inputs speak, from 0 to 1 each. */
export const sparseMean = (random: Random, inputs: number): number[] =>
  Array.from({ length: inputs }, () => (random.uniform() < 1 / 3 ? random.uniform() : 0));

export const normals = (random: Random, n: number): number[] => Array.from({ length: n }, () => random.normal());
