/** Gradients with regard to what a network stores: shared tensors, tensors behind other nodes, and what cannot be asked. */
import { expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import type { Graph, HostTensor } from "../../src/graph/graph.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { interpret, type Value } from "../reference/interpret.ts";
import { numericGradient } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { exactNumbers, graphOf, IMAGE, node, residualNetwork } from "./network.ts";

const draw = exactNumbers(11);
const same = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
const weights = { w: draw.weights([3, 3, 3, 3]), b: draw.fine([3]) };
const image = draw.images([2, 3, 4, 4]);

/** Two layers with one weight; `between` says how each of them reads it. */
const shared = (first: string, second: string, nodes: Graph["nodes"] = []): Graph =>
  graphOf(
    [
      ...nodes,
      node("Conv", ["image", first, "b"], ["z1"], same),
      node("Relu", ["z1"], ["a"]),
      node("Conv", ["a", second, "b"], ["z2"], same),
    ],
    [null, 3, 4, 4],
    ["z2"],
    weights,
  );

const identity = (to: string): Graph["nodes"][number] => node("Identity", ["w"], [to]);
const graphs = {
  "by name": shared("w", "w"),
  "one through Identity": shared("w", "w2", [identity("w2")]),
  "both through Identity": shared("w1", "w2", [identity("w1"), identity("w2")]),
};

const seed = Float32Array.from({ length: 2 * 3 * 16 }, (_, i) => (i % 3) - 1);
const wide = (t: HostTensor): Value => ({ shape: t.shape, data: Float64Array.from(t.data) });

/** Differences in float64: every sum here is exact, and the step crosses no corner. */
function expected(graph: Graph, wrt: "w" | "b"): number[] {
  const start = weights[wrt];
  const f = (x: Float64Array) =>
    interpret(graph, new Map([["image", wide(image)], [wrt, { shape: start.shape, data: x }]])).get("z2")?.data ?? []; // prettier-ignore
  return Array.from(numericGradient(f, start.data, seed, 2 ** -20), (g) => g + 0); // -0 becomes 0
}

const gradient = async (gpu: Gpu, graph: Graph, wrt: string[], given = seed, of = "z2", input = image) => {
  using session = new Session(gpu, graph);
  return await session.gradient(new Map([["image", input]]), { of, seed: given, wrt });
};
const plain = (t: HostTensor | undefined): number[] => Array.from(t?.data ?? [], (g) => g + 0);

onAdapters("gradients with regard to stored tensors", (gpu) => {
  const total = { w: expected(graphs["by name"], "w"), b: expected(graphs["by name"], "b") };

  test.each(Object.entries(graphs))("a weight that two layers share, %s: both contribute", async (_, graph) => {
    const got = await gradient(gpu(), graph, ["w", "b"]);
    expect(got.get("w")?.shape).toEqual([3, 3, 3, 3]);
    expect(plain(got.get("w"))).toEqual(total.w);
    expect(plain(got.get("b"))).toEqual(total.b);
  });

  test("by its name behind the Identity, a weight's gradient is that of this one use", async () => {
    const got = await gradient(gpu(), graphs["both through Identity"], ["w1", "w2", "w"]);
    const [one, two] = [plain(got.get("w1")), plain(got.get("w2"))];
    expect(one.some((g) => g !== 0)).toBe(true);
    expect(two.some((g) => g !== 0)).toBe(true);
    expect(one.map((g, i) => g + (two[i] ?? NaN))).toEqual(total.w);
    expect(plain(got.get("w"))).toEqual(total.w);
  });

  test("through nodes that compute the weight: a scale, a transposition", async () => {
    const nodes = [node("Mul", ["w", "half"], ["scaled"]), node("Transpose", ["scaled"], ["turned"], { perm: [1, 0, 2, 3] })]; // prettier-ignore
    const base = shared("turned", "turned", nodes);
    const half: HostTensor = { type: "float32", shape: [], data: Float32Array.of(0.5) };
    const graph = { ...base, constants: new Map([...base.constants, ["half", half]]) };
    const got = await gradient(gpu(), graph, ["w", "half", "turned"]);
    const turned = plain(got.get("turned"));
    const w = plain({ type: "float32", shape: [], data: Float32Array.from(weights.w.data) });
    // [1, 0] of the first two axes, both of size 3.
    const back = (i: number): number => (Math.floor(i / 9) % 3) * 27 + Math.floor(i / 27) * 9 + (i % 9);
    expect(plain(got.get("w"))).toEqual(w.map((_, i) => 0.5 * (turned[back(i)] ?? NaN)));
    expect(got.get("half")?.shape).toEqual([]);
    // Products are multiples of 2^-8 below 2^12: exact.
    expect(plain(got.get("half"))).toEqual([w.reduce((s, v, i) => s + v * (turned[back(i)] ?? NaN), 0)]);
  });

  test("asked for or not, the forward pass is the same", async () => {
    using session = new Session(gpu(), graphs["both through Identity"]);
    const inputs = new Map([["image", image]]);
    const before = await session.run(inputs);
    await session.gradient(inputs, { of: "z2", seed, wrt: ["w"] });
    expect((await session.run(inputs)).get("z2")?.data).toEqual(before.get("z2")?.data);
  });

  test("scale, bias, mean and variance of a BatchNormalization that is folded otherwise", async () => {
    const network = residualNetwork(draw.weights, draw.fine, draw.scales);
    const input = draw.images([2, ...IMAGE]);
    const own = Float32Array.from({ length: 10 }, (_, i) => (i % 4) - 1);
    const wrt = ["bn1.scale", "bn1.bias", "bn1.mean"];
    const got = await gradient(gpu(), network, wrt, own, "logits", input);
    for (const name of wrt) {
      const start = network.constants.get(name);
      const f = (x: Float64Array) =>
        interpret(network, new Map([["image", wide(input)], [name, { shape: start?.shape ?? [], data: x }]])).get("logits")?.data ?? []; // prettier-ignore
      const differences = numericGradient(f, start?.data ?? [], own, 2 ** -20);
      expect(plain(got.get(name)), name).toEqual(Array.from(differences, (g) => g + 0));
    }
  });

  test("what cannot be asked is said with names and numbers", async () => {
    const graph: Graph = {
      ...graphOf(
        [
          node("Conv", ["image", "w", "b"], ["z1"], same),
          node("Conv", ["image", "v", "b"], ["z2"], same),
          node("Reshape", ["z2", "shape"], ["flat"]),
          node("ArgMax", ["z2"], ["which"], { axis: 1 }),
          node("Cast", ["which"], ["number"], { to: 1 }),
        ],
        [null, 3, 4, 4],
        ["z1", "flat", "number"],
        { ...weights, v: weights.w },
      ),
    };
    const shape: HostTensor = { type: "int64", shape: [2], data: Float64Array.of(0, -1) };
    const whole = { ...graph, constants: new Map([...graph.constants, ["shape", shape]]) };
    const error = (wrt: string[], given = seed, of = "z2") => gradient(gpu(), whole, wrt, given, of);
    await expect(error(["w"])).rejects.toMatchObject({
      code: "GRADIENT_NONE",
      message: '"z2" does not depend on "w"',
    });
    await expect(error(["z1"])).rejects.toMatchObject({ code: "GRADIENT_NONE" });
    await expect(error(["shape"], seed, "flat")).rejects.toMatchObject({
      code: "GRADIENT_TYPE",
      message: '"shape" holds int64 numbers; gradients are of and with regard to float32 values',
    });
    await expect(error(["image"], new Float32Array(32), "which")).rejects.toMatchObject({ code: "GRADIENT_TYPE" });
    await expect(error(["image"], new Float32Array(32), "number")).rejects.toMatchObject({
      code: "GRADIENT_UNSUPPORTED",
      message: 'no gradient through ArgMax "which"',
    });
    await expect(error(["v"], new Float32Array(7))).rejects.toMatchObject({
      code: "INPUT_SIZE",
      message: '"seed of z2" needs 96 numbers (2x3x4x4), given 7',
    });
    await expect(error(["vv"])).rejects.toMatchObject({ code: "VALUE_UNKNOWN" });
  });
});
