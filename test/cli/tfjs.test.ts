/** The tfjs peer of `unbraid bench`: our graph by tfjs' functions. tfjs itself is not among our packages: who has it tests more. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { BenchDocument } from "../../src/cli/bench/document.ts";
import { allPeers, installed } from "../../src/cli/bench/peers.ts";
import {
  TFJS_CORE,
  TFJS_INSTALL,
  TFJS_WEBGPU,
  type ConvOptions,
  type Tensor,
  type Tf,
} from "../../src/cli/bench/tfjs-api.ts";
import { channelsLast, tfjsNetwork, type TfjsNetwork } from "../../src/cli/bench/tfjs.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { bytesOf, floats, makeModel, modelBytes, node, noise, TYPE, valueInfo, type ModelParts } from "../onnx/make.ts";
import { testAdapters } from "../support/gpu.ts";
import { build, root } from "./built.ts";
import { classifierParts, jsonOf, temporaryFolder, unbraid, write } from "./support.ts";

const [adapter = ""] = testAdapters;
const dir = temporaryFolder();
const here = installed(TFJS_CORE) && installed(TFJS_WEBGPU);

/** Knows shapes alone, and writes down what it is asked for. */
class FakeTf {
  readonly convs: Omit<ConvOptions, "x">[] = [];
  readonly calls: string[] = [];
  alive = 0;

  #made(call: string, shape: readonly number[]): Tensor {
    this.calls.push(call);
    this.alive++;
    const dispose = (): void => {
      this.alive--;
    };
    return { shape, data: () => Promise.resolve(new Float32Array(0)), dispose };
  }

  /** As much of tfjs as `classifierParts` needs. */
  get tf(): Tf {
    const conv = (call: string) => (options: ConvOptions) => {
      const { x, ...rest } = options;
      this.convs.push(rest);
      return this.#made(call, x.shape);
    };
    const some: Pick<Tf, "tidy" | "tensor" | "transpose" | "reshape" | "mean"> & { readonly fused: Tf["fused"] } = {
      tidy: (compute) => compute(),
      tensor: (_, shape) => this.#made("tensor", shape),
      transpose: (x, axes) =>
        this.#made(
          "transpose",
          axes.map((axis) => x.shape[axis] ?? NaN),
        ),
      reshape: (_, shape) => this.#made("reshape", shape),
      mean: ({ shape: [n = 0, , , c = 0] }) => this.#made("mean", [n, 1, 1, c]),
      fused: {
        conv2d: conv("conv2d"),
        depthwiseConv2d: conv("depthwiseConv2d"),
        matMul: ({ a, b }) => this.#made("matMul", [a.shape[0] ?? 0, b.shape[1] ?? 0]),
      },
    };
    return some as Tf;
  }
}

function network(parts: ModelParts, shape: readonly number[], tf = new FakeTf().tf): TfjsNetwork {
  const graph = buildGraph(makeModel(parts));
  return tfjsNetwork(tf, graph, new Map(graph.inputs.map((i) => [i.name, shape])), graph.outputs);
}

const oneNode = (type: string, attributes: Record<string, number | string | number[]> = {}, weight?: number[]) => ({
  input: [valueInfo("x", [1, 4, 6, 6])],
  output: [valueInfo("y", ["n", "c", "h", "w"])],
  node: [node(type, weight === undefined ? ["x"] : ["x", "w"], ["y"], attributes, "odd")],
  initializer:
    weight === undefined
      ? []
      : [
          floats(
            "w",
            weight,
            noise(
              1,
              weight.reduce((n, d) => n * d, 1),
            ),
          ),
        ],
});

it("Relus are done by the convolutions before them, weights have channels last, what was read is freed", () => {
  const fake = new FakeTf();
  const run = network(classifierParts(), [2, 3, 8, 8], fake.tf);
  const before = fake.alive;
  fake.calls.length = 0;
  const [result] = run(new Map([["image", new Float32Array(2 * 3 * 64)]]));
  expect(fake.calls).toEqual(["tensor", "conv2d", "conv2d", "depthwiseConv2d", "mean", "reshape", "matMul"]);
  expect(fake.convs.map((c) => c.activation)).toEqual(["relu", "relu", undefined]);
  expect(fake.convs.map((c) => c.filter.shape)).toEqual([
    [3, 3, 3, 8],
    [1, 1, 8, 6],
    [3, 3, 6, 1],
  ]);
  expect(fake.convs[0]?.pad).toEqual([[0, 0], [1, 1], [1, 1], [0, 0]]); // prettier-ignore
  expect(result?.shape).toEqual([2, 4]);
  expect(fake.alive).toBe(before + 1);
});

it("images are turned to channels last", () => {
  const data = Float32Array.from({ length: 12 }, (_, i) => i);
  expect([...channelsLast(data, [1, 3, 2, 2])]).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
  expect(channelsLast(data, [3, 4])).toBe(data);
});

