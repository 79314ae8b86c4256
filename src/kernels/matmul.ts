/** Gemm and MatMul. Source: ONNX Gemm (7, 9, 11, 13), MatMul (1, 9, 13). */
import { sizeOf, type GraphNode, type HostTensor, type ValueInfo } from "../graph/graph.ts";
import { floatAttr, intAttr, modelError, requireInput } from "./attributes.ts";
import type { ConvGeometry } from "./conv-geometry.ts";
import { convolveInFours } from "./convolve.ts";
import type { FoursTensor } from "./fours.ts";
import { sumRows } from "./conv-weight-gradient.ts";
import { known } from "./host.ts";
import { multiplyOnHost, worthMultiplying } from "./matmul-host.ts";
import { multiply, storedMatrix, transposed, type Pieces, type Product, type View } from "./matrix-product.ts";
import type { DeviceTensor, GradientLowering, Lowering, Operator, Slot } from "./operator.ts";
import { broadcastShapes, broadcastStrides, checkedShape, showShape } from "./shape.ts";

function operand(l: Lowering, k: number): DeviceTensor {
  const tensor = l.input(k);
  if (tensor === undefined) throw modelError(l.node, "INPUT_MISSING", `input ${k} is missing`);
  return tensor;
}

/** An operand's shape, before any memory is asked for. */
const shapeOf = (l: Lowering, k: number): readonly number[] => requireInput(l.node, [l.info(0), l.info(1)], k).shape;

/** Rows, columns, depth and views of a Gemm's operands, transA and transB taken in. */
function gemm(node: GraphNode, shapeA: readonly number[], shapeB: readonly number[]) {
  if (shapeA.length !== 2 || shapeB.length !== 2) {
    throw modelError(node, "SHAPE", `A ${showShape(shapeA)} and B ${showShape(shapeB)} must be matrices`);
  }
  const transA = intAttr(node, "transA", 0) !== 0;
  const transB = intAttr(node, "transB", 0) !== 0;
  const [rows = 0, depth = 0] = transA ? shapeA.toReversed() : shapeA;
  const [depthB = 0, columns = 0] = transB ? shapeB.toReversed() : shapeB;
  if (depth !== depthB) {
    throw modelError(node, "SHAPE", `A ${showShape(shapeA)} and B ${showShape(shapeB)} do not fit together`);
  }
  const stored = (slot: Slot, shape: readonly number[]): View => ({ slot, row: shape[1] ?? 0, column: 1 });
  return {
    ...{ rows, columns, depth, transA, transB },
    alpha: floatAttr(node, "alpha", 1),
    beta: floatAttr(node, "beta", 1),
    a: (slot: Slot): View => (transA ? transposed(stored(slot, shapeA)) : stored(slot, shapeA)),
    b: (slot: Slot): View => (transB ? transposed(stored(slot, shapeB)) : stored(slot, shapeB)),
    /** B where it stands on the right of a product: it may be too large for one binding there. */
    right: (l: Lowering): View | Pieces => {
      const matrix = storedMatrix(l, 1, shapeB[1] ?? 0, () => operand(l, 1).slot);
      return transB ? transposed(matrix) : matrix;
    },
  };
}

/** The product where all operands are constant and it is small; undefined elsewhere. */
function gemmOnHost(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]): ValueInfo | undefined {
  const [a, b] = [requireInput(node, inputs, 0), requireInput(node, inputs, 1)];
  const c = inputs[2];
  const g = gemm(node, a.shape, b.shape);
  const size = g.rows * g.columns;
  const operands = [a.value, b.value, ...(c === undefined ? [] : [c.value])];
  if (!worthMultiplying(operands, size, g.depth)) return undefined;
  const [valueA, valueB, valueC] = operands;
  if (valueA === undefined || valueB === undefined) return undefined;
  const left = { value: valueA, steps: [], ...(g.transA ? strides(1, g.rows) : strides(g.depth, 1)) };
  const right = { value: valueB, steps: [], ...(g.transB ? strides(1, g.depth) : strides(g.columns, 1)) };
  const product = multiplyOnHost([], g.rows, g.columns, g.depth, left, right);
  const [row = 0, column = 0] = broadcastStrides(valueC?.shape ?? [], [g.rows, g.columns]);
  const sums = product.map((x, at) => {
    const offset = Math.floor(at / g.columns) * row + (at % g.columns) * column;
    return g.alpha * x + (valueC === undefined ? 0 : g.beta * (valueC.data[offset] ?? NaN));
  });
  return known(a.type, [g.rows, g.columns], a.type === "float32" ? Float32Array.from(sums) : sums);
}

