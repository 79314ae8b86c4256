/**
 * Kernels on tensors in float16 against float64, on numbers that float16 holds: float32's bound of the sum, then one rounding
 * to float16 where the result is stored. Behind each operator stands a Neg, which is exact: what is seen is float32, so that
 * the operator's own result is not.
 */
import { expect, test } from "vitest";
import { Executable } from "../../src/engine/executable.ts";
import { must } from "../../src/errors.ts";
import { halvable } from "../../src/engine/half-shader.ts";
import { f16 } from "../../src/engine/halves.ts";
import { gradientName, makePlan, seedName } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import { WeightStore } from "../../src/engine/weights.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Graph, HostTensor } from "../../src/graph/graph.ts";
import { winogradTile } from "../../src/kernels/conv-winograd.ts";
import { roundToHalf } from "../../src/onnx/half.ts";
import { graphOf, node } from "../engine/network.ts";
import { convForward, convGradients, convTerms, transposeTerms } from "../reference/conv.ts";
import { winogradRoundings, winogradSizes } from "../reference/winograd.ts";
import { halfAdapters, halfRounding, halfTensor, U16 } from "../support/half.ts";
import { expectWithin, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { convCases, transposeCases } from "./conv-cases.ts";

const negative = (v: number): number => 0 - v;
const at = (list: ArrayLike<number>, i: number): number => list[i] ?? NaN;

const VARIABLES = ["", "input", "weights", "bias", "residual", "mask", "output", "sums"];
/** A pattern of a convolution's variable: as generated shaders call it, or embedded ones, whose names are short and alike. */
const variable = (binding: number): string =>
  `\\b(?:${must(VARIABLES[binding], "name")}|${must(halvable("conv_depthwise").get(binding), "variable")})\\b`;

interface Run {
  readonly y: Float32Array;
  readonly dx: Float32Array;
  readonly shaders: readonly string[];
}

/** One run of a network with one output, and the gradient of it back to the image. */
async function run(
  gpu: Gpu,
  graph: Graph,
  feeds: Record<string, HostTensor>,
  { seed, subgroups = gpu.subgroups }: { readonly seed?: Float32Array; readonly subgroups?: number } = {},
): Promise<Run> {
  const [of = ""] = graph.outputs;
  const inputs = new Map(Object.entries(feeds).map(([name, t]) => [name, t.shape]));
  const gradient = seed === undefined ? {} : { gradient: { of, wrt: ["image"] } };
  const request = { inputs, outputs: [of], precision: f16, ...gradient } as const;
  const plan = makePlan(graph, request, { subgroups, workgroupBytes: gpu.workgroupBytes });
  using weights = new WeightStore(gpu);
  using executable = await Executable.make(gpu, plan, weights);
  executable.fill(NaN);
  const data = new Map<string, Float32Array>(
    Object.entries(feeds).map(([name, t]) => [name, Float32Array.from(t.data)]),
  );
  if (seed !== undefined) data.set(seedName(of), seed);
  executable.run(data);
  const got = await executable.read([of, ...(seed === undefined ? [] : [gradientName("image")])]);
  return {
    y: got.get(of) ?? new Float32Array(0),
    dx: got.get(gradientName("image")) ?? new Float32Array(0),
    shaders: plan.calls.map((call) => nameOf(call.shader)),
  };
}

const subgroupChoices = (gpu: Gpu): number[] => [0, 4, 8, 32].filter((n) => n % 32 === 0 || n <= gpu.subgroups);

onAdapters(
  "kernels in half precision",
  (gpu) => {
    for (const { opType, cases, terms } of [
      { opType: "Conv", cases: convCases, terms: convTerms },
      { opType: "ConvTranspose", cases: transposeCases, terms: transposeTerms },
    ] as const)
      // Each case with another of the ways of sharing weights: all of them are a minute's compiling.
      test.each(cases.map((c, index) => ({ ...c, index })))(
        `${opType}, $title, and its gradient`,
        async ({ index, ...c }) => {
          const [x, w] = [halfTensor(c.x, 1), halfTensor(c.w, 2)];
          const list = terms(c.x, c.w, c.attributes ?? {});
          const bias = c.bias === true ? halfTensor([list.shape[1] ?? 0], 3) : undefined;
          const graph = graphOf(
            [
              node(opType, ["image", "w", ...(bias === undefined ? [] : ["b"])], ["z"], { ...c.attributes }),
              node("Neg", ["z"], ["y"]),
            ],
            [...c.x],
            ["y"],
            { w, ...(bias === undefined ? {} : { b: bias }) },
          );
          const seed = Float32Array.from(halfTensor(list.shape, 4).data);
          const expected = convForward(list, x.data, w.data, bias?.data);
          const [dx] = convGradients(list, x.data, w.data, seed);
          const choices = subgroupChoices(gpu());
          const subgroups = choices[index % choices.length] ?? 0;
          const got = await run(gpu(), graph, { image: x }, { seed, subgroups });
          const sum = (i: number) => 1.01 * (at(expected.counts, i) + 1) * U * at(expected.sizes, i);
          const tolerance = (i: number) => sum(i) + halfRounding(Math.abs(at(expected.values, i)) + sum(i));
          const back = (i: number) => 1.01 * (at(dx.counts, i) + 1) * U * at(dx.sizes, i);
          expectWithin(got.y.map(negative), expected.values, tolerance, `subgroups ${subgroups}`);
          expectWithin(got.dx.map(negative), dx.values, back, `gradient, subgroups ${subgroups}`);
          const forward = got.shaders.slice(0, got.shaders.indexOf("unary"));
          for (const name of forward.filter((n) => /^conv_(fours|depthwise)/.test(n)))
            expect(name).toMatch(new RegExp(`, halves in (${variable(1)} )?${variable(2)} .*${variable(6)}$`));
        },
      );

    test.each([
      { title: "4x4 tiles", x: [2, 16, 9, 11], w: [20, 16, 3, 3] },
      { title: "2x2 tiles", x: [3, 20, 7, 7], w: [16, 20, 3, 3] },
    ])("Winograd's convolution, $title: its weights are rounded once they are transformed", async (c) => {
      const [x, w] = [halfTensor(c.x, 1), halfTensor(c.w, 2)];
      const list = convTerms(c.x, c.w, { pads: [1, 1, 1, 1] });
      const [, , height = 0, width = 0] = list.shape;
      const [channels = 0, outputs = 0] = [c.w[1], c.w[0]];
      const tile = winogradTile({
        ...{ batch: 1, groups: 1, channels, outputs, kernel: [3, 3], strides: [1, 1], dilations: [1, 1] },
        ...{ pads: [1, 1], transposed: false, input: [height, width], output: [height, width] },
      });
      const graph = graphOf(
        [node("Conv", ["image", "w"], ["z"], { pads: [1, 1, 1, 1] }), node("Neg", ["z"], ["y"])],
        [...c.x],
        ["y"],
        { w },
      );
      const expected = convForward(list, x.data, w.data);
      const sizes = winogradSizes(tile ?? 4, x, w, [1, 1], [height, width]);
      // Of each term one factor more is rounded, to float16; the bound of what a size of 2^-25 and less adds is far below.
      const sum = (i: number) => 1.01 * (winogradRoundings(channels) * U + U16) * at(sizes, i) + 1e-5;
      const tolerance = (i: number) => sum(i) + halfRounding(Math.abs(at(expected.values, i)) + sum(i));
      for (const subgroups of subgroupChoices(gpu())) {
        const got = await run(gpu(), graph, { image: x }, { subgroups });
        expect(got.shaders).toContain(`winograd, halves in ${halvable("winograd", "input_4").get(1) ?? ""}`);
        const errors = expected.values.map((v, i) => Math.abs(v + at(got.y, i)));
        expectWithin(got.y.map(negative), expected.values, tolerance, `subgroups ${subgroups}`);
        // It is a rounding of float16's size, not of float32's.
        expect(Math.max(...errors)).toBeGreaterThan(U16 / 8);
      }
    });

    test.each([
      { title: "plain", w: [16, 8, 3, 3], attributes: { strides: [2, 2] } },
      { title: "Winograd's", w: [16, 16, 3, 3], attributes: { pads: [1, 1, 1, 1] } },
      { title: "depthwise", w: [16, 1, 3, 3], attributes: { group: 16 } },
      { title: "points", w: [16, 8, 1, 1], attributes: {} },
    ])("$title convolution, + bias, + residual, clamped", async ({ title, w: shape, attributes }) => {
      const channels = (shape[1] ?? 1) * (attributes.group ?? 1);
      const [x, w, b] = [halfTensor([2, channels, 9, 7], 1), halfTensor(shape, 2), halfTensor([16], 3)];
      const list = convTerms(x.shape, shape, attributes);
      const residual = halfTensor(list.shape, 5);
      const graph: Graph = {
        ...graphOf(
          [
            node("Conv", ["image", "w", "b"], ["z"], attributes),
            node("Add", ["z", "residual"], ["sum"]),
            node("Relu", ["sum"], ["a"]),
            node("Neg", ["a"], ["y"]),
          ],
          [...x.shape],
          ["y"],
          { w, b },
        ),
        inputs: [
          { name: "image", type: "float32", shape: x.shape },
          { name: "residual", type: "float32", shape: residual.shape },
        ],
      };
      const got = await run(gpu(), graph, { image: x, residual });
      expect(got.shaders.filter((name) => !name.startsWith("fours")).at(-2)).toMatch(
        new RegExp(`${variable(4)}.*${variable(6)}`),
      );
      const sums = convForward(list, x.data, w.data, b.data);
      const [, , height = 0, width = 0] = list.shape;
      const sizes = title === "Winograd's" ? winogradSizes(4, x, w, [1, 1], [height, width]) : sums.sizes;
      const roundings = title === "Winograd's" ? winogradRoundings(16) + U16 / U : Math.max(...sums.counts) + 1;
      const expected = Array.from(sums.values, (v, i) => Math.max(0, v + at(residual.data, i)));
      const sum = (i: number) => 1.01 * (roundings + 1) * U * (at(sizes, i) + 1 + at(residual.data, i) ** 2 + 1);
      const tolerance = (i: number) => sum(i) + halfRounding(at(expected, i) + sum(i));
      expectWithin(got.y.map(negative), expected, tolerance);
    });
  },
  halfAdapters,
);

/** Operators in fours, behind a convolution that copies: what they give float32 is held to float64 elsewhere. */
const elementwise = [
  { opType: "Relu", others: [] },
  { opType: "Sigmoid", others: [] },
  { opType: "Add", others: ["copy"] },
  { opType: "MaxPool", others: [], attributes: { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] } },
  { opType: "AveragePool", others: [], attributes: { kernel_shape: [3, 2], pads: [1, 0, 1, 1] }, terms: 6 },
  { opType: "GlobalAveragePool", others: [], terms: 77 },
  { opType: "BatchNormalization", others: ["p0", "p1", "p2", "p3"], terms: 4 },
  { opType: "Mul", others: ["factor"] },
  { opType: "Concat", others: ["copy"], attributes: { axis: 1 } },
] as const;

