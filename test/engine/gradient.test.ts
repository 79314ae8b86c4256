/**
 * A whole network, residual and branching, forward and backward, against a float64 interpreter and its differences. Its
 * numbers are chosen so that no sum rounds (network.ts): every value and every gradient must come out bit by bit.
 */
import { expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { sizeOf, type HostTensor } from "../../src/graph/graph.ts";
import { interpret, type Value } from "../reference/interpret.ts";
import { numericGradient } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { exactNumbers, IMAGE, LOGITS, residualNetwork } from "./network.ts";

const draw = exactNumbers(3);
const network = residualNetwork(draw.weights, draw.fine, draw.scales);
const images = draw.images([2, ...IMAGE]);
const wide = (t: HostTensor): Value => ({ shape: t.shape, data: Float64Array.from(t.data) });
const expected = interpret(network, new Map([["image", wide(images)]]));
const value = (name: string): Value => {
  const found = expected.get(name);
  if (found === undefined) throw new Error(`no value ${name}`);
  return found;
};

const INNER = ["z1", "n1", "a", "z2", "n2", "s", "c", "m", "v", "joined", "z3", "r", "g", "f"];

test("the numbers of this test are exact in float32, and none lies on a corner", () => {
  for (const name of [...INNER, "logits"]) {
    expect(
      value(name).data.every((v) => Math.fround(v) === v),
      name,
    ).toBe(true);
  }
  for (const name of ["n1", "s", "z3"]) {
    expect(
      value(name).data.every((v) => Math.abs(v) > 2 ** -12),
      name,
    ).toBe(true);
  }
});

/** Differences take seconds, and are the same for every adapter. */
const known = new Map<string, number[]>();
function differences(key: string, make: () => Float64Array): number[] {
  const found = known.get(key) ?? Array.from(make(), (g) => g + 0); // -0 becomes 0
  known.set(key, found);
  return found;
}

/** The values that change with this one. */
function dependents(name: string): Set<string> {
  const reached = new Set([name]);
  for (const n of network.nodes) if (n.inputs.some((i) => reached.has(i))) reached.add(n.outputs[0] ?? "");
  return reached;
}

onAdapters("a residual, branching network", (gpu) => {
  test("every value is right, by name, whichever are asked for", async () => {
    using session = new Session(gpu(), network);
    const run = (names: readonly string[]) => session.run(new Map([["image", images]]), names);
    const all = await run([...INNER, "logits", "image", "w1"]);
    for (const name of [...INNER, "logits", "image", "w1"]) {
      expect(all.get(name)?.shape, name).toEqual(value(name).shape);
      expect(all.get(name)?.data, name).toEqual(Float32Array.from(value(name).data));
    }
    // Alone, so that BatchNormalization is folded, memory is shared and branches are left out.
    for (const name of ["n1", "n2", "c", "joined", "logits"]) {
      expect((await run([name])).get(name)?.data, name).toEqual(Float32Array.from(value(name).data));
    }
  });

  test("gradients of logits and of an inner value are the differences'", async () => {
    using session = new Session(gpu(), network);
    const check = async (of: string, seed: Float32Array, wrt: readonly string[], sample = Infinity) => {
      const got = await session.gradient(new Map([["image", images]]), { of, seed, wrt });
      for (const name of wrt) {
        const start = value(name);
        const given = new Map([...expected].filter(([n]) => !dependents(name).has(n)));
        // Elements far apart where there are many: each costs two runs of the interpreter.
        const step = Math.max(1, Math.floor(start.data.length / sample));
        const chosen = Array.from({ length: Math.ceil(start.data.length / step) }, (_, i) => i * step);
        const f = (x: Float64Array): ArrayLike<number> => {
          const data = Float64Array.from(start.data);
          chosen.forEach((at, i) => (data[at] = x[i] ?? NaN));
          return interpret(network, new Map([...given, [name, { shape: start.shape, data }]])).get(of)?.data ?? [];
        };
        const point = chosen.map((at) => start.data[at] ?? NaN);
        const gradient = got.get(name);
        expect(gradient?.shape, name).toEqual(start.shape);
        // The network is linear between corners, and 2^-20 is a step that crosses none: differences are exact.
        expect(
          chosen.map((at) => (gradient?.data[at] ?? NaN) + 0), // -0 becomes 0
          `${of} by ${name}`,
        ).toEqual(differences(`${of} by ${name}`, () => numericGradient(f, point, seed, 2 ** -20)));
      }
    };
    const seed = Float32Array.from({ length: 2 * LOGITS }, (_, i) => (i % 4) - 1);
    await check("logits", seed, ["f", "g", "r", "z3", "joined", "m", "v", "b4", "b3", "w4", "w3"], 60);
    // Not c, whose zeros fill whole windows of MaxPool: corners for whoever moves one of them.
    await check("logits", seed, ["image", "z1", "n1", "a", "z2", "s", "w1", "w2"], 60);
    const inner = Float32Array.from({ length: sizeOf(value("c").shape) }, (_, i) => (i % 3) - 1);
    await check("c", inner, ["image", "w2"], 30);
    const alone = await session.gradient(new Map([["image", images]]), { of: "c", seed: inner, wrt: ["c"] });
    expect(alone.get("c")?.data).toEqual(inner);
  });
});
