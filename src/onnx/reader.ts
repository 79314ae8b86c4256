/**
 * Reads protobuf's scalars one after the other. A page that runs networks reads files and writes none: these lines spare it
 * protobufjs, 12 kB of gzip, which writes what we write (encode.ts, fields.ts), and which a test holds this reader against.
 * Source: the Protocol Buffers encoding.
 */

/** A field's wire type. Groups (3 to 4) are only ever passed over. */
export const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const [GROUP_START, GROUP_END] = [3, 4];

/** 2^53: beyond it a number does not hold every integer. */
export const MAX_INT = 2 ** 53;

/** Its methods throw a RangeError where the bytes end too soon, and an Error where they are no protobuf. */
export class WireReader {
  /** Where the next byte lies, and where the last one ends: in all of `bytes`. */
  pos: number;
  readonly end: number;
  readonly #bytes: Uint8Array;
  /** The upper half of the last varint, signed. */
  #high = 0;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.pos = start;
    this.end = end;
  }

  /** A varint of up to 64 bits: the lower 32. */
  uint32(): number {
    let [low, high] = [0, 0];
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#bytes[this.#pass(1)] ?? 0;
      const bits = byte & 127;
      if (shift < 32) low |= bits << shift;
      // The fifth byte has bits of both halves.
      if (shift > 24) high |= shift === 28 ? bits >> 4 : bits << (shift - 32);
      if (byte < 128) {
        this.#high = high;
        return low >>> 0;
      }
    }
    throw new Error("a varint of more than 10 bytes");
  }

  /** A tag or a length. */
  size(): number {
    const low = this.uint32();
    if (this.#high !== 0) throw new Error("a tag or a length of more than 32 bits");
    return low;
  }

  int32(): number {
    return this.uint32() | 0;
  }

  /** Saturated at +-2^53. */
  int64(): number {
    const low = this.uint32();
    return Math.max(-MAX_INT, Math.min(MAX_INT, this.#high * 2 ** 32 + low));
  }

  float32(): number {
    const { buffer, byteOffset } = this.#bytes;
    return new DataView(buffer, byteOffset + this.#pass(4), 4).getFloat32(0, true);
  }

  /** Goes past the content of a field, whatever it is. */
  skip(wireType: number, number: number): void {
    if (wireType === WIRE.varint) this.uint32();
    else if (wireType === WIRE.fixed64) this.#pass(8);
    else if (wireType === WIRE.bytes) this.#pass(this.size());
    else if (wireType === WIRE.fixed32) this.#pass(4);
    else if (wireType === GROUP_START) this.#skipGroup(number);
    else throw new Error(`no field has wire type ${wireType}`);
  }

  /** Groups nest, and each ends with its own number. */
  #skipGroup(first: number): void {
    const open = [first];
    while (open.length > 0) {
      const tag = this.size();
      const [number, wireType] = [tag >>> 3, tag & 7];
      if (number === 0) throw new Error("field number 0");
      if (wireType === GROUP_START) open.push(number);
      else if (wireType !== GROUP_END) this.skip(wireType, number);
      else if (open.pop() !== number) throw new Error("a group ends with another's number");
    }
  }

  /** Goes `length` bytes on. @returns where they begin */
  #pass(length: number): number {
    const start = this.pos;
    if (start + length > this.end) throw new RangeError(`${length} bytes wanted, ${this.end - start} left`);
    this.pos = start + length;
    return start;
  }
}
