/** The binary part of a study file: arrays one after the other, little-endian, each padded with zeros to 8 bytes. */
import { invariant, UnbraidError } from "../errors.ts";

const ALIGN = 8;
export const align = (n: number): number => Math.ceil(n / ALIGN) * ALIGN;

type NumericArray = Uint8Array | Int8Array | Uint16Array | Uint32Array | Float32Array | Float64Array;

/** Reads sections in order. Typed arrays are little-endian wherever WebGPU runs. */
export class SectionReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    invariant(new Uint8Array(new Uint16Array([1]).buffer)[0] === 1, "a little-endian machine");
    this.#bytes = bytes;
  }

  /** @throws UnbraidError STUDY_CORRUPT when fewer bytes are left */
  need(bytes: number): void {
    const left = this.#bytes.length - this.#offset;
    if (bytes > left) throw corrupt(`${left} bytes are left where ${bytes} are declared`);
  }

  /** Fills `array` with the next section. */
  into<A extends NumericArray>(array: A): A {
    const padded = align(array.byteLength);
    this.need(padded);
    const section = this.#bytes.subarray(this.#offset, this.#offset + padded);
    if (section.subarray(array.byteLength).some((byte) => byte !== 0)) throw corrupt("padding that is not zero");
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(section.subarray(0, array.byteLength));
    this.#offset += padded;
    return array;
  }

  end(): void {
    if (this.#offset !== this.#bytes.length) throw corrupt(`${this.#bytes.length - this.#offset} bytes too many`);
  }
}

export function corrupt(what: string): UnbraidError {
  return new UnbraidError(
    "input",
    "STUDY_CORRUPT",
    `The study file is truncated or damaged: ${what}.`,
    "Copy it again from where it was made, or run the study again.",
  );
}
