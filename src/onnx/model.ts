/**
 * An ONNX model as read from a file: typed, and with every weight a view of (or a lazy read into) the file.
 * Source: onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto).
 */

/** TensorProto.DataType, the part of it that has numbers. */
export const DATA_TYPES = {
  1: "float32",
  2: "uint8",
  3: "int8",
  4: "uint16",
  5: "int16",
  6: "int32",
  7: "int64",
  8: "string",
  9: "bool",
  10: "float16",
  11: "float64",
  12: "uint32",
  13: "uint64",
  14: "complex64",
  15: "complex128",
  16: "bfloat16",
} as const;
export type DataTypeName = (typeof DATA_TYPES)[keyof typeof DATA_TYPES];

/** A tensor stored in the file or beside it. */
export interface OnnxTensor {
  readonly name: string;
  /** The type's name, or `type N` for one that this version does not know. */
  readonly dataType: DataTypeName | `type ${number}`;
  readonly dims: readonly number[];
  /** Product of dims. */
  readonly size: number;
  /**
   * The elements as numbers: float32, float64 (rounded), float16 and bfloat16 as Float32Array; integers and bool as
   * Float64Array, int64 saturated at +-2^53 (ONNX writes INT64_MAX for "to the end").
   * @throws UnbraidError TENSOR_TYPE for strings, complex and unknown types; TENSOR_SIZE when the bytes stored do not
   * match dims; EXTERNAL_DATA when external data is missing, short, or lies outside the model's folder.
   */
  numbers(): Float32Array | Float64Array;
  /** `count` of these numbers from the `start`-th on, without reading the others where they lie apart. */
  part(start: number, count: number): Float32Array | Float64Array;
  /** Throws what numbers() would, as far as can be known without reading the elements. */
  check(): void;
  /**
   * The elements as stored bits: little-endian, row-major, `size` times the width of the type. May be a view of the
   * file: not to be written to. Throws as numbers() does.
   */
  raw(): Uint8Array;
}

export type OnnxAttribute =
  | { readonly type: "int"; readonly value: number }
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "ints"; readonly value: readonly number[] }
  | { readonly type: "floats"; readonly value: readonly number[] }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "tensor"; readonly value: OnnxTensor }
  | { readonly type: "graph"; readonly value: OnnxSubgraph }
  /** Several graphs or tensors, sparse tensors, type protos: kept in the file, not understood here. */
  | { readonly type: "other"; readonly value: number };

/** A branch or a body: it may read values of the graph around it. */
export interface OnnxSubgraph {
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  readonly outputs: readonly OnnxValueInfo[];
}

export interface OnnxNode {
  /** Position in the node list of its graph. */
  readonly index: number;
  /** May be empty: ONNX does not demand names. */
  readonly name: string;
  readonly opType: string;
  /** "" is ai.onnx. */
  readonly domain: string;
  /** "" where an optional input is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

export interface OnnxValueInfo {
  readonly name: string;
  readonly dataType: DataTypeName | `type ${number}` | "none";
  /** A number, a symbol, or null where the dimension is unknown; undefined where the rank is. */
  readonly dims: readonly (number | string | null)[] | undefined;
}

export interface OnnxModel {
  /** The file as it is: what surgery edits. */
  readonly bytes: Uint8Array;
  readonly irVersion: number;
  /** Version of the default domain (ai.onnx). */
  readonly opset: number;
  /** Other domains that the model imports. */
  readonly domains: ReadonlyMap<string, number>;
  readonly producer: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, OnnxTensor>;
  /** Graph inputs that are not initialisers. */
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly metadata: ReadonlyMap<string, string>;
  /** Every name in use: values, nodes, initialisers. For collision-free new ones. */
  readonly names: ReadonlySet<string>;
}

/**
 * Reads bytes of an external data file: `location` as the model gives it (already checked to stay inside the model's
 * folder), `offset` and `length` in bytes. Throws UnbraidError EXTERNAL_DATA when it cannot.
 */
export type ExternalReader = (location: string, offset: number, length: number | undefined) => Uint8Array;
