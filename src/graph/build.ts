/** An OnnxModel as a Graph: typed attributes, constants on the host, unique names, nodes in topological order. */
import { UnbraidError } from "../errors.ts";
import { freshName } from "../onnx/edit.ts";
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxSubgraph, OnnxTensor, OnnxValueInfo } from "../onnx/model.ts";
import { LAZY_FROM, lazyTensor } from "./lazy.ts";
import { sortNodes } from "./order.ts";
import type { AttributeValue, ElementType, Graph, GraphInput, GraphNode, HostTensor } from "./graph.ts";

/**
 * The graph of a model. Initialisers that nothing uses are left out; Constant nodes become constants. The branches of an If
 * come with it; other attributes that hold graphs (Loop, Scan) are left out of their nodes: no operator here knows them.
 * @throws UnbraidError kind "model": GRAPH_CYCLE, GRAPH_INPUT_MISSING, GRAPH_OUTPUT_MISSING, DUPLICATE_NAME,
 * CONSTANT_EMPTY, and what OnnxTensor.numbers throws; kind "unsupported": TYPE_UNSUPPORTED
 */
export function buildGraph(model: OnnxModel): Graph {
  const names = nodeNames(model);
  const constants = new Map<string, HostTensor>();
  const used = new Set([...namesRead(model.nodes), ...model.outputs.map((output) => output.name)]);
  for (const [name, tensor] of model.initializers) if (used.has(name)) constants.set(name, hostTensor(tensor));
  const nodes = graphNodes(model.nodes, names, {
    constants,
    values: definedOnce(model, names),
    nodes: new Set(names),
    names: new Set([...model.names, ...names]),
    of: (name) => name,
  });
  const inputs = model.inputs.map(graphInput);
  const given = new Set([...constants.keys(), ...inputs.map((input) => input.name)]);
  const sorted = sortNodes(nodes, given);
  const outputs = model.outputs.map((output) => output.name);
  const known = new Set([...given, ...sorted.flatMap((node) => node.outputs)]);
  for (const output of outputs) {
    if (known.has(output)) continue;
    throw new UnbraidError("model", "GRAPH_OUTPUT_MISSING", `no node computes the graph's output "${output}"`, faulty);
  }
  return { opset: model.opset, nodes: sorted, constants, inputs, outputs };
}

/** What nodes are built in: the graph, or a branch of one of its Ifs. */
interface Scope {
  /** The whole graph's: what branches store joins it. */
  readonly constants: Map<string, HostTensor>;
  /** Values and nodes of the whole graph, so far as they are built. */
  readonly values: Set<string>;
  readonly nodes: Set<string>;
  /** Every name in use: for new ones. */
  readonly names: Set<string>;
  /** What a name of the file stands for. */
  readonly of: (name: string) => string;
  readonly inside?: string;
}

/** Nodes in the order of the file. Constant nodes go to the constants. */
function graphNodes(nodes: readonly OnnxNode[], names: readonly string[], scope: Scope): GraphNode[] {
  const built: GraphNode[] = [];
  nodes.forEach((node, k) => {
    const name = names[k] ?? "";
    const outputs = node.outputs.map(scope.of);
    if (node.opType === "Constant" && node.domain === "") {
      scope.constants.set(outputs[0] ?? "", constantValue(node, name));
      return;
    }
    const opType = node.domain === "" ? node.opType : `${node.domain}.${node.opType}`;
    const inputs = node.inputs.map(scope.of);
    const plain: GraphNode = {
      ...{ name, opType, inputs, outputs, attributes: attributesOf(node, name) },
      ...(scope.inside === undefined ? {} : { inside: scope.inside }),
    };
    built.push(opType === "If" ? withBranches(plain, node, scope) : plain);
  });
  return built;
}