onAdapters(
  "operators in half precision",
  (gpu) => {
    test.each(elementwise)("$opType gives what it gives in float32, rounded", async (c) => {
      const identity = Array.from({ length: 64 }, (_, i) => (i % 9 === 0 ? -1 : 0));
      const graph = graphOf(
        [
          node("Conv", ["image", "identity"], ["negated"]),
          node("Neg", ["negated"], ["copy"]), // so that nothing is fused with the convolution
          node(c.opType, ["copy", ...c.others], ["z"], "attributes" in c ? { ...c.attributes } : {}),
          node("Neg", ["z"], ["y"]),
        ],
        [2, 8, 11, 7],
        ["y"],
        {
          identity: tensor([8, 8, 1, 1], identity),
          ...Object.fromEntries(["p0", "p1", "p2", "p3"].map((p, k) => [p, halfTensor([8], k + 2, 0.5, 1.5)])),
          factor: halfTensor([2, 8, 1, 1], 9),
        },
      );
      const feed = new Map([["image", halfTensor([2, 8, 11, 7], 1)]]);
      const data: Float32Array[] = [];
      for (const precision of [undefined, f16]) {
        using session = new Session(gpu(), graph, { precision });
        const executable = await session.prepare({ inputs: new Map([["image", [2, 8, 11, 7]]]), outputs: ["y"] });
        const { slots } = executable.plan;
        // The image, its copies, the weights and the result.
        expect(slots.filter((s) => s.precision === f16).length).toBeGreaterThanOrEqual(precision === undefined ? 0 : 5);
        if (precision === undefined) expect(slots.filter((s) => s.precision === f16)).toEqual([]);
        const got = await session.run(feed);
        data.push(Float32Array.from(got.get("y")?.data ?? []));
      }
      const [full, half] = data;
      expect(full?.length).toBeGreaterThan(0);
      const rounded = Array.from(full ?? [], roundToHalf);
      if (!("terms" in c)) expect(Array.from(half ?? [])).toEqual(rounded);
      // The sums may differ by float32's roundings of terms of size 4 at most, be it that compilers contract them differently.
      else
        expectWithin(
          half ?? [],
          full ?? [],
          (i) => 2 * (c.terms + 5) * U * 4 + halfRounding(Math.abs(at(full ?? [], i))),
        );
    });

    test("float16's own numbers: ties to even, subnormals, overflow to infinity, not-a-number", async () => {
      const numbers = [
        1 + U16,
        1 + 3 * U16,
        65504,
        65519,
        65520,
        -1e5,
        2 ** -24,
        2 ** -25,
        3 * 2 ** -25,
        1e-7,
        NaN,
        Infinity,
      ];
      const x = tensor([1, 4, 1, 3], numbers);
      const graph = graphOf(
        [node("Abs", ["image"], ["a"]), node("Conv", ["a", "w"], ["c"], { group: 4 }), node("Neg", ["c"], ["y"])],
        [1, 4, 1, 3],
        ["y"],
        {
          w: tensor([4, 1, 1, 1], [1, 1, 1, 1]),
        },
      );
      const got = await run(gpu(), graph, { image: x });
      expect(Array.from(got.y)).toEqual(numbers.map((v) => -roundToHalf(Math.abs(v))));
    });
  },
  halfAdapters,
);
