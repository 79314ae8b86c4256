/** Networks whose images have their channels last, as Keras has them, taken as networks with channels first. */
import { freshName } from "../onnx/edit.ts";
import { everyNode, withInputs } from "./branches.ts";
import type { Graph, GraphNode } from "./graph.ts";

/**
 * Whether a shape is [batch, height, width, channels]: its last size can be a number of channels, and the second cannot.
 * Sizes that the file leaves open are null.
 */
export function channelsLast(shape: readonly (number | null)[]): boolean {
  const mayBeChannels = (size: number | null | undefined): boolean => size === 1 || size === 3 || size === 4;
  return shape.length === 4 && mayBeChannels(shape[3]) && !mayBeChannels(shape[1]);
}

/**
 * A graph whose only input is [batch, height, width, channels] as one that takes [batch, channels, height, width] under
 * the same name and transposes it first. All other values stay as they are; other graphs are returned as they are.
 */
export function channelsFirst(graph: Graph): Graph {
  const [input, second] = graph.inputs;
  const [batch = null, height = null, width = null, channels = null] = input?.shape ?? [];
  if (input?.shape === undefined || second !== undefined || !channelsLast(input.shape)) return graph;
  const values = new Set([
    ...everyNode(graph.nodes).flatMap((n) => [...n.inputs, ...n.outputs]),
    ...graph.constants.keys(),
  ]);
  const last = freshName(values, `${input.name} with channels last`);
  const transpose: GraphNode = {
    name: freshName(new Set(everyNode(graph.nodes).map((n) => n.name)), "channels last"),
    opType: "Transpose",
    inputs: [input.name],
    outputs: [last],
    attributes: new Map([["perm", [0, 2, 3, 1]]]),
  };
  const renamed = (name: string): string => (name === input.name ? last : name);
  return {
    ...graph,
    inputs: [{ ...input, shape: [batch, channels, height, width] }],
    nodes: [transpose, ...graph.nodes.map((n) => withInputs(n, renamed))],
    outputs: graph.outputs.map(renamed),
  };
}
