/** Plans in half precision: what stands in float16, what stays float32, what it changes, and when it is refused. */
import { expect, test } from "vitest";
import { f16 } from "../../src/engine/halves.ts";
import { gradientName, makePlan, seedName } from "../../src/engine/plan.ts";
import type { Precision } from "../../src/engine/precision.ts";
import { Session } from "../../src/engine/session.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import { countNonFinite } from "../../src/engine/finite.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { halfAdapters, U16 } from "../support/half.ts";
import { tensor } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { resnet50 } from "../support/resnet50.ts";
import { graphOf, IMAGE, LOGITS, node, normalNumbers, residualNetwork } from "./network.ts";

const draw = normalNumbers(4, 0.4);
const network = residualNetwork(draw, draw, (shape) => ({
  ...draw(shape),
  data: draw(shape).data.map((v) => 1 + v / 4),
}));
const inputs = new Map([["image", [2, ...IMAGE]]]);
const images = normalNumbers(5)([2, ...IMAGE]);

test("values between kernels and laid-out weights are halves; what is seen, read in rows or a gradient is not", () => {
  const request = { inputs, outputs: ["logits", "c"], visible: ["a"], gradient: { of: "logits", wrt: ["image"] } };
  const plan = makePlan(network, { ...request, precision: f16 });
  const full = makePlan(network, request);
  const isHalf = (id: number): boolean => plan.slots[id]?.precision === f16;
  const writers = plan.calls.filter((call) => call.writes.some((slot) => isHalf(slot.id))).map((call) => call.label);
  // "a" and "c", which n1 and z2 write with what is fused, are to be seen; g is read by a Gemm, in rows.
  const halves = [
    "image: to fours",
    "z1",
    "m: maximum_noted",
    "v: average",
    "joined: input 0",
    "joined: input 1",
    "z3",
  ];
  expect(writers).toEqual(halves);
  for (const tensors of [plan.results, plan.inputs])
    for (const [name, { slot }] of tensors) expect(isHalf(slot.id), name).toBe(false);
  const weights = plan.slots.filter((slot) => slot.precision === f16 && slot.kind === "constant");
  expect(weights.length).toBeGreaterThanOrEqual(3);
  for (const { key = "" } of weights) expect(key).toMatch(/^conv: .*f16$/);
  // The same dispatches on half the bytes.
  expect(plan.calls.map((call) => call.label)).toEqual(full.calls.map((call) => call.label));
  expect(full.slots.some((slot) => slot.precision === f16)).toBe(false);
  expect(full.calls.some((call) => nameOf(call.shader).includes("halves"))).toBe(false);
  plan.slots.forEach((slot, id) => {
    expect(slot.bytes).toBe((full.slots[id]?.bytes ?? NaN) / (slot.precision === f16 ? 2 : 1));
  });
});

test("ResNet-50: weights take half of the bytes, activations two thirds, for Winograd's components stay float32", () => {
  const graph = buildGraph(decodeModel(resnet50({ folded: true, seed: 1 })));
  const bytes = (precision?: Precision) => {
    const request = { inputs: new Map([["input", [8, 3, 224, 224]]]), outputs: ["logits"], precision };
    const plan = makePlan(graph, request, { subgroups: 8, workgroupBytes: 16384 });
    const weights = plan.slots.reduce((sum, slot) => sum + (slot.kind === "constant" ? slot.bytes : 0), 0);
    return { weights, live: plan.liveBytes };
  };
  const [full, half] = [bytes(), bytes(f16)];
  expect(half.weights / full.weights).toBeLessThan(0.505);
  expect(half.live / full.live).toBeLessThan(0.75);
});

test("proofs are refused: their bounds are float32's", () => {
  const request = { inputs, outputs: ["logits"], plainSums: true, precision: f16 } as const;
  expect(() => makePlan(network, request)).toThrow(/half precision/);
});

test.each([...testAdapters])("a device without shader-f16 is refused, on %s", async (name) => {
  using adapter = await openTestAdapter(name).then((a) => ({
    ...a,
    [Symbol.dispose]: () => {
      a.close();
    },
  }));
  const device = await adapter.adapter.requestDevice(); // with no features
  using gpu = Gpu.borrow(device);
  expect(() => new Session(gpu, network, { precision: f16 })).toThrow(
    expect.objectContaining({
      code: "PRECISION_MISSING",
      remedy: expect.stringContaining("precision f32") as string,
    }) as Error,
  );
  using session = new Session(gpu, network);
  await expect(session.prepare({ inputs, outputs: ["logits"], precision: f16 })).rejects.toMatchObject({
    code: "PRECISION_MISSING",
  });
  device.destroy();
});

