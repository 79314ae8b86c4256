/** New fields: protobufjs' writer for the numbers, our own bytes around them. */
import protobuf from "protobufjs/minimal.js";
import { WIRE } from "./reader.ts";
import { concatBytes } from "./wire.ts";

export function varint(value: number): Uint8Array {
  return new Uint8Array(new protobuf.Writer().uint32(value).finish());
}

/** Tag and length of a field of bytes whose content follows. */
export const bytesHeader = (number: number, length: number): Uint8Array =>
  concatBytes([varint(((number << 3) | WIRE.bytes) >>> 0), varint(length)]);

export const bytesField = (number: number, content: Uint8Array): Uint8Array =>
  concatBytes([bytesHeader(number, content.length), content]);

export const textField = (number: number, text: string): Uint8Array =>
  bytesField(number, new TextEncoder().encode(text));
