/**
 * The stored elements of a TensorProto as little-endian bits, and those bits as numbers. Bits are copied, never
 * computed, so that a NaN's payload survives; the number of elements that are stored is counted before memory is taken.
 */
import { halfFromBits } from "./half.ts";
import { DATA_TYPES } from "./model.ts";
import type { DataTypeName } from "./model.ts";
import { TENSOR } from "./schema.ts";
import { MAX_INT, WIRE } from "./reader.ts";
import { WireError } from "./wire.ts";
import type { WireField } from "./wire.ts";

/** Bytes an element and the typed field that holds it where raw_data does not (onnx.proto, TensorProto). */
const STORAGE: Partial<Record<string, { readonly width: number; readonly field: number }>> = {
  float32: { width: 4, field: TENSOR.float },
  float64: { width: 8, field: TENSOR.double },
  float16: { width: 2, field: TENSOR.int32 },
  bfloat16: { width: 2, field: TENSOR.int32 },
  bool: { width: 1, field: TENSOR.int32 },
  int8: { width: 1, field: TENSOR.int32 },
  uint8: { width: 1, field: TENSOR.int32 },
  int16: { width: 2, field: TENSOR.int32 },
  uint16: { width: 2, field: TENSOR.int32 },
  int32: { width: 4, field: TENSOR.int32 },
  int64: { width: 8, field: TENSOR.int64 },
  uint32: { width: 4, field: TENSOR.uint64 },
  uint64: { width: 8, field: TENSOR.uint64 },
};

/** Undefined for strings, complex and unknown types: those have no numbers here. */
export const storageOf = (type: string): { readonly width: number; readonly field: number } | undefined =>
  Object.hasOwn(STORAGE, type) ? STORAGE[type] : undefined;

export function dataTypeName(code: number): DataTypeName | `type ${number}` {
  return code in DATA_TYPES ? DATA_TYPES[code as keyof typeof DATA_TYPES] : `type ${code}`;
}

export function dataTypeCode(name: DataTypeName): number {
  return Number(Object.entries(DATA_TYPES).find(([, n]) => n === name)?.[0]);
}

const isFixed = (number: number): boolean => number === TENSOR.float || number === TENSOR.double;
const fixedWidth = (number: number): number => (number === TENSOR.float ? 4 : 8);
const scalarType = (number: number): number =>
  number === TENSOR.float ? WIRE.fixed32 : number === TENSOR.double ? WIRE.fixed64 : WIRE.varint;

/** Whether the field belongs to the typed field `number`: packed, or one element of it. */
export const holdsElements = (field: WireField, number: number): boolean =>
  field.number === number && (field.wireType === WIRE.bytes || field.wireType === scalarType(number));

/**
 * How many elements the fields (packed or not, all of one number) hold. A fraction where a packed field ends inside an
 * element, so that no declared size can equal it.
 */
export function countElements(bytes: Uint8Array, fields: readonly WireField[]): number {
  let count = 0;
  for (const field of fields) {
    if (field.wireType !== WIRE.bytes) {
      count += 1;
    } else if (isFixed(field.number)) {
      count += (field.end - field.value) / fixedWidth(field.number);
    } else {
      for (let at = field.value; at < field.end; at++) if ((bytes[at] ?? 0) < 0x80) count += 1;
      if (field.end > field.value && (bytes[field.end - 1] ?? 0) >= 0x80) count += 0.5;
    }
  }
  return count;
}

/** The elements of a typed field as little-endian bits of `width` bytes each; `count` is what countElements gave. */
export function packBits(bytes: Uint8Array, fields: readonly WireField[], width: number, count: number): Uint8Array {
  const out = new Uint8Array(count * width);
  let at = 0;
  for (const field of fields) {
    if (isFixed(field.number)) {
      out.set(bytes.subarray(field.value, field.end), at);
      at += field.end - field.value;
    } else {
      at = packVarints(bytes, field, width, out, at);
    }
  }
  return out;
}

function packVarints(bytes: Uint8Array, field: WireField, width: number, out: Uint8Array, start: number): number {
  let at = start;
  let low = 0;
  let high = 0;
  let shift = 0;
  for (let i = field.value; i < field.end; i++) {
    const byte = bytes[i] ?? 0;
    const bits = byte & 0x7f;
    if (shift < 32) low |= bits << shift;
    if (shift === 28) high |= bits >>> 4;
    else if (shift > 28) high |= bits << (shift - 32);
    shift += 7;
    if (byte >= 0x80) {
      if (shift >= 70) throw new WireError(field.start, 0, "a varint of more than 10 bytes");
      continue;
    }
    for (let b = 0; b < width; b++) out[at + b] = b < 4 ? low >>> (8 * b) : high >>> (8 * (b - 4));
    at += width;
    low = high = shift = 0;
  }
  return at;
}

/**
 * Little-endian bits as numbers (the rule of OnnxTensor.numbers). Float32 bits are viewed in place where `own` says
 * that nobody else holds them and alignment allows; everything else is a copy.
 */
export function numbersOf(type: string, raw: Uint8Array, own: boolean): Float32Array | Float64Array {
  const aligned = own && raw.byteOffset % 8 === 0 ? raw : raw.slice();
  const buffer = aligned.buffer;
  const at = aligned.byteOffset;
  const n = aligned.length;
  switch (type) {
    case "float32":
      return new Float32Array(buffer, at, n / 4);
    case "float64":
      return Float32Array.from(new Float64Array(buffer, at, n / 8));
    case "float16":
      return Float32Array.from(new Uint16Array(buffer, at, n / 2), halfFromBits);
    case "bfloat16":
      return new Float32Array(Uint32Array.from(new Uint16Array(buffer, at, n / 2), (h) => h << 16).buffer);
    case "bool":
      return Float64Array.from(aligned, (v) => (v === 0 ? 0 : 1));
    case "int8":
      return Float64Array.from(new Int8Array(buffer, at, n));
    case "uint8":
      return Float64Array.from(aligned);
    case "int16":
      return Float64Array.from(new Int16Array(buffer, at, n / 2));
    case "uint16":
      return Float64Array.from(new Uint16Array(buffer, at, n / 2));
    case "int32":
      return Float64Array.from(new Int32Array(buffer, at, n / 4));
    case "uint32":
      return Float64Array.from(new Uint32Array(buffer, at, n / 4));
    case "int64":
      return Float64Array.from(new BigInt64Array(buffer, at, n / 8), saturated);
    case "uint64":
      return Float64Array.from(new BigUint64Array(buffer, at, n / 8), saturated);
    default:
      throw new Error(`internal error: no numbers for ${type}`);
  }
}

const saturated = (value: bigint): number => Math.max(-MAX_INT, Math.min(MAX_INT, Number(value)));
