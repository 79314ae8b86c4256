/**
 * How many inputs and outputs ONNX gives each operator, by the opset since which it holds. An input beyond them would be
 * dropped without a word: the bounds of a Slice in a file of opset 9, say, where they are attributes.
 * Source: the operators' schemas, ONNX 1.23 (opsets 7 to 28).
 */
import { must } from "../errors.ts";
import type { GraphNode } from "../graph/graph.ts";
import { modelError } from "./attributes.ts";

interface Arity {
  readonly since: number;
  /** Inputs, at least and at most. */
  readonly inputs: readonly [number, number];
  readonly outputs: number;
}

const from = (since: number, least: number, most: number, outputs = 1): Arity => ({
  since,
  inputs: [least, most],
  outputs,
});

const ARITIES: readonly (readonly [string, ...Arity[]])[] = [
  [
    "Abs ArgMax ArgMin AveragePool Cast Ceil Celu ConstantOfShape DepthToSpace Elu Erf Exp Flatten Floor Gelu " +
      "GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid HardSwish Identity LRN LeakyRelu Log LogSoftmax LpPool " +
      "MeanVarianceNormalization Mish Neg Not Reciprocal Relu Round Selu Shape Sigmoid Sign Size Softmax Softplus " +
      "Softsign SpaceToDepth Sqrt Swish Tanh ThresholdedRelu Transpose",
    from(0, 1, 1),
  ],
  [
    "Add And CastLike Div Equal Expand Gather GatherND Greater GreaterOrEqual Less LessOrEqual MatMul Mul Or PRelu Pow " +
      "Reshape Sub Tile Xor",
    from(0, 2, 2),
  ],
  ["Concat Max Mean Min Sum", from(0, 1, Infinity)],
  ["GroupNormalization InstanceNormalization Range Where", from(0, 3, 3)],
  ["Conv ConvTranspose", from(0, 2, 3)],
  ["LayerNormalization", from(0, 2, 3, 3)],
  ["BatchNormalization", from(0, 5, 5, 5), from(14, 5, 5, 3)],
  [
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare",
    from(0, 1, 1),
    from(18, 1, 2),
  ],
  ["ReduceSum Squeeze", from(0, 1, 1), from(13, 1, 2)],
  ["Unsqueeze", from(0, 1, 1), from(13, 2, 2)],
  ["Clip", from(0, 1, 1), from(11, 1, 3)],
  ["Dropout", from(0, 1, 1, 2), from(12, 1, 3, 2)],
  ["Gemm", from(0, 3, 3), from(11, 2, 3)],
  ["MaxPool", from(0, 1, 1), from(8, 1, 1, 2)],
  ["Pad", from(0, 1, 1), from(11, 2, 3), from(18, 2, 4)],
  ["Resize", from(0, 2, 2), from(11, 3, 4), from(13, 1, 4)],
  ["Slice", from(0, 1, 1), from(10, 3, 5)],
  ["Split", from(0, 1, 1, Infinity), from(13, 1, 2, Infinity)],
  ["Upsample", from(0, 1, 1), from(9, 2, 2)],
];

const byOperator: ReadonlyMap<string, readonly Arity[]> = new Map(
  ARITIES.flatMap(([names, ...arities]) => names.split(" ").map((name) => [name, arities] as const)),
);

/**
 * Checks that a node has no more inputs and outputs than its operator (those left out at the end do not count). Of inputs
 * that are missing the operator's own rule tells which.
 * @throws UnbraidError NODE_ARITY, with the node, its counts and those that its operator takes
 */
export function checkArity(node: GraphNode, opset: number): void {
  const arity = must(
    byOperator.get(node.opType)?.findLast((a) => a.since <= opset),
    `arity of ${node.opType}`,
  );
  const [least, most] = arity.inputs;
  const inputs = counted(node.inputs);
  const outputs = counted(node.outputs);
  if (inputs <= most && outputs <= arity.outputs) return;
  const range = least === most ? String(most) : most === Infinity ? `${least} or more` : `${least} to ${most}`;
  throw modelError(
    node,
    "NODE_ARITY",
    `it has ${plural(inputs, "input")} and ${plural(outputs, "output")}; at opset ${opset} the operator takes ${range} ` +
      `and gives ${arity.outputs === Infinity ? "any number" : arity.outputs === 1 ? "1" : `up to ${arity.outputs}`}`,
  );
}

const counted = (names: readonly string[]): number => names.findLastIndex((name) => name !== "") + 1;
const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
