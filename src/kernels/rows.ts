/**
 * A tensor seen as rows: some axes number the rows, the others the elements of a row. Reductions, softmax and the
 * normalisations all work on rows; this is what their kernels need to know of a shape.
 */
import type { GraphNode } from "../graph/graph.ts";
import { unsupported } from "./attributes.ts";
import { showShape, stridesOf } from "./shape.ts";

/** Rows from this length on are summed by a workgroup rather than by one invocation. Chosen by length alone. */
export const TREE_FROM = 256;
/** Axes of one sort that the kernels can index, once neighbours have been merged. */
const MOST = 4;

export interface Rows {
  readonly rows: number;
  readonly length: number;
  /** Row sizes and strides, element sizes and strides: four vec4u. */
  readonly geometry: readonly number[];
  /** Whether the innermost axis numbers rows. */
  readonly rowsInside: boolean;
}

/**
 * @param axes the axes of `shape` (normalised) whose elements make up a row
 * @throws UnbraidError UNSUPPORTED_NODE for more than four separate groups of axes (ranks above 8 only)
 */
export function rowsOf(node: GraphNode, shape: readonly number[], axes: readonly number[]): Rows {
  const inRow = new Set(axes);
  const strides = stridesOf(shape);
  const merged: { size: number; stride: number; element: boolean }[] = [];
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const element = inRow.has(axis);
    const stride = strides[axis] ?? 1;
    const last = merged.at(-1);
    if (last?.element === element) {
      last.size *= size;
      last.stride = stride;
    } else merged.push({ size, stride, element });
  });
  const part = (element: boolean): number[] => {
    const list = merged.filter((m) => m.element === element);
    if (list.length > MOST) {
      throw unsupported(
        node,
        `axes [${axes.join(",")}] of ${showShape(shape)} lie in more than ${MOST} separate groups`,
      );
    }
    const lead = Array.from({ length: MOST - list.length }, () => ({ size: 1, stride: 0 }));
    const all = [...lead, ...list];
    return [...all.map((m) => m.size), ...all.map((m) => m.stride)];
  };
  const product = (element: boolean): number => merged.reduce((n, m) => (m.element === element ? n * m.size : n), 1);
  return {
    rows: product(false),
    length: product(true),
    geometry: [...part(false), ...part(true)],
    rowsInside: merged.at(-1)?.element === false,
  };
}
