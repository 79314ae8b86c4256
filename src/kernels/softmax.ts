/**
 * Softmax and LogSoftmax. Up to opset 12 the input is flattened to two dimensions at `axis` (default 1) and a row is all
 * of the second; from opset 13 on a row is one line along `axis` (default -1).
 */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { intAttr, requireInput } from "./attributes.ts";
import { dataGradient, deviceInput, dispatchElements, dispatchGroups } from "./lowering.ts";
import type { Lowering, Operator, Slot } from "./operator.ts";
import { TREE_FROM } from "./rows.ts";
import { normaliseAxis } from "./shape.ts";

interface Lines {
  readonly rows: number;
  readonly length: number;
  /** Stride of a row's elements. */
  readonly inner: number;
}

function linesOf(node: GraphNode, shape: readonly number[], opset: number): Lines {
  const perAxis = opset >= 13;
  const given = intAttr(node, "axis", perAxis ? -1 : 1);
  // Before opset 13 the axis may be the rank itself: rows of one element.
  const axis = !perAxis && given === shape.length ? given : normaliseAxis(node, given, Math.max(shape.length, 1));
  const length = perAxis ? (shape[axis] ?? 1) : sizeOf(shape.slice(axis));
  const inner = perAxis ? sizeOf(shape.slice(axis + 1)) : 1;
  return { rows: length === 0 ? 0 : sizeOf(shape) / length, length, inner };
}

function dispatch(l: Lowering, logarithm: boolean, prefix: string, reads: readonly Slot[], write: Slot): void {
  const { rows, length, inner } = linesOf(l.node, deviceInput(l, 0).shape, l.opset);
  const tree = length >= TREE_FROM;
  const step = {
    shader: "softmax",
    entry: `${prefix}${tree ? "tree" : "serial"}`,
    params: [rows, length, inner, logarithm ? 1 : 0],
    reads,
    writes: [write],
  } as const;
  if (tree) dispatchGroups(l, rows, step);
  else dispatchElements(l, rows, step);
}

function operator(logarithm: boolean): Operator {
  return {
    infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[], opset: number) {
      const x = requireInput(node, inputs, 0);
      linesOf(node, x.shape, opset);
      return [{ type: x.type, shape: x.shape }];
    },
    forward(l) {
      dispatch(l, logarithm, "", [deviceInput(l, 0).slot], l.output(0).slot);
    },
    gradient(l) {
      const dy = dataGradient(l);
      if (dy === undefined) return;
      dispatch(l, logarithm, "gradient_", [dy.slot, l.output(0).slot], l.inputGradient(0).slot);
    },
  };
}

export const softmax: Record<string, Operator> = { Softmax: operator(false), LogSoftmax: operator(true) };
