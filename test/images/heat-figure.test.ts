/** Heat maps drawn: colours by sign, one scale for all panels, enlarged without blending, smoothed without loss. */
import { expect, test } from "vitest";
import { blurred, drawHeatFigure, heatScale, type HeatMap } from "../../src/images/heat-figure.ts";
import { fitting, textSize, write } from "../../src/images/lettering.ts";
import type { RgbImage } from "../../src/images/preprocess.ts";
import { Random } from "../support/random.ts";

const grey = (width: number, height: number): RgbImage => ({ width, height, data: new Uint8Array(3 * width * height).fill(128) }); // prettier-ignore
const map = (width: number, height: number, data: readonly number[]): HeatMap => ({ caption: "", width, height, data: Float32Array.from(data) }); // prettier-ignore

test("the scale leaves out the largest share, over all maps and both signs", () => {
  const numbers = Array.from({ length: 1000 }, (_, i) => (i % 2 === 0 ? i : -i));
  const halves = [numbers.slice(0, 400), numbers.slice(400)].map((n) => Float32Array.from(n));
  expect(heatScale(halves)).toBe(994);
  expect(heatScale(halves, 1)).toBe(999);
  expect(heatScale([new Float32Array(9)])).toBe(0);
});

test("red above zero, blue below, grey at zero, full colour from the scale on; cells are blocks", () => {
  const image = grey(2, 2);
  const figure = drawHeatFigure({ image, caption: "", maps: [map(2, 2, [1, -1, 0, 7])], scale: 1, least: 20 });
  const at = (x: number, y: number): number[] => Array.from(figure.data.subarray(3 * (y * figure.width + x), 3 * (y * figure.width + x) + 3)); // prettier-ignore
  // The second panel: two gaps of 12, one panel of 20, a line of text above.
  const [left, top] = [12 + 20 + 12, 12 + 18 + 6];
  for (const [x, y] of [
    [0, 0],
    [9, 9],
  ] as const) {
    expect(at(left + x, top + y)).toEqual([178, 24, 43]);
    expect(at(left + 10 + x, top + y)).toEqual([33, 102, 172]);
    expect(at(left + 10 + x, top + 10 + y)).toEqual([178, 24, 43]);
    const [r, g, b] = at(left + x, top + 10 + y);
    expect([g, b]).toEqual([r, r]);
  }
  expect(at(12, top)).toEqual([128, 128, 128]);
  const nothing = drawHeatFigure({ image, caption: "", maps: [map(1, 1, [0])], scale: 0, least: 20 });
  expect(nothing.data).not.toContain(NaN);
});

test("smoothing keeps constants and sums far from the edges, is linear, and at 0 changes nothing", () => {
  const random = new Random(3);
  const [a, b] = [0, 1].map(() =>
    map(
      9,
      7,
      Array.from({ length: 63 }, () => random.normal()),
    ),
  );
  if (a === undefined || b === undefined) throw new Error("two maps");
  expect(blurred(a, 0).data).toEqual(a.data);
  const both = map(
    9,
    7,
    Array.from(a.data, (v, i) => v + (b.data[i] ?? NaN)),
  );
  const sum = blurred(a, 1.5).data.map((v, i) => v + (blurred(b, 1.5).data[i] ?? NaN));
  // Three roundings to float32 of numbers below 4.
  blurred(both, 1.5).data.forEach((v, i) => {
    expect(Math.abs(v - (sum[i] ?? NaN))).toBeLessThan(3 * 4 * 2 ** -24);
  });
  for (const v of blurred(map(5, 4, new Array<number>(20).fill(3)), 2).data) expect(v).toBeCloseTo(3, 6);
  const point = blurred(
    map(
      21,
      21,
      Array.from({ length: 441 }, (_, i) => (i === 220 ? 1 : 0)),
    ),
    1.5,
  ).data;
  expect(point.reduce((s, v) => s + v, 0)).toBeCloseTo(1, 6);
  expect(point[220]).toBe(Math.max(...point));
});

test("text is cut to its place, and never drawn outside the picture", () => {
  expect(textSize("ab", 2)).toEqual({ width: 22, height: 18 });
  expect(fitting("abcdef", 2, 22)).toBe("ab");
  const image = grey(8, 8);
  write(image, "0ñ0", -2, 5, 1);
  const inked = image.data.filter((v) => v === 60).length / 3;
  expect(inked).toBeGreaterThan(0);
  expect(inked).toBeLessThan(30);
});
