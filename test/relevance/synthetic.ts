/** A small study of a grouped 3x2 Conv, and random batches for it. */
import { foldsOf } from "../../src/relevance/folds.ts";
import { createStudy } from "../../src/relevance/study.ts";
import type { StudyBatch } from "../../src/relevance/accumulate.ts";
import type { Study, StudyMeta } from "../../src/relevance/study.ts";
import { Random } from "../support/random.ts";

export const CLASSES = 3;
export const INPUTS = 6;
export const OUTPUTS = 4;
export const TAPS = 6;

/** Class of each image of the list. */
export const LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2];

export function syntheticMeta(changes: Partial<StudyMeta> = {}): StudyMeta {
  const random = new Random(7);
  return {
    model: { file: "net.onnx", sha256: "ab".repeat(32) },
    layer: {
      name: "layer1.conv",
      nodeName: "/layer1/conv/Conv",
      output: "z",
      kernel: [3, 2],
      strides: [2, 1],
      dilations: [1, 2],
      pads: [1, 0, 1, 0],
      groups: 2,
      inChannels: INPUTS,
      outChannels: OUTPUTS,
      hasBias: true,
      weights: Float32Array.from({ length: OUTPUTS * (INPUTS / 2) * TAPS }, () => random.normal()),
      sign: Int8Array.of(1, -1, 1, 1),
    },
    classes: ["bee", 'fly, "blue"', "wasp\u00e9"],
    labels: [2, 0, 1],
    images: { digest: "cd".repeat(32), length: LABELS.length, perClass: [4, 3, 5] },
    preprocess: "none",
    taus: [0.03, 0.3],
    folds: 1,
    settings: { b: "2", a: "1" },
    ...changes,
  };
}

/** Image j of the list always has the same numbers, over many orders of magnitude. */
function image(j: number): { tapSums: number[]; relevance: number[] } {
  const random = new Random(100 + j);
  const wide = (): number => Math.fround(random.normal() * 10 ** (random.below(9) - 4));
  return {
    tapSums: Array.from({ length: INPUTS * TAPS }, wide),
    relevance: Array.from({ length: OUTPUTS }, () => Math.fround(random.normal())),
  };
}

/** The batch of positions [from, to), without those skipped. */
export function batchOf(from: number, to: number, skip: readonly number[] = [], folds = 1): StudyBatch {
  const all = Array.from({ length: to - from }, (_, k) => from + k);
  const read = all.filter((j) => !skip.includes(j));
  return {
    range: [from, to],
    labels: read.map((j) => LABELS[j] ?? -1),
    folds: read.map((j) => foldsOf(LABELS, folds)[j] ?? -1),
    names: read.map((j) => `image ${j}`),
    skipped: all
      .filter((j) => skip.includes(j))
      .map((index) => ({ index, name: `image ${index}`, reason: "truncated" })),
    tapSums: Float32Array.from(read.flatMap((j) => image(j).tapSums)),
    importance: { relevance: Float32Array.from(read.flatMap((j) => image(j).relevance)) },
  };
}

export const emptyStudy = (changes: Partial<StudyMeta> = {}): Study => createStudy(syntheticMeta(changes));
