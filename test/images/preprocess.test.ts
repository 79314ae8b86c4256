import { describe, expect, test } from "vitest";
import type { PreprocessSpec, RgbImage } from "../../src/images/preprocess.ts";
import { preprocess, resizeCropRgb, resizedSize } from "../../src/images/preprocess.ts";
import { PRESETS } from "../../src/images/presets.ts";
import golden from "./golden.json" with { type: "json" };
import { errorOf, pixels, sha256 } from "./support.ts";

type Sizes = Pick<PreprocessSpec, "resize" | "crop">;
type Case = [width: number, height: number, resize: number | null, crop: number | null, bytes: string, tensor: string];

const sizes = (resize: number | null, crop: number | null): Sizes => ({
  ...(resize === null ? {} : { resize }),
  ...(crop === null ? {} : { crop }),
});

const image = (width: number, height: number, seed = width * 1000 + height): RgbImage => ({
  width,
  height,
  data: pixels(width * height * 3, seed),
});

describe("against Pillow, by digest (make_golden.py)", () => {
  test.each(golden.resize as Case[])("%i x %i, resize %s, crop %s", (width, height, resize, crop, bytes, tensor) => {
    const spec = sizes(resize, crop);
    expect(sha256(resizeCropRgb(image(width, height), spec).data)).toBe(bytes);
    const { mean, std } = PRESETS.imagenet;
    expect(sha256(preprocess(image(width, height), { ...spec, mean, std }))).toBe(tensor);
  });
});

/** Antialiased bilinear resize in float64, by its definition: a triangle of the scale's width about each centre. */
function exactResize(source: RgbImage, width: number, height: number): Float64Array {
  const weights = (inSize: number, outSize: number): number[][] =>
    Array.from({ length: outSize }, (_, i) => {
      const scale = inSize / outSize;
      const support = Math.max(scale, 1);
      const row = Array.from({ length: inSize }, (__, x) =>
        Math.max(0, 1 - Math.abs(x + 0.5 - (i + 0.5) * scale) / support),
      );
      const sum = row.reduce((a, b) => a + b, 0);
      return row.map((w) => w / sum);
    });
  const across = weights(source.width, width);
  const down = weights(source.height, height);
  const out = new Float64Array(width * height * 3);
  for (let i = 0; i < out.length; i++) {
    const [c, x, y] = [i % 3, Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    down[y]?.forEach((wy, v) => {
      across[x]?.forEach((wx, u) => {
        if (wx > 0 && wy > 0) out[i] = (out[i] ?? 0) + wx * wy * (source.data[(v * source.width + u) * 3 + c] ?? 0);
      });
    });
  }
  return out;
}

test.each([
  [37, 23, 11],
  [23, 37, 50],
  [12, 60, 7],
  [64, 64, 63],
])("%i x %i to %i is within its two roundings of the exact filter", (width, height, resize) => {
  const source = image(width, height);
  const got = resizeCropRgb(source, { resize });
  expect(got).toMatchObject(resizedSize(width, height, resize));
  const exact = exactResize(source, got.width, got.height);
  // Each pass rounds to a whole number: half a unit, carried through the second pass's weights (which sum to one), and
  // half again. Weights are off by 2^-23 each, times 255, times at most 21 taps: under 0.001.
  got.data.forEach((v, i) => {
    expect(Math.abs(v - (exact[i] ?? NaN))).toBeLessThan(1.001);
  });
});

test("sizes are torchvision's: the longer side is cut to a whole number", () => {
  expect(resizedSize(500, 375, 256)).toEqual({ width: 341, height: 256 });
  expect(resizedSize(375, 500, 256)).toEqual({ width: 256, height: 341 });
  expect(resizedSize(300, 300, 256)).toEqual({ width: 256, height: 256 });
});

test("an image of one colour keeps it, however it is resized", () => {
  for (const value of [0, 1, 127, 254, 255]) {
    const flat: RgbImage = { width: 31, height: 17, data: new Uint8Array(31 * 17 * 3).fill(value) };
    for (const resize of [1, 5, 16, 18, 100]) {
      expect(new Set(resizeCropRgb(flat, { resize }).data)).toEqual(new Set([value]));
    }
  }
});

test("cropping after a resize is the part of the whole", () => {
  const source = image(90, 50);
  const whole = resizeCropRgb(source, { resize: 33 });
  const part = resizeCropRgb(source, { resize: 33, crop: 20 });
  const left = 20; // (59 - 20) / 2 = 19.5: the half goes to the even number
  const top = 6; // (33 - 20) / 2 = 6.5
  for (let y = 0; y < 20; y++) {
    const from = ((top + y) * whole.width + left) * 3;
    expect(part.data.subarray(y * 60, (y + 1) * 60)).toEqual(whole.data.subarray(from, from + 60));
  }
});

test("an image smaller than the crop stands in the middle of black, the odd row and column at the far end", () => {
  const source: RgbImage = { width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) };
  const { data, width, height } = resizeCropRgb(source, { crop: 5 });
  expect([width, height]).toEqual([5, 5]);
  const expected = new Uint8Array(75);
  expected.set(source.data, (2 * 5 + 1) * 3);
  expect(data).toEqual(expected);
});

test("float32 as ToTensor and Normalize: planes, bytes over 255, minus mean, over std; BGR turns the planes", () => {
  const source: RgbImage = { width: 1, height: 1, data: Uint8Array.of(0, 128, 255) };
  const f = Math.fround;
  const mean = [0.1, 0.2, 0.3] as const;
  const std = [0.5, 0.25, 2] as const;
  const of = (v: number, c: 0 | 1 | 2): number => f(f(f(v / 255) - f(mean[c])) / f(std[c]));
  expect([...preprocess(source, { mean, std })]).toEqual([of(0, 0), of(128, 1), of(255, 2)]);
  expect([...preprocess(source, { mean, std, channels: "bgr" })]).toEqual([of(255, 0), of(128, 1), of(0, 2)]);
});

test("a sliver resized without a crop is refused with its size; with a crop it needs no memory", async () => {
  const sliver = image(1, 4000);
  const error = await errorOf(() => resizeCropRgb(sliver, { resize: 256 }));
  expect(error.code).toBe("IMAGE_SIZE");
  expect(error.message).toContain("256 x 1024000");
  expect(resizeCropRgb(sliver, { resize: 256, crop: 8 }).data).toHaveLength(192);
});
