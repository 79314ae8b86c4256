/** Topological order of nodes. */
import { UnbraidError } from "../errors.ts";
import type { GraphNode } from "./graph.ts";

const faulty = "Export the model again; onnx.checker explains what is wrong with it.";

/**
 * Nodes in an order in which each follows those whose outputs it reads. Nodes that stand right stay where they are.
 * @param given values that need no node: graph inputs and constants
 * @throws UnbraidError GRAPH_INPUT_MISSING for a value that nothing gives, GRAPH_CYCLE; both name nodes
 */
export function sortNodes(nodes: readonly GraphNode[], given: ReadonlySet<string>): readonly GraphNode[] {
  const producer = new Map<string, number>();
  nodes.forEach((node, k) => {
    for (const output of node.outputs) if (output !== "") producer.set(output, k);
  });
  const readers = nodes.map((): number[] => []);
  const waiting = nodes.map((node, k) => {
    const before = new Set<number>();
    for (const input of node.inputs) {
      if (input === "" || given.has(input)) continue;
      const from = producer.get(input);
      if (from === undefined) {
        throw new UnbraidError(
          "model",
          "GRAPH_INPUT_MISSING",
          `the node "${node.name}" (${node.opType}) reads "${input}", which no node, input or initialiser gives`,
          faulty,
        );
      }
      before.add(from);
    }
    for (const from of before) readers[from]?.push(k);
    return before.size;
  });

  // Of the nodes that could come next, the first in the file: an ordered file keeps its order.
  const ready = new Heap();
  waiting.forEach((count, k) => {
    if (count === 0) ready.push(k);
  });
  const sorted: GraphNode[] = [];
  for (let k = ready.pop(); k !== undefined; k = ready.pop()) {
    const node = nodes[k];
    if (node) sorted.push(node);
    for (const reader of readers[k] ?? []) {
      const left = (waiting[reader] ?? 0) - 1;
      waiting[reader] = left;
      if (left === 0) ready.push(reader);
    }
  }
  if (sorted.length === nodes.length) return sorted;
  const stuck = nodes.filter((_, k) => (waiting[k] ?? 0) > 0).map((node) => `"${node.name}"`);
  const shown = stuck.slice(0, 8).join(", ") + (stuck.length > 8 ? `, and ${stuck.length - 8} more` : "");
  throw new UnbraidError(
    "model",
    "GRAPH_CYCLE",
    `the graph has a cycle: these nodes wait for one another: ${shown}`,
    faulty,
  );
}

/** A binary heap of numbers, least first. */
class Heap {
  private readonly items: number[] = [];

  push(value: number): void {
    const { items } = this;
    let at = items.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] ?? 0;
      if (above <= value) break;
      items[at] = above;
      at = parent;
    }
    items[at] = value;
  }

  pop(): number | undefined {
    const { items } = this;
    const least = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return least;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= items.length) break;
      const right = left + 1 < items.length && (items[left + 1] ?? 0) < (items[left] ?? 0) ? left + 1 : left;
      const below = items[right] ?? 0;
      if (below >= last) break;
      items[at] = below;
      at = right;
    }
    items[at] = last;
    return least;
  }
}
