/** Softmax, LogSoftmax, ArgMax and ArgMin against float64. */
import { expect, test } from "vitest";
import { argExtrema } from "../../src/kernels/arg-extremum.ts";
import { softmax } from "../../src/kernels/softmax.ts";
import { mapRows, rowOffsets, softmax as softmaxRow } from "../reference/rows.ts";
import { expectWithin, numericGradient, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";

const cases = [
  { shape: [2, 3, 5], axis: 1, opset: 12, row: [1, 2] },
  { shape: [5, 7], axis: undefined, opset: 11, row: [1] },
  { shape: [2, 3, 5], axis: 0, opset: 7, row: [0, 1, 2] },
  { shape: [2, 3, 4, 5], axis: 1, opset: 13, row: [1] },
  { shape: [2, 3, 5], axis: undefined, opset: 13, row: [2] },
  { shape: [1, 1000], axis: -1, opset: 22, row: [1] },
  { shape: [2, 301, 3], axis: -2, opset: 13, row: [1] },
] as const;

onAdapters("softmax", (gpu) => {
  test.each(cases.flatMap((c) => ["Softmax", "LogSoftmax"].map((opType) => ({ ...c, opType }))))(
    "$opType of $shape along $axis at opset $opset",
    async ({ shape, axis, opset, row, opType }) => {
      const x = randomTensor(shape, 21, -4, 4);
      const rows = rowOffsets(shape, row);
      const logarithm = opType === "LogSoftmax";
      const reference = (data: ArrayLike<number>) => mapRows(data, rows, (r) => softmaxRow(r, logarithm));
      const expected = reference(x.data);
      const seed = Float32Array.from(randomTensor([expected.length], 22).data);
      const got = await runOperator(gpu(), {
        opType,
        opset,
        ...(axis === undefined ? {} : { attributes: { axis } }),
        inputs: [x],
        gradient: { seed, wrt: [0] },
      });
      // exp(d) of -8 < d <= 0 errs by (3 + 2 |d|) ulp = 19 ulp = 38 u (WGSL) and by |d| u through d's rounding; a sum of
      // at most 35 such numbers in one line adds 35 u; then a division, or a log within 2^-21.
      const relative = (2 * (38 + 8) + 35 + 5) * U;
      const bound = (i: number) => (logarithm ? relative + 2 ** -21 + 8 * U : relative * (expected[i] ?? 0));
      expectWithin(got.outputs[0]?.data ?? [], expected, bound);
      // dx = y (dy - sum(dy y)) or dy - y sum(dy): at most `length` terms below 1.
      const length = rows[0]?.length ?? 1;
      const dx = numericGradient(reference, x.data, seed);
      const largest = logarithm ? 2 * length * relative : 4 * relative;
      expectWithin(got.gradients.get(0)?.data ?? [], dx, () => largest + 1e-9, "gradient");
    },
  );

  test("numbers whose exponential overflows", async () => {
    const got = await runOperator(gpu(), {
      opType: "Softmax",
      opset: 13,
      inputs: [tensor([1, 3], [1000, 1000, -1000])],
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual([0.5, 0.5, 0]);
  });

  test.each([
    { opType: "ArgMax", attributes: {}, positions: [0, 1, 1], shape: [1, 3] },
    { opType: "ArgMax", attributes: { axis: 1, keepdims: 0 }, positions: [0, 1, 0], shape: [3] },
    { opType: "ArgMax", attributes: { axis: 1, select_last_index: 1 }, positions: [2, 1, 0], shape: [3, 1] },
    { opType: "ArgMin", attributes: { axis: -1, keepdims: 0 }, positions: [1, 0, 1], shape: [3] },
    { opType: "ArgMin", attributes: { axis: 0, select_last_index: 1 }, positions: [2, 2, 2], shape: [1, 3] },
  ])("$opType $attributes", async ({ opType, attributes, positions, shape }) => {
    const x = tensor([3, 3], [7, 1, 7, 2, 9, 8, 2, 1, 1]);
    const got = await runOperator(gpu(), { opType, opset: 13, attributes, inputs: [x] });
    expect(got.outputs[0]).toEqual(tensor(shape, positions));
    const node = { name: "n", opType, inputs: ["x"], outputs: ["y"], attributes: new Map(Object.entries(attributes)) };
    const [host] = argExtrema[opType]?.infer(node, [{ type: "float32", shape: [3, 3], value: x }], 13) ?? [];
    expect(host?.value).toEqual({ type: "int64", shape, data: Float64Array.from(positions) });
  });
});

test("an axis out of range is refused", () => {
  const node = { name: "n", opType: "Softmax", inputs: ["x"], outputs: ["y"], attributes: new Map([["axis", 2]]) };
  const x = { type: "float32", shape: [3, 4] } as const;
  expect(() => softmax.Softmax?.infer(node, [x], 13)).toThrow(/axis 2 is outside/);
  expect(softmax.Softmax?.infer(node, [x], 12)).toEqual([x]);
});
