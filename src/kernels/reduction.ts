/**
 * ReduceSum, ReduceMean, ReduceMax, ... (ONNX opsets 7 to 22). Axes are an attribute up to opset 12 (ReduceSum) or 17
 * (the others), and input 1 after that.
 *
 * Gradients of ReduceMax and ReduceMin go evenly to all elements that attain the extremum, as those of PyTorch's amax
 * and amin.
 */
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { intAttr, intsAttr, intsInput, requireInput } from "./attributes.ts";
import { deviceInput, groupsFor } from "./lowering.ts";
import type { GradientLowering, Lowering, Operator, Slot } from "./operator.ts";
import { f32, spread } from "./operator.ts";
import { COUNT, foldRows, REDUCTIONS, type Reduction } from "./reduction-host.ts";
import type { Rows } from "./rows.ts";
import { rowsOf, TREE_FROM } from "./rows.ts";
import { checkedShape, normaliseAxes } from "./shape.ts";

/** Extrema of no booleans at all: false and true rather than the infinities. */
const BOOL_START = { MAX: 0, MIN: 1 } as const;

/**
 * Dispatches one reduction: `output` gets one number a row.
 * @param reference one number a row: the maximum for LOG_SUM_EXP, the value looked for by COUNT
 */
export function reduceRows(
  l: Lowering,
  op: Reduction | typeof COUNT,
  rows: Rows,
  input: Slot,
  output: Slot,
  options: { readonly reference?: Slot; readonly p?: number; readonly start?: number } = {},
): void {
  if (rows.rows === 0) return;
  const tree = rows.length >= TREE_FROM;
  const start = options.start ?? (op === COUNT ? 0 : REDUCTIONS[op].start);
  l.dispatch({
    shader: "reduce",
    entry: tree ? "tree" : "serial",
    constants: { OP: op === COUNT ? COUNT : REDUCTIONS[op].code },
    params: [...rows.geometry, rows.rows, rows.length, f32(start), f32(options.p ?? 0)],
    reads: [input, options.reference ?? input],
    writes: [output],
    workgroups: spread(tree ? rows.rows : groupsFor(rows.rows)),
    label: `${l.node.name}: ${op === COUNT ? "count" : op}`,
  });
}

/** Forward of `op` over the rows of input 0, whatever the shape of output 0. */
export function lowerReduction(l: Lowering, op: Reduction, rows: Rows, x: Slot, p = 0): void {
  const y = l.output(0).slot;
  if (op === "LOG_SUM_EXP") {
    const largest = l.scratch(rows.rows);
    reduceRows(l, "MAX", rows, x, largest);
    reduceRows(l, op, rows, x, y, { reference: largest });
  } else if (l.info(0)?.type === "bool" && op in BOOL_START) {
    reduceRows(l, op, rows, x, y, { start: BOOL_START[op as keyof typeof BOOL_START] });
  } else reduceRows(l, op, rows, x, y, { p });
}

/** Gradient of `op` over the rows of input 0. */
export function lowerReductionGradient(l: GradientLowering, op: Reduction, rows: Rows, x: Slot, p = 0): void {
  const dy = l.outputGradient(0)?.slot;
  if (dy === undefined || !l.wants(0)) return;
  const dx = l.inputGradient(0).slot;
  const elements = rows.rows * rows.length;
  if (elements === 0) return;
  const y = l.output(0).slot;
  let ties = dy;
  if (op === "MAX" || op === "MIN") {
    ties = l.scratch(rows.rows);
    reduceRows(l, COUNT, rows, x, ties, { reference: y });
  }
  l.dispatch({
    shader: "reduce_gradient",
    constants: { OP: REDUCTIONS[op].code },
    params: [...rows.geometry, rows.rows, rows.length, rows.rowsInside ? 1 : 0, f32(p)],
    reads: [dy, y, x, ties],
    writes: [dx],
    workgroups: spread(groupsFor(elements)),
    label: `${l.node.name}: gradient`,
  });
}

/** The axes reduced over, normalised and sorted. Empty: none, each element being a row of its own. */
function reducedAxes(
  node: GraphNode,
  inputs: readonly (ValueInfo | undefined)[],
  rank: number,
  fromInput: boolean,
): number[] {
  const axes = fromInput ? intsInput(node, inputs, 1, "axes") : intsAttr(node, "axes");
  if (axes === undefined || axes.length === 0) {
    const none = fromInput && intAttr(node, "noop_with_empty_axes", 0) !== 0;
    return none ? [] : Array.from({ length: rank }, (_, i) => i);
  }
  return normaliseAxes(node, axes, rank).sort((a, b) => a - b);
}

/** @param inputFrom the opset from which on the axes are input 1 */
function reduction(op: Reduction, inputFrom: number): Operator {
  const rowsIn = (l: Lowering): { rows: Rows; x: Slot } => {
    const infos = [l.info(0), l.info(1)];
    const { shape } = requireInput(l.node, infos, 0);
    const axes = reducedAxes(l.node, infos, shape.length, l.opset >= inputFrom);
    return { rows: rowsOf(l.node, shape, axes), x: deviceInput(l, 0).slot };
  };
  return {
    infer(node, inputs, opset) {
      const x = requireInput(node, inputs, 0);
      const axes = reducedAxes(node, inputs, x.shape.length, opset >= inputFrom);
      const keep = intAttr(node, "keepdims", 1) !== 0;
      const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
      const shape = checkedShape(node, keep ? kept : kept.filter((_, i) => !axes.includes(i)));
      if (x.value === undefined) return [{ type: x.type, shape }];
      const data = foldRows(x.value, rowsOf(node, x.shape, axes), op);
      const value: HostTensor = { type: x.type, shape, data };
      return [{ type: x.type, shape, value }];
    },
    forward(l) {
      if (sizeOf(l.output(0).shape) === 0) return;
      const { rows, x } = rowsIn(l);
      lowerReduction(l, op, rows, x);
    },
    gradient(l) {
      const { rows, x } = rowsIn(l);
      lowerReductionGradient(l, op, rows, x);
    },
  };
}

export const reductions: Record<string, Operator> = {
  ReduceSum: reduction("SUM", 13),
  ReduceMean: reduction("MEAN", 18),
  ReduceMax: reduction("MAX", 18),
  ReduceMin: reduction("MIN", 18),
  ReduceL1: reduction("L1", 18),
  ReduceL2: reduction("L2", 18),
  ReduceProd: reduction("PROD", 18),
  ReduceSumSquare: reduction("SUM_SQUARE", 18),
  ReduceLogSum: reduction("LOG_SUM", 18),
  ReduceLogSumExp: reduction("LOG_SUM_EXP", 18),
};