/** An If with its branches, and what they read as inputs; without, where the file lacks one. */
function withBranches(plain: GraphNode, node: OnnxNode, scope: Scope): GraphNode {
  const [yes, no] = ["then_branch", "else_branch"].map((key) => node.attributes.get(key));
  if (yes?.type !== "graph" || no?.type !== "graph") return plain;
  const branches = { then: branchNodes(plain, yes.value, scope), else: branchNodes(plain, no.value, scope) };
  const all = [...branches.then, ...branches.else];
  const made = new Set(all.flatMap((n) => n.outputs));
  const read = new Set(all.flatMap((n) => n.inputs).filter((name) => name !== "" && !made.has(name)));
  for (const name of plain.inputs) read.delete(name);
  return { ...plain, inputs: [...plain.inputs, ...read], branches };
}

/** A branch's nodes in topological order, and one for each output of the If. Names that are taken are replaced. */
function branchNodes(branching: GraphNode, branch: OnnxSubgraph, scope: Scope): readonly GraphNode[] {
  const fresh = (base: string): string => {
    const name = freshName(scope.names, base);
    scope.names.add(name);
    return name;
  };
  const names = branch.nodes.map((node) => {
    const own = node.name !== "" && !scope.nodes.has(node.name) ? node.name : fresh(`${branching.name}/${node.opType}`);
    scope.nodes.add(own);
    return own;
  });
  const own = new Map<string, string>();
  for (const value of definedOnce(branch, names)) {
    const name = scope.values.has(value) ? fresh(value) : value;
    scope.values.add(name);
    own.set(value, name);
  }
  const inner = { ...scope, inside: branching.name, of: (name: string) => own.get(name) ?? scope.of(name) };
  for (const [name, tensor] of branch.initializers) scope.constants.set(inner.of(name), hostTensor(tensor));
  if (branch.outputs.length !== branching.outputs.length)
    throw new UnbraidError(
      "model",
      "GRAPH_OUTPUT_MISSING",
      `the node "${branching.name}" (If) has ${branching.outputs.length} outputs, and a branch with ${branch.outputs.length}`,
      faulty,
    );
  const nodes = graphNodes(branch.nodes, names, inner);
  const made = new Set(nodes.flatMap((n) => n.outputs));
  const sorted = sortNodes(nodes, new Set(nodes.flatMap((n) => n.inputs).filter((name) => !made.has(name))));
  const results = branch.outputs.flatMap(({ name }, k): GraphNode[] => {
    const to = branching.outputs[k] ?? "";
    const identity = { name: fresh(`${branching.name}/output`), opType: "Identity", attributes: new Map() };
    return to === "" ? [] : [{ ...identity, inputs: [inner.of(name)], outputs: [to], inside: branching.name }];
  });
  return [...sorted, ...results];
}

/** The values that nodes read, in their branches too. */
function namesRead(nodes: readonly OnnxNode[]): string[] {
  return nodes.flatMap((node) => {
    const inner = [...node.attributes.values()].flatMap((a) => (a.type === "graph" ? [a.value] : []));
    return [...node.inputs, ...inner.flatMap((g) => [...namesRead(g.nodes), ...g.outputs.map(({ name }) => name)])];
  });
}

const faulty = "Export the model again; onnx.checker explains what is wrong with it.";

/** The name of each of model.nodes in the graph: its own where it has one that is unique, else one made for it. */
export function nodeNames(model: OnnxModel): readonly string[] {
  const taken = new Set(model.nodes.map((node) => node.name));
  const seen = new Set<string>([""]);
  return model.nodes.map((node) => {
    const own = !seen.has(node.name);
    const name = own ? node.name : freshName(taken, `${node.name === "" ? node.opType : node.name}_${node.index}`);
    seen.add(name);
    taken.add(name);
    return name;
  });
}

/**
 * The values that a graph or a branch defines. Static single assignment: ONNX lets no two things of a graph give a value the
 * same name.
 * @throws UnbraidError DUPLICATE_NAME
 */
