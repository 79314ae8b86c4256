/**
 * NumPy's .npy files: format versions 1 to 3, either byte order, C or Fortran order; numbers and booleans only.
 * Source: numpy.lib.format.
 */
import { UnbraidError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { sizeOf, type ElementType, type HostTensor } from "../graph/graph.ts";
import { halfFromBits } from "../onnx/half.ts";
import { readRegularFile } from "./read-file.ts";

const MAGIC = "\u0093NUMPY";

interface Kind {
  readonly type: ElementType;
  readonly name: string;
  readonly bytes: number;
  readonly read: (view: DataView, at: number, little: boolean) => number;
}

/** int64 saturates at +-2^53, as everywhere here. */
const saturated = (value: bigint): number => Math.max(-(2 ** 53), Math.min(2 ** 53, Number(value)));

/** By NumPy's kind and width. */
const KINDS: Readonly<Partial<Record<string, Kind>>> = {
  f2: { type: "float32", name: "float16", bytes: 2, read: (v, at, le) => halfFromBits(v.getUint16(at, le)) },
  f4: { type: "float32", name: "float32", bytes: 4, read: (v, at, le) => v.getFloat32(at, le) },
  f8: { type: "float32", name: "float64", bytes: 8, read: (v, at, le) => v.getFloat64(at, le) },
  i1: { type: "int64", name: "int8", bytes: 1, read: (v, at) => v.getInt8(at) },
  i2: { type: "int64", name: "int16", bytes: 2, read: (v, at, le) => v.getInt16(at, le) },
  i4: { type: "int64", name: "int32", bytes: 4, read: (v, at, le) => v.getInt32(at, le) },
  i8: { type: "int64", name: "int64", bytes: 8, read: (v, at, le) => saturated(v.getBigInt64(at, le)) },
  u1: { type: "int64", name: "uint8", bytes: 1, read: (v, at) => v.getUint8(at) },
  u2: { type: "int64", name: "uint16", bytes: 2, read: (v, at, le) => v.getUint16(at, le) },
  u4: { type: "int64", name: "uint32", bytes: 4, read: (v, at, le) => v.getUint32(at, le) },
  u8: { type: "int64", name: "uint64", bytes: 8, read: (v, at, le) => saturated(v.getBigUint64(at, le)) },
  b1: { type: "bool", name: "bool", bytes: 1, read: (v, at) => (v.getUint8(at) === 0 ? 0 : 1) },
};

export interface NpyTensor extends HostTensor {
  /** NumPy's name of the type in the file. */
  readonly dtype: string;
}

/**
 * Reads an array. float16 and float64 become float32; integers and booleans JavaScript numbers.
 * @throws UnbraidError NPY_UNREADABLE, NPY_FORMAT, NPY_TYPE, NPY_SIZE
 */
export function readNpy(path: string): NpyTensor {
  let file: Uint8Array;
  try {
    file = readRegularFile(path);
  } catch (cause) {
    throw new UnbraidError(
      "input",
      "NPY_UNREADABLE",
      `${path} cannot be read: ${whyUnreadable(cause)}`,
      "Check the path.",
      { cause },
    );
  }
  return parseNpy(file, path);
}

/** As readNpy. @param name for messages */
export function parseNpy(file: Uint8Array, name: string): NpyTensor {
  const { header, start } = headerOf(file, name);
  const { kind, little } = kindOf(header, name);
  const fortran = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(header)?.[1];
  const list = /['"]shape['"]\s*:\s*\(([^)]*)\)/.exec(header)?.[1];
  if (fortran === undefined || list === undefined) throw malformed(name, "its header lacks fortran_order or shape");
  const shape = list
    .split(",")
    .map((part) => part.trim().replace(/L$/, ""))
    .filter((part, k, all) => part !== "" || k !== all.length - 1);
  if (!shape.every((part) => /^\d{1,15}$/.test(part))) throw malformed(name, `its shape is (${list})`);
  const dims = shape.map(Number);
  const size = sizeOf(dims);
  if (size * kind.bytes !== file.length - start) {
    throw new UnbraidError(
      "input",
      "NPY_SIZE",
      `${name} declares ${dims.join("x") || "a scalar"} of ${kind.name}, ${size * kind.bytes} bytes, and holds ${file.length - start}`,
      "The file is damaged or incomplete; save it again.",
    );
  }
  const data = kind.type === "float32" ? new Float32Array(size) : new Float64Array(size);
  const view = new DataView(file.buffer, file.byteOffset + start, file.length - start);
  const place = fortran === "True" ? fortranPlaces(dims) : (k: number) => k;
  for (let k = 0; k < size; k++) data[place(k)] = kind.read(view, k * kind.bytes, little);
  return { type: kind.type, shape: dims, data, dtype: kind.name };
}

function headerOf(file: Uint8Array, name: string): { header: string; start: number } {
  const latin = (from: number, to: number): string => Buffer.from(file.subarray(from, to)).toString("latin1");
  if (latin(0, 6) !== MAGIC) throw malformed(name, "it does not begin as one");
  const version = file[6] ?? 0;
  if (version < 1 || version > 3) throw malformed(name, `its format version is ${version}`);
  const wide = version > 1;
  const from = wide ? 12 : 10;
  if (file.length < from) throw malformed(name, `it ends after ${file.length} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = from + length;
  if (start > file.length) throw malformed(name, `it ends inside its header, after ${file.length} bytes`);
  return { header: latin(from, start), start };
}

function kindOf(header: string, name: string): { kind: Kind; little: boolean } {
  const descr = /['"]descr['"]\s*:\s*['"]([^'"]*)['"]/.exec(header)?.[1];
  const kind = descr === undefined ? undefined : KINDS[descr.slice(1)];
  const order = descr?.[0] ?? "";
  if (kind !== undefined && "<>|=".includes(order)) return { kind, little: order !== ">" };
  throw new UnbraidError(
    "input",
    "NPY_TYPE",
    `${name} holds elements of type ${descr ?? "with fields"}; numbers and booleans are read`,
    "Save it as float32, an integer type or bool.",
  );
}

/** From the position in Fortran order (first index fastest) to that in C order. */
function fortranPlaces(shape: readonly number[]): (k: number) => number {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  return (k) => {
    let rest = k;
    let at = 0;
    shape.forEach((n, axis) => {
      at += (rest % n) * (strides[axis] ?? 0);
      rest = Math.floor(rest / n);
    });
    return at;
  };
}

const malformed = (name: string, why: string): UnbraidError =>
  new UnbraidError("input", "NPY_FORMAT", `${name} is not an .npy file: ${why}`, "Save it with numpy.save.");

/** The bytes of a file, version 1.0, little-endian, C order: float32, int64 or bool. */
export function encodeNpy({ type, shape, data }: HostTensor): Uint8Array {
  const [descr, size] = type === "float32" ? ["<f4", 4] : type === "int64" ? ["<i8", 8] : ["|b1", 1];
  const bytes = new Uint8Array(data.length * size);
  const view = new DataView(bytes.buffer);
  data.forEach((value, k) => {
    if (type === "float32") view.setFloat32(4 * k, value, true);
    else if (type === "int64") view.setBigInt64(8 * k, BigInt(Math.trunc(value)), true);
    else view.setUint8(k, value === 0 ? 0 : 1);
  });
  return npyFile(descr, shape, bytes);
}

/** float64. */
export function encodeNpyFloat64(shape: readonly number[], data: ArrayLike<number>): Uint8Array {
  const bytes = new Uint8Array(8 * data.length);
  const view = new DataView(bytes.buffer);
  for (let k = 0; k < data.length; k++) view.setFloat64(8 * k, data[k] ?? 0, true);
  return npyFile("<f8", shape, bytes);
}

/** A list of texts, as NumPy keeps them: so many UTF-32 characters each, the rest zeros. */
export function encodeNpyText(texts: readonly string[]): Uint8Array {
  const points = texts.map((t) => Array.from(t, (c) => c.codePointAt(0) ?? 0));
  const width = Math.max(1, ...points.map((p) => p.length));
  const bytes = new Uint8Array(4 * width * texts.length);
  const view = new DataView(bytes.buffer);
  points.forEach((list, row) => {
    list.forEach((point, k) => {
      view.setUint32(4 * (row * width + k), point, true);
    });
  });
  return npyFile(`<U${width}`, [texts.length], bytes);
}

function npyFile(descr: string, shape: readonly number[], bytes: Uint8Array): Uint8Array {
  const dims = shape.length === 1 ? `${shape[0] ?? 0},` : shape.join(", ");
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }`;
  // The data begins at a multiple of 64 bytes, and the header ends in a line feed.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const file = new Uint8Array(length + bytes.length);
  file.set(Buffer.from(MAGIC, "latin1"));
  file.set([1, 0], 6);
  new DataView(file.buffer).setUint16(8, length - 10, true);
  file.set(Buffer.from(`${text.padEnd(length - 11)}\n`, "latin1"), 10);
  file.set(bytes, length);
  return file;
}
