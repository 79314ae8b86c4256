/**
 * The part of a network behind one value, as a network of its own: what an edit of that value does to the logits costs a run
 * of this part only. Shapes, and whatever follows from them alone, are those of the graph it is cut from.
 */
import { must } from "../../errors.ts";
import type { Graph, ShapedGraph } from "../../graph/graph.ts";

export interface Tail {
  readonly graph: Graph;
  /** What the tail reads of the rest of the network (the other arms of residual blocks), not counting the cut value. */
  readonly others: readonly string[];
}

/**
 * @param from the value to cut at
 * @param to the value that is wanted
 */
export function tailOf(shaped: ShapedGraph, from: string, to: string): Tail {
  const producers = new Map(shaped.nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  const behind = new Set([from]);
  const inside = new Set(
    shaped.nodes.filter((node) => {
      if (!node.inputs.some((name) => behind.has(name))) return false;
      for (const name of node.outputs) if (name !== "") behind.add(name);
      return true;
    }),
  );
  // A value that is no float cannot be handed from one network to the other: its producer is run again.
  let others = readFromOutside();
  for (;;) {
    const whole = others.filter((name) => shaped.values.get(name)?.type !== "float32" && producers.has(name));
    if (whole.length === 0) break;
    for (const name of whole) inside.add(must(producers.get(name), name));
    others = readFromOutside();
  }

  function readFromOutside(): string[] {
    const made = new Set([...inside].flatMap((node) => node.outputs));
    const read = [...inside].flatMap((node) => node.inputs);
    return [...new Set(read)].filter(
      (name) => name !== "" && name !== from && !made.has(name) && !shaped.constants.has(name),
    );
  }

  const inputs = [from, ...others].map((name) => {
    const { type, shape } = must(shaped.values.get(name), name);
    return { name, type, shape };
  });
  return {
    graph: {
      opset: shaped.opset,
      nodes: shaped.nodes.filter((node) => inside.has(node)),
      constants: shaped.constants,
      inputs,
      outputs: [to],
    },
    others,
  };
}
