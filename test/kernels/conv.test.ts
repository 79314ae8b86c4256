/** Conv and ConvTranspose, forward and all gradients, every variant of the kernel, against float64. */
import { expect, test } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { GraphNode } from "../../src/graph/graph.ts";
import { convolution } from "../../src/kernels/conv.ts";
import {
  convForward,
  convGradients,
  convTerms,
  transposeTerms,
  type ConvAttributes,
  type Sums,
} from "../reference/conv.ts";
import { expectWithin, randomTensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator, type OperatorResult } from "../support/operator.ts";
import { convCases, transposeCases, type Case } from "./conv-cases.ts";

/**
 * An element is a sum of n terms, each rounded once as a product (or not, where fma is one operation) and once in every
 * addition after it, of which there are at most n, whatever the order: (1 + u)^(n + 1) - 1 times the sum of the terms'
 * sizes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The two-stage sums of the weight's and
 * the bias's gradients are another order of the same additions. 1.01 covers the second order.
 */
function expectSums(actual: ArrayLike<number> | undefined, expected: Sums, what: string): void {
  const bound = (i: number) => 1.01 * ((expected.counts[i] ?? 0) + 1) * U * (expected.sizes[i] ?? 0);
  expectWithin(actual ?? [], expected.values, bound, what);
}

const operators = [
  { opType: "Conv", cases: convCases, terms: convTerms },
  { opType: "ConvTranspose", cases: transposeCases, terms: transposeTerms },
] as const;

const attributesOf = (c: Case): Record<string, number | string | readonly number[]> => ({ ...c.attributes });

/**
 * Ways of sharing weights: 0 and 32 read no subgroups and run everywhere; quads and subgroups of 8, where the adapter has
 * subgroups as wide.
 */
const subgroupChoices = (gpu: Gpu): number[] => [0, 4, 8, 32].filter((n) => n % 32 === 0 || n <= gpu.subgroups);

