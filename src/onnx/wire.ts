/**
 * Protobuf at wire level: where each field of a message lies in the file. What is found this way can be kept byte for
 * byte, whatever a newer ONNX may have put there. Offsets count from the start of the whole file.
 * Source: the Protocol Buffers encoding (tag = field number << 3 | wire type; base-128 varints).
 */
import { WIRE, WireReader } from "./reader.ts";

export { WIRE } from "./reader.ts";

/** One field: its tag begins at `start`, its content at `value` (behind the length prefix, if any), both end at `end`. */
export interface WireField {
  readonly number: number;
  readonly wireType: number;
  readonly start: number;
  readonly value: number;
  readonly end: number;
}

/** The bytes do not parse. `missing` is how many bytes the file is too short, 0 where that is not what is wrong. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly offset: number;
  readonly missing: number;

  constructor(offset: number, missing: number, message: string) {
    super(message);
    this.offset = offset;
    this.missing = missing;
  }
}

/** The fields of the message that lies at `start` to `end`, in file order. @throws WireError */
export function* wireFields(bytes: Uint8Array, start = 0, end = bytes.length): Generator<WireField> {
  const reader = new WireReader(bytes, start, end);
  while (reader.pos < reader.end) yield nextField(reader);
}

function nextField(reader: WireReader): WireField {
  const start = reader.pos;
  try {
    const tag = reader.size();
    const number = tag >>> 3;
    const wireType = tag & 7;
    if (number === 0) throw new WireError(start, 0, "field number 0");
    if (wireType === WIRE.bytes) {
      const length = reader.size();
      const missing = reader.pos + length - reader.end;
      if (missing > 0) throw new WireError(start, missing, `a field of ${length} bytes lacks its last ${missing}`);
      const value = reader.pos;
      reader.pos += length;
      return { number, wireType, start, value, end: value + length };
    }
    const value = reader.pos;
    reader.skip(wireType, number);
    return { number, wireType, start, value, end: reader.pos };
  } catch (error) {
    if (error instanceof WireError) throw error;
    const missing = error instanceof RangeError ? 1 : 0;
    throw new WireError(start, missing, error instanceof Error ? error.message : String(error));
  }
}

/** Whether `field` is number `number` and holds bytes, a string or a message. */
export const holds = (field: WireField, number: number): boolean =>
  field.number === number && field.wireType === WIRE.bytes;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
export const decodeText = (bytes: Uint8Array): string => utf8.decode(bytes);
export const textOf = (bytes: Uint8Array, field: WireField): string =>
  decodeText(bytes.subarray(field.value, field.end));

/** The same memory as a Uint8Array: slice() of a Node Buffer would not copy. */
export const plainBytes = (bytes: Uint8Array): Uint8Array =>
  bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