const strides = (row: number, column: number) => ({ row, column });

/** The geometry of a Gemm of plain weights, [outputs, channels] or the other way round, as a convolution of images of one pixel. */
function convolutionOf(l: Lowering): { geometry: ConvGeometry; weight: HostTensor } | undefined {
  const weight = l.info(1)?.value;
  const [rows = 0, depth = 0] = l.info(0)?.shape ?? [];
  const shape = shapeOf(l, 1);
  const plain = intAttr(l.node, "transA", 0) === 0 && floatAttr(l.node, "alpha", 1) === 1;
  if (!plain || weight === undefined || rows === 0 || depth % 4 !== 0 || sizeOf(shape) > MOST_WEIGHTS) return undefined;
  // B as it stands has the channels first: a transposed convolution's weights.
  const transposed = intAttr(l.node, "transB", 0) === 0;
  const outputs = (transposed ? shape[1] : shape[0]) ?? 0;
  const one = [1, 1] as const;
  const geometry: ConvGeometry = {
    ...{ batch: rows, groups: 1, channels: depth, outputs, transposed },
    ...{ input: one, output: one, kernel: one, strides: one, dilations: one, pads: [0, 0] },
  };
  return { geometry, weight };
}

/** Beyond, weights are read in pieces as the device takes them, never laid out whole: the product of matrices does that. */
const MOST_WEIGHTS = 2 ** 22;

const asFours = (tensor: DeviceTensor): FoursTensor => ({ ...tensor, inFours: true });

/** output = A B + C by the convolution kernel, where C is a bias and both sides are whole fours. */
function asConvolution(l: Lowering): boolean {
  const found = convolutionOf(l);
  if (found === undefined) return false;
  const { geometry: g, weight } = found;
  const c = l.info(2);
  const bias =
    c === undefined || (floatAttr(l.node, "beta", 1) === 1 && c.shape.length === 1 && c.shape[0] === g.outputs);
  if (!bias || g.outputs % 4 !== 0) return false;
  const [input, output] = [asFours(operand(l, 0)), asFours(l.output(0))];
  convolveInFours(l, "fours", g, { input, output, bias: l.input(2), label: l.node.name }, weight);
  return true;
}

/** dA = dY B^T likewise. */
function gradientAsConvolution(l: GradientLowering, dy: DeviceTensor): boolean {
  const found = convolutionOf(l);
  if (found === undefined || found.geometry.outputs % 4 !== 0) return false;
  const { geometry: g, weight } = found;
  const back: ConvGeometry = { ...g, channels: g.outputs, outputs: g.channels, transposed: !g.transposed };
  const operands = { input: asFours(dy), output: asFours(l.inputGradient(0)), label: `${l.node.name}: gradient of A` };
  convolveInFours(l, "fours", back, operands, weight);
  return true;
}

