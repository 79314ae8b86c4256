/**
 * Shapes and constants: every value's type and shape for given input shapes, and the elements of those values that do
 * not depend on the input. Exporters leave integer sub-graphs that compute pads and shapes; with the input's shape known
 * they are all constants, so only real network nodes remain.
 */
import { UnbraidError } from "../errors.ts";
import { sizeOf } from "./graph.ts";
import type { Graph, GraphInput, GraphNode, HostTensor, InferRule, ShapedGraph, ValueInfo } from "./graph.ts";

/** Elements of a tensor that a kernel can index with 32 bits. */
const MAX_ELEMENTS = 2 ** 32 - 1;

/**
 * What all nodes together may make of a file's constants on the host: so many elements, and so many times what the file
 * stores. Networks are far below (some steps for each weight); a file of a few nodes that double one constant is not.
 */
const COMPUTED_ELEMENTS = 2 ** 23;
const COMPUTED_TIMES = 16;

/** The names of an operator that this table has no rule for, with the nodes that need it. */
export interface Unsupported {
  readonly node: string;
  readonly type: string;
  readonly why: string;
}

/** All nodes whose operator is not in the table: listed at once, so that a user sees the whole distance. */
export function unsupportedNodes(graph: Graph, rules: (opType: string) => InferRule | undefined): Unsupported[] {
  return graph.nodes
    .filter((n) => rules(n.opType) === undefined)
    .map((n) => ({ node: n.name, type: n.opType, why: `operator ${n.opType} is not implemented` }));
}

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
 * @returns the graph without its constant nodes, and the info of every value left
 * @throws UnbraidError INPUT_SHAPE when a shape contradicts the file; OPERATORS_UNSUPPORTED; UNSUPPORTED_NODE where
 * constants grow without measure; whatever a rule throws
 */
export function inferShapes(
  graph: Graph,
  shapes: ReadonlyMap<string, readonly number[]>,
  rules: (opType: string) => InferRule | undefined,
): ShapedGraph {
  const missing = unsupportedNodes(graph, rules);
  if (missing.length > 0) throw unsupportedError(missing);

  const values = new Map<string, ValueInfo>();
  const constants = new Map<string, HostTensor>();
  const meter = new ConstantsMeter(graph);
  for (const input of graph.inputs) values.set(input.name, { type: input.type, shape: checkedShape(input, shapes) });
  for (const [name, value] of graph.constants) {
    constants.set(name, value);
    values.set(name, { type: value.type, shape: value.shape, value });
  }
  const nodes: GraphNode[] = [];
  for (const node of graph.nodes) {
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

/** Counts the elements of the constants that are computed on the host. */
export class ConstantsMeter {
  private computed = 0;
  private readonly stored: number;

  constructor({ constants }: Pick<Graph, "constants">) {
    this.stored = [...constants.values()].reduce((n, t) => n + sizeOf(t.shape), 0);
  }

  add({ value, shape }: ValueInfo): void {
    if (value !== undefined) this.computed += sizeOf(shape);
  }

  /** Whether they are too many: no more must be computed then. */
  get full(): boolean {
    return this.computed > COMPUTED_ELEMENTS + COMPUTED_TIMES * this.stored;
  }

  /** @param node where it became full */
  refusal(node: GraphNode): UnbraidError {
    return new UnbraidError(
      "unsupported",
      "UNSUPPORTED_NODE",
      `${node.opType} "${node.name}": the constants computed up to it have ${this.computed} elements, more than ` +
        `${COMPUTED_ELEMENTS} and ${COMPUTED_TIMES} times the ${this.stored} that the file stores`,
      "Fold the file's constants before (onnxsim does), so that it stores their results.",
    );
  }
}

function checkedShape(input: GraphInput, shapes: ReadonlyMap<string, readonly number[]>): readonly number[] {
  const shape = shapes.get(input.name);
  const declared = input.shape?.map((d) => d ?? "?").join("x") ?? "any shape";
  const fits =
    shape !== undefined &&
    (input.shape === undefined ||
      (shape.length === input.shape.length && input.shape.every((d, i) => d === null || d === shape[i])));
  if (!fits) {
    throw new UnbraidError(
      "input",
      "INPUT_SHAPE",
      `input "${input.name}" is declared as ${declared}, given ${shape?.join("x") ?? "nothing"}`,
      "Give the input the declared shape (for images: --resize and --crop).",
    );
  }
  const elements = shape.reduce((n, d) => n * Math.max(d, 1), 1);
  if (!shape.every((d) => Number.isInteger(d) && d >= 0) || elements > MAX_ELEMENTS) {
    throw new UnbraidError(
      "input",
      "INPUT_SHAPE",
      `input "${input.name}" of shape ${shape.join("x")} has ${elements} elements; kernels count whole numbers up to ${MAX_ELEMENTS}`,
      "Use a smaller batch or image size.",
    );
  }
  return shape;
}