onAdapters(
  "a network in half precision",
  (gpu) => {
    const relative = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
      let [error, size] = [0, 0];
      for (let i = 0; i < a.length; i++) {
        error += ((a[i] ?? NaN) - (b[i] ?? NaN)) ** 2;
        size += (a[i] ?? NaN) ** 2;
      }
      return Math.sqrt(error / size);
    };

    test("a plan that asks for no precision has its session's", async () => {
      using session = new Session(gpu(), network, { precision: f16 });
      const { plan } = await session.prepare({ inputs, outputs: ["logits"], precision: undefined });
      expect(plan.slots.some((slot) => slot.precision === f16)).toBe(true);
    });

    test("its values and gradient are float32's but for float16's rounding, the same in any batch", async () => {
      using full = new Session(gpu(), network);
      using half = new Session(gpu(), network, { precision: f16 });
      const feed = new Map([["image", images]]);
      const values = async (session: Session) =>
        (await session.run(feed, ["logits", "side"])).get("logits")?.data ?? [];
      // Three convolutions, a Gemm and seven stored values lie on the way: each rounds its inputs or weights by at most u16
      // of their size. Roundings that go either way partly cancel; sums of opposite signs enlarge what is left, so that the bound
      // takes all 11 as they are.
      const [a, b] = [await values(full), await values(half)];
      expect(relative(a, b)).toBeLessThan(11 * U16);
      expect(relative(a, b)).toBeGreaterThan(U16 / 16);
      const seed = new Float32Array(2 * LOGITS);
      seed[1] = seed[LOGITS + 3] = 1;
      const gradient = async (session: Session) =>
        (await session.gradient(feed, { of: "logits", seed, wrt: ["image"] })).get("image")?.data ?? [];
      const [da, db] = [await gradient(full), await gradient(half)];
      // Backward, a Relu or a maximum may decide otherwise between numbers that rounding has made equal: an element then goes
      // another way, or none. Directions agree all the same.
      const dot = Array.from(da).reduce((sum, v, i) => sum + v * (db[i] ?? NaN), 0);
      const length = (v: ArrayLike<number>) => Math.sqrt(Array.from(v).reduce((sum, x) => sum + x * x, 0));
      expect(dot / length(da) / length(db)).toBeGreaterThan(0.999);
      expect(relative(da, db)).toBeGreaterThan(U16 / 16);
      const second = { ...images, shape: [1, ...IMAGE], data: images.data.slice(images.data.length / 2) };
      const alone = (await half.run(new Map([["image", second]]), ["logits"])).get("logits")?.data;
      expect(Array.from(alone ?? [])).toEqual(Array.from(b).slice(LOGITS));
    });

    test("the gradient of a smooth network: only weights and what slopes are made of are rounded", async () => {
      const weights = normalNumbers(8, 0.3);
      const same = { pads: [1, 1, 1, 1] };
      const smooth = graphOf(
        [
          node("Conv", ["image", "w1"], ["z1"], same),
          node("Tanh", ["z1"], ["t1"]),
          node("Conv", ["t1", "w2"], ["z2"], same),
          node("Sigmoid", ["z2"], ["t2"]),
          node("AveragePool", ["t2"], ["p"], { kernel_shape: [2, 2], strides: [2, 2] }),
          node("Conv", ["p", "w3"], ["y"]),
        ],
        [2, ...IMAGE],
        ["y"],
        { w1: weights([16, 3, 3, 3]), w2: weights([16, 16, 3, 3]), w3: weights([4, 16, 4, 4]) },
      );
      const gradients: ArrayLike<number>[] = [];
      for (const precision of [undefined, f16]) {
        using session = new Session(gpu(), smooth, { precision });
        const seed = Float32Array.from({ length: 8 }, (_, k) => (k % 3) - 1);
        const got = await session.gradient(new Map([["image", images]]), { of: "y", seed, wrt: ["image"] });
        gradients.push(got.get("image")?.data ?? []);
      }
      const [full = [], half = []] = gradients;
      // Three times weights, one of them Winograd's (8 times, as the bench's bound has it), twice a slope of rounded numbers; each
      // slope's argument has come through roundings of the two layers before it.
      expect(relative(full, half)).toBeLessThan((3 + 8 + 2 * 4) * U16);
      expect(relative(full, half)).toBeGreaterThan(U16 / 16);
    });

    test("a session holds both precisions beside each other", async () => {
      using session = new Session(gpu(), network);
      const run = async (precision?: Precision) => {
        const executable = await session.prepare({ inputs, outputs: ["logits"], precision });
        executable.run(new Map([["image", Float32Array.from(images.data)]]));
        return Array.from((await executable.read(["logits"])).get("logits") ?? []);
      };
      const [a, b] = [await run(f16), await run()];
      expect(a).not.toEqual(b);
      expect(await run(f16)).toEqual(a);
      expect(await run()).toEqual(b);
    });

    test("an activation beyond float16 becomes infinite, and is seen at the output", async () => {
      const ones = (n: number): number[] => new Array<number>(n).fill(1);
      const graph = graphOf(
        [node("Conv", ["image", "w"], ["big"]), node("Conv", ["big", "v"], ["small"])],
        [1, 4, 2, 2],
        ["small"],
        {
          w: tensor(
            [4, 4, 1, 1],
            ones(16).map(() => 100),
          ),
          v: tensor(
            [4, 4, 1, 1],
            ones(16).map(() => 2 ** -10),
          ),
        },
      );
      const feed = new Map([
        [
          "image",
          tensor(
            [1, 4, 2, 2],
            ones(16).map(() => 200),
          ),
        ],
      ]);
      using full = new Session(gpu(), graph);
      using half = new Session(gpu(), graph, { precision: f16 });
      expect(countNonFinite((await full.run(feed)).get("small")?.data ?? [NaN])).toBe(0);
      expect(countNonFinite((await half.run(feed)).get("small")?.data ?? [])).toBe(16);
    });

    test("a gradient that float16 could not hold", async () => {
      const graph = graphOf(
        [node("Conv", ["image", "w"], ["y"]), node("Conv", ["y", "w"], ["z"])],
        [1, 4, 1, 1],
        ["z"],
        {
          w: tensor([4, 4, 1, 1], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]),
        },
      );
      using session = new Session(gpu(), graph, { precision: f16 });
      const executable = await session.prepare({
        inputs: new Map([["image", [1, 4, 1, 1]]]),
        outputs: [],
        gradient: { of: "z", wrt: ["image"] },
      });
      const seed = Float32Array.of(2 ** -100, 2 ** -40, 1e10, 1 + 2 ** -20);
      executable.run(
        new Map([
          ["image", new Float32Array(4)],
          [seedName("z"), seed],
        ]),
      );
      const name = gradientName("image");
      expect((await executable.read([name])).get(name)).toEqual(seed);
    });
  },
  halfAdapters,
);
