/** A float64 interpreter of the few operators that test networks are made of. */
import type { Graph, GraphNode } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { convForward, convTerms, type ConvTerms } from "./conv.ts";
import { binaryReference, broadcastPositions, unaryReference } from "./elementwise.ts";
import { gemmForward, gemmProducts, matmulProducts } from "./matmul.ts";
import { flat, indices, splitPart, transpose, type Rule } from "./movement.ts";
import { averagePool, maxPool, poolTaps } from "./pool.ts";
import { mapRows, rowOffsets, standardise } from "./rows.ts";

export interface Value {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

const ints = (n: GraphNode, name: string): readonly number[] | undefined =>
  n.attributes.get(name) as readonly number[] | undefined;

/** Lists of products are the same for every run of one node on one shape. */
const termLists = new WeakMap<GraphNode, Map<string, ConvTerms>>();

function listedTerms(n: GraphNode, x: Value, w: Value): ConvTerms {
  const known = termLists.get(n) ?? new Map<string, ConvTerms>();
  termLists.set(n, known);
  let terms = known.get(x.shape.join());
  if (terms === undefined) {
    const { shape, each } = convTerms(x.shape, w.shape, Object.fromEntries(n.attributes));
    const list: number[] = [];
    each((...term) => list.push(...term));
    terms = {
      shape,
      each: (visit) => {
        for (let k = 0; k < list.length; k += 3) visit(list[k] ?? 0, list[k + 1] ?? 0, list[k + 2] ?? 0);
      },
    };
    known.set(x.shape.join(), terms);
  }
  return terms;
}

function pool(n: GraphNode, x: Value): Value {
  const kernel = ints(n, "kernel_shape") ?? [];
  const strides = ints(n, "strides") ?? kernel.map(() => 1);
  const pads = ints(n, "pads") ?? kernel.flatMap(() => [0, 0]);
  const [padsBegin, padsEnd] = [pads.slice(0, kernel.length), pads.slice(kernel.length)];
  const output = kernel.map((k, d) => {
    const [size, stride, before] = [x.shape[d + 2] ?? 0, strides[d] ?? 1, padsBegin[d] ?? 0];
    const steps = (size + before + (padsEnd[d] ?? 0) - k) / stride;
    if (n.attributes.get("ceil_mode") !== 1) return Math.floor(steps) + 1;
    // A window that would begin in the padding at the end is left out.
    return Math.ceil(steps) * stride >= size + before ? Math.ceil(steps) : Math.ceil(steps) + 1;
  });
  const window = { kernel, strides, dilations: kernel.map(() => 1), padsBegin, padsEnd, output };
  const taps = poolTaps(x.shape, window);
  const padded = n.attributes.get("count_include_pad") === 1;
  const values = n.opType === "MaxPool" ? maxPool(x.data, taps).values : averagePool(x.data, taps, padded);
  return { shape: [...x.shape.slice(0, 2), ...output], data: Float64Array.from(values) };
}

/** An operator that moves the elements of one tensor. */
function moved(x: Value, shape: readonly number[], rule: Rule): Value {
  const data = indices(shape).map((out) => {
    const source = rule(out);
    return "value" in source ? source.value : (x.data[flat(x.shape, source.at)] ?? NaN);
  });
  return { shape, data: Float64Array.from(data) };
}

function broadcast(a: Value, b: Value, f: (a: number, b: number) => number): Value {
  const rank = Math.max(a.shape.length, b.shape.length);
  const padded = ({ shape }: Value) => [...Array<number>(rank - shape.length).fill(1), ...shape];
  const [left, right] = [padded(a), padded(b)];
  const shape = left.map((d, k) => (d === 1 ? (right[k] ?? 1) : d));
  const [i, j] = [broadcastPositions(left, shape), broadcastPositions(right, shape)];
  return { shape, data: Float64Array.from(i, (at, k) => f(a.data[at] ?? NaN, b.data[j[k] ?? -1] ?? NaN)) };
}

/** Parts of one size along an axis. */
function split(n: GraphNode, x: Value): Value[] {
  const axis = (n.attributes.get("axis") as number | undefined) ?? 0;
  const size = (x.shape[axis] ?? 0) / n.outputs.length;
  const shape = x.shape.map((d, k) => (k === axis ? size : d));
  const sizes = n.outputs.map(() => size);
  return n.outputs.map((_, part) => moved(x, shape, splitPart(axis, sizes, part)));
}

function compute(n: GraphNode, inputs: readonly Value[]): Value {
  const [x, second, third, fourth, fifth] = inputs;
  if (x === undefined) throw new Error(`${n.name} has no input`);
  const { shape } = x;
  const plane = sizeOf(shape.slice(2));
  const channel = (i: number) => Math.floor(i / plane) % (shape[1] ?? 1);
  const map = (f: (v: number, i: number) => number): Value => ({ shape, data: x.data.map(f) });
  switch (n.opType) {
    case "Conv": {
      if (second === undefined) throw new Error(`${n.name} has no weight`);
      const terms = listedTerms(n, x, second);
      return { shape: terms.shape, data: convForward(terms, x.data, second.data, third?.data).values };
    }
    case "Gemm": {
      if (second === undefined) throw new Error(`${n.name} has no weight`);
      const products = gemmProducts(shape, second.shape, false, n.attributes.get("transB") === 1);
      return {
        shape: products.shape,
        data: gemmForward(products, x.data, second.data, third === undefined ? {} : { c: third }).values,
      };
    }
    case "BatchNormalization": {
      const [scale, bias, mean, variance] = [second, third, fourth, fifth].map((v) => v?.data ?? []);
      const epsilon = (n.attributes.get("epsilon") as number | undefined) ?? 1e-5;
      return map((v, i) => {
        const c = channel(i);
        const s = (scale?.[c] ?? NaN) / Math.sqrt((variance?.[c] ?? NaN) + epsilon);
        return (v - (mean?.[c] ?? NaN)) * s + (bias?.[c] ?? NaN);
      });
    }
    case "MatMul": {
      if (second === undefined) throw new Error(`${n.name} has one input`);
      const products = matmulProducts(shape, second.shape);
      return { shape: products.shape, data: gemmForward(products, x.data, second.data).values };
    }
    case "LayerNormalization": {
      const epsilon = (n.attributes.get("epsilon") as number | undefined) ?? 1e-5;
      const rows = rowOffsets(shape, [shape.length - 1]);
      const scaled = (v: number, k: number) => v * (second?.data[k] ?? 1) + (third?.data[k] ?? 0);
      return { shape, data: mapRows(x.data, rows, (row) => standardise(row, epsilon).map(scaled)) };
    }
    case "Transpose": {
      const perm = ints(n, "perm") ?? [];
      return moved(
        x,
        perm.map((axis) => shape[axis] ?? 0),
        transpose(perm),
      );
    }
    case "Reshape": {
      const wanted = Array.from(second?.data ?? [], (d, k) => (d === 0 ? (shape[k] ?? 0) : d));
      const rest = sizeOf(shape) / sizeOf(wanted.filter((d) => d !== -1));
      return { shape: wanted.map((d) => (d === -1 ? rest : d)), data: x.data };
    }
    case "MaxPool":
    case "AveragePool":
      return pool(n, x);
    case "GlobalAveragePool": {
      const data = new Float64Array((shape[0] ?? 1) * (shape[1] ?? 1));
      x.data.forEach((v, i) => {
        const at = Math.floor(i / plane);
        data[at] = (data[at] ?? 0) + v / plane;
      });
      return { shape: [shape[0] ?? 1, shape[1] ?? 1, 1, 1], data };
    }
    case "Flatten":
      return { shape: [shape[0] ?? 1, sizeOf(shape.slice(1))], data: x.data };
    case "Concat": {
      const batch = shape[0] ?? 1;
      const parts = Array.from({ length: batch }, (_, b) =>
        inputs.flatMap(({ data }) => {
          const each = data.length / batch;
          return Array.from(data.subarray(b * each, (b + 1) * each));
        }),
      );
      const channels = inputs.reduce((sum, v) => sum + (v.shape[1] ?? 0), 0);
      return { shape: [batch, channels, ...shape.slice(2)], data: Float64Array.from(parts.flat()) };
    }
    default: {
      const [one, two] = [unaryReference[n.opType], binaryReference[n.opType]];
      const attributes = Object.fromEntries(n.attributes) as Record<string, number | string>;
      if (one !== undefined) return map((v) => one(v, attributes));
      if (two !== undefined && second !== undefined) return broadcast(x, second, two);
      throw new Error(`the interpreter does not know ${n.opType}`);
    }
  }
}

/** Every value of the graph; those in `given` (inputs, or values to start from) are taken as they are. */
export function interpret(graph: Graph, given: ReadonlyMap<string, Value>): Map<string, Value> {
  const values = new Map(given);
  for (const [name, t] of graph.constants) {
    if (!values.has(name)) values.set(name, { shape: t.shape, data: Float64Array.from(t.data) });
  }
  for (const n of graph.nodes) {
    if (n.outputs.every((name) => values.has(name))) continue;
    const inputs = n.inputs.map((name) => values.get(name));
    if (inputs.some((v) => v === undefined)) continue; // before the values to start from
    const given = inputs.flatMap((v) => v ?? []);
    const [x] = given;
    const results = n.opType === "Split" && x !== undefined ? split(n, x) : [compute(n, given)];
    results.forEach((result, k) => values.set(n.outputs[k] ?? "", result));
  }
  return values;
}
