/**
 * What a convolution does as it writes its result, in place of a pass over the tensor each: Add of a tensor of its shape,
 * then Relu or Clip. Values in between are not stored, so only those that nobody else reads are fused away; but a
 * convolution can write its own output too.
 */
import type { GraphNode, ShapedGraph } from "../graph/graph.ts";
import { readers } from "../graph/prune.ts";
import type { FusionQuestion, Operator } from "../kernels/operator.ts";
import { operators } from "../kernels/table.ts";

/** Nodes that are lowered as one, at the place of the last. */
export interface Fused {
  readonly head: GraphNode;
  /** The value that the head writes in place of its own output. */
  readonly output: string;
  /** A value that is added to the head's result. */
  readonly residual?: string;
  readonly clamp?: readonly [lowest: number, highest: number];
  /** Whether the head's own output is to be seen, beside `output`. */
  readonly sums: boolean;
}

export interface Fusions {
  /** By the last node of each. */
  readonly byLast: ReadonlyMap<GraphNode, Fused>;
  /** All nodes but the last of each: lowered with it. */
  readonly before: ReadonlySet<GraphNode>;
}

/**
 * @param nodes those that will run, in order
 * @param kept values that must be stored
 * @param active nodes that a gradient passes: they must not need what is fused away
 */
export function fuse(
  graph: ShapedGraph,
  nodes: readonly GraphNode[],
  kept: ReadonlySet<string>,
  active: ReadonlySet<GraphNode>,
  winograd: boolean,
): Fusions {
  const uses = readers(graph);
  const readerOf = new Map<string, GraphNode>();
  for (const node of nodes) for (const name of node.inputs) readerOf.set(name, node);
  const question = (node: GraphNode): FusionQuestion => ({
    node,
    opset: graph.opset,
    winograd,
    info: (k) => graph.values.get(node.inputs[k] ?? ""),
  });
  const operatorOf = (node: GraphNode): Operator | undefined => operators.get(node.opType);
  const shapeOf = (name: string): string => graph.values.get(name)?.shape.join() ?? "";
  /** The only reader of a value; none where the value must be stored. */
  const next = (name: string, stored: boolean): GraphNode | undefined =>
    uses.get(name) === 1 && !stored ? readerOf.get(name) : undefined;

  const taken = new Set<GraphNode>();
  const byLast = new Map<GraphNode, Fused>();
  const before = new Set<GraphNode>();
  // From the back: of two convolutions that are added up, the later one takes the other's result.
  for (const head of nodes.toReversed()) {
    if (operatorOf(head)?.fuses?.(question(head)) !== true || head.outputs.length !== 1) continue;
    let output = head.outputs[0] ?? "";
    const group = [head];
    const sums = kept.has(output);
    if (sums && operatorOf(head)?.writesSums !== true) continue;
    let fused: Fused = { head, output, sums };
    const add = next(output, false);
    if (add?.opType === "Add" && !taken.has(add)) {
      const other = add.inputs.find((name) => name !== output);
      const sum = add.outputs[0] ?? "";
      const alike = other !== undefined && shapeOf(other) === shapeOf(output) && shapeOf(sum) === shapeOf(output);
      if (alike && graph.values.get(other)?.value === undefined) {
        fused = { ...fused, residual: other, output: sum };
        group.push(add);
        output = sum;
      }
    }
    const clamping = next(output, group.length > 1 && kept.has(output));
    if (clamping !== undefined && !taken.has(clamping)) {
      const operator = operatorOf(clamping);
      const clamp = operator?.clamp?.(question(clamping));
      // Its input, which the gradient of a Clip reads, is there where it is the sums.
      const there = sums && group.length === 1;
      const passable = !active.has(clamping) || operator?.gradientOfOutput === true || there;
      if (clamp !== undefined && passable && clamping.inputs[0] === output) {
        fused = { ...fused, clamp, output: clamping.outputs[0] ?? "" };
        group.push(clamping);
      }
    }
    const last = group.at(-1);
    if (last === undefined || group.length === 1) continue;
    for (const node of group) {
      taken.add(node);
      if (node !== last) before.add(node);
    }
    byLast.set(last, fused);
  }
  return { byLast, before };
}
