/**
 * A message as an object: a schema says which of its fields are wanted and how each is read; every other field is passed
 * over, whatever it holds. Fields of repeated scalars are read packed or one by one.
 */
import { WIRE, WireReader } from "./reader.ts";
import { decodeText, WireError, wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

/** How the value of a field is read, and the wire type that it has. */
interface Kind<T> {
  readonly wireType: number;
  readonly read: (bytes: Uint8Array, field: WireField) => T;
  /** Scalars alone: the next one of a packed field. */
  readonly next?: (reader: WireReader) => T;
}

interface Wanted<T> {
  readonly number: number;
  readonly kind: Kind<T>;
}

/** A field of which the last one counts: undefined where there is none. */
export interface One<T> extends Wanted<T> {
  readonly many: false;
}

/** A repeated field. */
export interface Many<T> extends Wanted<T> {
  readonly many: true;
}

export type Schema = Readonly<Record<string, One<unknown> | Many<unknown>>>;

export type Message<S extends Schema> = {
  readonly [K in keyof S]: S[K] extends One<infer T>
    ? T | undefined
    : S[K] extends Many<infer T>
      ? readonly T[]
      : never;
};

export const one = <T>(number: number, kind: Kind<T>): One<T> => ({ number, kind, many: false });
export const many = <T>(number: number, kind: Kind<T>): Many<T> => ({ number, kind, many: true });

function scalar<T>(wireType: number, next: (reader: WireReader) => T): Kind<T> {
  const read = (bytes: Uint8Array, { value, end }: WireField): T => next(new WireReader(bytes, value, end));
  return { wireType, read, next };
}

/** int64, saturated at +-2^53. */
export const int64 = scalar(WIRE.varint, (reader) => reader.int64());
export const int32 = scalar(WIRE.varint, (reader) => reader.int32());
export const float32 = scalar(WIRE.fixed32, (reader) => reader.float32());
export const text: Kind<string> = {
  wireType: WIRE.bytes,
  read: (bytes, { value, end }) => decodeText(bytes.subarray(value, end)),
};
/** Where the field lies: for what is read later, or otherwise. */
export const place: Kind<WireField> = { wireType: WIRE.bytes, read: (_, field) => field };
export const message = <S extends Schema>(schema: S): Kind<Message<S>> => ({
  wireType: WIRE.bytes,
  read: (bytes, { value, end }) => readMessage(schema, bytes, wireFields(bytes, value, end)),
});

/**
 * The message that `fields` make up.
 * @throws WireError where the bytes do not parse, and where a wanted field has another wire type than its schema says
 */
export function readMessage<S extends Schema>(schema: S, bytes: Uint8Array, fields: Iterable<WireField>): Message<S> {
  const wanted = new Map<number, (field: WireField) => void>();
  const found: Record<string, unknown> = {};
  for (const [name, { number, kind, many: repeated }] of Object.entries(schema)) {
    const list: unknown[] = [];
    if (repeated) found[name] = list;
    wanted.set(number, (field) => {
      if (repeated) readInto(list, kind, bytes, field);
      else found[name] = readOne(kind, bytes, field);
    });
  }
  for (const field of fields) wanted.get(field.number)?.(field);
  // Each entry of `found` was put there by the kind that the schema names for it.
  return found as Message<S>;
}

function readOne<T>(kind: Kind<T>, bytes: Uint8Array, field: WireField): T {
  if (field.wireType === kind.wireType) return located(field, () => kind.read(bytes, field));
  throw new WireError(field.start, 0, `field ${field.number} has wire type ${field.wireType}, not ${kind.wireType}`);
}

function readInto<T>(list: T[], kind: Kind<T>, bytes: Uint8Array, field: WireField): void {
  const { next } = kind;
  if (next === undefined || field.wireType !== WIRE.bytes) {
    list.push(readOne(kind, bytes, field));
    return;
  }
  const reader = new WireReader(bytes, field.value, field.end);
  located(field, () => {
    while (reader.pos < reader.end) list.push(next(reader));
  });
}

/** Errors of the reader, with the place of the field. */
function located<T>(field: WireField, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof WireError) throw error;
    throw new WireError(field.start, 0, error instanceof Error ? error.message : String(error));
  }
}