it("what is not mapped is refused by its operator, all at once, or by its node", () => {
  const shape = [1, 4, 6, 6];
  const two = {
    ...oneNode("Softmax"),
    node: [node("Tanh", ["x"], ["t"], {}, "t"), node("Softmax", ["t"], ["y"], {}, "s")],
  };
  expect(() => network(two, shape)).toThrow("the tfjs peer has no Softmax, Tanh");
  expect(() => network(oneNode("Conv", { group: 2 }, [4, 2, 1, 1]), shape)).toThrow(/Conv "odd": it has 2 groups/);
  const counting = oneNode("AveragePool", { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 });
  expect(() => network(counting, shape)).toThrow(/AveragePool "odd": it counts its padding/);
  const dilated = oneNode("MaxPool", { kernel_shape: [2, 2], dilations: [2, 2] });
  expect(() => network(dilated, shape)).toThrow(/MaxPool "odd": it is dilated/);
});

it("where it is absent, the reason says how to install it", async ({ skip }) => {
  skip(here, "tfjs is installed");
  const peer = allPeers({}).find((p) => p.name === "tfjs_webgpu");
  const task = { path: "", batch: 1, feeds: [], outputs: [], precision: undefined, adapter: "software" } as const;
  await expect(peer?.open(task)).rejects.toThrow(TFJS_INSTALL);
});

/** Every operator that is mapped, in the forms that differ from tfjs' own: uneven pads, ceil_mode, images flattened. */
const everything = (): ModelParts => ({
  input: [valueInfo("image", ["n", 3, 16, 16])],
  output: [valueInfo("logits", ["n", 5])],
  node: [
    node("Conv", ["image", "w1", "b1"], ["a"], { pads: [0, 1, 2, 0], strides: [2, 2] }),
    node("Clip", ["a", "zero", "six"], ["b"]),
    node("Conv", ["b", "w2"], ["c"], { group: 6 }), // 2 outputs of each of 6 channels
    node("Sigmoid", ["c"], ["d"]),
    node("Mul", ["c", "d"], ["e"]),
    node("MaxPool", ["e"], ["f"], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], ceil_mode: 1 }),
    node("Add", ["f", "each"], ["g"]),
    node("AveragePool", ["g"], ["h"], { kernel_shape: [2, 2], pads: [1, 1, 1, 1] }),
    node("Clip", ["h", "low", "six"], ["i"]),
    node("Concat", ["h", "i"], ["j"], { axis: 1 }),
    node("BatchNormalization", ["j", "scale", "shift", "mean", "variance"], ["k"]),
    node("Dropout", ["k"], ["l"]),
    node("Relu", ["l"], ["m"]),
    node("Conv", ["m", "w3"], ["o"], { dilations: [2, 2], auto_pad: "SAME_UPPER" }),
    node("Flatten", ["o"], ["p"]),
    node("Gemm", ["p", "w4", "b4"], ["q"], { transB: 1 }),
    node("Relu", ["q"], ["r"]),
    node("GlobalAveragePool", ["m"], ["s"]),
    node("Reshape", ["s", "shape"], ["t"]),
    node("Concat", ["r", "t"], ["u"], { axis: -1 }),
    node("Identity", ["u"], ["v"]),
    node("MatMul", ["v", "w5"], ["logits"]),
  ],
  initializer: [
    floats("w1", [6, 3, 3, 3], noise(1, 162)),
    floats("b1", [6], noise(2, 6)),
    floats("zero", [], Float32Array.of(0)),
    floats("six", [], Float32Array.of(6)),
    floats("low", [], Float32Array.of(-0.1)),
    floats("w2", [12, 1, 3, 3], noise(3, 108)),
    floats("each", [12, 1, 1], noise(4, 12)),
    floats("scale", [24], noise(5, 24)),
    floats("shift", [24], noise(6, 24)),
    floats("mean", [24], noise(7, 24)),
    floats("variance", [24], noise(8, 24).map(Math.abs)),
    floats("w3", [4, 24, 3, 3], noise(9, 864)),
    floats("w4", [7, 100], noise(10, 700)),
    floats("b4", [7], noise(11, 7)),
    { name: "shape", dims: [2], dataType: TYPE.int64, rawData: bytesOf(BigInt64Array.of(0n, -1n)) },
    floats("w5", [31, 5], noise(12, 155)),
  ],
});

describe.skipIf(testAdapters.length === 0)("tfjs itself agrees with us", () => {
  beforeAll(build, 120_000);

  it("on the demo network, and on every operator that is mapped", async ({ skip }) => {
    skip(!here, `tfjs is not installed: ${TFJS_INSTALL}`);
    for (const model of [
      join(root, "models", "demo.onnx"),
      write(join(dir, "everything.onnx"), modelBytes(everything())),
    ]) {
      const argv = ["--batch", "2", "--only", "tfjs_webgpu", "--rounds", "2", "--starts", "0", "--json"];
      const ran = await unbraid("bench", model, "--adapter", adapter, ...argv);
      expect(ran.code, ran.stdout + ran.stderr).toBe(0);
      const [found] = jsonOf<BenchDocument>(ran).networks;
      expect(found?.validated.map((v) => v.peer)).toEqual(["tfjs_webgpu"]);
      expect(found?.measures.tfjs_webgpu_over_ours?.n).toBe(2);
    }
  }, 240_000);
});
