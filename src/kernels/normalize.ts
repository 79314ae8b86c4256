/** Normalisation of rows to mean 0 and variance 1, forward and backward: what the operators of normalization.ts share. */
import { sizeOf } from "../graph/graph.ts";
import { dispatchBinary } from "./binary.ts";
import { deviceInput, dispatchElements, dispatchGroups, groupsFor } from "./lowering.ts";
import type { GradientLowering, Lowering, Param, Slot } from "./operator.ts";
import { f32 } from "./operator.ts";
import { sumPerParameter } from "./parameter-gradients.ts";
import { TREE_FROM, type Rows } from "./rows.ts";

/** Element i of the tensor has parameter (i / inner) % count. */
export interface Affine {
  /** Which input of the node it is. */
  readonly input: number;
  readonly inner: number;
  readonly count: number;
}

export interface Normalisation {
  readonly rows: Rows;
  /** Inside the root, with the variance. */
  readonly epsilon: number;
  /** Added to the standard deviation. */
  readonly epsilonOutside?: number;
  readonly scale?: Affine;
  readonly bias?: Affine;
}

function paramsOf(n: Normalisation): Param[] {
  const { rows, scale, bias } = n;
  return [
    ...rows.geometry,
    rows.rows,
    rows.length,
    rows.rowsInside ? 1 : 0,
    f32(n.epsilon),
    scale?.inner ?? 1,
    scale?.count ?? 0,
    bias?.inner ?? 1,
    bias?.count ?? 0,
    f32(n.epsilonOutside ?? 0),
  ];
}

/** One number a row for each of the two, computed into `mean` and `inverse` (1 / standard deviation). */
export function statistics(l: Lowering, n: Normalisation, mean: Slot, inverse: Slot): void {
  const { rows, length } = n.rows;
  const tree = length >= TREE_FROM;
  dispatchGroups(l, tree ? rows : groupsFor(rows), {
    shader: "normalize",
    entry: tree ? "statistics_tree" : "statistics_serial",
    params: paramsOf(n),
    reads: [deviceInput(l, 0).slot],
    writes: [mean, inverse],
  });
}

/**
 * Output 0 from input 0, and the statistics of each row.
 * @param kept where the statistics are outputs of the node, their memory
 */
export function lowerNormalisation(
  l: Lowering,
  n: Normalisation,
  kept: { readonly mean?: Slot | undefined; readonly inverse?: Slot | undefined } = {},
): void {
  const x = deviceInput(l, 0);
  if (sizeOf(x.shape) === 0) return;
  const mean = kept.mean ?? l.scratch(n.rows.rows);
  const inverse = kept.inverse ?? l.scratch(n.rows.rows);
  statistics(l, n, mean, inverse);
  apply(l, n, mean, inverse, l.output(0).slot);
}

function apply(l: Lowering, n: Normalisation, mean: Slot, inverse: Slot, to: Slot): void {
  const x = deviceInput(l, 0);
  const parameter = (a: Affine | undefined): Slot => (a === undefined ? x : deviceInput(l, a.input)).slot;
  dispatchElements(l, n.rows.rows * n.rows.length, {
    shader: "normalize",
    entry: "apply",
    params: paramsOf(n),
    reads: [x.slot, mean, inverse, parameter(n.scale), parameter(n.bias)],
    writes: [to],
  });
}

/** The gradients of scale and bias, where they are wanted: sums of dy (x - mean) / deviation, and of dy. */
export function lowerAffineGradients(l: GradientLowering, n: Normalisation, dy: Slot): void {
  const elements = n.rows.rows * n.rows.length;
  const { scale, bias } = n;
  if (bias !== undefined && l.wants(bias.input)) {
    sumPerParameter(l, dy, elements, bias, l.inputGradient(bias.input).slot, "gradient of the bias");
  }
  if (scale === undefined || !l.wants(scale.input)) return;
  const products = l.scratch(elements);
  if (elements > 0) {
    const [mean, inverse] = [l.scratch(n.rows.rows), l.scratch(n.rows.rows)];
    const plain: Normalisation = { rows: n.rows, epsilon: n.epsilon, epsilonOutside: n.epsilonOutside ?? 0 };
    const normal = { slot: l.scratch(elements), shape: [elements] };
    statistics(l, plain, mean, inverse);
    apply(l, plain, mean, inverse, normal.slot);
    dispatchBinary(l, "Mul", normal, { slot: dy, shape: [elements] }, { slot: products, shape: [elements] });
  }
  sumPerParameter(l, products, elements, scale, l.inputGradient(scale.input).slot, "gradient of the scale");
}

/** The gradient of input 0, given that of output 0. Statistics are computed again: they need not be kept. */
export function lowerNormalisationGradient(l: GradientLowering, n: Normalisation, dy: Slot): void {
  const x = deviceInput(l, 0).slot;
  const { rows, length } = n.rows;
  const dx = l.inputGradient(0).slot;
  if (rows * length === 0) return;
  const mean = l.scratch(rows);
  const inverse = l.scratch(rows);
  const sums = l.scratch(2 * rows);
  statistics(l, n, mean, inverse);
  const params = paramsOf(n);
  const scale = n.scale === undefined ? x : deviceInput(l, n.scale.input).slot;
  const reads = [x, mean, inverse, scale, dy];
  const tree = length >= TREE_FROM;
  dispatchGroups(l, tree ? rows : groupsFor(rows), {
    shader: "normalize",
    entry: tree ? "sums_tree" : "sums_serial",
    params,
    reads,
    writes: [sums],
  });
  dispatchElements(l, rows * length, {
    shader: "normalize",
    entry: "gradient",
    params,
    reads: [...reads, sums],
    writes: [dx],
  });
}
