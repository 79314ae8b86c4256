/** A NodeProto in the file as an OnnxNode. */
import { UnbraidError } from "../errors.ts";
import { readMessage } from "./message.ts";
import type { Message } from "./message.ts";
import type { ExternalReader, OnnxAttribute, OnnxNode } from "./model.ts";
import { ATTRIBUTE_MESSAGE, ATTRIBUTE_TYPE as T, NODE_MESSAGE } from "./schema.ts";
import { readTensor } from "./tensor.ts";
import { wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

/** @throws WireError for damaged bytes, UnbraidError as readTensor */
export function readNode(
  bytes: Uint8Array,
  at: WireField,
  index: number,
  external: ExternalReader | undefined,
): OnnxNode {
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
  const { name = "", type = T.undefined, tensor } = a;
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
  return a.s === undefined ? T.undefined : T.string;
}
