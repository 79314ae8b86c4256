/** Kernel densities against scipy.stats.gaussian_kde (1.17, bw_method "scott"). */
import { expect, test } from "vitest";
import { density } from "../../../src/channels/evaluate/density.ts";

test("is scipy's, on a grid that goes three bandwidths beyond both ends", () => {
  const { bandwidth, x, y, n } = density([1.5, -0.25, 3, 2, 0.5, 2.25, -1]);
  expect(n).toBe(7);
  expect(bandwidth).toBeCloseTo(0.9773482533865557, 14);
  expect(x).toHaveLength(200);
  const known = [
    [0, -3.932044760159667, 0.00069808238297679],
    [50, -1.4536303078181256, 0.08834907612688489],
    [100, 1.0247841445234158, 0.20361138801197692],
    [137, 2.858810839256156, 0.1711194596532601],
    [199, 5.932044760159667, 0.0007159067387280329],
  ] as const;
  for (const [k, at, value] of known) {
    expect(x[k]).toBeCloseTo(at, 13);
    expect(y[k]).toBeCloseTo(value, 14);
  }
});

test("the whole of it is one", () => {
  const { x, y } = density([0, 0.1, 5, 5.2, -3]);
  const step = ((x[199] ?? NaN) - (x[0] ?? NaN)) / 199;
  // Three bandwidths hold all but 0.27 % of the outermost kernels, a fifth of the whole each.
  expect(y.reduce((a, b) => a + b, 0) * step).toBeGreaterThan(0.998);
  expect(y.reduce((a, b) => a + b, 0) * step).toBeLessThanOrEqual(1.0005);
});

test.each([
  ["equal values", [2.5, 2.5, 2.5], 0],
  ["zeros", [0, 0], 0],
  ["one value", [7], null],
  ["values that differ by rounding", [0.1 + 0.2, 0.3, 0.3], 3e-17],
])("%s have no density, and are not divided by zero", (_, values, sd) => {
  const found = density(values);
  expect(found).toMatchObject({ n: values.length, bandwidth: 0, x: [], y: [] });
  if (sd === null) expect(found.sd).toBeNull();
  else expect(found.sd).toBeCloseTo(sd, 15);
  expect(found.mean).toBeCloseTo(values[0] ?? NaN, 15);
});

test("of nothing there is none", () => {
  expect(density([])).toMatchObject({ n: 0, x: [], y: [] });
});
