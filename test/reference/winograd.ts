/** What Winograd's convolution may differ from the exact sum: the sizes of its terms, and how often they are rounded. */
import { G, type WinogradTile } from "../../src/kernels/conv-winograd.ts";

type Matrix = readonly (readonly number[])[];

/** B^T and A^T of Lavin and Gray, as shaders/winograd.wgsl has them. */
const BT: Readonly<Record<WinogradTile, Matrix>> = {
  2: [
    [1, 0, -1, 0],
    [0, 1, 1, 0],
    [0, -1, 1, 0],
    [0, 1, 0, -1],
  ],
  4: [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
  ],
};
const AT: Readonly<Record<WinogradTile, Matrix>> = {
  2: [
    [1, 1, 1, 0],
    [0, 1, -1, -1],
  ],
  4: [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
  ],
};

const product = (a: Matrix, b: Matrix): number[][] =>
  a.map((row) => (b[0] ?? []).map((_, j) => row.reduce((sum, x, k) => sum + x * (b[k]?.[j] ?? 0), 0)));
const transpose = (a: Matrix): number[][] => (a[0] ?? []).map((_, j) => a.map((row) => row[j] ?? 0));
const absolute = (a: Matrix): number[][] => a.map((row) => row.map(Math.abs));
const sandwich = (a: Matrix, m: Matrix): number[][] => product(product(a, m), transpose(a));

/**
 * Sizes of what is added up for each output, |A^T| [ (|G| |w| |G^T|) . (|B^T| |d| |B|) ] |A| summed over channels: with N
 * roundings on the way from a term to the result, the error is at most (1 + u)^N - 1 of it.
 * @param x [n, C, H, W]
 * @param w [O, C, 3, 3]
 * @param pads top and left
 * @param out height and width of the output
 * @returns [n, O, ...out]
 */
export function winogradSizes(
  m: WinogradTile,
  x: { readonly shape: readonly number[]; readonly data: ArrayLike<number> },
  w: { readonly shape: readonly number[]; readonly data: ArrayLike<number> },
  pads: readonly [number, number],
  out: readonly [number, number],
): Float64Array {
  const [n = 0, channels = 0, height = 0, width = 0] = x.shape;
  const outputs = w.shape[0] ?? 0;
  const sizes = new Float64Array(n * outputs * out[0] * out[1]);
  const [g, b, a] = [absolute(G[m]), absolute(BT[m]), absolute(AT[m])];
  const side = m + 2;
  const square = (at: (i: number, j: number) => number, size: number): number[][] =>
    Array.from({ length: size }, (_, i) => Array.from({ length: size }, (__, j) => Math.abs(at(i, j))));
  const kernels = Array.from({ length: outputs * channels }, (_, k) =>
    sandwich(
      g,
      square((i, j) => w.data[9 * k + 3 * i + j] ?? 0, 3),
    ),
  );
  for (let image = 0; image < n; image++)
    for (let top = 0; top < out[0]; top += m)
      for (let left = 0; left < out[1]; left += m) {
        const tiles = Array.from({ length: channels }, (_, c) =>
          sandwich(
            b,
            square((i, j) => {
              const [y, z] = [top + i - pads[0], left + j - pads[1]];
              const inside = y >= 0 && z >= 0 && y < height && z < width;
              return inside ? (x.data[((image * channels + c) * height + y) * width + z] ?? 0) : 0;
            }, side),
          ),
        );
        for (let o = 0; o < outputs; o++) {
          const sum = square(() => 0, side);
          tiles.forEach((tile, c) => {
            const kernel = kernels[o * channels + c] ?? [];
            sum.forEach((row, i) => {
              row.forEach((_, j) => (row[j] = (row[j] ?? 0) + (kernel[i]?.[j] ?? 0) * (tile[i]?.[j] ?? 0)));
            });
          });
          sandwich(a, sum).forEach((row, i) => {
            row.forEach((size, j) => {
              if (top + i >= out[0] || left + j >= out[1]) return;
              sizes[((image * outputs + o) * out[0] + top + i) * out[1] + left + j] = size;
            });
          });
        }
      }
  return sizes;
}

/**
 * Roundings from a term to the result: G w G^T once (from float64); B^T twice, rows of at most three terms and two
 * coefficients that are no power of two; product and sum over channels, in fours; A^T twice, rows of six terms; the bias.
 */
export const winogradRoundings = (channels: number): number =>
  1 + 2 * 5 + (4 * Math.ceil(channels / 4) + 1) + 2 * 6 + 1;
