/** PNG files without native code: what the report lays over pictures, in Node and in a browser alike. */
import { zlibSync } from "fflate";

/** Eight bits each of red, green, blue and opacity, interleaved. */
export interface RgbaImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Of the header: eight bits a sample, red green blue and alpha, deflate, rows filtered, not interlaced. */
const FORMAT = [8, 6, 0, 0, 0];

/** The bytes of a PNG (ISO/IEC 15948), rows unfiltered: heat maps are mostly of one colour. */
export function encodeRgba({ width, height, data }: RgbaImage): Uint8Array {
  const stride = 4 * width;
  const rows = new Uint8Array(height * (stride + 1));
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set(FORMAT, 8);
  const chunks = [chunk("IHDR", header), chunk("IDAT", zlibSync(rows, { level: 9 })), chunk("IEND", new Uint8Array(0))];
  const out = new Uint8Array(SIGNATURE.length + chunks.reduce((n, c) => n + c.length, 0));
  out.set(SIGNATURE);
  let at = SIGNATURE.length;
  for (const c of chunks) {
    out.set(c, at);
    at += c.length;
  }
  return out;
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let k = 0; k < 4; k++) out[4 + k] = type.charCodeAt(k);
  out.set(data, 8);
  view.setUint32(8 + data.length, crc(out.subarray(4, 8 + data.length)));
  return out;
}

/** CRC-32 of ISO 3309, bit by bit: heat maps are small. */
function crc(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = (c & 1) === 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  }
  return (c ^ 0xffffffff) >>> 0;
}

/** A data: URI; without Node's Buffer, in pieces that fit a call's arguments. */
export const dataUri = (type: "image/png" | "image/jpeg" | "image/webp", bytes: Uint8Array): string =>
  `data:${type};base64,${base64(bytes)}`;

export function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x2000) text += String.fromCharCode(...bytes.subarray(at, at + 0x2000));
  return btoa(text);
}

/** Little-endian. */
export function base64Floats(values: Float32Array): string {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((v, k) => {
    view.setFloat32(4 * k, v, true);
  });
  return base64(new Uint8Array(view.buffer));
}

export function base64Doubles(values: ArrayLike<number>): string {
  const view = new DataView(new ArrayBuffer(8 * values.length));
  for (let k = 0; k < values.length; k++) view.setFloat64(8 * k, values[k] ?? NaN, true);
  return base64(new Uint8Array(view.buffer));
}
