/**
 * x * Sigmoid(x), as exporters write SiLU before opset 24, becomes one Swish: one pass over the tensor in place of two, and no
 * second tensor.
 */
import type { GraphNode, ShapedGraph } from "./graph.ts";
import { readers } from "./prune.ts";

/** @param visible values that must still exist afterwards */
export function mergeSwish(graph: ShapedGraph, visible: ReadonlySet<string>): ShapedGraph {
  const uses = readers(graph);
  const sigmoids = new Map<string, GraphNode>();
  for (const node of graph.nodes) if (node.opType === "Sigmoid") sigmoids.set(node.outputs[0] ?? "", node);
  const dropped = new Set<GraphNode>();
  const replaced = new Map<GraphNode, GraphNode>();
  for (const node of graph.nodes) {
    if (node.opType !== "Mul") continue;
    const gate = node.inputs.find((name) => sigmoids.has(name));
    const sigmoid = gate === undefined ? undefined : sigmoids.get(gate);
    const x = node.inputs.find((name) => name !== gate);
    if (gate === undefined || sigmoid === undefined || x === undefined || sigmoid.inputs[0] !== x) continue;
    if (uses.get(gate) !== 1 || visible.has(gate)) continue;
    dropped.add(sigmoid);
    replaced.set(node, { ...node, opType: "Swish", inputs: [x], attributes: new Map() });
  }
  return { ...graph, nodes: graph.nodes.filter((n) => !dropped.has(n)).map((n) => replaced.get(n) ?? n) };
}
