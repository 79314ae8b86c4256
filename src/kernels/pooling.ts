/**
 * MaxPool, AveragePool and LpPool (ONNX opsets 7 to 22) over one, two or three spatial axes.
 * Input [N, C, D1 .. Dn], output [N, C, O1 .. On].
 */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { intAttr, intsAttr, modelError, required, requireInput, unsupported } from "./attributes.ts";
import { wholeFours } from "./fours.ts";
import { dataGradient, deviceInput, dispatchElements, hasOutput } from "./lowering.ts";
import type { GradientLowering, Lowering, Operator, Param, Slot } from "./operator.ts";
import { f32 } from "./operator.ts";
import { averageFours, maxGradientFours, maximumFours, type Range } from "./pool-fours.ts";
import { lowerReduction } from "./reduction.ts";
import { rowsOf, TREE_FROM, type Rows } from "./rows.ts";
import { checkedShape, showShape } from "./shape.ts";
import type { Spatial } from "./spatial.ts";
import { extent, resolveSpatial } from "./spatial.ts";

/** Whole numbers up to this are exact in float32. */
const EXACT = 2 ** 24;

function resolvePool(node: GraphNode, shape: readonly number[]): Spatial {
  const spatial = shape.slice(2);
  if (spatial.length < 1) {
    throw modelError(node, "SHAPE", `input ${showShape(shape)} has no spatial axes, but needs [N,C,...]`);
  }
  if (spatial.length > 3) {
    throw unsupported(
      node,
      `input ${showShape(shape)} has ${spatial.length} spatial axes; pooling is done over up to 3`,
    );
  }
  const kernel = required(node, "kernel_shape", intsAttr(node, "kernel_shape", undefined, spatial.length));
  const window = resolveSpatial(node, spatial, kernel, { ceilMode: intAttr(node, "ceil_mode", 0) !== 0 });
  kernel.forEach((k, axis) => {
    const span = extent(k, window.dilations[axis] ?? 1);
    const pad = Math.max(window.padsBegin[axis] ?? 0, window.padsEnd[axis] ?? 0);
    if (pad >= span) {
      throw modelError(
        node,
        "ATTRIBUTE",
        `pad ${pad} of spatial axis ${axis} is not smaller than the window's ${span}`,
      );
    }
  });
  return window;
}

/** Output 0, and where the node has it output 1 (positions of maxima). */
function inferPool(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]): ValueInfo[] {
  const x = requireInput(node, inputs, 0);
  const shape = checkedShape(node, [...x.shape.slice(0, 2), ...resolvePool(node, x.shape).output]);
  if (node.outputs.length < 2) return [{ type: x.type, shape }];
  if (sizeOf(x.shape) > EXACT) {
    throw unsupported(node, `positions in ${sizeOf(x.shape)} elements exceed ${EXACT}, the largest exact in float32`);
  }
  return [
    { type: x.type, shape },
    { type: "int64", shape },
  ];
}

/** `list` as x, y, z with leading `fill`, then `w`. */
const vec4 = (list: readonly number[], fill: number, w: number): number[] => [
  ...new Array<number>(3 - list.length).fill(fill),
  ...list,
  w,
];

export interface Pool {
  readonly window: Spatial;
  /** Sizes of the spatial axes. */
  readonly spatial: readonly number[];
  readonly planes: number;
  readonly inputs: number;
  readonly outputs: number;
  /** The six vectors with which the parameter blocks of both shaders begin. */
  readonly geometry: readonly number[];
}

export function poolOf(planes: number, spatial: readonly number[], window: Spatial): Pool {
  const geometry = [
    ...vec4(spatial, 1, sizeOf(spatial)),
    ...vec4(window.output, 1, sizeOf(window.output)),
    ...vec4(window.kernel, 1, 0),
    ...vec4(window.strides, 1, 0),
    ...vec4(window.dilations, 1, 0),
    ...vec4(window.padsBegin, 0, 0),
  ];
  const [inputs, outputs] = [planes * sizeOf(spatial), planes * sizeOf(window.output)];
  return { window, spatial, planes, inputs, outputs, geometry };
}

function pool(l: Lowering): Pool {
  const shape = l.input(0)?.shape ?? [];
  return poolOf(sizeOf(shape.slice(0, 2)), shape.slice(2), resolvePool(l.node, shape));
}

/** Input 0. */
const source = (l: Lowering): Slot => deviceInput(l, 0).slot;

/** One invocation for each of `elements`. */
function run(
  l: Lowering,
  shader: "max_pool" | "average_pool",
  entry: string,
  params: readonly Param[],
  elements: number,
  reads: readonly Slot[],
  write: Slot,
): void {
  dispatchElements(l, elements, { shader, entry, params, reads, writes: [write] });
}

const windowOf = (l: Lowering): Spatial => resolvePool(l.node, l.info(0)?.shape ?? []);

/** Whether the input stands in fours, whole ones: one or two spatial axes. */
const inFours = (l: Lowering): boolean => l.standsInFours(0) && wholeFours(l.info(0)?.shape ?? []);

const maxParams = (l: Lowering, p: Pool): Param[] => [...p.geometry, p.planes, intAttr(l.node, "storage_order", 0)];

