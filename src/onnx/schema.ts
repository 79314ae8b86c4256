/**
 * The part of onnx.proto that is read here: field numbers, as far as files are walked at wire level, and the wanted fields
 * of the small messages. What is not listed stays in the file and is passed over.
 * Source: onnx.proto (field numbers never change; newer versions of ONNX add some).
 */
import { float32, int32, int64, many, message, one, place, text } from "./message.ts";

export const MODEL = { irVersion: 1, producerName: 2, graph: 7, opsetImport: 8, metadataProps: 14 } as const;
export const GRAPH = {
  node: 1,
  name: 2,
  initializer: 5,
  input: 11,
  output: 12,
  valueInfo: 13,
  sparseInitializer: 15,
} as const;
export const NODE = { input: 1, output: 2, name: 3, opType: 4, attribute: 5, domain: 7 } as const;
export const ATTRIBUTE = { name: 1, i: 3, tensor: 5, graph: 6, ints: 8, tensors: 10, graphs: 11, type: 20 } as const;
export const TENSOR = {
  dims: 1,
  dataType: 2,
  float: 4,
  int32: 5,
  int64: 7,
  name: 8,
  raw: 9,
  double: 10,
  uint64: 11,
  external: 13,
} as const;
export const ATTRIBUTE_TYPE = {
  undefined: 0,
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
} as const;
export const SPARSE = { values: 1, dims: 3 } as const;
export const ENTRY = { key: 1, value: 2 } as const;
/** ValueInfoProto, and what lies in it: TypeProto, TypeProto.Tensor, TensorShapeProto, its dimensions. */
export const VALUE_INFO = {
  name: 1,
  type: 2,
  tensorType: 1,
  elemType: 1,
  shape: 2,
  dim: 1,
  dimValue: 1,
} as const;

/** TensorProto.DataLocation: the elements lie in another file. */
export const EXTERNAL = 1;

export const TENSOR_HEADER = {
  dims: many(TENSOR.dims, int64),
  dataType: one(TENSOR.dataType, int32),
  name: one(TENSOR.name, text),
  externalData: many(TENSOR.external, message({ key: one(ENTRY.key, text), value: one(ENTRY.value, text) })),
  dataLocation: one(14, int32),
};

export const SPARSE_HEADER = { values: one(SPARSE.values, place), dims: many(SPARSE.dims, int64) };

export const NODE_MESSAGE = {
  input: many(NODE.input, text),
  output: many(NODE.output, text),
  name: one(NODE.name, text),
  opType: one(NODE.opType, text),
  attribute: many(NODE.attribute, place),
  domain: one(NODE.domain, text),
};

export const ATTRIBUTE_MESSAGE = {
  name: one(ATTRIBUTE.name, text),
  f: one(2, float32),
  i: one(ATTRIBUTE.i, int64),
  s: one(4, text),
  tensor: one(ATTRIBUTE.tensor, place),
  graph: one(ATTRIBUTE.graph, place),
  floats: many(7, float32),
  ints: many(ATTRIBUTE.ints, int64),
  strings: many(9, text),
  type: one(ATTRIBUTE.type, int32),
};

const DIMENSION = { dimValue: one(VALUE_INFO.dimValue, int64), dimParam: one(2, text) };
const TENSOR_TYPE = {
  elemType: one(VALUE_INFO.elemType, int32),
  shape: one(VALUE_INFO.shape, message({ dim: many(VALUE_INFO.dim, message(DIMENSION)) })),
};
export const VALUE_INFO_MESSAGE = {
  name: one(VALUE_INFO.name, text),
  type: one(VALUE_INFO.type, message({ tensorType: one(VALUE_INFO.tensorType, message(TENSOR_TYPE)) })),
};

export const MODEL_HEADER = {
  irVersion: one(MODEL.irVersion, int64),
  producerName: one(MODEL.producerName, text),
  producerVersion: one(3, text),
  opsetImport: many(MODEL.opsetImport, message({ domain: one(1, text), version: one(2, int64) })),
  metadataProps: many(MODEL.metadataProps, message({ key: one(ENTRY.key, text), value: one(ENTRY.value, text) })),
};
