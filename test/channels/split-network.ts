/** A small network with a study of it, and images of its three classes: what splits are planned on in tests. */
import { expect } from "vitest";
import { splitWeights } from "../../src/channels/parts.ts";
import type { Responses } from "../../src/channels/rho.ts";
import type { SourceSets } from "../../src/channels/sets.ts";
import type { ClassImages, Concept } from "../../src/channels/split-run.ts";
import { must } from "../../src/errors.ts";
import { inputsOf, weightsOf } from "../../src/relevance/arv.ts";
import { foldsOf } from "../../src/relevance/folds.ts";
import type { ImageBatch } from "../../src/relevance/run-study.ts";
import { accumulate } from "../../src/relevance/accumulate.ts";
import { createStudy, tapsOf, type Study } from "../../src/relevance/study.ts";
import { convForward, convTerms } from "../reference/conv.ts";
import { imagesFor, layerNetwork, type LayerCase } from "./one-layer.ts";

export const CASE: LayerCase = {
  ...{ title: "grouped 3x3", size: [5, 4], inputs: 12, channels: 10, kernel: [3, 3], pads: [1, 1, 1, 1] },
  ...{ group: 2, bias: true },
};
export const BATCH = 4;
export const PER_CLASS = [10, 9, 11];
export const CLASSES = PER_CLASS.map((_, t) => t);
export const network = layerNetwork(CASE, BATCH);
export const { geometry } = network;
export const TAPS = tapsOf(geometry);
export const PIXELS = CASE.size.reduce((a, b) => a * b, CASE.inputs);
/** Images of a class have their own channels brighter, so that classes differ. */
export const imagesByClass = PER_CLASS.map((n, t) =>
  imagesFor(CASE, n, 60 + t).map((v, i) => v + (Math.floor((i % PIXELS) / 20) % 3 === t ? 1 : 0)),
);
export const imageOf = (t: number, i: number): Float32Array =>
  must(imagesByClass[t], "class").subarray(i * PIXELS, (i + 1) * PIXELS);

/** Tap sums of one image's layer input, from the list of what each weight meets. */
export function tapSumsOf(image: Float32Array): Float32Array {
  const sums = new Float64Array(CASE.inputs * TAPS);
  convTerms([1, CASE.inputs, ...CASE.size], [1, CASE.inputs, ...CASE.kernel], { pads: [1, 1, 1, 1] }).each(
    (input, weight) => {
      sums[weight] = (sums[weight] ?? 0) + Math.max(image[input] ?? NaN, 0);
    },
  );
  return Float32Array.from(sums);
}

export function makeStudy(sign: number, folds = 1): Study {
  const total = PER_CLASS.reduce((a, b) => a + b, 0);
  const study = createStudy({
    model: { file: "net.onnx", sha256: "ab".repeat(32) },
    layer: { ...geometry, sign: new Int8Array(CASE.channels).fill(sign) },
    classes: ["a", "b", "c"],
    labels: CLASSES,
    images: { digest: "cd".repeat(32), length: total, perClass: PER_CLASS },
    preprocess: "none",
    taus: [0.03],
    folds,
    settings: {},
  });
  const labels = PER_CLASS.flatMap((n, t) => new Array<number>(n).fill(t));
  const sums = PER_CLASS.flatMap((n, t) => Array.from({ length: n }, (_, i) => tapSumsOf(imageOf(t, i))));
  const tapSums = Float32Array.from(sums.flatMap((s) => Array.from(s)));
  const relevance = new Float32Array(total * CASE.channels).fill(1);
  accumulate(study, {
    ...{ range: [0, total], labels, tapSums, importance: { relevance } },
    folds: foldsOf(labels, folds),
  });
  return study;
}

export const requested: string[] = [];
/** Class and number of each image of a concept. */
export const membersOf = (concept: Concept): (readonly [number, number])[] =>
  typeof concept === "number"
    ? all(concept).map((i) => [concept, i] as const)
    : concept.images.map((path) => [Number(path.split("/")[0]), Number(path.split("/")[1])] as const);
export const images: ClassImages = {
  count: (concept) => membersOf(concept).length,
  paths: (concept) => membersOf(concept).map((m) => m.join("/")),
  async *batches(concept, positions): AsyncGenerator<ImageBatch> {
    const members = membersOf(concept);
    const list = positions ?? members.map((_, k) => k);
    requested.push(`${typeof concept === "number" ? concept : concept.name}: ${list.join()}`);
    for (let at = 0; at < list.length; at += BATCH) {
      const part = list.slice(at, at + BATCH).map((k) => must(members[k], "image"));
      const tensor = Float32Array.from(part.flatMap(([t, i]) => Array.from(imageOf(t, i))));
      const items = part.map((m) => ({ path: m.join("/") }));
      const labels = part.map(([t]) => t);
      yield await Promise.resolve({ tensor, labels, items, skipped: [], next: at + part.length });
    }
  },
};

/** q of both parts for each candidate on these images: [candidate][part][image], in float64. */
export function responsesOf(
  study: Study,
  channel: number,
  sets: readonly SourceSets[],
  t: number,
  positions: readonly number[],
  sign: number,
): Responses {
  const { layer } = study.meta;
  const { first } = inputsOf(layer, channel);
  const width = CASE.inputs / layer.groups;
  const cut = { ...CASE, inputs: width };
  const terms = convTerms([1, width, ...cut.size], [1, width, ...cut.kernel], { pads: [1, 1, 1, 1] });
  return sets.map((s) =>
    splitWeights(weightsOf(layer, channel), s, 2).concepts.map((row) =>
      positions.map((i) => {
        const plane = PIXELS / CASE.inputs;
        const a = imageOf(t, i)
          .subarray(first * plane, (first + width) * plane)
          .map((v) => Math.max(v, 0));
        return convForward(terms, a, row).values.reduce((sum, y) => sum + Math.max(sign * y, 0), 0);
      }),
    ),
  );
}

export const close = (actual: readonly number[] | undefined, expected: readonly number[]): void => {
  expect(actual?.length).toBe(expected.length);
  // Responses are float32 sums of 54 products and 20 positions: 1e-5 relative at most, and ratios of two of them.
  expected.forEach((e, i) => {
    expect(Math.abs((actual?.[i] ?? NaN) - e)).toBeLessThanOrEqual(1e-4 * (1 + Math.abs(e)));
  });
};

export const study = makeStudy(1);
export const all = (t: number): number[] => Array.from({ length: PER_CLASS[t] ?? 0 }, (_, i) => i);
