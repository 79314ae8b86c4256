/**
 * Field numbers of onnx.proto, as far as files are walked at wire level, and onnx-proto's classes for the small
 * messages. onnx-proto is generated from ONNX 1.10: what it does not know it drops, so nothing of it is ever written
 * back in place of a message that came from a file.
 */
import onnxProto from "onnx-proto";

export const { onnx } = onnxProto;

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
export const NODE = { input: 1, output: 2, name: 3, attribute: 5 } as const;
export const ATTRIBUTE = {
  name: 1,
  tensor: 5,
  graph: 6,
  tensors: 10,
  graphs: 11,
  typeProto: 14,
  typeProtos: 15,
  sparse: 22,
  sparses: 23,
} as const;
export const TENSOR = {
  float: 4,
  int32: 5,
  string: 6,
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
  floats: 6,
  ints: 7,
  strings: 8,
} as const;
export const SPARSE = { values: 1, dims: 3 } as const;
export const ENTRY = { key: 1, value: 2 } as const;

/** An int64 as protobufjs gives it (a number, or a Long), saturated at +-2^53. */
export function toNumber(value: unknown): number {
  const n = typeof value === "number" ? value : Number(String(value));
  return Math.max(-MAX_INT, Math.min(MAX_INT, n));
}

/** 2^53: beyond it a number does not hold every integer. */
export const MAX_INT = 2 ** 53;
