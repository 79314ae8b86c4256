/** A GraphProto in the file: its nodes, stored tensors, inputs and outputs. */
import { UnbraidError } from "../errors.ts";
import { readMessage } from "./message.ts";
import type { Message } from "./message.ts";
import type { ExternalReader, OnnxAttribute, OnnxNode, OnnxTensor, OnnxValueInfo } from "./model.ts";
import { dataTypeName } from "./payload.ts";
import { ATTRIBUTE_MESSAGE, ATTRIBUTE_TYPE as T, GRAPH, NODE_MESSAGE, VALUE_INFO_MESSAGE } from "./schema.ts";
import { readSparseTensor, readTensor } from "./tensor.ts";
import { holds, wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

const faulty = "Export the model again; onnx.checker explains what is wrong with it.";

export interface GraphParts {
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  /** graph.input: initialisers may be among them. */
  readonly declared: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly valueInfo: readonly OnnxValueInfo[];
}

/**
 * @param fields of the graph; how deep graphs nest in it has been checked (namesInGraph)
 * @throws WireError for damaged bytes, UnbraidError as readTensor and readNode, DUPLICATE_NAME, TENSOR_DIMS
 */
export function readGraph(
  bytes: Uint8Array,
  fields: Iterable<WireField>,
  external: ExternalReader | undefined,
): GraphParts {
  const nodes: OnnxNode[] = [];
  const initializers = new Map<string, OnnxTensor>();
  const declared: OnnxValueInfo[] = [];
  const outputs: OnnxValueInfo[] = [];
  const valueInfo: OnnxValueInfo[] = [];
  const store = (tensor: OnnxTensor): void => {
    if (initializers.has(tensor.name)) throw duplicate(tensor.name);
    initializers.set(tensor.name, tensor);
  };
  for (const field of fields) {
    if (holds(field, GRAPH.node)) nodes.push(readNode(bytes, field, nodes.length, external));
    else if (holds(field, GRAPH.initializer)) store(readTensor(bytes, field.value, field.end, external));
    else if (holds(field, GRAPH.sparseInitializer)) store(readSparseTensor(bytes, field.value, field.end));
    else if (holds(field, GRAPH.input)) declared.push(readValueInfo(bytes, field));
    else if (holds(field, GRAPH.output)) outputs.push(readValueInfo(bytes, field));
    else if (holds(field, GRAPH.valueInfo)) valueInfo.push(readValueInfo(bytes, field));
  }
  return { nodes, initializers, declared, outputs, valueInfo };
}

const duplicate = (name: string): UnbraidError =>
  new UnbraidError("model", "DUPLICATE_NAME", `two initialisers have the name "${name}"`, faulty);

function readValueInfo(bytes: Uint8Array, at: WireField): OnnxValueInfo {
  const { name = "", type } = readMessage(VALUE_INFO_MESSAGE, bytes, wireFields(bytes, at.value, at.end));
  const tensor = type?.tensorType;
  if (!tensor) return { name, dataType: "none", dims: undefined };
  const dims = tensor.shape?.dim.map(({ dimValue, dimParam = "" }) => dimValue ?? (dimParam === "" ? null : dimParam));
  // Some exporters write 0 or -1 for a size that they leave open.
  if (dims?.some((dim) => typeof dim === "number" && dim < -1)) {
    throw new UnbraidError(
      "model",
      "TENSOR_DIMS",
      `the value "${name}" is declared with dimensions that cannot be: [${dims.map((d) => d ?? "?").join(", ")}]`,
      faulty,
    );
  }
  // A shape without dimensions is a scalar; no shape at all is an unknown rank.
  return { name, dataType: dataTypeName(tensor.elemType ?? 0), dims };
}

/** @throws WireError for damaged bytes, UnbraidError as readTensor */
function readNode(bytes: Uint8Array, at: WireField, index: number, external: ExternalReader | undefined): OnnxNode {
  const node = readMessage(NODE_MESSAGE, bytes, wireFields(bytes, at.value, at.end));
  const { name = "", opType = "", domain = "" } = node;
  const label = name || `${opType} at position ${index}`;
  return {
    index,
    name,
    opType,
    domain: domain === "ai.onnx" ? "" : domain,
    inputs: node.input,
    outputs: node.output,
    attributes: new Map(node.attribute.map((field) => readAttribute(bytes, field, label, external))),
  };
}

function readAttribute(
  bytes: Uint8Array,
  at: WireField,
  node: string,
  external: ExternalReader | undefined,
): [string, OnnxAttribute] {
  const a = readMessage(ATTRIBUTE_MESSAGE, bytes, wireFields(bytes, at.value, at.end));
  const { name = "", type = T.undefined, tensor, graph } = a;
  switch (type === T.undefined ? guessType(a) : type) {
    case T.int:
      return [name, { type: "int", value: a.i ?? 0 }];
    case T.float:
      return [name, { type: "float", value: a.f ?? 0 }];
    case T.string:
      return [name, { type: "string", value: a.s ?? "" }];
    case T.ints:
      return [name, { type: "ints", value: a.ints }];
    case T.floats:
      return [name, { type: "floats", value: a.floats }];
    case T.strings:
      return [name, { type: "strings", value: a.strings }];
    case T.tensor:
      if (tensor !== undefined)
        return [name, { type: "tensor", value: readTensor(bytes, tensor.value, tensor.end, external) }];
      throw new UnbraidError(
        "model",
        "ATTRIBUTE_EMPTY",
        `the attribute "${name}" of the node "${node}" should hold a tensor and holds none`,
        "Export the model again.",
      );
    case T.graph:
      if (graph === undefined) return [name, { type: "other", value: type }];
      return [name, { type: "graph", value: readGraph(bytes, wireFields(bytes, graph.value, graph.end), external) }];
    default:
      return [name, { type: "other", value: type }];
  }
}

/** Files older than IR version 2 leave the type out: it is that of the field which is there. */
function guessType(a: Message<typeof ATTRIBUTE_MESSAGE>): number {
  if (a.tensor !== undefined) return T.tensor;
  if (a.ints.length > 0) return T.ints;
  if (a.floats.length > 0) return T.floats;
  if (a.strings.length > 0) return T.strings;
  if (a.i !== undefined) return T.int;
  if (a.f !== undefined) return T.float;
  if (a.graph !== undefined) return T.graph;
  return a.s === undefined ? T.undefined : T.string;
}
