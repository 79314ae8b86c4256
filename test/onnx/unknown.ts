/** Adds fields that no ONNX version knows to messages, at wire level, with a marker by which they are found again. */
import { bytesField, varint } from "../../src/onnx/fields.ts";
import { concatBytes, holds, wireFields } from "../../src/onnx/wire.ts";

/** A field number far beyond those in use. */
const FIRST = 9001;

/** One unknown field of each wire type; `mark` tells them apart. */
export function unknownFields(mark: number): Uint8Array {
  const tag = (number: number, wireType: number): Uint8Array => varint(((number << 3) | wireType) >>> 0);
  return concatBytes([
    concatBytes([tag(FIRST, 0), varint(0x7fffff00 + mark)]),
    concatBytes([tag(FIRST + 1, 1), Uint8Array.of(mark, 1, 2, 3, 4, 5, 6, 7)]),
    bytesField(FIRST + 2, Uint8Array.of(0xde, 0xad, mark)),
    concatBytes([tag(FIRST + 3, 3), tag(1, 0), varint(mark), tag(FIRST + 3, 4)]),
    concatBytes([tag(FIRST + 4, 5), Uint8Array.of(mark, 9, 8, 7)]),
  ]);
}

/** Which message a path of field numbers leads to, e.g. [7, 1, 5] is graph.node.attribute. */
export type Path = readonly number[];

/** `bytes` with unknown fields at both ends of every message that one of `paths` leads to; each place has its own mark. */
export function withUnknown(
  bytes: Uint8Array,
  paths: readonly Path[],
): { readonly bytes: Uint8Array; readonly marks: readonly number[] } {
  const marks: number[] = [];
  const visit = (message: Uint8Array, inside: readonly Path[]): Uint8Array => {
    const parts: Uint8Array[] = [];
    for (const field of wireFields(message)) {
      const below = inside.filter((path) => path[0] === field.number).map((path) => path.slice(1));
      if (below.length === 0 || !holds(field, field.number)) parts.push(message.subarray(field.start, field.end));
      else parts.push(bytesField(field.number, visit(message.subarray(field.value, field.end), below)));
    }
    if (!inside.some((path) => path.length === 0)) return concatBytes(parts);
    const [front, back] = [marks.length, marks.length + 1];
    marks.push(front, back);
    return concatBytes([unknownFields(front), ...parts, unknownFields(back)]);
  };
  return { bytes: visit(bytes, paths), marks };
}

/** How often `part` occurs in `whole`. */
export function occurrences(whole: Uint8Array, part: Uint8Array): number {
  const haystack = Buffer.from(whole.buffer, whole.byteOffset, whole.byteLength);
  let count = 0;
  for (let at = haystack.indexOf(part); at >= 0; at = haystack.indexOf(part, at + 1)) count += 1;
  return count;
}
