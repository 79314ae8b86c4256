/** Where the parts of a model lie in its file, and the names that its subgraphs use. */
import { ATTRIBUTE, GRAPH, MODEL, NODE } from "./schema.ts";
import { holds, textOf, WireError, wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

export interface Layout {
  readonly model: readonly WireField[];
  readonly graph: WireField;
  readonly inGraph: readonly WireField[];
}

/** @throws WireError for damaged bytes; with offset 0 and nothing missing where there is no graph, or more than one */
export function layoutOf(bytes: Uint8Array): Layout {
  const model = [...wireFields(bytes)];
  const graphs = model.filter((field) => holds(field, MODEL.graph));
  const [graph] = graphs;
  if (graph === undefined || graphs.length > 1) throw new WireError(0, 0, `${graphs.length} graphs`);
  return { model, graph, inGraph: [...wireFields(bytes, graph.value, graph.end)] };
}

/** Deeper nesting than any exporter makes; a file that goes beyond it is there to exhaust the stack. */
const MAX_DEPTH = 64;

/** Every name inside the subgraphs of a node (If, Loop, Scan): they may use values of the graph around them. */
export function namesInSubgraphs(bytes: Uint8Array, node: WireField, add: (name: string) => void, depth = 0): void {
  for (const graph of subgraphsOf(bytes, node)) namesInGraph(bytes, graph, add, depth + 1);
}

/** Every name inside all subgraphs of the model. */
export function subgraphNames(bytes: Uint8Array, { inGraph }: Layout): ReadonlySet<string> {
  const names = new Set<string>();
  for (const field of inGraph) if (holds(field, GRAPH.node)) namesInSubgraphs(bytes, field, (name) => names.add(name));
  return names;
}

/** Every name of a graph: nodes, values, initialisers, and those of its subgraphs. */
export function namesInGraph(bytes: Uint8Array, graph: WireField, add: (name: string) => void, depth = 0): void {
  if (depth > MAX_DEPTH) throw new WireError(graph.start, 0, `subgraphs nested more than ${MAX_DEPTH} deep`);
  for (const field of wireFields(bytes, graph.value, graph.end)) {
    if (holds(field, GRAPH.node)) {
      for (const part of wireFields(bytes, field.value, field.end)) {
        if (holds(part, NODE.input) || holds(part, NODE.output) || holds(part, NODE.name)) add(textOf(bytes, part));
      }
      namesInSubgraphs(bytes, field, add, depth);
    } else {
      const name = declaredName(bytes, field);
      if (name !== undefined) add(name);
    }
  }
}

/** The name that a field of a graph (an initialiser, an input, an output, a value_info) declares. */
export function declaredName(bytes: Uint8Array, field: WireField): string | undefined {
  const number = NAME_IN[field.number];
  if (number === undefined || !holds(field, field.number)) return undefined;
  let name: string | undefined;
  for (const part of wireFields(bytes, field.value, field.end)) if (holds(part, number)) name = textOf(bytes, part);
  return name;
}

/** Field of a graph -> field that holds its name (TensorProto 8, ValueInfoProto 1). */
const NAME_IN: Readonly<Partial<Record<number, number>>> = {
  [GRAPH.initializer]: 8,
  [GRAPH.input]: 1,
  [GRAPH.output]: 1,
  [GRAPH.valueInfo]: 1,
};

export function* subgraphsOf(bytes: Uint8Array, node: WireField): Generator<WireField> {
  for (const attribute of wireFields(bytes, node.value, node.end)) {
    if (!holds(attribute, NODE.attribute)) continue;
    for (const part of wireFields(bytes, attribute.value, attribute.end)) {
      if (holds(part, ATTRIBUTE.graph) || holds(part, ATTRIBUTE.graphs)) yield part;
    }
  }
}
