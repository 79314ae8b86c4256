/** Our reader against protobufjs, on what its writer makes and on what is damaged. */
import protobuf from "protobufjs/minimal.js";
import { expect, it } from "vitest";
import { MAX_INT, WireReader } from "../../src/onnx/reader.ts";
import { Random } from "../support/random.ts";

const readerOf = (bytes: Uint8Array): WireReader => new WireReader(bytes, 0, bytes.length);
const written = (write: (w: protobuf.Writer) => void): Uint8Array => {
  const writer = new protobuf.Writer();
  write(writer);
  return writer.finish();
};

/** Of every length that a varint can have, both signs, and the edges of 32 and 53 bits. */
const INTEGERS = Array.from({ length: 64 }, (_, k) => 2n ** BigInt(k)).flatMap((n) =>
  [n - 1n, n, n + 1n, -n, -n - 1n].map((x) => BigInt.asIntN(64, x)),
);

it.each(INTEGERS)("reads %s as protobufjs does", (value) => {
  const bytes = written((w) => w.int64(String(value)).uint32(7));
  const reader = readerOf(bytes);
  const most = BigInt(MAX_INT);
  expect(reader.int64()).toBe(Number(value > most ? most : value < -most ? -most : value));
  expect(reader.uint32()).toBe(7);
  const other = new protobuf.Reader(bytes);
  expect(readerOf(bytes).uint32()).toBe(other.uint32());
  expect(readerOf(bytes).int32()).toBe(new protobuf.Reader(bytes).int32());
  expect(other.pos).toBe(bytes.length - 1);
});

it("refuses tags and lengths beyond 32 bits", () => {
  for (const size of [2 ** 32, 2 ** 32 + 2, 2 ** 63]) {
    const bytes = written((w) => w.int64(String(BigInt.asIntN(64, BigInt(size)))));
    expect(() => readerOf(bytes).size()).toThrow(/32 bits/);
  }
  expect(readerOf(written((w) => w.uint32(2 ** 32 - 1))).size()).toBe(2 ** 32 - 1);
});

it("reads floats bit for bit, wherever they lie in their memory", () => {
  const values = [0, -0, 1 / 3, -1e38, 1e-45, Infinity, -Infinity, NaN].map(Math.fround);
  const bytes = written((w) => {
    for (const value of values) w.float(value);
  });
  const moved = new Uint8Array(bytes.length + 3);
  moved.set(bytes, 3);
  const reader = readerOf(moved.subarray(3));
  expect(values.map(() => reader.float32())).toEqual(values);
});

it("passes over what protobufjs passes over, to the same byte, and refuses what it refuses", () => {
  const random = new Random(11);
  const [ends, refusals] = [[] as number[], [] as boolean[]];
  for (let n = 0; n < 20_000; n++) {
    const bytes = Uint8Array.from({ length: 1 + random.below(24) }, () =>
      random.below(3) > 0 ? random.below(40) : random.below(256),
    );
    const [mine, theirs] = [readerOf(bytes), new protobuf.Reader(bytes)];
    const outcome = (skip: () => number): number => {
      try {
        return skip();
      } catch {
        return -1;
      }
    };
    const wireType = n % 8;
    const end = outcome(() => {
      theirs.skipType(wireType, 0, 5);
      return theirs.pos;
    });
    const own = outcome(() => {
      mine.skip(wireType, 5);
      return mine.pos;
    });
    // Theirs goes past varints of any length.
    if (own === -1 && end > 10) continue;
    expect(own, `${wireType}: ${bytes.join()}`).toBe(end);
    ends.push(end);
    refusals.push(end === -1);
  }
  expect(refusals.filter(Boolean).length).toBeGreaterThan(3000);
  expect(ends.filter((end) => end > 3).length).toBeGreaterThan(1000);
});

it("says how many bytes are wanted, and what is no varint or group", () => {
  const read = (...bytes: number[]): WireReader => readerOf(Uint8Array.from(bytes));
  expect(() => read(0x80).uint32()).toThrow(RangeError);
  expect(() => read(1, 2, 3).float32()).toThrow("4 bytes wanted, 3 left");
  expect(() => read(...new Array<number>(11).fill(0x80)).int64()).toThrow("a varint of more than 10 bytes");
  expect(() => {
    read(0x0b, 0x14).skip(3, 1);
  }).toThrow("a group ends with another's number");
  expect(() => {
    read(0).skip(4, 1);
  }).toThrow("no field has wire type 4");
});