const Gemm: Operator = {
  infer: (node, inputs) => {
    const { rows, columns } = gemm(node, requireInput(node, inputs, 0).shape, requireInput(node, inputs, 1).shape);
    const shape = checkedShape(node, [rows, columns]);
    if (inputs[2] && broadcastShapes(node, [inputs[2].shape, shape]).join() !== shape.join()) {
      throw modelError(node, "SHAPE", `C ${showShape(inputs[2].shape)} cannot be broadcast to ${showShape(shape)}`);
    }
    return [gemmOnHost(node, inputs) ?? { type: requireInput(node, inputs, 0).type, shape }];
  },
  forward: (l) => {
    if (asConvolution(l)) return;
    const [a, c] = [operand(l, 0), l.input(2)];
    const g = gemm(l.node, a.shape, shapeOf(l, 1));
    const [row = 0, column = 0] = broadcastStrides(c?.shape ?? [], [g.rows, g.columns]);
    multiply(l, {
      ...g,
      a: g.a(a.slot),
      b: g.right(l),
      ...(c === undefined ? {} : { c: { slot: c.slot, row, column } }),
      output: l.output(0).slot,
      label: l.node.name,
    });
  },
  gradient: (l) => {
    const dy = l.outputGradient(0);
    if (dy === undefined) return;
    const a = operand(l, 0);
    const g = gemm(l.node, a.shape, shapeOf(l, 1));
    const d: View = { slot: dy.slot, row: g.columns, column: 1 };
    if (l.wants(0) && !gradientAsConvolution(l, dy)) {
      // d(A') = alpha dY B'^T, stored as A is: transposed, it is alpha B' dY^T.
      const [left, right] = g.transA ? [g.b(operand(l, 1).slot), transposed(d)] : [d, transposed(g.right(l))];
      const size = g.transA ? { rows: g.depth, columns: g.rows } : { rows: g.rows, columns: g.depth };
      const output = l.inputGradient(0).slot;
      multiply(l, {
        ...size,
        depth: g.columns,
        a: left,
        b: right,
        alpha: g.alpha,
        output,
        label: `${l.node.name}: gradient of A`,
      });
    }
    if (l.wants(1)) {
      const [left, right] = g.transB ? [transposed(d), g.a(a.slot)] : [transposed(g.a(a.slot)), d];
      const size = g.transB ? { rows: g.columns, columns: g.depth } : { rows: g.depth, columns: g.columns };
      const output = l.inputGradient(1).slot;
      multiply(l, {
        ...size,
        depth: g.rows,
        a: left,
        b: right,
        alpha: g.alpha,
        output,
        label: `${l.node.name}: gradient of B`,
      });
    }
    if (l.wants(2)) gradientOfC(l, dy, g.rows, g.columns, g.beta);
  },
};

/** beta times dY summed over the rows and columns along which C was repeated: a product with ones. */
function gradientOfC(l: GradientLowering, dy: DeviceTensor, rows: number, columns: number, beta: number): void {
  const output = l.inputGradient(2);
  const [cRows = 1, cColumns = 1] = [1, 1, ...output.shape].slice(-2);
  const one = l.constant("matmul: one", () => ({ type: "float32", shape: [1], data: Float32Array.of(1) }));
  const ones: View = { slot: one.slot, row: 0, column: 0 };
  const label = `${l.node.name}: gradient of C`;
  let from: View = { slot: dy.slot, row: columns, column: 1 };
  let height = rows;
  if (cRows === 1 && rows !== 1) {
    const target = cColumns === columns ? output.slot : l.scratch(columns);
    multiply(l, { rows: 1, columns, depth: rows, a: ones, b: from, alpha: beta, output: target, label });
    if (cColumns === columns) return;
    [from, height] = [{ slot: target, row: columns, column: 1 }, 1];
    multiply(l, { rows: height, columns: 1, depth: columns, a: from, b: ones, output: output.slot, label });
    return;
  }
  if (cColumns === 1 && columns !== 1) {
    multiply(l, {
      rows: height,
      columns: 1,
      depth: columns,
      a: from,
      b: ones,
      alpha: beta,
      output: output.slot,
      label,
    });
    return;
  }
  // C has the product's own shape: scaled by a product of depth 1 with each element as its own row.
  const scaled = { rows: height * columns, columns: 1, depth: 1, alpha: beta };
  multiply(l, { ...scaled, a: { slot: dy.slot, row: 1, column: 0 }, b: ones, output: output.slot, label });
}

