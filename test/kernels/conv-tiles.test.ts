/** Every way in which lanes share weights gives the same bits; the tiles for hardware, on the software adapters. */
import { expect, test } from "vitest";
import { must } from "../../src/errors.ts";
import { Executable } from "../../src/engine/executable.ts";
import { makePlan } from "../../src/engine/plan.ts";
import { WeightStore } from "../../src/engine/weights.ts";
import { nameOf, type Gpu } from "../../src/gpu/gpu.ts";
import { convolveFours, foursProduct, foursWeights, shaderOf, tilesEach } from "../../src/kernels/conv-fours.ts";
import type { ConvTile } from "../../src/kernels/conv-fours-shader.ts";
import type { ConvGeometry } from "../../src/kernels/conv-geometry.ts";
import { memoryBytes } from "../../src/kernels/conv-memory-shader.ts";
import { candidateTiles, pixelRanges, tileFor } from "../../src/kernels/conv-tiles.ts";
import { foursElements, type FoursTensor } from "../../src/kernels/fours.ts";
import type { DeviceTensor } from "../../src/kernels/operator.ts";
import { graphOf } from "../engine/network.ts";
import { randomTensor } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";

const geometry = (rest: Partial<ConvGeometry>): ConvGeometry => ({
  ...{ batch: 3, groups: 1, channels: 18, outputs: 75, input: [9, 7], output: [9, 7] },
  ...{ kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0], transposed: false },
  ...rest,
});

/** Blocks that end within pixels, outputs, slabs; slabs that begin within a tap, and with several taps. */
const cases: readonly (Partial<ConvGeometry> & { readonly title: string })[] = [
  { title: "points, kept" },
  { title: "3x3, pad 1, 18 channels, kept", kernel: [3, 3], pads: [1, 1] },
  { title: "5x5 of 18 channels: more steps than are kept", kernel: [5, 5], pads: [2, 2] },
  { title: "5x2 of 3 channels, strides, pads", channels: 3, kernel: [5, 2], strides: [2, 1], pads: [3, 1] },
  { title: "3x3 of 2 channels", channels: 2, kernel: [3, 3], pads: [1, 1] },
  { title: "7x7 of 1 channel, stride 2: kept", channels: 1, kernel: [7, 7], strides: [2, 2], pads: [3, 3] },
  { title: "points of 1 channel, kept", channels: 1 },
  { title: "no channels: the bias", channels: 0, kernel: [2, 2] },
  { title: "5x2 of 20 channels, strides: kept", channels: 20, kernel: [5, 2], strides: [2, 1], pads: [3, 1] },
  {
    ...{ title: "2 groups of 60 channels, dilated: kept", channels: 60, outputs: 28, groups: 2 },
    ...{ kernel: [3, 1], dilations: [2, 1], pads: [2, 0] },
  },
  { title: "2 groups of 20, dilated", channels: 8, outputs: 20, groups: 2, kernel: [3, 1], dilations: [2, 1] },
];
const layers = cases.map(({ title, ...rest }) => {
  const all = geometry(rest);
  const size = (k: 0 | 1): number =>
    Math.floor((all.input[k] + 2 * all.pads[k] - all.dilations[k] * (all.kernel[k] - 1) - 1) / all.strides[k]) + 1;
  return { title, g: { ...all, output: [size(0), size(1)] } as const };
});

interface Run {
  readonly sums: Float32Array;
  /** Names of what was dispatched. */
  readonly kernels: readonly string[];
}

/** The sums, with a bias, an addend, limits and a mask. */
async function run(gpu: Gpu, g: ConvGeometry, tile: ConvTile): Promise<Run> {
  const w = randomTensor([g.groups * g.outputs, g.channels, ...g.kernel], 2);
  const weights = foursWeights(w.data, g, tile.outputs);
  const shape = [g.batch, g.groups * g.outputs, ...g.output];
  const shapes = {
    ...{ input: [g.batch, g.groups * g.channels, ...g.input], residual: shape, mask: shape },
    ...{ bias: [Math.ceil((g.groups * g.outputs) / 4) * 4], weights: weights.shape },
  };
  const inputs = new Map<string, Float32Array>();
  const extend: NonNullable<Parameters<typeof makePlan>[1]["extend"]> = (x) => {
    const given = (name: keyof typeof shapes, data: ArrayLike<number>): DeviceTensor => {
      inputs.set(name, Float32Array.from(data));
      return x.input(name, [data.length]);
    };
    const fours = (name: "input" | "residual" | "mask", seed: number): FoursTensor => {
      const { slot } = given(name, randomTensor([foursElements(shapes[name])], seed).data);
      return { slot, shape: shapes[name], inFours: true };
    };
    const output = x.result("output", [foursElements(shape)]);
    const operands = {
      ...{ input: fours("input", 1), residual: fours("residual", 3), mask: fours("mask", 4), clamp: [-1, 9] as const },
      ...{ bias: given("bias", randomTensor(shapes.bias, 5).data), label: "test" },
      output: { slot: output.slot, shape, inFours: true } as const,
    };
    convolveFours(x, { ...foursProduct(g), tile }, operands, given("weights", weights.data));
  };
  const plan = makePlan({ ...graphOf([], [], []), inputs: [] }, { inputs: new Map(), outputs: [], extend }, gpu);
  using store = new WeightStore(gpu);
  using executable = await Executable.make(gpu, plan, store);
  executable.fill(-987654321);
  executable.run(inputs);
  const sums = must((await executable.read(["output"])).get("output"), "output");
  return { sums, kernels: plan.calls.map((c) => nameOf(c.shader)) };
}

const hardware = candidateTiles(32).filter((t) => t.share === "memory");
const small = (subgroups: number): ConvTile =>
  must(
    candidateTiles(subgroups).find((t) => t.pixels === 4 && t.outputs === 4),
    "a small tile",
  );

