/** An OnnxModel as a Graph: typed attributes, constants on the host, unique names, nodes in topological order. */
import { UnbraidError } from "../errors.ts";
import { freshName } from "../onnx/edit.ts";
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxTensor, OnnxValueInfo } from "../onnx/model.ts";
import { LAZY_FROM, lazyTensor } from "./lazy.ts";
import { sortNodes } from "./order.ts";
import type { AttributeValue, ElementType, Graph, GraphInput, GraphNode, HostTensor } from "./graph.ts";

/**
 * The graph of a model. Initialisers that nothing uses are left out; Constant nodes become constants. Attributes that
 * hold graphs (If, Loop) are left out of their nodes: no operator here knows them.
 * @throws UnbraidError kind "model": GRAPH_CYCLE, GRAPH_INPUT_MISSING, GRAPH_OUTPUT_MISSING, DUPLICATE_NAME,
 * CONSTANT_EMPTY, and what OnnxTensor.numbers throws; kind "unsupported": TYPE_UNSUPPORTED
 */
export function buildGraph(model: OnnxModel): Graph {
  const names = nodeNames(model);
  const constants = new Map<string, HostTensor>();
  const nodes: GraphNode[] = [];
  const used = new Set([...model.nodes.flatMap((node) => node.inputs), ...model.outputs.map((output) => output.name)]);
  for (const [name, tensor] of model.initializers) if (used.has(name)) constants.set(name, hostTensor(tensor));
  checkDefinedOnce(model, names);
  model.nodes.forEach((node, k) => {
    const name = names[k] ?? "";
    if (node.opType === "Constant" && node.domain === "") {
      constants.set(node.outputs[0] ?? "", constantValue(node, name));
      return;
    }
    const opType = node.domain === "" ? node.opType : `${node.domain}.${node.opType}`;
    nodes.push({ name, opType, inputs: node.inputs, outputs: node.outputs, attributes: attributesOf(node, name) });
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

/** Static single assignment: ONNX lets no two things of a graph give a value the same name. */
function checkDefinedOnce(model: OnnxModel, names: readonly string[]): void {
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
  for (const input of model.inputs) define(input.name, "the graph's inputs");
  for (const name of model.initializers.keys()) define(name, "the initialisers");
  model.nodes.forEach((node, k) => {
    for (const output of node.outputs) if (output !== "") define(output, `the node "${names[k] ?? ""}"`);
  });
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
    if (attribute.type === "other") continue;
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
