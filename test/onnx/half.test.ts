import { describe, expect, it } from "vitest";
import { halfBits, halfFromBits, roundToHalf } from "../../src/onnx/half.ts";

/** The next float64 above a positive finite x. */
function nextUp(x: number): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  view.setBigUint64(0, view.getBigUint64(0) + 1n);
  return view.getFloat64(0);
}

function nextDown(x: number): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  view.setBigUint64(0, view.getBigUint64(0) - 1n);
  return view.getFloat64(0);
}

describe("float16", () => {
  it("keeps all 65536 halves, bits and value", () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = halfFromBits(bits);
      if (!Object.is(roundToHalf(value), value)) expect.fail(`${bits}: ${value} became ${roundToHalf(value)}`);
      const expected = Number.isNaN(value) ? 0x7e00 : bits;
      if (halfBits(value) !== expected) expect.fail(`${bits}: ${value} encoded as ${halfBits(value)}`);
    }
  });

  it("rounds every midpoint to even, and its float64 neighbours to their own side, of either sign", () => {
    for (let bits = 0; bits < 0x7c00; bits++) {
      const low = halfFromBits(bits);
      // Above the largest half (65504) stands 65536, that is infinity, whose last bit is even.
      const high = bits === 0x7bff ? Infinity : halfFromBits(bits + 1);
      const middle = (low + Math.min(high, 65536)) / 2;
      const even = bits % 2 === 0 ? low : high;
      for (const [x, expected] of [
        [middle, even],
        [nextDown(middle), low],
        [nextUp(middle), high],
      ] as const) {
        if (!Object.is(roundToHalf(x), expected)) expect.fail(`${x} became ${roundToHalf(x)}, not ${expected}`);
        if (!Object.is(roundToHalf(-x), -expected)) expect.fail(`${-x} became ${roundToHalf(-x)}, not ${-expected}`);
        if (halfFromBits(halfBits(x)) !== expected) expect.fail(`bits of ${x}`);
      }
    }
  });

  it("knows the landmarks of the format", () => {
    expect(halfFromBits(0x3c00)).toBe(1);
    expect(halfFromBits(0x7bff)).toBe(65504);
    expect(halfFromBits(0x0001)).toBe(2 ** -24);
    expect(halfFromBits(0x3555)).toBe(0.333251953125);
    expect(roundToHalf(0.1)).toBe(0.0999755859375);
    expect(roundToHalf(0.4999)).toBe(0.5);
    expect([roundToHalf(65519.99), roundToHalf(65520), roundToHalf(-1e300)]).toEqual([65504, Infinity, -Infinity]);
    expect([roundToHalf(Infinity), roundToHalf(-Infinity), roundToHalf(NaN)]).toEqual([Infinity, -Infinity, NaN]);
    expect(roundToHalf(Number.MIN_VALUE)).toBe(0);
  });
});
