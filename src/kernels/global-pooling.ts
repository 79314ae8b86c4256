/** GlobalAveragePool, GlobalMaxPool and GlobalLpPool: input [N, C, D1 .. Dn], output [N, C, 1 .. 1] (ONNX opsets 1 to 22). */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { modelError, requireInput } from "./attributes.ts";
import { wholeFours } from "./fours.ts";
import { deviceInput } from "./lowering.ts";
import type { GradientLowering, Lowering, Operator, Slot } from "./operator.ts";
import { meanFours, meanGradientFours } from "./pool-fours.ts";
import { lowerMaxGradient, lpNorm, poolOf } from "./pooling.ts";
import { lowerReduction, lowerReductionGradient } from "./reduction.ts";
import type { Reduction } from "./reduction-host.ts";
import type { Rows } from "./rows.ts";
import { rowsOf } from "./rows.ts";
import { showShape } from "./shape.ts";

function infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]): ValueInfo[] {
  const x = requireInput(node, inputs, 0);
  if (x.shape.length < 2 || x.shape.slice(2).includes(0)) {
    throw modelError(node, "SHAPE", `input ${showShape(x.shape)} is not [N,C,...] with at least one element a channel`);
  }
  return [{ type: x.type, shape: x.shape.map((d, i) => (i < 2 ? d : 1)) }];
}

/** One row a channel of an image. */
function channelRows(l: Lowering): { rows: Rows; x: Slot } {
  const x = deviceInput(l, 0);
  const axes = Array.from({ length: x.shape.length - 2 }, (_, i) => i + 2);
  return { rows: rowsOf(l.node, x.shape, axes), x: x.slot };
}

const inFours = (l: Lowering): boolean => l.standsInFours(0) && wholeFours(l.info(0)?.shape ?? []);

/** The usual norms have reductions of their own, without pow's rounding. */
const lpReduction = (p: number): Reduction => (p === 1 ? "L1" : p === 2 ? "L2" : "LP");

/** To the first maximum, as PyTorch's AdaptiveMaxPool: each channel is a line, and one window of MaxPool. */
function maxGradient(l: GradientLowering): void {
  const dy = l.outputGradient(0)?.slot;
  if (dy === undefined || !l.wants(0)) return;
  const { rows, length } = channelRows(l).rows;
  const whole = { kernel: [length], strides: [1], dilations: [1], padsBegin: [0], padsEnd: [0], output: [1] };
  lowerMaxGradient(l, poolOf(rows, [length], whole), dy);
}

export const globalPooling: Record<string, Operator> = {
  GlobalAveragePool: {
    infer,
    forward(l) {
      if (inFours(l)) {
        meanFours(l);
        return;
      }
      const { rows, x } = channelRows(l);
      lowerReduction(l, "MEAN", rows, x);
    },
    gradient(l) {
      if (inFours(l) && l.wants(0)) {
        meanGradientFours(l);
        return;
      }
      const { rows, x } = channelRows(l);
      lowerReductionGradient(l, "MEAN", rows, x);
    },
  },
  GlobalMaxPool: {
    infer,
    forward(l) {
      const { rows, x } = channelRows(l);
      lowerReduction(l, "MAX", rows, x);
    },
    gradient: maxGradient,
  },
  GlobalLpPool: {
    infer,
    forward(l) {
      const { rows, x } = channelRows(l);
      const p = lpNorm(l.node);
      lowerReduction(l, lpReduction(p), rows, x, p);
    },
    gradient(l) {
      const { rows, x } = channelRows(l);
      const p = lpNorm(l.node);
      lowerReductionGradient(l, lpReduction(p), rows, x, p);
    },
  },
};
