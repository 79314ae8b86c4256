/**
 * Operators that take tensors in fours: behind a convolution that copies its input (so that what they read stands in
 * fours) they must give what they give on rows.
 */
import { expect, test } from "vitest";
import { makePlan } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import type { AttributeValue, Graph, HostTensor } from "../../src/graph/graph.ts";
import { expectWithin, randomTensor, tensor, U } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { graphOf, node } from "../engine/network.ts";

interface Case {
  readonly title: string;
  readonly opType: string;
  readonly shape: readonly number[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Inputs beside the first; "copy" is the copied image again. */
  readonly others?: readonly (HostTensor | "copy")[];
  /** The operator then takes the square roots of the image: those of negative numbers are none. */
  readonly roots?: boolean;
  /** The kernel that must have run. */
  readonly ran: string;
  /** Terms of a sum that may run in another order; none where the bits must agree. */
  readonly terms?: number;
}

const positive = (n: number, seed: number): HostTensor => randomTensor([n], seed, 0.5, 1.5);
const pool = { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] };

const cases: readonly Case[] = [
  { title: "Relu", opType: "Relu", shape: [2, 8, 5, 7], ran: "unary: main" },
  { title: "Sigmoid of a signal", opType: "Sigmoid", shape: [2, 12, 9], ran: "unary: main" },
  { title: "Add to itself", opType: "Add", shape: [2, 8, 5, 7], others: ["copy"], ran: "binary: same_shape" },
  { title: "MaxPool", opType: "MaxPool", shape: [2, 8, 9, 7], attributes: pool, ran: "pool_fours: maximum" },
  {
    title: "MaxPool of roots, not-a-number for half of the numbers",
    opType: "MaxPool",
    shape: [2, 8, 9, 7],
    attributes: pool,
    roots: true,
    ran: "pool_fours: maximum",
  },
  {
    title: "MaxPool, dilated, of a signal",
    opType: "MaxPool",
    shape: [2, 4, 13],
    attributes: { kernel_shape: [3], dilations: [2], strides: [2], pads: [1, 2] },
    ran: "pool_fours: maximum",
  },
  {
    title: "AveragePool",
    opType: "AveragePool",
    shape: [2, 8, 9, 7],
    attributes: pool,
    ran: "pool_fours: average",
    terms: 6,
  },
  {
    title: "AveragePool, ceil_mode, padding counted",
    opType: "AveragePool",
    shape: [1, 4, 8, 8],
    attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 0, 0], ceil_mode: 1, count_include_pad: 1 },
    ran: "pool_fours: average",
    terms: 9,
  },
  { title: "GlobalAveragePool", opType: "GlobalAveragePool", shape: [2, 12, 9, 7], ran: "pool_fours: mean", terms: 63 },
  {
    title: "BatchNormalization",
    opType: "BatchNormalization",
    shape: [2, 8, 6, 23],
    others: [positive(8, 2), randomTensor([8], 3), randomTensor([8], 4), positive(8, 5)],
    ran: "channels_fours: affine",
    terms: 4,
  },
  {
    title: "Mul by a factor for each channel",
    opType: "Mul",
    shape: [3, 8, 12, 11],
    others: [randomTensor([3, 8, 1, 1], 2)],
    ran: "channels_fours: scale",
  },
  {
    title: "Concat",
    opType: "Concat",
    shape: [2, 8, 12, 11],
    attributes: { axis: 1 },
    others: [randomTensor([2, 4, 12, 11], 2), "copy"],
    ran: "channels_fours: join",
  },
];

/** The operator behind a 1x1 convolution by the identity, and on the image itself. */
function network(c: Case): Graph {
  const [, channels = 0, ...image] = c.shape;
  const identity = Array.from({ length: channels * channels }, (_, i) => (i % (channels + 1) === 0 ? 1 : 0));
  const others = c.others ?? [];
  const inputs = (first: string): string[] => [first, ...others.map((o, k) => (o === "copy" ? first : `other${k}`))];
  const constants = Object.fromEntries(others.flatMap((o, k) => (o === "copy" ? [] : [[`other${k}`, o] as const])));
  return graphOf(
    [
      node("Conv", ["image", "identity"], ["copy"]),
      node("Sqrt", ["copy"], ["copy root"]),
      node("Sqrt", ["image"], ["image root"]),
      node(c.opType, inputs(c.roots === true ? "copy root" : "copy"), ["inFours"], { ...c.attributes }),
      node(c.opType, inputs(c.roots === true ? "image root" : "image"), ["inRows"], { ...c.attributes }),
    ],
    [...c.shape],
    ["inFours", "inRows"],
    { identity: tensor([channels, channels, ...image.map(() => 1)], identity), ...constants },
  );
}

