/** Gather (ONNX opset 1 to 13): slices of a tensor picked by a list of indices along one axis; Pad shares the kernel. */
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { intAttr, modelError, requireInput, unsupported } from "./attributes.ts";
import { allValues, known, newData, worthEvaluating } from "./host.ts";
import { deviceInput } from "./lowering.ts";
import { infosOf } from "./movement.ts";
import type { GradientLowering, Lowering, Operator, Slot } from "./operator.ts";
import { spread } from "./operator.ts";
import { checkedShape, normaliseAxis, showShape } from "./shape.ts";

/** Whole numbers that float32, in which indices reach the kernel, holds exactly. */
const MAX_INDEX = 2 ** 24;

/** A tensor seen as [outer, size, inner], of which `picked` slices along the middle are taken. */
export interface Picking {
  readonly outer: number;
  readonly size: number;
  readonly picked: number;
  readonly inner: number;
}

export function pickOnHost(
  data: Float32Array | Float64Array,
  { outer, size, picked, inner }: Picking,
  indices: ArrayLike<number>,
  out: Float32Array | Float64Array,
): void {
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < picked; k++) {
      const i = indices[k] ?? 0;
      const from = (o * size + (i < 0 ? i + size : i)) * inner;
      out.set(data.subarray(from, from + inner), (o * picked + k) * inner);
    }
  }
}

function call(l: Lowering, p: Picking, count: number, entry: string, reads: Slot[], to: Slot): void {
  if (count === 0) return;
  l.dispatch({
    shader: "gather",
    entry,
    params: [count, p.size, p.picked, p.inner],
    reads,
    writes: [to],
    workgroups: spread(Math.ceil(count / 64)),
    label: `${l.node.name}: ${entry === "main" ? "pick" : entry}`,
  });
}

/** to[o, k, n] = from[o, indices[k], n] */
export function pick(l: Lowering, p: Picking, from: Slot, indices: Slot, to: Slot): void {
  call(l, p, p.outer * p.picked * p.inner, "main", [from, indices], to);
}

/**
 * to[o, i, n] = sum over the k with indices[k] = i of from[o, k, n], in the order of k. Error: (number of terms - 1) u
 * of the sum of magnitudes.
 * @param indices the constant list; its inverse is uploaded under `key`. Without it every index is searched on the device.
 */
export function pickGradient(
  l: Lowering,
  p: Picking,
  from: Slot,
  indices: { readonly list: ArrayLike<number>; readonly key: string } | { readonly slot: Slot },
  to: Slot,
): void {
  const count = p.outer * p.size * p.inner;
  if ("slot" in indices) {
    call(l, p, count, "gradient_search", [from, indices.slot], to);
    return;
  }
  const inverse = invert(Array.from(indices.list), p.size);
  const upload = (name: string, list: readonly number[]): Slot =>
    l.constant(`${indices.key} ${name}`, (): HostTensor => {
      return { type: "int64", shape: [list.length], data: Float64Array.from(list) };
    }).slot;
  call(l, p, count, "gradient", [from, upload("starts", inverse.starts), upload("order", inverse.order)], to);
}

/** For each i below `size`: the positions k at which it stands in the list are order[starts[i] .. starts[i + 1] - 1]. */
function invert(list: readonly number[], size: number): { starts: number[]; order: number[] } {
  const at: number[][] = Array.from({ length: size }, () => []);
  list.forEach((i, k) => at[i < 0 ? i + size : i]?.push(k));
  const starts = [0];
  for (const positions of at) starts.push((starts.at(-1) ?? 0) + positions.length);
  return { starts, order: at.flat() };
}

/** @throws UnbraidError UNSUPPORTED_NODE where there are more indices or slices than float32 counts */
export function checkCounts(node: GraphNode, { size, picked }: Pick<Picking, "size" | "picked">): void {
  if (size <= MAX_INDEX && picked <= MAX_INDEX) return;
  throw unsupported(node, `${picked} indices into an axis of ${size}: more than ${MAX_INDEX} of either are too many`);
}

function picking(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]): Picking & { shape: number[] } {
  const data = requireInput(node, inputs, 0);
  const indices = requireInput(node, inputs, 1);
  const axis = normaliseAxis(node, intAttr(node, "axis", 0), data.shape.length);
  const size = data.shape[axis] ?? 0;
  const before = data.shape.slice(0, axis);
  const after = data.shape.slice(axis + 1);
  const picked = sizeOf(indices.shape);
  checkCounts(node, { size, picked });
  const wrong = indices.value?.data.find((i) => !Number.isInteger(i) || i < -size || i >= size);
  if (wrong !== undefined) {
    throw modelError(node, "INDEX", `index ${wrong} is outside axis ${axis} of ${showShape(data.shape)}`);
  }
  const shape = checkedShape(node, [...before, ...indices.shape, ...after]);
  return { outer: sizeOf(before), size, picked, inner: sizeOf(after), shape };
}

function gradient(l: GradientLowering): void {
  const g = l.outputGradient(0);
  if (g === undefined || !l.wants(0)) return;
  const p = picking(l.node, infosOf(l));
  const value = l.info(1)?.value;
  const indices =
    value === undefined
      ? { slot: deviceInput(l, 1).slot }
      : { list: value.data, key: `gather: ${tensorKey(value)} into ${p.size}, inverted` };
  pickGradient(l, p, g.slot, indices, l.inputGradient(0).slot);
}

export const gathering: Record<string, Operator> = {
  Gather: {
    infer: (node, inputs) => {
      const { shape, ...p } = picking(node, inputs);
      const { type } = requireInput(node, inputs, 0);
      const [data, indices] = allValues(inputs) ?? [];
      if (data === undefined || indices === undefined || !worthEvaluating(sizeOf(shape), inputs))
        return [{ type, shape }];
      const out = newData(type, sizeOf(shape));
      pickOnHost(data.data, p, indices.data, out);
      return [known(type, shape, out)];
    },
    forward: (l) => {
      pick(l, picking(l.node, infosOf(l)), deviceInput(l, 0).slot, deviceInput(l, 1).slot, l.output(0).slot);
    },
    gradient,
  },
};
