/** Responses of rows of weights that are not in the network, against float64. */
import { expect, test } from "vitest";
import { ResponsePass } from "../../src/channels/responses.ts";
import { Session } from "../../src/engine/session.ts";
import { tapsOf } from "../../src/relevance/study.ts";
import { convForward, convTerms } from "../reference/conv.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { imagesFor, layerNetwork, type LayerCase } from "./one-layer.ts";

const cases: readonly LayerCase[] = [
  { title: "1x1", size: [6, 5], inputs: 8, channels: 10, kernel: [1, 1] },
  {
    title: "3x3, padded, with bias",
    size: [7, 6],
    inputs: 5,
    channels: 9,
    kernel: [3, 3],
    pads: [1, 1, 1, 1],
    bias: true,
  },
  {
    title: "grouped, strided, dilated, uneven pads",
    ...{ size: [9, 8], inputs: 6, channels: 8, kernel: [3, 2], group: 2 },
    ...{ strides: [2, 1], dilations: [1, 2], pads: [0, 1, 2, 0] },
  },
  { title: "1-D", size: [19], inputs: 4, channels: 8, kernel: [5], strides: [2], pads: [2, 1] },
  { title: "more positions than a block of 64", size: [12, 13], inputs: 3, channels: 8, kernel: [3, 3] },
];

const BATCH = 4;
const ROWS = 20;

onAdapters("responses", (gpu) => {
  test.each(cases)("of rows at a layer, $title", async (c) => {
    const { graph, layer, geometry, imageShape } = layerNetwork(c, BATCH);
    using session = new Session(gpu(), graph);
    const options = { layer, geometry, input: "x", imageShape, batch: BATCH, rows: ROWS };
    using pass = await ResponsePass.open(session, options);
    const each = c.inputs * tapsOf(geometry);
    // Rows over all input channels of the layer, whatever its groups; fewer images than a batch, fewer rows than fit.
    const [images, n, rows] = [imagesFor(c, 3, 5), 3, 13];
    const weights = Float32Array.from(randomTensor([rows, each], 6).data);
    const got = await pass.run(images, n, pass.pack(weights));

    const a = images.map((v) => Math.max(v, 0));
    const [top, left, bottom, right] = geometry.pads;
    const wide = c.size.length === 1;
    const attributes = {
      strides: c.strides ?? c.kernel.map(() => 1),
      dilations: c.dilations ?? c.kernel.map(() => 1),
      pads: wide ? [left, right] : [top, left, bottom, right],
    };
    const terms = convTerms([n, ...imageShape], [rows, c.inputs, ...c.kernel], attributes);
    const y = convForward(terms, a, weights);
    const positions = terms.shape.slice(2).reduce((p, q) => p * q, 1);
    const sums = new Float64Array(n * ROWS * 2);
    const bounds = new Float64Array(n * ROWS * 2);
    y.values.forEach((value, i) => {
      const row = Math.floor(i / positions);
      const at = 2 * (Math.floor(row / rows) * ROWS + (row % rows));
      // y itself errs by (n + 1) u sum |w||x|; then each position is added with at most `positions` roundings.
      const error = 1.01 * ((y.counts[i] ?? 0) + 1) * U * (y.sizes[i] ?? 0);
      [Math.max(value, 0), value].forEach((term, k) => {
        sums[at + k] = (sums[at + k] ?? 0) + term;
        bounds[at + k] = (bounds[at + k] ?? 0) + error + 1.01 * positions * U * (Math.abs(term) + error);
      });
    });
    expectWithin(got.sums, sums, (i) => bounds[i] ?? 0, "sums; of rows that were not given, 0");

    const taps = new Float64Array(n * each);
    const sizes = new Float64Array(n * each);
    const plane = a.length / n;
    convTerms([n, ...imageShape], [1, c.inputs, ...c.kernel], attributes).each((input, weight) => {
      const at = Math.floor(input / plane) * each + weight;
      taps[at] = (taps[at] ?? 0) + (a[input] ?? NaN);
      sizes[at] = (sizes[at] ?? 0) + (a[input] ?? NaN);
    });
    expectWithin(got.tapSums, taps, (i) => 1.01 * positions * U * (sizes[i] ?? 0), "tap sums");
  });

  test("an image's responses do not depend on the batch; rows can be changed between runs", async () => {
    const c = cases[1] ?? { title: "", size: [], inputs: 0, channels: 0, kernel: [] };
    const { graph, layer, geometry, imageShape } = layerNetwork(c, BATCH);
    using session = new Session(gpu(), graph);
    using pass = await ResponsePass.open(session, {
      layer,
      geometry,
      input: "x",
      imageShape,
      batch: BATCH,
      rows: ROWS,
    });
    const each = c.inputs * tapsOf(geometry);
    const images = imagesFor(c, BATCH, 5);
    const [first, second] = [7, 8].map((seed) => pass.pack(Float32Array.from(randomTensor([ROWS, each], seed).data)));
    if (first === undefined || second === undefined) throw new Error("two sets of rows");
    const all = await pass.run(images, BATCH, first);
    const other = await pass.run(images, BATCH, second);
    const size = images.length / BATCH;
    const alone = await pass.run(images.subarray(2 * size, 3 * size), 1, first);
    expect(alone.sums).toEqual(all.sums.slice(2 * 2 * ROWS, 3 * 2 * ROWS));
    expect(alone.tapSums).toEqual(all.tapSums.slice(2 * each, 3 * each));
    expect(other.sums).not.toEqual(all.sums);
    expect(other.tapSums).toEqual(all.tapSums);
  });
});
