import { describe, expect, it } from "vitest";
import { encodeNpy, parseNpy, readNpy } from "../../src/cli/npy.ts";
import { UnbraidError } from "../../src/errors.ts";

/** A file as numpy.save makes it, by hand. */
function npy(
  descr: string,
  shape: string,
  data: ArrayBufferView,
  options: { version?: number; fortran?: boolean } = {},
): Uint8Array {
  const { version = 1, fortran = false } = options;
  const text = `{'descr': ${descr}, 'fortran_order': ${fortran ? "True" : "False"}, 'shape': ${shape}, }\n`;
  const head = version === 1 ? 10 : 12;
  const file = new Uint8Array(head + text.length + data.byteLength);
  file.set(Buffer.from("\u0093NUMPY", "latin1"));
  file.set([version, 0], 6);
  const view = new DataView(file.buffer);
  if (version === 1) view.setUint16(8, text.length, true);
  else view.setUint32(8, text.length, true);
  file.set(Buffer.from(text, "latin1"), head);
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), head + text.length);
  return file;
}

function codeOf(file: Uint8Array): string {
  try {
    parseNpy(file, "x.npy");
  } catch (error) {
    if (error instanceof UnbraidError) return error.code;
    throw error;
  }
  return "none";
}

describe("npy", () => {
  it("reads every kind of number that NumPy writes", () => {
    const cases: [string, ArrayBufferView, number[]][] = [
      ["'<f4'", Float32Array.of(1.5, -2), [1.5, -2]],
      ["'<f8'", Float64Array.of(0.1, -2), [Math.fround(0.1), -2]],
      ["'<f2'", Uint16Array.of(0x3e00, 0xc000), [1.5, -2]],
      ["'|i1'", Int8Array.of(-7, 7), [-7, 7]],
      ["'<i2'", Int16Array.of(-700, 7), [-700, 7]],
      ["'<i4'", Int32Array.of(-70000, 7), [-70000, 7]],
      ["'<i8'", BigInt64Array.of(-(2n ** 40n), 2n ** 62n), [-(2 ** 40), 2 ** 53]],
      ["'|u1'", Uint8Array.of(200, 7), [200, 7]],
      ["'<u2'", Uint16Array.of(60000, 7), [60000, 7]],
      ["'<u4'", Uint32Array.of(4e9, 7), [4e9, 7]],
      ["'<u8'", BigUint64Array.of(2n ** 40n, 7n), [2 ** 40, 7]],
      ["'|b1'", Uint8Array.of(1, 0), [1, 0]],
    ];
    for (const [descr, data, expected] of cases) {
      const { shape, data: got } = parseNpy(npy(descr, "(2,)", data), "x.npy");
      expect([descr, shape, [...got]]).toEqual([descr, [2], expected]);
    }
  });

  it("reads big-endian numbers and versions 2 and 3", () => {
    const bytes = Uint8Array.of(0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0);
    for (const version of [1, 2, 3]) {
      expect([...parseNpy(npy("'>f4'", "(2,)", bytes, { version }), "x.npy").data]).toEqual([1.5, -2]);
    }
  });

  it("puts Fortran order into C order", () => {
    // numpy: np.asfortranarray(np.arange(24).reshape(2, 3, 4)), whose first index runs fastest in the file.
    const file: number[] = [];
    for (let k = 0; k < 4; k++) for (let j = 0; j < 3; j++) for (let i = 0; i < 2; i++) file.push((i * 3 + j) * 4 + k);
    const { data, shape } = parseNpy(npy("'<f4'", "(2, 3, 4)", Float32Array.from(file), { fortran: true }), "x.npy");
    expect(shape).toEqual([2, 3, 4]);
    expect([...data]).toEqual(Array.from({ length: 24 }, (_, k) => k));
  });

  it("reads scalars and arrays without elements", () => {
    expect(parseNpy(npy("'<f4'", "()", Float32Array.of(3)), "x.npy").shape).toEqual([]);
    expect(parseNpy(npy("'<f4'", "(0, 3)", new Float32Array(0)), "x.npy").data.length).toBe(0);
  });

  it("reads what it writes, and starts the data at a multiple of 64 bytes", () => {
    const tensors = [
      { type: "float32", shape: [2, 3], data: Float32Array.of(1, -0, NaN, Infinity, 1e-40, 5) },
      { type: "int64", shape: [3], data: Float64Array.of(-1, 2 ** 40, 0) },
      { type: "bool", shape: [], data: Float64Array.of(1) },
      { type: "float32", shape: [1, 1, 1, 1, 1, 1, 1, 0], data: new Float32Array(0) },
    ] as const;
    for (const tensor of tensors) {
      const file = encodeNpy(tensor);
      expect((new DataView(file.buffer).getUint16(8, true) + 10) % 64).toBe(0);
      const read = parseNpy(file, "x.npy");
      expect(read.type).toBe(tensor.type);
      expect(read.shape).toEqual(tensor.shape);
      expect(read.data).toEqual(tensor.data);
    }
  });

  it("refuses everything else", () => {
    const good = npy("'<f4'", "(2,)", Float32Array.of(1, 2));
    expect(codeOf(new Uint8Array(0))).toBe("NPY_FORMAT");
    expect(codeOf(new TextEncoder().encode("not an array at all"))).toBe("NPY_FORMAT");
    expect(codeOf(good.subarray(0, 20))).toBe("NPY_FORMAT");
    expect(codeOf(good.subarray(0, good.length - 1))).toBe("NPY_SIZE");
    expect(codeOf(npy("'<f4'", "(900000000000000,)", Float32Array.of(1)))).toBe("NPY_SIZE");
    expect(codeOf(npy("'<f4'", "(-1,)", Float32Array.of(1)))).toBe("NPY_FORMAT");
    expect(codeOf(npy("'<c8'", "(1,)", Float32Array.of(1, 2)))).toBe("NPY_TYPE");
    expect(codeOf(npy("'|O'", "(1,)", Float32Array.of(1)))).toBe("NPY_TYPE");
    expect(codeOf(npy("[('a', '<f4')]", "(1,)", Float32Array.of(1)))).toBe("NPY_TYPE");
    expect(codeOf(npy("'<f4'", "(1,)", Float32Array.of(1), { version: 9 }))).toBe("NPY_FORMAT");
  });
});

it("a file that is not there, in words", () => {
  expect(() => readNpy("nowhere/x.npy")).toThrow(/^nowhere\/x\.npy cannot be read: there is no such file or folder$/);
});
