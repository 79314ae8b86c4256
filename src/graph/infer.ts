/**
 * Shapes and constants: every value's type and shape for given input shapes, and the elements of those values that do
 * not depend on the input. Exporters leave integer sub-graphs that compute pads and shapes; with the input's shape known
 * they are all constants, so only real network nodes remain.
 */
import { UnbraidError } from "../errors.ts";
import { inlineBranches } from "./branches.ts";
import { ConstantsMeter } from "./constants-meter.ts";
import type { Graph, GraphNode, HostTensor, InferRule, ShapedGraph } from "./graph.ts";
import { inputInfos } from "./input-shapes.ts";

/** The names of an operator that this table has no rule for, with the nodes that need it. */
export interface Unsupported {
  readonly node: string;
  readonly type: string;
  readonly why: string;
}

/**
 * All nodes whose operator is not in the table: listed at once, so that a user sees the whole distance. Every If is among
 * them that inlineBranches has not replaced.
 */
export function unsupportedNodes(graph: Graph, rules: (opType: string) => InferRule | undefined): Unsupported[] {
  return graph.nodes
    .filter((n) => rules(n.opType) === undefined)
    .map((n) => ({ node: n.name, type: n.opType, why: whyNot(n) }));
}

const whyNot = ({ opType, branches, inputs: [condition = ""] }: GraphNode): string =>
  branches === undefined
    ? `operator ${opType} is not implemented`
    : `operator ${opType} is only implemented where its condition ("${condition}") follows from constants and shapes`;

export function unsupportedError(list: readonly Unsupported[]): UnbraidError {
  const types = [...new Set(list.map((u) => u.type))].sort();
  return new UnbraidError(
    "unsupported",
    "OPERATORS_UNSUPPORTED",
    `${list.length} ${list.length === 1 ? "node uses an operator" : "nodes use operators"} that ${list.length === 1 ? "is" : "are"} not supported (${types.join(", ")}):\n` +
      list.map((u) => `  ${u.node}: ${u.why}`).join("\n"),
    `${otherExport(types)}Export the network without them, or see docs/features.md for what is supported.`,
  );
}

/** What PyTorch's exporters write only in one of their ways. */
function otherExport(types: readonly string[]): string {
  if (types.includes("If"))
    return "PyTorch's newer exporter (torch.onnx.export with dynamo=True) often needs no If where the older one writes it. ";
  if (types.includes("SplitToSequence")) return "PyTorch's exporter writes Split in its place with optimize=True. ";
  return "";
}

/**
 * @param shapes shape of each graph input, all dimensions known
 * @returns the graph with the branches of its Ifs in their place, without its constant nodes, and the info of every value left
 * @throws UnbraidError INPUT_SHAPE when a shape contradicts the file; OPERATORS_UNSUPPORTED; UNSUPPORTED_NODE where
 * constants grow without measure; whatever a rule throws
 */
export function inferShapes(
  graph: Graph,
  shapes: ReadonlyMap<string, readonly number[]>,
  rules: (opType: string) => InferRule | undefined,
): ShapedGraph {
  const inlined = inlineBranches(graph, shapes, rules);
  const missing = unsupportedNodes(inlined, rules);
  if (missing.length > 0) throw unsupportedError(missing);

  const values = inputInfos(graph, shapes);
  const constants = new Map<string, HostTensor>();
  const meter = new ConstantsMeter(graph);
  for (const [name, value] of graph.constants) {
    constants.set(name, value);
    values.set(name, { type: value.type, shape: value.shape, value });
  }
  const nodes: GraphNode[] = [];
  for (const node of inlined.nodes) {
    const rule = rules(node.opType);
    if (rule === undefined) continue; // excluded above
    const outputs = rule(
      node,
      node.inputs.map((name) => (name === "" ? undefined : values.get(name))),
      graph.opset,
    );
    for (const [k, name] of node.outputs.entries()) {
      const info = outputs[k];
      if (name === "" || info === undefined) continue;
      values.set(name, info);
      if (info.value === undefined) continue;
      constants.set(name, info.value);
      meter.add(info);
      if (meter.full) throw meter.refusal(node);
    }
    if (!node.outputs.every((name) => name === "" || constants.has(name))) nodes.push(node);
  }
  return { ...graph, nodes, constants, values, stored: graph.constants };
}