onAdapters("convolution", (gpu) => {
  for (const { opType, cases, terms } of operators) {
    test.each(cases)(`${opType}, $title`, async (c) => {
      const x = randomTensor(c.x, 1);
      const w = randomTensor(c.w, 2);
      const list = terms(c.x, c.w, c.attributes ?? {});
      const bias = c.bias === true ? randomTensor([list.shape[1] ?? 0], 3) : undefined;
      const seed = Float32Array.from(randomTensor([list.shape.reduce((a, b) => a * b, 1)], 4).data);
      const expected = convForward(list, x.data, w.data, bias?.data);
      const [dx, dw, db] = convGradients(list, x.data, w.data, seed);
      const check = (got: OperatorResult, what: string) => {
        expect(got.outputs[0]?.shape, what).toEqual(list.shape);
        expectSums(got.outputs[0]?.data, expected, what);
        expectSums(got.gradients.get(0)?.data, dx, `${what}: gradient of the input`);
        expectSums(got.gradients.get(1)?.data, dw, `${what}: gradient of the weight`);
        if (bias !== undefined) expectSums(got.gradients.get(2)?.data, db, `${what}: gradient of the bias`);
      };
      const run = {
        opType,
        opset: 22,
        attributes: attributesOf(c),
        inputs: [x, w, bias],
        gradient: { seed, wrt: bias === undefined ? [0, 1] : [0, 1, 2] },
      };
      const computed = await runOperator(gpu(), run);
      expect(computed.shaders).toContain("conv_direct");
      check(computed, "computed weights");
      for (const subgroups of subgroupChoices(gpu())) {
        const constant = await runOperator(gpu(), { ...run, constants: [1, 2], subgroups });
        check(constant, `constant weights, subgroups ${subgroups}`);
      }
    });
  }

  test("every variant has been there", async () => {
    const shaders = async (x: readonly number[], w: readonly number[], subgroups: number, rest: object = {}) => {
      const { opType = "Conv", ...attributes } = rest as { opType?: string };
      const inputs = [randomTensor(x, 1), randomTensor(w, 2)];
      const got = await runOperator(gpu(), { opType, opset: 22, attributes, inputs, constants: [1], subgroups });
      return [...got.shaders].filter((name) => name !== "fours");
    };
    const strides = [2, 2];
    expect(await shaders([1, 9, 6, 6], [6, 3, 3, 3], 0, { group: 3 })).toEqual(["conv_direct"]);
    expect(await shaders([1, 10, 6, 6], [34, 5, 3, 3], 0, { group: 2 })).toEqual(["conv"]);
    expect(await shaders([1, 8, 6, 6], [8, 1, 3, 3], 0, { group: 8, strides })).toEqual(["conv_depthwise"]);
    for (const subgroups of subgroupChoices(gpu())) {
      const share =
        new Map([
          [4, /quad/],
          [8, /broadcast 8/],
          [32, /memory/],
        ]).get(subgroups) ?? /load/;
      const [plain, ...others] = await shaders([1, 4, 6, 6], [16, 4, 3, 3], subgroups, { strides });
      expect(plain).toMatch(/^conv_fours/);
      expect(plain).toMatch(share);
      expect(others).toEqual([]);
      // In phases, each a plain convolution.
      const phases = await shaders([1, 4, 6, 6], [4, 16, 3, 3], subgroups, { opType: "ConvTranspose", strides });
      expect(phases.filter((name) => !share.test(name))).toEqual([]);
      expect(phases.length).toBe(2); // one of them has a single tap
    }
  });

  test("the gradient of the weight over many positions, summed in ranges", async () => {
    // 2 x 40 x 39 = 3,120 positions: four ranges of 1,024, the last one short.
    const [x, w] = [randomTensor([2, 2, 40, 39], 1), randomTensor([3, 2, 1, 1], 2)];
    const list = convTerms(x.shape, w.shape, {});
    const seed = Float32Array.from(randomTensor([2 * 3 * 40 * 39], 4).data);
    const [, dw] = convGradients(list, x.data, w.data, seed);
    const got = await runOperator(gpu(), { opType: "Conv", opset: 11, inputs: [x, w], gradient: { seed, wrt: [1] } });
    expect(got.shaders).toContain("sum");
    expectSums(got.gradients.get(1)?.data, dw, "gradient of the weight");
  });

  test.each([
    { title: "tiled", w: [16, 5, 3, 3], attributes: { pads: [1, 1, 1, 1] } },
    { title: "tiled, grouped", w: [20, 5, 3, 3], attributes: { group: 2, strides: [2, 2] } },
    { title: "depthwise", w: [10, 1, 3, 3], attributes: { group: 10, pads: [1, 1, 1, 1] } },
    { title: "depthwise in fours", w: [12, 1, 3, 3], attributes: { group: 12, pads: [1, 1, 1, 1] } },
    { title: "Winograd", w: [16, 16, 3, 3], attributes: { pads: [1, 1, 1, 1] } },
    { title: "many outputs", w: [100, 24, 1, 1], attributes: {} },
  ])("the same image alone and in a batch of 5 gives the same bits: $title", async ({ w, attributes }) => {
    const channels = (w[1] ?? 1) * (attributes.group ?? 1);
    const images = randomTensor([5, channels, 7, 6], 5);
    const weight = randomTensor(w, 6);
    const bias = randomTensor([w[0] ?? 0], 7);
    const each = images.data.length / 5;
    for (const subgroups of subgroupChoices(gpu())) {
      const run = async (n: number, data: Float32Array) => {
        const x = { type: "float32", shape: [n, channels, 7, 6], data } as const;
        const list = convTerms(x.shape, w, attributes);
        const size = list.shape.reduce((a, b) => a * b, 1);
        const got = await runOperator(gpu(), {
          ...{ opType: "Conv", opset: 22, attributes, inputs: [x, weight, bias], constants: [1, 2], subgroups },
          gradient: { seed: new Float32Array(size).map((_, i) => Math.sin(i % (size / n))), wrt: [0] },
        });
        return [got.outputs[0]?.data ?? [], got.gradients.get(0)?.data ?? []].map((d) => Float32Array.from(d));
      };
      const together = await run(5, Float32Array.from(images.data));
      for (const i of [0, 3, 4]) {
        const alone = await run(1, Float32Array.from(images.data.subarray(i * each, (i + 1) * each)));
        alone.forEach((data, k) => {
          const part = together[k]?.subarray(i * data.length, (i + 1) * data.length);
          expect(data.length).toBeGreaterThan(0);
          expect(part, `image ${i}, subgroups ${subgroups}`).toEqual(data);
        });
      }
    }
  });

  test("more workgroups than one dimension of a dispatch holds", async () => {
    // 1,450 x 1,450 pixels: more than 65,535 workgroups of 32 pixels, and of 64 elements for two channels.
    const x = randomTensor([1, 1, 1450, 1450], 1);
    const wrong = async (outputs: number, subgroups: number): Promise<number> => {
      const w = randomTensor([outputs, 1, 1, 1], 2);
      const got = await runOperator(gpu(), { opType: "Conv", opset: 22, inputs: [x, w], constants: [1], subgroups });
      const y = got.outputs[0]?.data ?? [];
      let count = y.length === outputs * x.data.length ? 0 : Infinity;
      for (let i = 0; i < y.length; i++) {
        const product = (w.data[Math.floor(i / x.data.length)] ?? NaN) * (x.data[i % x.data.length] ?? NaN);
        if (y[i] !== Math.fround(product)) count++; // one product, rounded once
      }
      return count;
    };
    expect(await wrong(2, 0)).toBe(0);
    for (const subgroups of subgroupChoices(gpu())) expect(await wrong(8, subgroups), `subgroups ${subgroups}`).toBe(0);
  });

  test("an empty batch has an empty output, and gradients of zeros for the weights", async () => {
    for (const [opType, w] of [
      ["Conv", [8, 4, 3, 3]],
      ["ConvTranspose", [4, 8, 3, 3]],
    ] as const) {
      const inputs = [randomTensor([0, 4, 5, 5], 1), randomTensor(w, 2), randomTensor([8], 3)];
      for (const constants of [[], [1, 2]]) {
        const gradient = { seed: new Float32Array(0), wrt: [0, 1, 2] };
        const got = await runOperator(gpu(), { opType, opset: 22, inputs, constants, gradient });
        expect(got.outputs[0]?.data.length).toBe(0);
        expect(got.gradients.get(0)?.data.length).toBe(0);
        expect(got.gradients.get(1)?.data).toEqual(new Float32Array(8 * 4 * 9));
        expect(got.gradients.get(2)?.data).toEqual(new Float32Array(8));
      }
    }
  });

  test("not-a-number and infinity stay where the sum that holds them is", async () => {
    const x = randomTensor([1, 4, 5, 5], 1);
    x.data[12] = NaN; // channel 0, row 2, column 2
    x.data[25 + 4] = Infinity; // channel 1, row 0, column 4
    const w = randomTensor([8, 4, 3, 3], 2, 0.1, 1);
    const expected = convForward(convTerms(x.shape, w.shape, { pads: [1, 1, 1, 1] }), x.data, w.data);
    for (const subgroups of subgroupChoices(gpu())) {
      const attributes = { pads: [1, 1, 1, 1] };
      const inputs = [x, w];
      const got = await runOperator(gpu(), {
        opType: "Conv",
        opset: 22,
        attributes,
        inputs,
        constants: [1],
        subgroups,
      });
      const finite = (v: ArrayLike<number>) => Array.from(v, (a) => (Number.isFinite(a) ? "finite" : String(a)));
      expect(finite(got.outputs[0]?.data ?? [])).toEqual(finite(expected.values));
    }
  });
});

