/** Resize and Upsample against float64. */
import { expect, test } from "vitest";
import type { AttributeValue, HostTensor } from "../../src/graph/graph.ts";
import { COORDINATES, NEAREST } from "../../src/kernels/resample.ts";
import { resizes } from "../../src/kernels/resize.ts";
import { resizeTaps, type ResizeAxis, type ResizeMethod } from "../reference/resize.ts";
import { expectWithin, ints, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { runOperator } from "../support/operator.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";

const NONE = tensor([0], []);
const list = (data: readonly number[]): HostTensor => tensor([data.length], data);

interface Case {
  readonly opset?: number;
  readonly opType?: string;
  readonly shape: readonly number[];
  readonly scales?: readonly number[];
  readonly sizes?: readonly number[];
  readonly roi?: readonly number[];
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

const methodOf = (a: Case["attributes"]): ResizeMethod => ({
  mode: (a.mode ?? "nearest") as ResizeMethod["mode"],
  coordinates: (a.coordinate_transformation_mode ?? "half_pixel") as string,
  nearest: (a.nearest_mode ?? "round_prefer_floor") as string,
  excludeOutside: a.exclude_outside === 1,
  cubicA: (a.cubic_coeff_a ?? -0.75) as number,
  extrapolation: (a.extrapolation_value ?? 0) as number,
});

const axesOf = (c: Case): ResizeAxis[] =>
  c.shape.map((input, k) => {
    const scale = c.sizes ? (c.sizes[k] ?? 1) / input : (c.scales?.[k] ?? 1);
    const output = c.sizes?.[k] ?? Math.floor(input * (c.scales?.[k] ?? 1));
    const rank = c.shape.length;
    return c.roi === undefined
      ? { input, output, scale }
      : { input, output, scale, start: c.roi[k] ?? 0, end: c.roi[rank + k] ?? 1 };
  });

async function check(gpu: Gpu, c: Case, method = methodOf(c.attributes)): Promise<void> {
  const x = randomTensor(c.shape, 61);
  const axes = axesOf(c);
  const constant = method.extrapolation ?? 0;
  const taps = resizeTaps(axes, method);
  const expected = taps.map((t) => t?.reduce((s, [at, w]) => s + w * (x.data[at] ?? 0), 0) ?? constant);
  const seed = Float32Array.from(randomTensor([expected.length], 62).data);
  const inputs =
    (c.opset ?? 19) < 11
      ? [x, list(c.scales ?? [])]
      : [x, c.roi ? list(c.roi) : NONE, c.scales ? list(c.scales) : NONE, c.sizes ? ints(c.sizes) : undefined];
  const got = await runOperator(gpu, {
    opType: c.opType ?? "Resize",
    opset: c.opset ?? 19,
    attributes: c.attributes,
    inputs,
    constants: inputs.flatMap((t, k) => (k > 0 && t !== undefined ? [k] : [])),
    gradient: { seed, wrt: [0] },
  });
  const what = JSON.stringify(c);
  expect(got.outputs[0]?.shape, what).toEqual(axes.map((a) => a.output));
  // Each pass sums at most 4 products of rounded weights: 5 u of sum |w| |x|, and |w| sums to at most 1.75 (cubic, a =
  // -0.75; 2.2 with edges left out); three passes at most. Coordinates put right change weights by at most 2^-20.
  const passes = method.mode === "nearest" ? 0 : 1;
  const bound = passes * 3 * 2.2 ** 3 * (5 * U + 2 ** -20) * Math.max(1, Math.abs(constant));
  expectWithin(got.outputs[0]?.data ?? [], expected, () => bound + U * Math.abs(constant), what);
  // Linear: the same numbers transposed; an input enters at most 4 times the scale outputs an axis, here below 64.
  const dx = new Float64Array(x.data.length);
  taps.forEach((t, i) => {
    for (const [at, w] of t ?? []) dx[at] = (dx[at] ?? 0) + w * (seed[i] ?? 0);
  });
  expectWithin(got.gradients.get(0)?.data ?? [], dx, () => 64 * (bound + 2 * U), `gradient, ${what}`);
}

/** Those that need a region of interest are tested by themselves. */
const plain = COORDINATES.filter((c) => c !== "tf_crop_and_resize");
const shapes: Pick<Case, "shape" | "scales" | "sizes">[] = [
  { shape: [2, 3, 5, 4], scales: [1, 1, 2, 3] },
  { shape: [1, 2, 7, 6], scales: [1, 1, 0.6, 0.8] },
  { shape: [1, 1, 5, 3], sizes: [1, 1, 8, 7] },
  { shape: [5, 1, 9, 8], sizes: [5, 1, 4, 1] },
];

onAdapters("resize", (gpu) => {
  test.each(plain)("nearest, %s, every rounding", async (coordinates) => {
    for (const nearest of NEAREST) {
      for (const s of shapes) {
        const attributes = { mode: "nearest", coordinate_transformation_mode: coordinates, nearest_mode: nearest };
        await check(gpu(), { ...s, attributes });
      }
    }
  });

  test.each(plain)("linear and cubic, %s", async (coordinates) => {
    for (const s of shapes) {
      for (const extra of [
        { mode: "linear" },
        { mode: "cubic" },
        { mode: "cubic", cubic_coeff_a: -0.5, exclude_outside: 1 },
      ]) {
        await check(gpu(), { ...s, attributes: { ...extra, coordinate_transformation_mode: coordinates } });
      }
    }
  });

  test("1-D, 3-D, and axes other than the last", async () => {
    await check(gpu(), { shape: [1, 2, 9], scales: [1, 1, 1.5], attributes: { mode: "linear" } });
    await check(gpu(), { shape: [1, 1, 3, 4, 5], sizes: [1, 1, 5, 7, 4], attributes: { mode: "linear" } });
    await check(gpu(), { shape: [3, 2, 4], scales: [2, 1.5, 1], attributes: { mode: "linear" } });
  });

  test("tf_crop_and_resize, inside and beyond the input", async () => {
    const attributes = {
      mode: "linear",
      coordinate_transformation_mode: "tf_crop_and_resize",
      extrapolation_value: 10,
    };
    await check(gpu(), { shape: [1, 1, 4, 5], sizes: [1, 1, 3, 3], roi: [0, 0, 0.4, 0.3, 1, 1, 0.8, 0.7], attributes });
    await check(gpu(), {
      shape: [1, 1, 4, 5],
      sizes: [1, 1, 3, 6],
      roi: [0, 0, 0.4, -0.6, 1, 1, 1.2, 1.7],
      attributes,
    });
  });

  test("opset 10 and Upsample: asymmetric, floor up and ceiling down", async () => {
    for (const [opType, opset] of [
      ["Resize", 10],
      ["Upsample", 9],
    ] as const) {
      const linear = { mode: "linear", coordinates: "asymmetric" } as const;
      const up = { opType, opset, shape: [2, 1, 3, 4], scales: [1, 1, 2, 2.5] };
      await check(gpu(), { ...up, attributes: { mode: "linear" } }, linear);
      await check(gpu(), { ...up, attributes: {} }, { mode: "nearest", coordinates: "asymmetric", nearest: "floor" });
    }
    const down = { opset: 10, shape: [1, 1, 7, 5], scales: [1, 1, 0.6, 0.6], attributes: {} };
    await check(gpu(), down, { mode: "nearest", coordinates: "asymmetric", nearest: "ceil" });
  });

  test("Upsample of opset 7 has its scales as an attribute", async () => {
    const x = tensor([1, 1, 1, 2], [1, 2]);
    const attributes = { scales: [1, 1, 2, 2] };
    const got = await runOperator(gpu(), { opType: "Upsample", opset: 7, attributes, inputs: [x] });
    expect(got.outputs[0]).toEqual(tensor([1, 1, 2, 4], [1, 1, 2, 2, 1, 1, 2, 2]));
  });

  test("antialias: halving averages with the stretched triangle", async () => {
    const x = randomTensor([1, 1, 8], 63);
    const got = await runOperator(gpu(), {
      opType: "Resize",
      opset: 18,
      attributes: { mode: "linear", antialias: 1, exclude_outside: 1 },
      inputs: [x, NONE, list([1, 1, 0.5])],
      constants: [1, 2],
    });
    // Output i lies at 2 i + 1/2: distances 1/2 and 3/2 of a triangle of reach 2: weights 3 and 1, over those inside.
    const expected = [0, 1, 2, 3].map((i) => {
      const taps = [-1, 0, 1, 2]
        .map((d) => [2 * i + d, d === 0 || d === 1 ? 3 : 1] as const)
        .filter(([k]) => k >= 0 && k < 8);
      return taps.reduce((s, [k, w]) => s + w * (x.data[k] ?? 0), 0) / taps.reduce((s, [, w]) => s + w, 0);
    });
    expectWithin(got.outputs[0]?.data ?? [], expected, () => 6 * U);
  });

  test("a scale of 1 costs nothing and passes the gradient on", async () => {
    const x = randomTensor([1, 2, 3], 64);
    const seed = Float32Array.from(randomTensor([6], 65).data);
    const got = await runOperator(gpu(), {
      opType: "Resize",
      opset: 13,
      attributes: { mode: "linear" },
      inputs: [x, NONE, list([1, 1, 1])],
      constants: [1, 2],
      gradient: { seed, wrt: [0] },
    });
    expect(Array.from(got.outputs[0]?.data ?? [])).toEqual(Array.from(x.data));
    expect(Array.from(got.gradients.get(0)?.data ?? [])).toEqual(Array.from(seed));
  });
});

const infer = (
  shape: readonly number[],
  attributes: Record<string, AttributeValue>,
  scales: readonly number[] | undefined,
  sizes: readonly number[] | undefined,
) => {
  const node = {
    name: "n",
    opType: "Resize",
    inputs: ["x", "", "s", "z"],
    outputs: ["y"],
    attributes: new Map(Object.entries(attributes)),
  };
  const known = (t: HostTensor) => ({ type: t.type, shape: t.shape, value: t });
  const inputs = [
    { type: "float32" as const, shape },
    undefined,
    scales && known(list(scales)),
    sizes && known(ints(sizes)),
  ];
  return resizes.Resize?.infer(node, inputs, 19)[0]?.shape;
};

test("sizes: float32 products, axes, aspect ratio", () => {
  // 3 * 2.3333333 is a little below 7 in float64, and 7 in float32, in which ONNX and onnxruntime compute it.
  expect(infer([1, 1, 3], {}, [1, 1, 7 / 3], undefined)).toEqual([1, 1, 7]);
  expect(infer([1, 1, 4, 6], { axes: [-1, 2] }, undefined, [3, 8])).toEqual([1, 1, 8, 3]);
  const policy = (keep_aspect_ratio_policy: string) =>
    infer([1, 1, 4, 6], { keep_aspect_ratio_policy, axes: [2, 3] }, undefined, [8, 8]);
  expect(policy("stretch")).toEqual([1, 1, 8, 8]);
  expect(policy("not_larger")).toEqual([1, 1, 5, 8]);
  expect(policy("not_smaller")).toEqual([1, 1, 8, 12]);
});

test("refusals", () => {
  expect(() => infer([1, 4], {}, undefined, undefined)).toThrow(/exactly one of scales and sizes/);
  expect(() => infer([1, 4], {}, [1, 2], [1, 8])).toThrow(/exactly one of scales and sizes/);
  expect(() => infer([1, 4], {}, [2], undefined)).toThrow(/1 entries for 2 axes/);
  expect(() => infer([1, 4], {}, [1, -1], undefined)).toThrow(/scale -1 is not positive/);
  expect(() => infer([1, 4], {}, undefined, [1, 0])).toThrow(/from 4 to 0/);
  expect(() => infer([1, 4], {}, undefined, [1, 1e12])).toThrow(/beyond/);
  expect(() => infer([1, 4], { mode: "nearest", antialias: 1 }, [1, 2], undefined)).toThrow(/antialias needs/);
});
