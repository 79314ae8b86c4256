/** Keeps only what the wanted values need. */
import type { Graph, GraphNode } from "./graph.ts";

/** The nodes, in order, that `wanted` depend on. */
export function neededNodes(graph: Graph, wanted: Iterable<string>): GraphNode[] {
  const live = new Set(wanted);
  const kept: GraphNode[] = [];
  for (const node of graph.nodes.toReversed()) {
    // "" stands for what is left out: an input left out does not need an output left out.
    if (!node.outputs.some((name) => name !== "" && live.has(name))) continue;
    for (const name of node.inputs) live.add(name);
    kept.push(node);
  }
  return kept.reverse();
}

/** How many nodes read each value; a graph output counts as one more reader. */
export function readers(graph: Graph): Map<string, number> {
  const count = new Map<string, number>();
  const add = (name: string) => count.set(name, (count.get(name) ?? 0) + 1);
  for (const node of graph.nodes) node.inputs.forEach(add);
  graph.outputs.forEach(add);
  return count;
}
