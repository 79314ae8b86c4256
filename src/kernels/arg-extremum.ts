/** ArgMax and ArgMin (ONNX opsets 7 to 13): positions along `axis`, on the device as float32. No gradient. */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { intAttr, modelError, requireInput, unsupported } from "./attributes.ts";
import { deviceInput, dispatchElements } from "./lowering.ts";
import type { Operator } from "./operator.ts";
import { normaliseAxis, showShape } from "./shape.ts";

/** Whole numbers up to this are exact in float32. */
const EXACT = 2 ** 24;

interface Lines {
  readonly rows: number;
  readonly length: number;
  readonly inner: number;
}

function linesOf(node: GraphNode, shape: readonly number[]): Lines & { axis: number } {
  const axis = normaliseAxis(node, intAttr(node, "axis", 0), shape.length);
  const length = shape[axis] ?? 1;
  return { axis, length, inner: sizeOf(shape.slice(axis + 1)), rows: length === 0 ? 0 : sizeOf(shape) / length };
}

function hostPositions(data: ArrayLike<number>, { rows, length, inner }: Lines, sense: number, last: boolean) {
  return Float64Array.from({ length: rows }, (_, row) => {
    const base = Math.floor(row / inner) * length * inner + (row % inner);
    let position = 0;
    let best = -Infinity;
    for (let k = 0; k < length; k++) {
      const value = sense * (data[base + k * inner] ?? 0);
      if (value > best || (value === best && last)) [best, position] = [value, k];
    }
    return position;
  });
}

function operator(smallest: boolean): Operator {
  const lastOf = (node: GraphNode): boolean => intAttr(node, "select_last_index", 0) !== 0;
  return {
    infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]) {
      const x = requireInput(node, inputs, 0);
      const lines = linesOf(node, x.shape);
      if (lines.length === 0) {
        throw modelError(node, "SHAPE", `axis ${lines.axis} of ${showShape(x.shape)} is empty: it has no extremum`);
      }
      if (lines.length > EXACT) {
        throw unsupported(node, `positions up to ${lines.length} exceed ${EXACT}, the largest exact in float32`);
      }
      const keep = intAttr(node, "keepdims", 1) !== 0;
      const shape = x.shape.flatMap((d, i) => (i !== lines.axis ? [d] : keep ? [1] : []));
      if (x.value === undefined) return [{ type: "int64", shape }];
      const data = hostPositions(x.value.data, lines, smallest ? -1 : 1, lastOf(node));
      return [{ type: "int64", shape, value: { type: "int64", shape, data } }];
    },
    forward(l) {
      const x = deviceInput(l, 0);
      const { rows, length, inner } = linesOf(l.node, x.shape);
      dispatchElements(l, rows, {
        shader: "arg_extremum",
        params: [rows, length, inner, smallest ? 1 : 0, lastOf(l.node) ? 1 : 0],
        reads: [x.slot],
        writes: [l.output(0).slot],
      });
    },
  };
}

export const argExtrema: Record<string, Operator> = { ArgMax: operator(false), ArgMin: operator(true) };