onAdapters("operators on tensors in fours", (gpu) => {
  test.each(cases)("$title", async (c) => {
    const graph = network(c);
    const x = randomTensor(c.shape, 7);
    const plan = makePlan(graph, { inputs: new Map([["image", c.shape]]), outputs: ["copy", "inFours"] }, gpu());
    expect(plan.calls.map((call) => `${nameOf(call.shader)}: ${call.entry ?? "main"}`)).toContain(c.ran);
    using session = new Session(gpu(), graph);
    const got = await session.run(new Map([["image", x]]), ["copy", "inFours", "inRows"]);
    const [fours, rows] = [got.get("inFours"), got.get("inRows")];
    expect(fours?.shape).toEqual(rows?.shape);
    if (c.terms === undefined) expect(fours?.data).toEqual(rows?.data);
    else {
      // Both round each addition of terms of size 1 to 3 at most, and the division by 2.5 units in the last place (5 u).
      const bound = 2 * (c.terms + 5) * U * 3;
      expectWithin(fours?.data ?? [], rows?.data ?? [], () => bound);
    }
  });
});

/** Pools whose gradient is taken in fours, behind a Relu whose step back they do, and with another reader of its result. */
const pooled: readonly (Pick<Case, "title" | "opType" | "shape" | "attributes" | "ran"> & { readonly twice?: true })[] =
  [
    { title: "MaxPool", opType: "MaxPool", shape: [2, 8, 9, 7], attributes: pool, ran: "pool_fours: max_gradient" },
    {
      title: "MaxPool, its input read twice",
      opType: "MaxPool",
      shape: [2, 8, 8, 8],
      attributes: { kernel_shape: [3, 3], strides: [1, 1], pads: [1, 1, 1, 1] },
      ran: "pool_fours: max_gradient",
      twice: true,
    },
    {
      title: "MaxPool, dilated, of a signal",
      opType: "MaxPool",
      shape: [2, 4, 13],
      attributes: { kernel_shape: [3], dilations: [2], strides: [2], pads: [1, 2] },
      ran: "pool_fours: max_gradient",
    },
    {
      title: "MaxPool of rows of 5 by windows that leave some out",
      opType: "MaxPool",
      shape: [3, 4, 11, 5],
      attributes: { kernel_shape: [2, 2], strides: [3, 3] },
      ran: "pool_fours: max_gradient",
    },
    { title: "GlobalAveragePool", opType: "GlobalAveragePool", shape: [2, 12, 9, 7], ran: "pool_fours: mean_gradient" },
    {
      title: "GlobalAveragePool, its input read twice",
      opType: "GlobalAveragePool",
      shape: [2, 12, 4, 4],
      ran: "pool_fours: mean_gradient",
      twice: true,
    },
  ];

onAdapters("gradients of pools in fours", (gpu) => {
  test.each(pooled)("$title", async ({ opType, shape, attributes, ran, twice }) => {
    const [, channels = 0, ...image] = shape;
    const identity = Array.from({ length: channels * channels }, (_, i) => (i % (channels + 1) === 0 ? 1 : 0));
    /** In fours with convolutions before and behind that change nothing, in rows without. */
    const made = (inFours: boolean): Graph =>
      graphOf(
        [
          node(inFours ? "Conv" : "Identity", inFours ? ["image", "identity"] : ["image"], ["z"]),
          node("Relu", ["z"], ["a"]),
          node(opType, ["a"], ["pooled"], { ...attributes }),
          node(inFours ? "Conv" : "Identity", inFours ? ["pooled", "identity"] : ["pooled"], ["out"]),
          // Its gradient is the first of two, for nodes are passed from the back.
          node(inFours ? "Conv" : "Identity", inFours ? ["a", "identity"] : ["a"], ["side"]),
          node("ReduceSum", ["side"], ["sideSum"], { keepdims: 1, axes: image.map((_, k) => k + 2) }),
          node("Add", ["out", "sideSum"], ["both"]),
        ],
        [...shape],
        ["both"],
        { identity: tensor([channels, channels, ...image.map(() => 1)], identity) },
      );
    // Few values, so that windows have ties, half of them not positive.
    const x = randomTensor(shape, 7, -2.5, 2.5);
    const feed = new Map([["image", { ...x, data: Float32Array.from(x.data, Math.round) }]]);
    const of = twice === true ? "both" : "out";
    const gradients: HostTensor[] = [];
    for (const inFours of [true, false]) {
      using session = new Session(gpu(), made(inFours));
      const size = (await session.run(feed, [of])).get(of)?.data.length ?? 0;
      const seed = Float32Array.from(randomTensor([size], 3).data);
      const executable = await session.prepare({
        inputs: new Map([["image", shape]]),
        outputs: [],
        gradient: { of, wrt: ["z"] },
      });
      const ways = executable.plan.calls.map((call) => `${nameOf(call.shader)}: ${call.entry ?? "main"}`);
      if (inFours) expect(ways).toContain(ran);
      else expect(ways).not.toContain(ran);
      const got = await session.gradient(feed, { of, seed, wrt: ["z"] });
      gradients.push(got.get("z") ?? tensor([0], []));
    }
    // A masked number times 0 may be -0, which is as good.
    const [fours, rows] = gradients.map((g) => Array.from(g.data, (v) => v + 0));
    expect(fours?.some((v) => v !== 0)).toBe(true);
    if (opType === "MaxPool") expect(fours).toEqual(rows);
    // Both round a division (2.5 units in the last place, 5 u) and an addition of numbers below 2 each.
    else expectWithin(fours ?? [], rows ?? [], () => 2 * 6 * U * 2);
  });
});
