/** How much memory is asked for at once: a file must not make us allocate what it only declares. */

const WATCHED = [
  "ArrayBuffer",
  "Float32Array",
  "Float64Array",
  "Uint8Array",
  "Uint16Array",
  "Uint32Array",
  "Int32Array",
  "BigInt64Array",
  "Array",
] as const;

/** Bytes an element, as far as a constructor given one number is concerned. */
const width = (type: { readonly BYTES_PER_ELEMENT?: number; readonly name: string }): number =>
  type.BYTES_PER_ELEMENT ?? (type.name === "Array" ? 8 : 1);

export interface AllocationWatch extends Disposable {
  /** Bytes of the largest array made since the last call. */
  largest(): number;
}

/**
 * Replaces the constructors of arrays by ones that keep count, until disposed. What native code allocates, and arrays
 * that grow by push, are not seen.
 */
export function watchAllocations(): AllocationWatch {
  let largest = 0;
  const globals = globalThis as unknown as Record<string, unknown>;
  const originals = WATCHED.map((name) => [name, globals[name]] as const);
  for (const [name, original] of originals) {
    const type = original as { readonly BYTES_PER_ELEMENT?: number; readonly name: string } & (new () => object);
    globals[name] = new Proxy(type, {
      construct: (target, given: unknown[], newTarget) => {
        const made: object = Reflect.construct(target, given, newTarget) as object;
        const size = typeof given[0] === "number" ? given[0] : lengthOf(made);
        if (!(given[0] instanceof ArrayBuffer)) largest = Math.max(largest, size * width(type));
        return made;
      },
    });
  }
  return {
    largest: () => {
      const seen = largest;
      largest = 0;
      return seen;
    },
    [Symbol.dispose]: () => {
      for (const [name, original] of originals) globals[name] = original;
    },
  };
}

const lengthOf = (made: object): number => ("length" in made && typeof made.length === "number" ? made.length : 0);
