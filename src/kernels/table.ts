/** All operators by ONNX type, built from the modules: adding one touches its module and, for a new module, this list. */
import type { InferRule } from "../graph/graph.ts";
import { argExtrema } from "./arg-extremum.ts";
import { checkArity } from "./arity.ts";
import { batchNormalization } from "./batch-normalization.ts";
import { binary } from "./binary.ts";
import { convolution } from "./conv.ts";
import { gatheringTuples } from "./gather-nd.ts";
import { gathering } from "./gather.ts";
import { globalPooling } from "./global-pooling.ts";
import { lrn } from "./lrn.ts";
import { matrix } from "./matmul.ts";
import { normalization } from "./normalization.ts";
import type { Operator } from "./operator.ts";
import { padding } from "./pad.ts";
import { pooling } from "./pooling.ts";
import { reductions } from "./reduction.ts";
import { reshaping } from "./reshape.ts";
import { resizes } from "./resize.ts";
import { slicing } from "./slice.ts";
import { softmax } from "./softmax.ts";
import { tensors } from "./tensors.ts";
import { transposition } from "./transpose.ts";
import { unary } from "./unary.ts";
import { variadics } from "./variadic.ts";
import { selection } from "./where.ts";

const modules: readonly Readonly<Record<string, Operator>>[] = [
  argExtrema,
  batchNormalization,
  binary,
  convolution,
  gathering,
  gatheringTuples,
  globalPooling,
  lrn,
  matrix,
  normalization,
  padding,
  pooling,
  reductions,
  reshaping,
  resizes,
  slicing,
  softmax,
  tensors,
  transposition,
  unary,
  variadics,
  selection,
];

export const operators: ReadonlyMap<string, Operator> = new Map(modules.flatMap((m) => Object.entries(m)));

const rules: ReadonlyMap<string, InferRule> = new Map(
  [...operators].map(([name, { infer }]): [string, InferRule] => [
    name,
    (node, inputs, opset) => {
      checkArity(node, opset);
      return infer(node, inputs, opset);
    },
  ]),
);

/** The operator's shape rule, behind a check of how many inputs and outputs the node has. */
export const inferRule = (opType: string): InferRule | undefined => rules.get(opType);
