/** Products of stored matrices, seen with strides, as dispatches of shaders/matmul.wgsl. */
import { sizeOf, type Elements } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { lazyTensor } from "../graph/lazy.ts";
import { BINDING_BYTES, f32, spread, type Lowering, type Slot } from "./operator.ts";

/** A stored matrix seen with strides: element (i, j) of matrix n lies at base + n step + i row + j column. */
export interface View {
  readonly slot: Slot;
  readonly row: number;
  readonly column: number;
  readonly base?: number;
  readonly step?: number;
}

/** A constant matrix too large for one binding, cut along its rows or its columns. */
export interface Pieces {
  readonly along: "rows" | "columns";
  /** In order, with no gap between them. */
  readonly parts: readonly { readonly from: number; readonly count: number; readonly view: View }[];
}

export interface Product {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly batch?: number;
  readonly a: View;
  /** In pieces only where there is no batch. */
  readonly b: View | Pieces;
  readonly c?: View;
  readonly alpha?: number;
  readonly beta?: number;
  readonly output: Slot;
  readonly outputBase?: number;
  readonly label: string;
}

export function transposed<T extends View | Pieces>(matrix: T): T;
export function transposed(matrix: View | Pieces): View | Pieces {
  if (!("parts" in matrix)) return { ...matrix, row: matrix.column, column: matrix.row };
  const parts = matrix.parts.map((part) => ({ ...part, view: transposed(part.view) }));
  return { along: matrix.along === "rows" ? "columns" : "rows", parts };
}

/**
 * Input k, stored as [rows, columns]: on the device as it is, or a constant that is too large in pieces of its rows.
 * @param otherwise its memory where it is not
 */
export function storedMatrix(l: Lowering, k: number, columns: number, otherwise: () => Slot): View | Pieces {
  const plain = { row: columns, column: 1 };
  const value = l.info(k)?.value;
  const most = Math.floor(BINDING_BYTES / (4 * columns));
  const rows = sizeOf(value?.shape ?? [0]) / columns;
  if (value === undefined || rows <= most || most === 0) return { slot: otherwise(), ...plain };
  const each = Math.ceil(rows / Math.ceil(rows / most));
  const parts = Array.from({ length: Math.ceil(rows / each) }, (_, n) => {
    const [from, to] = [n * each, Math.min((n + 1) * each, rows)];
    const piece = (start: number, size: number): Elements =>
      value.part?.(start, size) ?? value.data.subarray(start, start + size);
    const { slot } = l.constant(`matmul: ${tensorKey(value)}, rows ${from} to ${to}`, () =>
      lazyTensor(
        "float32",
        [to - from, columns],
        () => piece(from * columns, (to - from) * columns),
        (start, size) => piece(from * columns + start, size),
      ),
    );
    return { from, count: to - from, view: { slot, ...plain } };
  });
  return { along: "rows", parts };
}

/** output = alpha a b + beta c. */
export function multiply(l: Lowering, p: Product): void {
  const { b } = p;
  if (!("parts" in b)) {
    dispatch(l, { ...p, b }, p.columns);
    return;
  }
  if (b.along === "columns") {
    for (const { from, count, view } of b.parts) {
      const c = p.c === undefined ? {} : { c: { ...p.c, base: (p.c.base ?? 0) + from * p.c.column } };
      const outputBase = (p.outputBase ?? 0) + from;
      dispatch(l, { ...p, b: view, columns: count, outputBase, ...c }, p.columns);
    }
    return;
  }
  // Along the depth: each piece is added to the sum of those before.
  let sum: Pick<Product, "c" | "beta"> = p;
  b.parts.forEach(({ from, count, view }, n) => {
    const last = n === b.parts.length - 1;
    const output = last ? p.output : l.scratch(p.rows * p.columns);
    const a = { ...p.a, base: (p.a.base ?? 0) + from * p.a.column };
    dispatch(l, { ...p, ...sum, a, b: view, depth: count, output, ...(last ? {} : { outputBase: 0 }) }, p.columns);
    sum = { c: { slot: output, row: p.columns, column: 1 }, beta: 1 };
  });
}

/** Blocks of 4 rows times columns from which on a lane computes 4 columns: enough lanes are left then. */
const WIDE = 4096;

/** @param outputRow elements from one row of the output to the next */
function dispatch(l: Lowering, p: Product & { readonly b: View }, outputRow: number): void {
  const { rows, columns, depth, batch = 1, a, b, c } = p;
  const blocks = Math.ceil(rows / 4) * batch;
  const wide = columns >= 16 && blocks * columns >= WIDE;
  l.dispatch({
    shader: "matmul",
    entry: wide ? "wide" : "main",
    params: [
      ...[rows, columns, depth, batch],
      ...[a.row, a.column, b.row, b.column],
      ...[a.base ?? 0, a.step ?? 0, b.base ?? 0, b.step ?? 0],
      ...[p.outputBase ?? 0, outputRow, c === undefined ? 0 : 1],
      ...[c?.base ?? 0, c?.row ?? 0, c?.column ?? 0],
      f32(p.alpha ?? 1),
      f32(p.beta ?? 0),
    ],
    reads: [a.slot, b.slot, (c ?? a).slot],
    writes: [p.output],
    workgroups: spread(Math.ceil(((wide ? Math.ceil(columns / 4) : columns) * blocks) / 64)),
    label: p.label,
  });
}
