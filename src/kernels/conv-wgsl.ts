/**
 * What the generated convolutions have in common: parameters, bindings, where a pixel is read and written, the end of a sum.
 * Comments stand here, for what is in the text is shipped. Params, offsets in vec4:
 *
 *   pixels, outPixels, outWidth, fours    where the pixels of this dispatch end, counted over all images;
 *                                         pixels of one, of a row of the output; fours of a group's input
 *   inPlane, inImage, height, width       the input: its planes and images, its size
 *   kernel*, stride*, dilation*, pad*     the window
 *   outColumn .. outImage, outFirst       the output: between columns, rows, planes and images, and before the first
 *   tiles, outFours, hasBias              tiles of a group, its fours of output channels
 *   products, inProduct, weightProduct, outProduct   independent products one after the other (z), and how far apart
 *   lowest, highest                       limits
 *   each                                  tiles of outputs that a workgroup computes
 *   perImage, perRow                      1 / outPixels, 1 / outWidth
 *   pixelLoop                             pixels of a tile, not known to compilers
 *   held                                  steps whose input a lane keeps for all tiles of its workgroup
 *   firstPixel                            of all images, for the first workgroup
 *
 * `input` is [image][four][y][x], `weights` [product][group][tile][tap][four][output of the tile] with zeros beyond the outputs.
 * `divide` gives a / b for b > 0 and 1 / b, integer division being slow on software adapters: exact where a / b < 2^22, for
 * the quotient in float32 is then off by less than one. A `Pixel` has its place (y, x) of the window's first tap and the start
 * of its image in the input, and its place in the output. In `tap`, what lies before the image wraps to beyond it. In
 * `finish`, NaN passes the limits.
 */
export const CONV_WGSL = `override RESIDUAL: bool = false;
override MASK: bool = false;
override SUMS: bool = false;

struct Params {
  pixels: u32, outPixels: u32, outWidth: u32, fours: u32,
  inPlane: u32, inImage: u32, height: u32, width: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32, padTop: i32, padLeft: i32,
  outColumn: u32, outRow: u32, outPlane: u32, outImage: u32,
  outFirst: u32,
  tiles: u32, outFours: u32, hasBias: u32,
  products: u32, inProduct: u32, weightProduct: u32, outProduct: u32,
  lowest: f32, highest: f32,
  each: u32,
  perImage: f32, perRow: f32,
  pixelLoop: u32,
  held: u32,
  firstPixel: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;
@group(0) @binding(5) var<storage, read> mask: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

fn divide(a: u32, b: u32, reciprocal: f32) -> u32 {
  let q = u32(f32(a) * reciprocal);
  let rest = i32(a - q * b);
  return select(select(q, q + 1u, rest >= i32(b)), q - 1u, rest < 0);
}

struct Pixel {
  y: u32, x: u32, start: u32, end: u32,
  inside: bool,
}

fn pixel(index: u32) -> Pixel {
  let p = min(index, params.pixels - 1u);
  let image = divide(p, params.outPixels, params.perImage);
  let rest = p - image * params.outPixels;
  let oy = divide(rest, params.outWidth, params.perRow);
  let ox = rest - oy * params.outWidth;
  return Pixel(
    oy * params.strideY - u32(params.padTop),
    ox * params.strideX - u32(params.padLeft),
    image * params.inImage,
    params.outFirst + image * params.outImage + oy * params.outRow + ox * params.outColumn,
    index < params.pixels,
  );
}

struct Tap {
  offset: u32,
  valid: bool,
}

fn tap(p: Pixel, ky: u32, kx: u32) -> Tap {
  let y = p.y + ky * params.dilationY;
  let x = p.x + kx * params.dilationX;
  let valid = (y < params.height) & (x < params.width);
  return Tap(p.start + select(0u, y * params.width + x, valid), valid);
}

fn biasOf(at: u32) -> vec4f {
  return select(vec4f(), bias[at], params.hasBias != 0u);
}

fn load(offset: u32, valid: bool) -> vec4f {
  return select(vec4f(), input[offset], valid);
}

fn finish(at: u32, sum: vec4f) {
  var v = sum;
  if (SUMS) {
    sums[at] = v;
  }
  if (RESIDUAL) {
    v += residual[at];
  }
  v = select(v, vec4f(params.lowest), v < vec4f(params.lowest));
  v = select(v, vec4f(params.highest), v > vec4f(params.highest));
  if (MASK) {
    v = select(v, vec4f(), mask[at] <= vec4f());
  }
  output[at] = v;
}
`;

/** Text for each of 0 to n - 1, joined. */
export const repeat = (n: number, f: (i: number) => string): string =>
  Array.from({ length: n }, (_, i) => f(i)).join("");
