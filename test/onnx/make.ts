/** Small ONNX files for tests, by onnx-proto's encoder. */
import type { onnx as Onnx } from "onnx-proto";
import { decodeModel } from "../../src/onnx/decode.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import { onnx } from "../support/onnx-proto.ts";

const T = onnx.AttributeProto.AttributeType;

export const TYPE = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint64: 13,
  bfloat16: 16,
} as const;

export const bytesOf = (array: Float32Array | Float64Array | BigInt64Array | Uint16Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

export const floats = (name: string, dims: number[], data: Float32Array): Onnx.ITensorProto => ({
  name,
  dims,
  dataType: TYPE.float32,
  rawData: bytesOf(data),
});

export function attribute(name: string, value: number | string | number[] | Onnx.ITensorProto): Onnx.IAttributeProto {
  if (typeof value === "number") return { name, i: value, type: T.INT };
  if (typeof value === "string") return { name, s: new TextEncoder().encode(value), type: T.STRING };
  if (Array.isArray(value)) return { name, ints: value, type: T.INTS };
  return { name, t: value, type: T.TENSOR };
}

export function node(
  opType: string,
  input: string[],
  output: string[],
  attributes: Record<string, number | string | number[] | Onnx.ITensorProto> = {},
  name = "",
): Onnx.INodeProto {
  return {
    opType,
    input,
    output,
    name,
    attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
  };
}

export function valueInfo(
  name: string,
  dims: (number | string)[],
  elemType: number = TYPE.float32,
): Onnx.IValueInfoProto {
  const dim = dims.map((d) => (typeof d === "number" ? { dimValue: d } : { dimParam: d }));
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}

export interface ModelParts extends Onnx.IGraphProto {
  readonly opset?: number;
  readonly ir?: number;
  readonly functions?: Onnx.IFunctionProto[];
}

export function modelBytes({ opset = 17, ir = 8, functions = [], ...graph }: ModelParts): Uint8Array {
  const model = onnx.ModelProto.encode({
    irVersion: ir,
    producerName: "test",
    opsetImport: [{ domain: "", version: opset }],
    graph: { name: "g", ...graph },
    functions,
  });
  return new Uint8Array(model.finish());
}

export const makeModel = (parts: ModelParts): OnnxModel => decodeModel(modelBytes(parts));

/** Numbers from -1 to 1, the same for the same seed (a linear congruential generator, Numerical Recipes' constants). */
export function noise(seed: number, n: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
