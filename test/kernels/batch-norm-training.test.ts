/** BatchNormalization with training_mode = 1 (opsets 14 and 15) against float64: result, moving averages, gradients. */
import { expect, test } from "vitest";
import type { HostTensor } from "../../src/graph/graph.ts";
import { expectWithin, numericGradient, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

/** y of [n, c, inner], and mean and population variance of each channel. */
function reference(x: ArrayLike<number>, n: number, c: number, inner: number, epsilon: number) {
  const count = n * inner;
  const place = (channel: number, k: number): number => (Math.floor(k / inner) * c + channel) * inner + (k % inner);
  const normal = new Float64Array(x.length);
  const [means, variances] = [new Float64Array(c), new Float64Array(c)];
  for (let channel = 0; channel < c; channel++) {
    let sum = 0;
    for (let k = 0; k < count; k++) sum += x[place(channel, k)] ?? 0;
    const mean = sum / count;
    let squares = 0;
    for (let k = 0; k < count; k++) squares += ((x[place(channel, k)] ?? 0) - mean) ** 2;
    means[channel] = mean;
    variances[channel] = squares / count;
    for (let k = 0; k < count; k++) {
      const at = place(channel, k);
      normal[at] = ((x[at] ?? 0) - mean) / Math.sqrt(squares / count + epsilon);
    }
  }
  return { normal, means, variances };
}

const EPSILON = 1e-2;
const MOMENTUM = 0.8;
const cases: readonly (readonly number[])[] = [
  [2, 3, 4, 5],
  [5, 2, 7],
  [9, 4],
  [3, 2, 11, 13],
];

onAdapters("BatchNormalization in training mode", (gpu) => {
  test.each(cases.map((shape) => ({ shape, title: shape.join("x") })))("$title", async ({ shape }) => {
    const [n = 1, c = 1, ...positions] = shape;
    const inner = positions.reduce((a, b) => a * b, 1);
    const x = randomTensor(shape, 1, -2, 3);
    const [scale, bias, mean] = [2, 3, 4].map((seed) => randomTensor([c], seed));
    const variance = randomTensor([c], 5, 0.5, 2);
    const inputs = [x, scale, bias, mean, variance];
    const seed = randomTensor(shape, 6).data as Float32Array;
    const result = await runOperator(gpu(), {
      opType: "BatchNormalization",
      opset: 15,
      attributes: { training_mode: 1, epsilon: EPSILON, momentum: MOMENTUM },
      inputs,
      outputs: 3,
      gradient: { seed, wrt: [0, 1, 2] },
    });
    const { normal, means, variances } = reference(x.data, n, c, inner, EPSILON);
    const of = (t: HostTensor | undefined, k: number): number => t?.data[k] ?? NaN;
    const channel = (i: number): number => Math.floor(i / inner) % c;
    // A sum of n * inner terms, twice (mean, then variance): each rounds by at most its length times U, values are at
    // most 5 wide and the deviation at least the root of epsilon.
    const length = n * inner;
    const bound = 4 * (length + 8) * U * (5 / Math.sqrt(EPSILON));
    const y = normal.map((v, i) => v * of(scale, channel(i)) + of(bias, channel(i)));
    expectWithin(result.outputs[0]?.data ?? [], y, () => bound, "y");
    const average = (old: HostTensor | undefined, now: Float64Array): Float64Array =>
      now.map((v, k) => of(old, k) * MOMENTUM + v * (1 - MOMENTUM));
    expectWithin(result.outputs[1]?.data ?? [], average(mean, means), () => 5 * (length + 4) * U, "running mean");
    expectWithin(
      result.outputs[2]?.data ?? [],
      average(variance, variances),
      () => 50 * (length + 8) * U,
      "running variance",
    );

    const scalar = (from: Float64Array): Float64Array =>
      reference(from, n, c, inner, EPSILON).normal.map((v, i) => v * of(scale, channel(i)));
    const dx = numericGradient(scalar, x.data, seed);
    // Three sums over a row, each divided by a deviation; finite differences are good to 1e-8.
    expectWithin(result.gradients.get(0)?.data ?? [], dx, () => 3 * bound + 1e-7, "gradient of x");
    const [dscale, dbias] = [new Float64Array(c), new Float64Array(c)];
    seed.forEach((g, i) => {
      dscale[channel(i)] = (dscale[channel(i)] ?? 0) + g * (normal[i] ?? 0);
      dbias[channel(i)] = (dbias[channel(i)] ?? 0) + g;
    });
    expectWithin(result.gradients.get(1)?.data ?? [], dscale, () => length * bound, "gradient of the scale");
    expectWithin(result.gradients.get(2)?.data ?? [], dbias, () => length * length * U, "gradient of the bias");
  });

  test("a channel without variance, and the result alone", async () => {
    const one = tensor([1], [1]);
    const inputs = [tensor([2, 1, 2], [3, 3, 3, 3]), tensor([1], [2]), tensor([1], [0.5]), one, one];
    const given = { opType: "BatchNormalization", opset: 15, attributes: { training_mode: 1 }, inputs };
    expect((await runOperator(gpu(), given)).outputs[0]?.data).toEqual(Float32Array.of(0.5, 0.5, 0.5, 0.5));
    const all = await runOperator(gpu(), { ...given, outputs: 3 });
    expect(all.outputs.slice(1).map((t) => Math.fround(t.data[0] ?? NaN))).toEqual(
      // Momentum 0.9 unless told; 1 - 0.9 in float32.
      [Math.fround(Math.fround(0.9) + Math.fround(3 * Math.fround(1 - Math.fround(0.9)))), Math.fround(0.9)],
    );
  });

  test("further outputs without training mode are refused", async () => {
    const one = tensor([1], [1]);
    const run = runOperator(gpu(), {
      opType: "BatchNormalization",
      opset: 9,
      inputs: [tensor([1, 1, 1], [3]), one, one, one, one],
      outputs: 3,
    });
    await expect(run).rejects.toThrow(/BatchNormalization "node": has 3 outputs.*opset 14/);
  });
});
