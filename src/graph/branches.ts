/**
 * If (ONNX opset 1 to 25) where the input's shape is known: PyTorch's older exporter writes it for what it did not know of
 * shapes, as in LocalResponseNorm. With the shapes known its condition is a constant, and its branch takes its place.
 */
import { UnbraidError } from "../errors.ts";
import { ConstantsMeter } from "./constants-meter.ts";
import { sizeOf } from "./graph.ts";
import type { Graph, GraphNode, InferRule, ShapedGraph, ValueInfo } from "./graph.ts";
import { inputInfos } from "./input-shapes.ts";

/** All nodes, those in branches too. */
export const everyNode = (nodes: readonly GraphNode[]): readonly GraphNode[] =>
  nodes.flatMap((n) =>
    n.branches === undefined ? [n] : [n, ...everyNode(n.branches.then), ...everyNode(n.branches.else)],
  );

/** A node that reads other values, in its branches too. */
export function withInputs(node: GraphNode, renamed: (name: string) => string): GraphNode {
  const inputs = node.inputs.map(renamed);
  if (node.branches === undefined) return { ...node, inputs };
  const through = (nodes: readonly GraphNode[]) => nodes.map((inner) => withInputs(inner, renamed));
  return { ...node, inputs, branches: { then: through(node.branches.then), else: through(node.branches.else) } };
}

/**
 * The graph with a branch in the place of every If whose condition follows from constants and shapes; others stay.
 * @throws UnbraidError INPUT_SHAPE; what a rule throws, where an If could not be decided after that
 */
export function inlineBranches(
  graph: Graph,
  shapes: ReadonlyMap<string, readonly number[]>,
  rules: (opType: string) => InferRule | undefined,
): Graph {
  const undecided = (n: GraphNode): boolean => n.branches !== undefined;
  if (!graph.nodes.some(undecided)) return graph;
  inputInfos(graph, shapes);
  const { shaped, problem } = inferPartly(graph, shapes, rules);
  if (problem !== undefined && shaped.nodes.some(undecided)) throw problem;
  return { ...graph, nodes: shaped.nodes };
}

/** As much as can be known, whatever is in the way: all nodes, with branches in the place of the Ifs that are decided. */
export function inferPartly(
  graph: Graph,
  shapes: ReadonlyMap<string, readonly number[]>,
  rules: (opType: string) => InferRule | undefined,
): { readonly shaped: ShapedGraph; readonly problem: UnbraidError | undefined } {
  const values = new Map<string, ValueInfo>();
  for (const input of graph.inputs) {
    const known = shapes.get(input.name);
    if (known !== undefined) values.set(input.name, { type: input.type, shape: known });
  }
  for (const [name, value] of graph.constants) values.set(name, { type: value.type, shape: value.shape, value });
  const meter = new ConstantsMeter(graph);
  const nodes: GraphNode[] = [];
  const problems: UnbraidError[] = [];
  let stopped = false;
  const visit = (node: GraphNode): void => {
    const branch = branchTaken(node, values);
    if (branch !== undefined) {
      branch.forEach(visit);
      return;
    }
    nodes.push(node);
    if (stopped) return;
    // "" is an input or an output left out.
    const inputs = node.inputs.map((name) => (name === "" ? undefined : values.get(name)));
    if (node.inputs.some((name, k) => name !== "" && inputs[k] === undefined)) return;
    try {
      const infos = rules(node.opType)?.(node, inputs, graph.opset) ?? [];
      node.outputs.forEach((name, k) => {
        const info = infos[k];
        if (name === "" || info === undefined) return;
        meter.add(info);
        values.set(name, info);
      });
      stopped = meter.full;
      if (stopped) throw meter.refusal(node);
    } catch (error) {
      if (!(error instanceof UnbraidError)) throw error;
      problems.push(error);
    }
  };
  graph.nodes.forEach(visit);
  const constants = new Map(graph.constants);
  for (const [name, { value }] of values) if (value !== undefined) constants.set(name, value);
  return { shaped: { ...graph, nodes, constants, values, stored: graph.constants }, problem: problems[0] };
}

function branchTaken(node: GraphNode, values: ReadonlyMap<string, ValueInfo>): readonly GraphNode[] | undefined {
  const condition = values.get(node.inputs[0] ?? "")?.value;
  if (node.branches === undefined || condition === undefined || sizeOf(condition.shape) !== 1) return undefined;
  return condition.data[0] === 0 ? node.branches.else : node.branches.then;
}
