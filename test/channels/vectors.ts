/** A study whose ARVs are given: a 1x1 Conv with weights 1, so that an ARV is the class's mean input. */
import { accumulate } from "../../src/relevance/accumulate.ts";
import { createStudy } from "../../src/relevance/study.ts";
import type { Study } from "../../src/relevance/study.ts";
import { pointLayer } from "./point-layer.ts";

/** Two channels: 0 has the given vectors and is important on the first `important` images of each class; 1 never is. */
export function sharedInputsStudy(options: {
  readonly vectors: readonly (readonly number[])[];
  /** Of each class. */
  readonly images: number;
  readonly important?: number;
  readonly sign?: number;
}): Study {
  const { vectors, images, important = images, sign = 1 } = options;
  const row = new Array<number>(vectors[0]?.length ?? 0).fill(sign);
  const labels = vectors.flatMap((_, t) => Array.from({ length: images }, () => t));
  const study = createStudy({
    model: { file: "m.onnx", sha256: "00" },
    layer: pointLayer([row, row], [sign, sign]),
    classes: vectors.map((_, t) => (t === 0 ? 'class "0", first' : `class ${t}`)),
    labels: vectors.map((_, t) => t),
    images: { digest: "00", length: labels.length, perClass: vectors.map(() => images) },
    preprocess: "",
    taus: [0.03],
    folds: 1,
    settings: {},
  });
  accumulate(study, {
    range: [0, labels.length],
    labels,
    tapSums: Float32Array.from(labels.flatMap((t) => vectors[t] ?? [])),
    importance: {
      relevance: Float32Array.from(labels.flatMap((_, j) => (j % images < important ? [1, 0.01] : [0, 0]))),
    },
  });
  return study;
}
