/** Reads NumPy's .npy files (format versions 1 to 3; little-endian numbers in C order). */
import { readFileSync } from "node:fs";

export interface Npy {
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array;
}

export function readNpy(path: string): Npy {
  const file = readFileSync(path);
  if (file.toString("latin1", 0, 6) !== "\x93NUMPY") throw new Error(`${path} is not an .npy file`);
  const wide = (file[6] ?? 0) >= 2;
  const start = wide ? 12 : 10;
  const length = wide ? file.readUInt32LE(8) : file.readUInt16LE(8);
  const header = file.toString("latin1", start, start + length);
  const type = /'descr': '([^']+)'/.exec(header)?.[1] ?? "";
  if (!header.includes("'fortran_order': False")) throw new Error(`${path} is not in C order`);
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "")
    .split(",")
    .filter((d) => d.trim() !== "")
    .map(Number);
  const bytes = Uint8Array.from(file.subarray(start + length)).buffer;
  switch (type) {
    case "<f4":
      return { shape, data: new Float32Array(bytes) };
    case "<f8":
      return { shape, data: new Float64Array(bytes) };
    case "<i4":
      return { shape, data: new Int32Array(bytes) };
    case "|u1":
      return { shape, data: new Uint8Array(bytes) };
    default:
      throw new Error(`${path} holds ${type}`);
  }
}
