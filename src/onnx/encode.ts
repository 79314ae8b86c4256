/** New messages for a model: protobufjs' writer, field by field in the order of their numbers, as other writers do. */
import protobuf from "protobufjs/minimal.js";
import { bytesField, textField } from "./fields.ts";
import type { DataTypeName } from "./model.ts";
import { dataTypeCode } from "./payload.ts";
import { ATTRIBUTE, ATTRIBUTE_TYPE as T, NODE, TENSOR, VALUE_INFO } from "./schema.ts";
import { concatBytes, WIRE } from "./wire.ts";

/** A node of the default domain. */
export interface NewNode {
  readonly name: string;
  readonly opType: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Integers (INT) and lists of integers (INTS). */
  readonly attributes?: Readonly<Record<string, number | readonly number[]>>;
  /** Whole AttributeProtos, copied from another node of the file: see `attributeBytes`. */
  readonly copied?: readonly Uint8Array[];
}

/** An initialiser; `raw` as OnnxTensor.raw gives it. */
export interface NewTensor {
  readonly name: string;
  readonly dataType: DataTypeName;
  readonly dims: readonly number[];
  readonly raw: Uint8Array;
}

/** A NodeProto. */
export const encodeNode = (node: NewNode): Uint8Array =>
  concatBytes([
    ...node.inputs.map((name) => textField(NODE.input, name)),
    ...node.outputs.map((name) => textField(NODE.output, name)),
    textField(NODE.name, node.name),
    textField(NODE.opType, node.opType),
    ...Object.entries(node.attributes ?? {}).map(([name, value]) =>
      bytesField(NODE.attribute, encodeAttribute(name, value)),
    ),
    ...(node.copied ?? []).map((attribute) => bytesField(NODE.attribute, attribute)),
  ]);

const encodeAttribute = (name: string, value: number | readonly number[]): Uint8Array =>
  concatBytes([
    textField(ATTRIBUTE.name, name),
    typeof value === "number" ? intField(ATTRIBUTE.i, value) : intsField(ATTRIBUTE.ints, value),
    intField(ATTRIBUTE.type, typeof value === "number" ? T.int : T.ints),
  ]);

/** A TensorProto. */
export const encodeTensor = ({ name, dataType, dims, raw }: NewTensor): Uint8Array =>
  concatBytes([
    intsField(TENSOR.dims, dims),
    intField(TENSOR.dataType, dataTypeCode(dataType)),
    textField(TENSOR.name, name),
    bytesField(TENSOR.raw, raw),
  ]);

/** The ValueInfoProto that declares the tensor as an input. */
export function encodeInput({ name, dataType, dims }: NewTensor): Uint8Array {
  const shape = concatBytes(dims.map((dim) => bytesField(VALUE_INFO.dim, intField(VALUE_INFO.dimValue, dim))));
  const tensorType = concatBytes([
    intField(VALUE_INFO.elemType, dataTypeCode(dataType)),
    bytesField(VALUE_INFO.shape, shape),
  ]);
  return concatBytes([
    textField(VALUE_INFO.name, name),
    bytesField(VALUE_INFO.type, bytesField(VALUE_INFO.tensorType, tensorType)),
  ]);
}

/** An int64, int32 or enum field. */
const intField = (number: number, value: number): Uint8Array =>
  finished(new protobuf.Writer().uint32((number << 3) | WIRE.varint).int64(value));

/** A packed field; none at all where there are no values. */
function intsField(number: number, values: readonly number[]): Uint8Array {
  if (values.length === 0) return new Uint8Array();
  const writer = new protobuf.Writer();
  for (const value of values) writer.int64(value);
  return bytesField(number, finished(writer));
}

const finished = (writer: protobuf.Writer): Uint8Array => new Uint8Array(writer.finish());
