/** All operators by ONNX type, built from the modules: adding one touches its module and, for a new module, this list. */
import type { InferRule } from "../graph/graph.ts";
import { convolution } from "./conv.ts";
import { matrix } from "./matmul.ts";
import type { Operator } from "./operator.ts";

const modules: readonly Readonly<Record<string, Operator>>[] = [convolution, matrix];

export const operators: ReadonlyMap<string, Operator> = new Map(modules.flatMap((m) => Object.entries(m)));

export const inferRule = (opType: string): InferRule | undefined => operators.get(opType)?.infer;