test("bad shapes and attributes are refused, with the numbers", () => {
  const node = (opType: string, attributes: object): GraphNode => ({
    name: "n",
    opType,
    inputs: ["x", "w"],
    outputs: ["y"],
    attributes: new Map(Object.entries(attributes)) as GraphNode["attributes"],
  });
  const refusal = (
    opType: string,
    x: readonly number[],
    w: readonly number[],
    attributes: ConvAttributes & { readonly kernel_shape?: readonly number[] } = {},
    bias?: readonly number[],
  ): string => {
    const inputs = [x, w, bias].map((shape) =>
      shape === undefined ? undefined : ({ type: "float32", shape } as const),
    );
    try {
      convolution[opType]?.infer(node(opType, attributes), inputs, 22);
    } catch (e) {
      if (e instanceof UnbraidError) return `${e.code}: ${e.message}`;
      throw e;
    }
    return "accepted";
  };
  const bad = (opType: string, x: readonly number[], w: readonly number[]) => ({
    rank: refusal(opType, x, w.slice(1)),
    channels: refusal(opType, [1, (x[1] ?? 0) + 1, 8, 8], w),
    bias: refusal(opType, x, w, {}, [99]),
    biasRank: refusal(opType, x, w, {}, [1, 6]),
    kernel: refusal(opType, x, w, { kernel_shape: [3, 2] }),
    group: refusal(opType, x, w, { group: 0 }),
    groups: refusal(opType, x, w, { group: 3 }),
    strides: refusal(opType, x, w, { strides: [1, 0] }),
    strideCount: refusal(opType, x, w, { strides: [1] }),
    dilations: refusal(opType, x, w, { dilations: [-1, 1] }),
    negativePads: refusal(opType, x, w, { pads: [0, -1, 0, 0] }),
    padCount: refusal(opType, x, w, { pads: [1, 1] }),
    autoPad: refusal(opType, x, w, { auto_pad: "SAME" }),
    overflow: refusal(opType, [2 ** 20, x[1] ?? 0, 2 ** 10, 2 ** 10], w),
  });
  for (const opType of ["Conv", "ConvTranspose"]) {
    const found = bad(opType, [1, 4, 8, 8], opType === "Conv" ? [6, 4, 3, 3] : [4, 6, 3, 3]);
    expect(found.rank).toMatch(/^SHAPE: .*must have one rank/);
    expect(found.channels).toMatch(/^SHAPE: .*\[1,5,8,8\].*do not fit together/);
    expect(found.bias).toMatch(/^SHAPE: .*bias of 99/);
    expect(found.biasRank).toMatch(/^SHAPE: .*must have rank 1/);
    expect(found.kernel).toMatch(/^SHAPE: .*\[3,2\] contradicts/);
    expect(found.group).toMatch(/^SHAPE: .*group 0/);
    expect(found.groups).toMatch(/^SHAPE: .*group 3/);
    expect(found.strides).toMatch(/^ATTRIBUTE: .*\[1,0\]/);
    expect(found.strideCount).toMatch(/^ATTRIBUTE: .*must have 2 entries/);
    expect(found.dilations).toMatch(/^ATTRIBUTE: .*must be positive/);
    expect(found.negativePads).toMatch(/^ATTRIBUTE: .*must not be negative/);
    expect(found.padCount).toMatch(/^ATTRIBUTE: .*must have 4 entries/);
    expect(found.autoPad).toMatch(/^ATTRIBUTE: .*one of/);
    expect(found.overflow).toMatch(/^SHAPE: .*more than the 4294967295/);
  }
  expect(refusal("Conv", [1, 4, 2, 8], [6, 4, 3, 3])).toMatch(/^SHAPE: .*window of 3 does not fit into 2/);
  expect(refusal("Conv", [1, 4, 8, 8, 8], [6, 4, 3, 3, 3])).toMatch(/^UNSUPPORTED_NODE: .*3 spatial axes/);
  expect(refusal("Conv", [1, 4], [6, 4])).toMatch(/^SHAPE/);
  const w = [4, 6, 3, 3];
  expect(refusal("ConvTranspose", [1, 4, 2, 2], w, { pads: [3, 3, 3, 3] })).toMatch(/^SHAPE: .*would be/);
  expect(refusal("ConvTranspose", [1, 4, 2, 2], w, { output_padding: [-1, 0] })).toMatch(/^ATTRIBUTE: .*negative/);
  expect(refusal("ConvTranspose", [1, 4, 2, 2], w, { output_shape: [5] })).toMatch(/^ATTRIBUTE: .*output_shape/);
  expect(refusal("ConvTranspose", [1, 4, 2, 2], w, { output_shape: [5, 0] })).toMatch(/^(SHAPE|ATTRIBUTE)/);
  expect(
    refusal("ConvTranspose", [1, 4, 2, 2], w, { dilations: [2 ** 31, 1], pads: [2 ** 31, 0, 2 ** 31, 0] }),
  ).toMatch(/exceed/);
  expect(refusal("Conv", [1, 4, 8, 8], [6, 4, 3, 3], { strides: [2 ** 32, 1] })).toMatch(/^ATTRIBUTE: .*4294967296/);
});