/** Operands of a MatMul as stacks of matrices, numpy's rules for vectors and batches taken in. */
function stacks(node: GraphNode, a: readonly number[], b: readonly number[]) {
  if (a.length === 0 || b.length === 0) throw modelError(node, "SHAPE", "a scalar cannot be multiplied as a matrix");
  const full = { a: a.length === 1 ? [1, ...a] : a, b: b.length === 1 ? [...b, 1] : b };
  const [rows = 0, depth = 0] = full.a.slice(-2);
  const [depthB = 0, columns = 0] = full.b.slice(-2);
  if (depth !== depthB) throw modelError(node, "SHAPE", `${showShape(a)} and ${showShape(b)} do not fit together`);
  const [batchA, batchB] = [full.a.slice(0, -2), full.b.slice(0, -2)];
  const batch = broadcastShapes(node, [batchA, batchB]);
  const shape = checkedShape(node, [...batch, ...(a.length === 1 ? [] : [rows]), ...(b.length === 1 ? [] : [columns])]);
  return { rows, columns, depth, batchA, batchB, batch, shape };
}

/** One product for each index of the outer batch axes; the innermost batch axis is one dispatch. */
function multiplyStacks(
  l: Lowering,
  batch: readonly number[],
  a: { view: View; batch: readonly number[]; size: number },
  b: { view: View; batch: readonly number[]; size: number },
  product: Omit<Product, "a" | "b" | "batch" | "outputBase">,
): void {
  const stepsA = broadcastStrides(a.batch, batch);
  const stepsB = broadcastStrides(b.batch, batch);
  const inner = batch.at(-1) ?? 1;
  const outer = batch.slice(0, -1);
  for (let n = 0; n < sizeOf(outer); n++) {
    let [rest, baseA, baseB] = [n, 0, 0];
    for (let axis = outer.length - 1; axis >= 0; axis--) {
      const index = rest % (outer[axis] ?? 1);
      rest = Math.floor(rest / (outer[axis] ?? 1));
      baseA += index * (stepsA[axis] ?? 0);
      baseB += index * (stepsB[axis] ?? 0);
    }
    multiply(l, {
      ...product,
      batch: inner,
      a: { ...a.view, base: baseA * a.size, step: (stepsA.at(-1) ?? 0) * a.size },
      b: { ...b.view, base: baseB * b.size, step: (stepsB.at(-1) ?? 0) * b.size },
      outputBase: n * inner * product.rows * product.columns,
    });
  }
}

const MatMul: Operator = {
  infer: (node, inputs) => {
    const [a, b] = [requireInput(node, inputs, 0), requireInput(node, inputs, 1)];
    const s = stacks(node, a.shape, b.shape);
    const operands = [a.value, b.value];
    const [valueA, valueB] = operands;
    if (!worthMultiplying(operands, sizeOf(s.shape), s.depth) || valueA === undefined || valueB === undefined) {
      return [{ type: a.type, shape: s.shape }];
    }
    const steps = (own: readonly number[], size: number) => broadcastStrides(own, s.batch).map((step) => step * size);
    const left = { value: valueA, ...strides(s.depth, 1), steps: steps(s.batchA, s.rows * s.depth) };
    const right = { value: valueB, ...strides(s.columns, 1), steps: steps(s.batchB, s.depth * s.columns) };
    const product = multiplyOnHost(s.batch, s.rows, s.columns, s.depth, left, right);
    return [known(a.type, s.shape, a.type === "float32" ? Float32Array.from(product) : product)];
  },
  forward: (l) => {
    const [a, s] = [operand(l, 0), stacks(l.node, shapeOf(l, 0), shapeOf(l, 1))];
    const output = l.output(0).slot;
    if (sizeOf(s.batchB) === 1) {
      const { rows, left, right } = oneMatrix(l, s, a.slot);
      const { columns, depth } = s;
      multiply(l, { rows, columns, depth, a: left, b: right, output, label: l.node.name });
      return;
    }
    const b = operand(l, 1);
    const view = { a: { slot: a.slot, row: s.depth, column: 1 }, b: { slot: b.slot, row: s.columns, column: 1 } };
    multiplyStacks(
      l,
      s.batch,
      { view: view.a, batch: s.batchA, size: s.rows * s.depth },
      { view: view.b, batch: s.batchB, size: s.depth * s.columns },
      { rows: s.rows, columns: s.columns, depth: s.depth, output, label: l.node.name },
    );
  },
  gradient: (l) => {
    const dy = l.outputGradient(0);
    if (dy === undefined) return;
    const s = stacks(l.node, shapeOf(l, 0), shapeOf(l, 1));
    if (sizeOf(s.batchB) === 1) {
      gradientsOfOne(l, s, dy);
      return;
    }
    const [a, b] = [operand(l, 0), operand(l, 1)];
    const d = { view: { slot: dy.slot, row: s.columns, column: 1 }, batch: s.batch, size: s.rows * s.columns };
    const aSide = { view: { slot: a.slot, row: s.depth, column: 1 }, batch: s.batchA, size: s.rows * s.depth };
    const bSide = { view: { slot: b.slot, row: s.columns, column: 1 }, batch: s.batchB, size: s.depth * s.columns };
    const flip = <T extends { view: View }>(side: T): T => ({ ...side, view: transposed(side.view) });
    if (l.wants(0)) {
      const size = { rows: s.rows, columns: s.depth, depth: s.columns };
      intoBroadcast(l, 0, s.batchA, s.batch, s.rows * s.depth, (output, label) => {
        multiplyStacks(l, s.batch, d, flip(bSide), { ...size, output, label });
      });
    }
    if (l.wants(1)) {
      const size = { rows: s.depth, columns: s.columns, depth: s.rows };
      intoBroadcast(l, 1, s.batchB, s.batch, s.depth * s.columns, (output, label) => {
        multiplyStacks(l, s.batch, flip(aSide), d, { ...size, output, label });
      });
    }
  },
};

