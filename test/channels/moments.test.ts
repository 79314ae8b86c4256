/** Moments of patches on the GPU, summed over batches and classes, against float64. */
import { expect, test } from "vitest";
import { MomentSums } from "../../src/channels/moments.ts";
import { MomentPass, positionsOf } from "../../src/channels/moments-pass.ts";
import { Session } from "../../src/engine/session.ts";
import { tapsOf } from "../../src/relevance/study.ts";
import { convTerms } from "../reference/conv.ts";
import { expectWithin, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { imagesFor, layerNetwork, type LayerCase } from "./one-layer.ts";

const cases: readonly LayerCase[] = [
  { title: "1x1", size: [6, 5], inputs: 8, channels: 10, kernel: [1, 1] },
  { title: "3x3, padded, an odd size", size: [7, 6], inputs: 5, channels: 9, kernel: [3, 3], pads: [1, 1, 1, 1] },
  {
    title: "grouped, strided, dilated, uneven pads",
    ...{ size: [9, 8], inputs: 6, channels: 8, kernel: [3, 2], group: 2 },
    ...{ strides: [2, 1], dilations: [1, 2], pads: [0, 1, 2, 0] },
  },
  { title: "1-D", size: [19], inputs: 4, channels: 8, kernel: [5], strides: [2], pads: [2, 1] },
  {
    title: "more positions than a block, patches of 2 images at a time",
    size: [13, 12],
    inputs: 3,
    channels: 2,
    kernel: [3, 3],
  },
];
const BATCH = 5;
/** Images of classes 0, 1, 2 and 3, a batch each; batches are not full. */
const COUNTS = [4, 5, 1, 0];

/** All patches of a group's channels, by class. */
class Reference {
  readonly #case: LayerCase;
  readonly #group: number;
  /** [n][P][D] */
  readonly #byClass = COUNTS.map((): Float64Array[][] => []);

  constructor(c: LayerCase, group: number) {
    this.#case = c;
    this.#group = group;
  }

  add(t: number, images: Float32Array, n: number): void {
    const { inputs, group = 1, kernel, size, ...attributes } = this.#case;
    const D = (inputs / group) * kernel.reduce((a, b) => a * b, 1);
    const terms = convTerms([n, inputs, ...size], [group, inputs / group, ...kernel], { group, ...attributes });
    const positions = terms.shape.slice(2).reduce((a, b) => a * b, 1);
    const patches = Array.from({ length: n }, () => Array.from({ length: positions }, () => new Float64Array(D)));
    terms.each((input, weight, output) => {
      if (Math.floor(weight / D) !== this.#group) return;
      const patch = patches[Math.floor(output / positions / group)]?.[output % positions];
      if (patch !== undefined) patch[weight % D] = Math.max(0, images[input] ?? NaN);
    });
    this.#byClass[t]?.push(...patches);
  }

  /** Mean over some classes (all unless given) of f(patch), of its product with another, and of image means likewise. */
  moments(classes = COUNTS.map((_, t) => t)) {
    const images = classes.flatMap((t) => this.#byClass[t] ?? []);
    const means = images.map(average);
    return { mean: average(means), patches: second(images.flat()), images: second(means) };
  }
}

function average(vectors: readonly Float64Array[]): Float64Array {
  const sum = new Float64Array(vectors[0]?.length ?? 0);
  for (const v of vectors) v.forEach((x, i) => (sum[i] = (sum[i] ?? 0) + x));
  return sum.map((x) => x / vectors.length);
}

/** [D, D] mean of x x^T. */
function second(vectors: readonly Float64Array[]): Float64Array {
  const D = vectors[0]?.length ?? 0;
  const sum = new Float64Array(D * D);
  for (const v of vectors)
    v.forEach((x, i) => {
      v.forEach((y, j) => (sum[i * D + j] = (sum[i * D + j] ?? 0) + x * y));
    });
  return sum.map((x) => x / vectors.length);
}

const outer = (a: Float64Array, b: Float64Array): Float64Array =>
  Float64Array.from(a.length === b.length ? Array.from(a, (x) => Array.from(b, (y) => x * y)).flat() : []);

onAdapters("moments of patches", (gpu) => {
  test.each(cases)("$title", async (c) => {
    const { graph, layer, geometry, imageShape } = layerNetwork(c, BATCH);
    const group = (c.group ?? 1) - 1;
    const positions = positionsOf(layer);
    const patchBytes = 2.5 * 4 * positions * c.inputs * tapsOf(geometry);
    using session = new Session(gpu(), graph);
    using pass = await MomentPass.open(session, {
      layer,
      geometry,
      input: "x",
      imageShape,
      batch: BATCH,
      groups: [group],
      patchBytes,
    });
    const sums = new MomentSums({ layer: geometry, positions, classes: COUNTS.length, groups: [group], kept: [1, 2] });
    const reference = new Reference(c, group);
    for (const [t, n] of COUNTS.entries()) {
      if (n === 0) continue;
      const images = imagesFor(c, n, 40 + t);
      sums.add(t, await pass.run(images, n));
      reference.add(t, images, n);
    }
    const got = sums.group(group);
    expect(got.images).toBe(10);
    // Everything summed is at least 0, so each float32 sum errs by its roundings times itself: a patch product by 64 + P/64 +
    // batch + 3; a tap sum by its rows and columns, at most P, twice in a product, which is summed over the batch.
    const patchError = 1.01 * (64 + positions / 64 + BATCH + 3) * U;
    const tapError = 1.01 * (2 * positions + BATCH + 3) * U;
    const { mean, patches, images } = reference.moments();
    const gg = outer(mean, mean);
    const near = (
      values: Float64Array,
      expected: (at: number) => number,
      bound: (at: number) => number,
      what: string,
    ) => {
      expectWithin(
        values,
        Float64Array.from(values, (_, at) => expected(at)),
        bound,
        what,
      );
    };
    const at = (m: Float64Array, i: number): number => m[i] ?? NaN;
    near(
      got.mean,
      (i) => at(mean, i),
      (i) => tapError * at(mean, i),
      "mean",
    );
    near(
      got.patches,
      (i) => at(patches, i) - at(gg, i),
      (i) => patchError * at(patches, i) + tapError * at(gg, i),
      "R",
    );
    near(
      got.imageMeans,
      (i) => at(images, i) - at(gg, i),
      (i) => tapError * (at(images, i) + at(gg, i)),
      "V",
    );

    const ofClass = reference.moments([1]);
    const [m, kappa] = [ofClass.mean, 10];
    const mm = outer(m, m);
    const cross = outer(m, mean).map((x, i) => x + at(outer(mean, m), i));
    near(
      got.withinClass(1),
      (i) => at(ofClass.patches, i) - at(mm, i),
      (i) => patchError * at(ofClass.patches, i) + tapError * at(mm, i),
      "within class 1",
    );
    near(
      got.aboutMean(1, kappa),
      (i) => at(ofClass.patches, i) + kappa * at(ofClass.images, i) + (1 + kappa) * (at(gg, i) - at(cross, i)),
      (i) =>
        patchError * at(ofClass.patches, i) +
        tapError * (kappa * at(ofClass.images, i) + (1 + kappa) * (at(gg, i) + at(cross, i))),
      "class 1 about the mean of all",
    );
    const classMean = average([0, 1, 2].map((t) => reference.moments([t]).mean));
    near(
      got.meanOfClasses,
      (i) => at(classMean, i),
      (i) => tapError * at(classMean, i),
      "mean of the classes' means",
    );
    expect(got.hasClass(0)).toBe(false);
    expect(() => got.withinClass(0)).toThrow(expect.objectContaining({ code: "MOMENTS_CLASS" }));
  });
});
