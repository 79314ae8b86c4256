/**
 * What a channel of a split layer is computed from: the rows of weights that are stored, and by which factors merge layers
 * add them up. Splits of splits are followed down to the rows that read the layer's input.
 */
import { UnbraidError } from "../errors.ts";
import { sizeOf, type GraphNode, type ShapedGraph } from "./graph.ts";

/** A stored row, and its factor in the channel. */
export interface MergedRow {
  readonly factor: number;
  /** [I/groups, taps] */
  readonly weights: Float32Array | Float64Array;
  readonly bias: number;
}

export interface MergedChannel {
  readonly rows: readonly MergedRow[];
  /**
   * Roundings that merging adds to an element at most, beyond those of the rows' own sums: of each merge layer the additions
   * of its terms that are not 0, and a product where a factor is no power of two.
   */
  readonly roundings: number;
}

/**
 * @param merges for each value that a merge layer gives, the value whose channels it adds up
 * @param value the layer's output
 * @throws UnbraidError SPLIT_RECORD where the network is not what the record says
 */
export function mergedChannel(
  graph: ShapedGraph,
  merges: ReadonlyMap<string, string>,
  value: string,
  channel: number,
): MergedChannel {
  const node = graph.nodes.find((n) => n.outputs.includes(value));
  if (node?.opType === "Concat") return concatenated(graph, merges, node, channel);
  const weight = node?.opType === "Conv" ? graph.values.get(node.inputs[1] ?? "")?.value : undefined;
  const [rows = 0] = weight?.shape ?? [];
  if (node === undefined || weight === undefined || channel >= rows) throw unlike(value, node);
  const size = weight.data.length / rows;
  const own = weight.data.subarray(channel * size, (channel + 1) * size);
  const grown = merges.get(value);
  if (grown === undefined) {
    const bias = graph.values.get(node.inputs[2] ?? "")?.value?.data[channel] ?? 0;
    return { rows: [{ factor: 1, weights: own, bias }], roundings: 0 };
  }
  if (node.inputs[0] !== grown || (node.inputs[2] ?? "") !== "" || sizeOf(weight.shape.slice(2)) !== 1)
    throw unlike(value, node);
  const terms = Array.from(own, (factor, row) => ({ factor, row })).filter((term) => term.factor !== 0);
  const inner = terms.map(({ row }) => mergedChannel(graph, merges, grown, row));
  const products = terms.some(({ factor }) => !Number.isInteger(Math.log2(Math.abs(factor)))) ? 1 : 0;
  return {
    rows: inner.flatMap((merged, k) =>
      merged.rows.map((row) => ({ ...row, factor: row.factor * (terms[k]?.factor ?? 0) })),
    ),
    roundings: Math.max(0, terms.length - 1) + products + Math.max(0, ...inner.map((merged) => merged.roundings)),
  };
}

function concatenated(
  graph: ShapedGraph,
  merges: ReadonlyMap<string, string>,
  node: GraphNode,
  channel: number,
): MergedChannel {
  let first = 0;
  for (const piece of node.inputs) {
    const width = graph.values.get(piece)?.shape[1] ?? 0;
    if (channel < first + width) return mergedChannel(graph, merges, piece, channel - first);
    first += width;
  }
  throw unlike(node.outputs[0] ?? "", node);
}

const unlike = (value: string, node: GraphNode | undefined): UnbraidError =>
  new UnbraidError(
    "model",
    "SPLIT_RECORD",
    `"${value}" is given by ${node === undefined ? "no node" : `the ${node.opType} node "${node.name}"`}, which is not what the record of the split says`,
    "Split the model again with this version of unbraid.",
  );