/** A stack of matrices times one matrix: the stack's rows are rows of one product. */
function oneMatrix(
  l: Lowering,
  s: ReturnType<typeof stacks>,
  a: Slot,
): { rows: number; left: View; right: View | Pieces } {
  return {
    rows: sizeOf(s.batchA) * s.rows,
    left: { slot: a, row: s.depth, column: 1 },
    right: storedMatrix(l, 1, s.columns, () => operand(l, 1).slot),
  };
}

function gradientsOfOne(l: GradientLowering, s: ReturnType<typeof stacks>, dy: DeviceTensor): void {
  const { columns, depth } = s;
  const { rows, left, right } = oneMatrix(l, s, operand(l, 0).slot);
  const d: View = { slot: dy.slot, row: columns, column: 1 };
  const label = (k: number): string => `${l.node.name}: gradient of input ${k}`;
  if (l.wants(0)) {
    const output = l.inputGradient(0).slot;
    multiply(l, { rows, columns: depth, depth: columns, a: d, b: transposed(right), output, label: label(0) });
  }
  if (l.wants(1)) {
    const output = l.inputGradient(1).slot;
    multiply(l, { rows: depth, columns, depth: rows, a: transposed(left), b: d, output, label: label(1) });
  }
}

/** Runs `make` for the whole batch and sums over the batch axes along which input k was repeated. */
function intoBroadcast(
  l: GradientLowering,
  k: number,
  own: readonly number[],
  batch: readonly number[],
  matrix: number,
  make: (output: Slot, label: string) => void,
): void {
  const label = `${l.node.name}: gradient of input ${k}`;
  const target = l.inputGradient(k).slot;
  const lead = batch.length - own.length;
  const repeated = batch.flatMap((d, axis) => (d !== 1 && (axis < lead || own[axis - lead] === 1) ? [axis] : []));
  if (repeated.length === 0) {
    make(target, label);
    return;
  }
  const shape = [...batch];
  let from = l.scratch(sizeOf(shape) * matrix);
  make(from, label);
  repeated.forEach((axis, i) => {
    const outer = sizeOf(shape.slice(0, axis));
    const inner = sizeOf(shape.slice(axis + 1)) * matrix;
    const to = i === repeated.length - 1 ? target : l.scratch(outer * inner);
    sumRows(
      l,
      from,
      to,
      { outer, rows: shape[axis] ?? 1, inner },
      `gradient of input ${k}, sum over batch axis ${axis}`,
    );
    shape[axis] = 1;
    from = to;
  });
}

export const matrix: Record<string, Operator> = { Gemm, MatMul };
