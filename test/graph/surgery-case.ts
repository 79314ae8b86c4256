/** One Conv layer in a file of its own, for the tests of surgery. */
import type { SetSplit, SourceSets } from "../../src/graph/surgery.ts";
import { floats, noise, node, valueInfo } from "../onnx/make.ts";
import type { ModelParts } from "../onnx/make.ts";
import type { ConvCase } from "./surgery-reference.ts";

export interface Case extends ConvCase {
  readonly channels: number;
  readonly inputs: number;
  readonly size: readonly number[];
  readonly bias: boolean;
  readonly opset: number;
  readonly ir?: number;
}

export const plain: Case = {
  kernel: [3, 3],
  strides: [1, 1],
  dilations: [1, 1],
  pads: [1, 1, 1, 1],
  groups: 1,
  channels: 6,
  inputs: 8,
  size: [5, 4],
  bias: true,
  opset: 17,
};

/** A network of one Conv and a Relu behind it, whose output is the Conv's own (a graph output) and the Relu's. */
export function oneConv(c: Case): { parts: ModelParts; w: Float32Array; b: Float32Array | undefined } {
  const dims = [c.channels, c.inputs / c.groups, ...c.kernel];
  const w = noise(
    11,
    dims.reduce((n, d) => n * d, 1),
  );
  const b = c.bias ? noise(12, c.channels) : undefined;
  const attributes = {
    kernel_shape: [...c.kernel],
    strides: [...c.strides],
    dilations: [...c.dilations],
    pads: [...c.pads],
    group: c.groups,
  };
  const initializer = [floats("layer.weight", dims, w), ...(b ? [floats("layer.bias", [c.channels], b)] : [])];
  const listed = initializer.map((t) => valueInfo(t.name ?? "", t.dims as number[]));
  const open = Array.from({ length: c.size.length }, (_, d) => `d${d}`);
  const parts: ModelParts = {
    opset: c.opset,
    ir: c.ir ?? 8,
    node: [
      node("Conv", ["x", "layer.weight", ...(b ? ["layer.bias"] : [])], ["z"], attributes, "conv"),
      node("Relu", ["z"], ["y"], {}, "relu"),
    ],
    input: [valueInfo("x", ["n", c.inputs, ...c.size]), ...(c.ir === 3 ? listed : [])],
    output: [valueInfo("z", ["n", c.channels, ...open]), valueInfo("y", ["n", c.channels, ...open])],
    initializer,
  };
  return { parts, w, b };
}

/** Sets of single concepts (1..K) and of all (0), as bits. */
export const bitsOf = (digits: ArrayLike<number>, concepts: number): SourceSets =>
  Uint32Array.from(digits, (d) => (d === 0 ? 2 ** concepts - 1 : 2 ** (d - 1)));

export const sets = (n: number, concepts: number, seed: number): SourceSets =>
  bitsOf(
    noise(seed, n).map((v) => Math.floor(((v + 1) / 2) * (concepts + 1))),
    concepts,
  );

/** Any subset of the concepts for each input. */
export const subsets = (n: number, concepts: number, seed: number): SourceSets =>
  Uint32Array.from(noise(seed, n), (v) => 1 + Math.floor(((v + 1) / 2) * (2 ** concepts - 1)));

export const split = (channel: number, concepts: number, inputs: number): SetSplit => ({
  channel,
  concepts,
  sets: sets(inputs, concepts, 100 + channel),
});