onAdapters("Tiles of convolutions", (gpu) => {
  test.each(layers)("every sharing gives the same bits: $title", async ({ title, g }) => {
    const { sums: expected } = await run(gpu(), g, small(0));
    expect(expected.every((v) => Number.isFinite(v) && v !== -987654321)).toBe(true);
    expect(new Set(expected).size).toBeGreaterThan(expected.length / 4);
    const own = [4, 8].filter((n) => n <= gpu().subgroups).map(small);
    // Weights of eight outputs, which two quads swap.
    const swapped = own.filter((t) => t.subgroup === 8).map((t) => ({ ...t, outputs: 8 }));
    // The large ones take lavapipe seconds to compile: with points only.
    const large = g.kernel[0] * g.kernel[1] === 1 ? Infinity : 4;
    for (const tile of [...own, ...swapped, ...hardware.filter((t) => t.pixels <= large)]) {
      const { sums, kernels } = await run(gpu(), g, tile);
      const [kernel = ""] = kernels;
      expect(sums, kernel).toEqual(expected);
      if (tile.share === "broadcast") expect(kernel.includes("staged")).toBe(title.includes("kept"));
      const few = g.channels < 4 && tile.share !== "memory" ? String(Math.max(1, g.channels)) : undefined;
      expect(/, (\d+) channels/.exec(kernel)?.[1]).toBe(few);
    }
  });

  test.each([
    // 228 pixels: 4 more than a multiple of 32 and of 28, the blocks of the software adapters.
    { title: "of the last image", batch: 2, input: [6, 19], strides: [1, 1] },
    { title: "of the last images", batch: 76, input: [1, 3], strides: [1, 1] },
    { title: "of a strided input", batch: 2, input: [11, 38], strides: [2, 2] },
    { title: "of two groups", batch: 2, input: [6, 19], strides: [1, 1], groups: 2 },
  ] as const)("what is left of the pixels, $title", async ({ batch, input, strides, ...rest }) => {
    const [large = small(0)] = candidateTiles(gpu().subgroups);
    const software = large.share === "broadcast" || large.share === "quad";
    const output = [Math.ceil(input[0] / strides[0]), Math.ceil(input[1] / strides[1])] as const;
    const g = geometry({ batch, channels: 512, outputs: 160, input, output, strides, ...rest });
    const { sums: expected } = await run(gpu(), g, small(0));
    const { sums, kernels } = await run(gpu(), g, large);
    expect(sums).toEqual(expected);
    expect(kernels).toHaveLength(software ? 2 : 1);
    if (software) expect(kernels[1]).toContain(` 1x${large.outputs}`);
  });

  test("subgroups of 32 and 64 lanes compile", async () => {
    if (gpu().subgroups === 0) return;
    const wide = { share: "broadcast", across: 1, staged: 0, point: false, channels: 4 } as const;
    for (const tile of [
      { ...wide, subgroup: 32, lanes: 64, pixels: 4, outputs: 32 },
      { ...wide, subgroup: 64, lanes: 128, pixels: 2, outputs: 64 },
      { ...wide, subgroup: 32, lanes: 64, pixels: 2, outputs: 64, point: true },
    ]) {
      const { pipeline } = await gpu().pipeline({ shader: shaderOf(tile) });
      expect(pipeline.label).toContain(`broadcast ${tile.subgroup} of ${tile.lanes}`);
    }
  });
});

test("which pixels a smaller tile computes", () => {
  const adapter = { subgroups: 8 };
  const ranges = (rest: Partial<ConvGeometry>, tile?: ConvTile): unknown[] => {
    const shape = foursProduct(geometry({ batch: 1, channels: 512, outputs: 512, ...rest }));
    const p = { ...shape, tile: tile ?? tileFor(adapter, shape) };
    return pixelRanges(p).map((r) => [`${r.tile.pixels}x${r.tile.outputs}`, r.first, r.pixels]);
  };
  const size = (input: [number, number]) => ({ input, output: input });
  expect(ranges(size([4, 17]))).toEqual([
    ["4x32", 0, 64],
    ["1x32", 64, 4],
  ]);
  expect(ranges(size([4, 16]))).toEqual([["4x32", 0, 64]]); // nothing is left
  expect(ranges({ ...size([4, 17]), channels: 16, outputs: 32 })).toEqual([["4x32", 0, 68]]); // not worth a dispatch
  expect(ranges({ ...size([4, 17]), kernel: [3, 3], pads: [1, 1] })).toEqual([["4x32", 0, 68]]); // a window
  expect(ranges(size([5, 5]))).toHaveLength(1); // fewer than a block has
  const [memory] = hardware;
  expect(ranges(size([7, 9]), must(memory, "a tile for hardware"))).toHaveLength(1);
});

test("tiles for hardware need no more than WebGPU guarantees", () => {
  expect(hardware.length).toBeGreaterThan(3);
  for (const t of hardware) {
    expect(memoryBytes(t)).toBeLessThanOrEqual(16384);
    expect(t.lanes).toBeLessThanOrEqual(256);
    expect(shaderOf(t).code).toContain("workgroupBarrier");
  }
});

test("workgroups that keep their input: the cheapest number of tiles for each", () => {
  // tiles of outputs, workgroups for one of them; tiles that a workgroup should compute
  for (const [tiles, across, each] of [
    [1, 1, 1], // there is no choice
    [2, 392, 2],
    [4, 25, 4], // 25: keeping the input twice costs more than a 26th
    [32, 7, 16], // 14 workgroups
    [16, 13, 8], // 26
    [16, 2, 2], // 16
    [8, 1, 1],
  ] as const)
    expect(tilesEach(tiles, across)).toBe(each);
});
