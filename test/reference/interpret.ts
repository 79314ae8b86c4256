/** A float64 interpreter of the few operators that test networks are made of. */
import type { Graph, GraphNode } from "../../src/graph/graph.ts";
import { sizeOf } from "../../src/graph/graph.ts";
import { convForward, convTerms, type ConvTerms } from "./conv.ts";
import { gemmForward, gemmProducts } from "./matmul.ts";
import { averagePool, maxPool, poolTaps } from "./pool.ts";

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
  const zeros = kernel.map(() => 0);
  const output = kernel.map((k, d) => Math.floor(((x.shape[d + 2] ?? 0) - k) / (strides[d] ?? 1)) + 1);
  const window = { kernel, strides, dilations: kernel.map(() => 1), padsBegin: zeros, padsEnd: zeros, output };
  const taps = poolTaps(x.shape, window);
  const values = n.opType === "MaxPool" ? maxPool(x.data, taps).values : averagePool(x.data, taps, false);
  return { shape: [...x.shape.slice(0, 2), ...output], data: Float64Array.from(values) };
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
    case "Relu":
      return map((v) => Math.max(v, 0));
    case "Sigmoid":
      return map((v) => 1 / (1 + Math.exp(-v)));
    case "Add":
      return map((v, i) => v + (second?.data[i] ?? NaN));
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
    default:
      throw new Error(`the interpreter does not know ${n.opType}`);
  }
}

/** Every value of the graph; those in `given` (inputs, or values to start from) are taken as they are. */
export function interpret(graph: Graph, given: ReadonlyMap<string, Value>): Map<string, Value> {
  const values = new Map(given);
  for (const [name, t] of graph.constants) {
    if (!values.has(name)) values.set(name, { shape: t.shape, data: Float64Array.from(t.data) });
  }
  for (const n of graph.nodes) {
    const [output = ""] = n.outputs;
    if (values.has(output)) continue;
    const inputs = n.inputs.map((name) => values.get(name));
    if (inputs.some((v) => v === undefined)) continue; // before the values to start from
    values.set(
      output,
      compute(
        n,
        inputs.flatMap((v) => v ?? []),
      ),
    );
  }
  return values;
}