/** The gradient of input 0, of maxima over the windows of `p`. */
export function lowerMaxGradient(l: GradientLowering, p: Pool, dy: Slot): void {
  const params = [...p.geometry, p.planes, 0];
  const chosen = l.scratch(p.outputs);
  run(l, "max_pool", "argmax", params, p.outputs, [source(l)], chosen);
  const width = p.spatial.at(-1) ?? 0;
  const fours = width === 0 ? 0 : (p.inputs / width) * Math.ceil(width / 4);
  run(l, "max_pool", "gradient", params, fours, [dy, chosen], l.inputGradient(0).slot);
}

/**
 * Gradient: to the first maximum of each window in row-major order, as PyTorch's. A NaN in a window is its maximum, as in
 * PyTorch: what is wrong must not disappear. A window wholly in the padding (possible with dilations only) gives the lowest
 * float32.
 */
const MaxPool: Operator = {
  infer: inferPool,
  forward(l) {
    if (!hasOutput(l, 1) && inFours(l)) {
      maximumFours(l, windowOf(l));
      return;
    }
    const p = pool(l);
    const x = source(l);
    run(l, "max_pool", "forward", maxParams(l, p), p.outputs, [x], l.output(0).slot);
    if (hasOutput(l, 1)) {
      run(l, "max_pool", "indices", maxParams(l, p), p.outputs, [x], l.output(1).slot);
    }
  },
  gradient(l) {
    if (l.noted !== undefined && l.gradientStandsInFours(0) && l.wants(0)) {
      maxGradientFours(l, windowOf(l), l.noted);
      return;
    }
    const dy = dataGradient(l);
    if (dy !== undefined) lowerMaxGradient(l, pool(l), dy.slot);
  },
};

/** Which taps, counted in the padded input, enter the divisor of an average. */
function counted(l: Lowering, { padsBegin, padsEnd }: Spatial): Range {
  const spatial = (l.info(0)?.shape ?? []).slice(2);
  const includePad = intAttr(l.node, "count_include_pad", 0) !== 0;
  return {
    from: includePad ? padsBegin.map(() => 0) : padsBegin,
    to: spatial.map((size, i) => size + (padsBegin[i] ?? 0) + (includePad ? (padsEnd[i] ?? 0) : 0)),
  };
}

/** The parameters of average_pool.wgsl. The divisor's range is counted in the padded input. */
function averageParams(l: Lowering, p: Pool, norm: number): Param[] {
  const { from, to } = counted(l, p.window);
  return [...p.geometry, ...vec4(from, 0, 0), ...vec4(to, 1, 0), p.planes, f32(norm)];
}

/** Where each window is a whole plane and long: rows for the reduction, which sums them faster and more exactly. */
function wholePlanes(l: Lowering, p: Pool): Rows | undefined {
  const shape = l.input(0)?.shape ?? [];
  const { kernel, dilations, padsBegin, padsEnd } = p.window;
  const whole = kernel.every((k, i) => k === shape[i + 2] && (k === 1 || dilations[i] === 1));
  const bare = [...padsBegin, ...padsEnd].every((n) => n === 0);
  if (!whole || !bare || sizeOf(kernel) < TREE_FROM) return undefined;
  return rowsOf(
    l.node,
    shape,
    kernel.map((_, i) => i + 2),
  );
}

/**
 * The divisor counts a window's taps inside the input, or with count_include_pad those inside the padded input: taps
 * that ceil_mode puts beyond the end padding never count (PyTorch, and ONNX's tests).
 */
const AveragePool: Operator = {
  infer: inferPool,
  forward(l) {
    if (inFours(l)) {
      averageFours(l, windowOf(l), counted(l, windowOf(l)));
      return;
    }
    const p = pool(l);
    const rows = wholePlanes(l, p);
    if (rows !== undefined) {
      lowerReduction(l, "MEAN", rows, source(l));
      return;
    }
    run(l, "average_pool", "average", averageParams(l, p, 0), p.outputs, [source(l)], l.output(0).slot);
  },
  gradient(l) {
    const dy = dataGradient(l);
    if (dy === undefined) return;
    const p = pool(l);
    run(l, "average_pool", "average_gradient", averageParams(l, p, 0), p.inputs, [dy.slot], l.inputGradient(0).slot);
  },
};

/** The attribute p of LpPool and GlobalLpPool. */
export function lpNorm(node: GraphNode): number {
  const p = intAttr(node, "p", 2);
  if (p < 1) throw modelError(node, "ATTRIBUTE", `p is ${p}, but must be at least 1`);
  return p;
}

/** (sum |x|^p)^(1/p) over the window, the padding being zeros. */
const LpPool: Operator = {
  infer(node, inputs) {
    lpNorm(node);
    return inferPool(node, inputs);
  },
  forward(l) {
    const p = pool(l);
    const params = averageParams(l, p, lpNorm(l.node));
    run(l, "average_pool", "lp", params, p.outputs, [source(l)], l.output(0).slot);
  },
  gradient(l) {
    const dy = dataGradient(l);
    if (dy === undefined) return;
    const p = pool(l);
    const reads = [dy.slot, source(l), l.output(0).slot];
    const params = averageParams(l, p, lpNorm(l.node));
    run(l, "average_pool", "lp_gradient", params, p.inputs, reads, l.inputGradient(0).slot);
  },
};

export const pooling: Record<string, Operator> = { MaxPool, AveragePool, LpPool };
