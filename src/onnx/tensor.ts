/** A TensorProto in the file as an OnnxTensor: the header is read at once, the elements when they are asked for. */
import { UnbraidError } from "../errors.ts";
import type { ExternalReader, OnnxTensor } from "./model.ts";
import { readMessage } from "./message.ts";
import { MAX_INT } from "./reader.ts";
import { countElements, dataTypeName, holdsElements, numbersOf, packBits, storageOf } from "./payload.ts";
import { EXTERNAL, SPARSE_HEADER, TENSOR, TENSOR_HEADER } from "./schema.ts";
import { holds, plainBytes, wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

/** Where the elements lie when they are not in the file. */
export interface ExternalLocation {
  readonly location: string;
  readonly offset: number;
  readonly length: number | undefined;
}

interface Source {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly external: ExternalReader | undefined;
}

/**
 * The TensorProto at `start` to `end` of the file.
 * @throws UnbraidError TENSOR_DIMS for negative dimensions or a product above 2^53; WireError for damaged bytes
 */
export function readTensor(
  bytes: Uint8Array,
  start: number,
  end: number,
  external: ExternalReader | undefined,
): OnnxTensor {
  const header = readMessage(TENSOR_HEADER, bytes, wireFields(bytes, start, end));
  const { name = "", dims } = header;
  const source: Source = { bytes, start, end, external };
  const dataType = dataTypeName(header.dataType ?? 0);
  const size = elements(name, dims);
  const beside = header.dataLocation === EXTERNAL ? locationOf(name, header.externalData) : undefined;
  const read = (start: number, count: number): Uint8Array =>
    beside
      ? readBeside(source, name, dataType, dims, size, beside, start, count)
      : readInside(source, name, dataType, dims, size).subarray(
          start * widthOf(name, dataType).width,
          (start + count) * widthOf(name, dataType).width,
        );
  const part = (start: number, count: number): Float32Array | Float64Array =>
    numbersOf(dataType, read(start, count), beside !== undefined);
  return {
    name,
    dataType,
    dims,
    size,
    raw: () => read(0, size),
    numbers: () => part(0, size),
    part,
    // The last element is there only if all are.
    check: () => void read(Math.max(0, size - 1), Math.min(1, size)),
  };
}

/** A SparseTensorProto: its name, type and dense dims; the elements are refused. */
export function readSparseTensor(bytes: Uint8Array, start: number, end: number): OnnxTensor {
  const { values: at, dims } = readMessage(SPARSE_HEADER, bytes, wireFields(bytes, start, end));
  const values = at && readTensor(bytes, at.value, at.end, undefined);
  const name = values?.name ?? "";
  const dataType = values?.dataType ?? "type 0";
  const refuse = (): never => {
    throw new UnbraidError(
      "unsupported",
      "TENSOR_TYPE",
      `the tensor "${name}" is sparse, which is not supported`,
      "Export the model with dense weights.",
    );
  };
  const size = elements(name, dims);
  return { name, dataType, dims, size, raw: refuse, numbers: refuse, part: refuse, check: refuse };
}

function elements(name: string, dims: readonly number[]): number {
  // A zero must not hide an overflow of the others.
  const most = dims.reduce((n, d) => n * Math.max(d, 1), 1);
  if (dims.every((d) => d >= 0 && d < MAX_INT) && most < MAX_INT) return dims.reduce((n, d) => n * d, 1);
  throw new UnbraidError(
    "model",
    "TENSOR_DIMS",
    `the tensor "${name}" declares dimensions that cannot be: ${shown(dims)}`,
    "The file is damaged or was written by a faulty exporter; export it again.",
  );
}

const shown = (dims: readonly number[]): string => `[${dims.slice(0, 8).join(", ")}${dims.length > 8 ? ", ..." : ""}]`;

function widthOf(name: string, dataType: string): { readonly width: number; readonly field: number } {
  const storage = storageOf(dataType);
  if (storage !== undefined) return storage;
  throw new UnbraidError(
    "unsupported",
    "TENSOR_TYPE",
    `the tensor "${name}" has elements of ${dataType.startsWith("type ") ? `data ${dataType}` : `type ${dataType}`}, which have no numbers here`,
    "Export the model with float or integer tensors.",
  );
}

function readInside(
  { bytes, start, end }: Source,
  name: string,
  dataType: string,
  dims: readonly number[],
  size: number,
): Uint8Array {
  const { width, field: number } = widthOf(name, dataType);
  const typed: WireField[] = [];
  let raw: WireField | undefined;
  for (const field of wireFields(bytes, start, end)) {
    if (holds(field, TENSOR.raw)) raw = field;
    if (holdsElements(field, number)) typed.push(field);
  }
  if (raw !== undefined && (typed.length === 0 || raw.end > raw.value)) {
    checkStored(name, dims, size * width, raw.end - raw.value, "bytes");
    return bytes.subarray(raw.value, raw.end);
  }
  const count = countElements(bytes, typed);
  checkStored(name, dims, size, count, "elements");
  return packBits(bytes, typed, width, count);
}

function checkStored(name: string, dims: readonly number[], wanted: number, found: number, unit: string): void {
  if (wanted === found) return;
  throw new UnbraidError(
    "model",
    "TENSOR_SIZE",
    `the tensor "${name}" of dimensions ${shown(dims)} needs ${wanted} ${unit}, the file holds ${found}`,
    "The file is damaged or incomplete; download or export it again.",
  );
}

function locationOf(
  name: string,
  entries: readonly { readonly key: string | undefined; readonly value: string | undefined }[],
): ExternalLocation {
  const given = new Map(entries.map((entry) => [entry.key ?? "", entry.value ?? ""]));
  const location = given.get("location") ?? "";
  const integer = (key: string): number | undefined => {
    const text = given.get(key);
    if (text === undefined || text === "") return undefined;
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
    throw new UnbraidError(
      "model",
      "EXTERNAL_DATA",
      `the tensor "${name}" gives "${text}" as the ${key} of its external data`,
      "Export the model again.",
    );
  };
  if (location === "")
    throw new UnbraidError(
      "model",
      "EXTERNAL_DATA",
      `the tensor "${name}" names no file for its external data`,
      "Export the model again.",
    );
  checkLocation(name, location);
  return { location, offset: integer("offset") ?? 0, length: integer("length") };
}

function readBeside(
  source: Source,
  name: string,
  dataType: string,
  dims: readonly number[],
  size: number,
  at: ExternalLocation,
  start: number,
  count: number,
): Uint8Array {
  const { width } = widthOf(name, dataType);
  if (at.length !== undefined) checkStored(name, dims, size * width, at.length, "bytes");
  if (source.external === undefined) {
    throw new UnbraidError(
      "model",
      "EXTERNAL_DATA",
      `the elements of the tensor "${name}" lie in another file, "${at.location}", and no way to read it was given`,
      "Pass a reader for external data, or save the model as one file.",
    );
  }
  const raw = plainBytes(source.external(at.location, at.offset + start * width, count * width));
  if (raw.length !== count * width) checkStored(name, dims, size * width, start * width + raw.length, "bytes");
  return raw;
}

/** Only paths that go down from the model's folder are read: a model is data, it must not choose files of its user. */
function checkLocation(name: string, location: string): void {
  const parts = location.split(/[\\/]/);
  if (!/^([\\/]|[A-Za-z]:)/.test(location) && !location.includes("\0") && !parts.includes("..")) return;
  throw new UnbraidError(
    "model",
    "EXTERNAL_DATA_OUTSIDE",
    `the tensor "${name}" asks for external data outside the model's folder: "${location}"`,
    "Put the data file beside the model and name it without a path.",
  );
}

/** Where the TensorProto at `start` to `end` keeps its elements, if not in the file. */
export function externalLocation(bytes: Uint8Array, start: number, end: number): ExternalLocation | undefined {
  const { name = "", dataLocation, externalData } = readMessage(TENSOR_HEADER, bytes, wireFields(bytes, start, end));
  return dataLocation === EXTERNAL ? locationOf(name, externalData) : undefined;
}
