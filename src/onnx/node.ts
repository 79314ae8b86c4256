/** A NodeProto in the file as an OnnxNode. */
import { UnbraidError } from "../errors.ts";
import type { ExternalReader, OnnxAttribute, OnnxNode } from "./model.ts";
import { ATTRIBUTE, ATTRIBUTE_TYPE as T, NODE, onnx, toNumber } from "./schema.ts";
import { readTensor } from "./tensor.ts";
import { holds, WIRE, WireError, wireFields, withoutFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

/** Heavy or newer than onnx-proto: tensors are read lazily, graphs and types stay in the file. */
const HEAVY: ReadonlySet<number> = new Set([
  ATTRIBUTE.tensor,
  ATTRIBUTE.graph,
  ATTRIBUTE.tensors,
  ATTRIBUTE.graphs,
  ATTRIBUTE.typeProto,
  ATTRIBUTE.typeProtos,
  ATTRIBUTE.sparse,
  ATTRIBUTE.sparses,
]);

/** @throws WireError for damaged bytes, UnbraidError as readTensor */
export function readNode(
  bytes: Uint8Array,
  at: WireField,
  index: number,
  external: ExternalReader | undefined,
): OnnxNode {
  const node = onnx.NodeProto.decode(withoutFields(bytes, at.value, at.end, new Set([NODE.attribute])));
  const attributes = new Map<string, OnnxAttribute>();
  for (const field of wireFields(bytes, at.value, at.end)) {
    // onnx-proto takes a known field for what it should be, whatever its wire type; who edits the file later does not.
    if (field.number <= NODE.attribute && field.wireType !== WIRE.bytes)
      throw new WireError(field.start, 0, `field ${field.number} of a node has wire type ${field.wireType}`);
    if (!holds(field, NODE.attribute)) continue;
    const [name, attribute] = readAttribute(bytes, field, node.name || `${node.opType} at position ${index}`, external);
    attributes.set(name, attribute);
  }
  const domain = node.domain === "ai.onnx" ? "" : node.domain;
  return { index, name: node.name, opType: node.opType, domain, inputs: node.input, outputs: node.output, attributes };
}

function readAttribute(
  bytes: Uint8Array,
  at: WireField,
  node: string,
  external: ExternalReader | undefined,
): [string, OnnxAttribute] {
  const a = onnx.AttributeProto.decode(withoutFields(bytes, at.value, at.end, HEAVY));
  let tensor: WireField | undefined;
  for (const field of wireFields(bytes, at.value, at.end)) if (holds(field, ATTRIBUTE.tensor)) tensor = field;
  const text = (value: Uint8Array): string => new TextDecoder().decode(value);
  const type: number = a.type;
  switch (type === T.undefined ? guessType(a, tensor) : type) {
    case T.int:
      return [a.name, { type: "int", value: toNumber(a.i) }];
    case T.float:
      return [a.name, { type: "float", value: a.f }];
    case T.string:
      return [a.name, { type: "string", value: text(a.s) }];
    case T.ints:
      return [a.name, { type: "ints", value: a.ints.map(toNumber) }];
    case T.floats:
      return [a.name, { type: "floats", value: a.floats }];
    case T.strings:
      return [a.name, { type: "strings", value: a.strings.map(text) }];
    case T.tensor:
      if (tensor !== undefined)
        return [a.name, { type: "tensor", value: readTensor(bytes, tensor.value, tensor.end, external) }];
      throw new UnbraidError(
        "model",
        "ATTRIBUTE_EMPTY",
        `the attribute "${a.name}" of the node "${node}" should hold a tensor and holds none`,
        "Export the model again.",
      );
    default:
      return [a.name, { type: "other", value: type }];
  }
}

/** Files older than IR version 2 leave the type out: it is that of the field which is there. */
function guessType(a: InstanceType<typeof onnx.AttributeProto>, tensor: WireField | undefined): number {
  if (tensor !== undefined) return T.tensor;
  if (a.ints.length > 0) return T.ints;
  if (a.floats.length > 0) return T.floats;
  if (a.strings.length > 0) return T.strings;
  if (Object.hasOwn(a, "i")) return T.int;
  if (Object.hasOwn(a, "f")) return T.float;
  return Object.hasOwn(a, "s") ? T.string : T.undefined;
}