function definedOnce(graph: OnnxSubgraph & Partial<Pick<OnnxModel, "inputs">>, names: readonly string[]): Set<string> {
  const by = new Map<string, string>();
  const define = (value: string, what: string): void => {
    const first = by.get(value);
    if (first !== undefined)
      throw new UnbraidError(
        "model",
        "DUPLICATE_NAME",
        `the value "${value}" is defined twice: by ${first} and by ${what}`,
        faulty,
      );
    by.set(value, what);
  };
  for (const input of graph.inputs ?? []) define(input.name, "the graph's inputs");
  for (const name of graph.initializers.keys()) define(name, "the initialisers");
  graph.nodes.forEach((node, k) => {
    for (const output of node.outputs) if (output !== "") define(output, `the node "${names[k] ?? ""}"`);
  });
  return new Set(by.keys());
}

/** The element type that stands for a stored type here, undefined where none does. */
function elementType(type: string): ElementType | undefined {
  if (["float32", "float16", "float64", "bfloat16"].includes(type)) return "float32";
  if (["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"].includes(type)) return "int64";
  return type === "bool" ? "bool" : undefined;
}

/** Elements of a large tensor are read when they are needed. @param what how an error calls it @throws UnbraidError TYPE_UNSUPPORTED, and as OnnxTensor.numbers */
export function hostTensor(tensor: OnnxTensor, what = `the tensor "${tensor.name}"`): HostTensor {
  const type = elementType(tensor.dataType);
  if (type === undefined) throw unsupportedType(what, tensor.dataType);
  if (tensor.size < LAZY_FROM) return { type, shape: tensor.dims, data: tensor.numbers() };
  tensor.check();
  return lazyTensor(
    type,
    tensor.dims,
    () => tensor.numbers(),
    (start, count) => tensor.part(start, count),
  );
}

const unsupportedType = (what: string, type: string): UnbraidError =>
  new UnbraidError(
    "unsupported",
    "TYPE_UNSUPPORTED",
    `${what} is of ${type.startsWith("type ") ? `data ${type}` : `type ${type}`}, which is not supported`,
    "Export the model with float, integer or bool tensors.",
  );

function graphInput(info: OnnxValueInfo): GraphInput {
  const type = elementType(info.dataType);
  if (type === undefined)
    throw unsupportedType(
      `the graph's input "${info.name}"`,
      info.dataType === "none" ? "other than tensor" : info.dataType,
    );
  // Some exporters write 0 or -1 for a size that they leave open.
  const shape = info.dims?.map((dim) => (typeof dim === "number" && dim > 0 ? dim : null));
  return { name: info.name, type, shape };
}

function attributesOf(node: OnnxNode, of: string): ReadonlyMap<string, AttributeValue> {
  const out = new Map<string, AttributeValue>();
  for (const [name, attribute] of node.attributes) {
    if (attribute.type === "other" || attribute.type === "graph") continue;
    const value =
      attribute.type === "tensor"
        ? hostTensor(attribute.value, `the attribute "${name}" of the node "${of}"`)
        : attribute.value;
    out.set(name, value);
  }
  return out;
}

/** The operator Constant (opset 1; value_* from 12). */
function constantValue(node: OnnxNode, name: string): HostTensor {
  const one = (key: string): OnnxAttribute | undefined => node.attributes.get(key);
  const tensor = one("value");
  if (tensor?.type === "tensor") return hostTensor(tensor.value, `the constant of the node "${name}"`);
  const float = one("value_float");
  if (float?.type === "float") return { type: "float32", shape: [], data: Float32Array.of(float.value) };
  const floats = one("value_floats");
  if (floats?.type === "floats")
    return { type: "float32", shape: [floats.value.length], data: Float32Array.from(floats.value) };
  const int = one("value_int");
  if (int?.type === "int") return { type: "int64", shape: [], data: Float64Array.of(int.value) };
  const ints = one("value_ints");
  if (ints?.type === "ints") return { type: "int64", shape: [ints.value.length], data: Float64Array.from(ints.value) };
  for (const [key, type] of [
    ["sparse_value", "sparse tensor"],
    ["value_string", "string"],
    ["value_strings", "string"],
  ] as const) {
    if (node.attributes.has(key)) throw unsupportedType(`the constant of the node "${name}"`, type);
  }
  throw new UnbraidError("model", "CONSTANT_EMPTY", `the Constant node "${name}" holds no value`, faulty);
}
