/**
 * A small network with what makes plans hard: a residual connection, branches that join, a BatchNormalization after each
 * Conv, an aliased reshape, a second output, and values that nothing needs.
 *
 *   image [n,3,8,8] -conv1-> z1 -bn1-> n1 -relu-> a -conv2-> z2 -bn2-> n2;  n2 + a -> s -relu-> c
 *   c -maxpool-> m, c -averagepool-> v;  [m, v] -> joined -conv3-> z3 -relu-> r -globalpool-> g -flatten-> f -gemm-> logits
 *   z1 -sigmoid-> side (an output of its own); c -relu-> unused
 */
import type { AttributeValue, Graph, GraphNode, HostTensor } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { Random } from "../support/random.ts";

export const node = (
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
): GraphNode => ({
  name: outputs[0] ?? opType,
  opType,
  inputs,
  outputs,
  attributes: new Map(Object.entries(attributes)),
});

export const graphOf = (
  nodes: readonly GraphNode[],
  input: readonly (number | null)[],
  outputs: readonly string[],
  constants: Readonly<Record<string, HostTensor>> = {},
): Graph => ({
  opset: 17,
  nodes,
  constants: new Map(Object.entries(constants)),
  inputs: [{ name: "image", type: "float32", shape: input }],
  outputs,
});

/** Numbers by shape from a rule: `draw` is called once an element. */
export type Draw = (shape: readonly number[]) => HostTensor;

/** Normally distributed numbers. */
export function normalNumbers(seed: number, scale = 1): Draw {
  const random = new Random(seed);
  return (shape) => ({
    type: "float32",
    shape,
    data: Float32Array.from({ length: sizeOf(shape) }, () => scale * random.normal()),
  });
}

/**
 * Weights and images with which every sum in the network and in its gradients is exact in float32, in any order: weights
 * are -1, 0 or 1, images multiples of 2^-6, biases and means odd multiples of 2^-8, so that no value before a Relu is 0;
 * scales are 0.5 or -0.5 and variances 1. What a float64 computation gives must then come out bit by bit.
 */
export function exactNumbers(seed: number): { weights: Draw; fine: Draw; scales: Draw; images: Draw } {
  const random = new Random(seed);
  const draw =
    (one: () => number): Draw =>
    (shape) => ({ type: "float32", shape, data: Float32Array.from({ length: sizeOf(shape) }, one) });
  return {
    weights: draw(() => random.below(3) - 1),
    fine: draw(() => (2 * random.below(64) - 63) / 256),
    scales: draw(() => random.below(2) - 0.5),
    images: draw(() => (random.below(129) - 64) / 64),
  };
}

export const IMAGE = [3, 8, 8] as const;
export const LOGITS = 5;

export function residualNetwork(weights: Draw, fine: Draw, scales: Draw): Graph {
  const one = (n: number): HostTensor => ({ type: "float32", shape: [n], data: new Float32Array(n).fill(1) });
  const norm = (name: string, n: number) => ({
    [`${name}.scale`]: scales([n]),
    [`${name}.bias`]: fine([n]),
    [`${name}.mean`]: fine([n]),
    [`${name}.variance`]: one(n),
  });
  const bn = (name: string, x: string, y: string) =>
    node("BatchNormalization", [x, `${name}.scale`, `${name}.bias`, `${name}.mean`, `${name}.variance`], [y], {
      epsilon: 0,
    });
  const same = { kernel_shape: [3, 3], pads: [1, 1, 1, 1] };
  const halve = { kernel_shape: [2, 2], strides: [2, 2] };
  return graphOf(
    [
      node("Conv", ["image", "w1"], ["z1"], same),
      bn("bn1", "z1", "n1"),
      node("Relu", ["n1"], ["a"]),
      node("Sigmoid", ["z1"], ["side"]),
      node("Conv", ["a", "w2"], ["z2"], same),
      bn("bn2", "z2", "n2"),
      node("Add", ["n2", "a"], ["s"]),
      node("Relu", ["s"], ["c"]),
      node("Relu", ["c"], ["unused"]),
      node("MaxPool", ["c"], ["m"], halve),
      node("AveragePool", ["c"], ["v"], halve),
      node("Concat", ["m", "v"], ["joined"], { axis: 1 }),
      node("Conv", ["joined", "w3", "b3"], ["z3"]),
      node("Relu", ["z3"], ["r"]),
      node("GlobalAveragePool", ["r"], ["g"]),
      node("Flatten", ["g"], ["f"]),
      node("Gemm", ["f", "w4", "b4"], ["logits"], { transB: 1 }),
    ],
    [null, ...IMAGE],
    ["logits", "side"],
    {
      w1: weights([8, 3, 3, 3]),
      w2: weights([8, 8, 3, 3]),
      w3: weights([12, 16, 1, 1]),
      b3: fine([12]),
      w4: weights([LOGITS, 12]),
      b4: fine([LOGITS]),
      ...norm("bn1", 8),
      ...norm("bn2", 8),
    },
  );
}
