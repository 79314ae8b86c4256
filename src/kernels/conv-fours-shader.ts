/**
 * Generator of the fast convolution, an implicit matrix product over tensors in fours (kernels/fours.ts), float32.
 *
 *   y[o, p] = bias[o] + sum over taps t, fours of channels q:  w[o, t, q] . x[q, s p + d t - pad]       (. of two vec4)
 *
 * A lane computes `pixels` x `outputs` sums in registers, its pixels `lanes` apart so that neighbouring lanes read
 * neighbouring addresses. In a step, one four of channels at one tap, it loads a vec4 of input a pixel and shares the
 * weights of the tile's outputs with its neighbours, for on software adapters loads cost far more than arithmetic:
 *
 *   broadcast  lane l of a subgroup loads the weights of outputs l, l + subgroup, ...; subgroupBroadcast hands each round.
 *   quad       lane l of four loads those of outputs l, l + 4, ...; three swaps within the quad hand them round. Lane l then
 *              has the sums of outputs 4q + (j xor l) in the order j = 0..3, which the end puts right.
 *   load       each lane loads all: hardware reads an address that all lanes share once.
 *
 * A workgroup computes several tiles of outputs for its pixels, one after the other. What it reads of the input it can keep in
 * workgroup memory meanwhile (`staged`): each lane reads back only what it wrote itself, so that no barrier is needed. On
 * software adapters that costs a quarter of a load from a storage buffer, which is checked against the buffer's end lane by lane.
 *
 * The sum of one output runs over taps, then fours, then the four channels, the bias first, whatever the tile, the
 * sharing and the batch: every variant gives the same bits.
 *
 * The end of a tile: + residual, then clamped to [lowest, highest], then 0 where the mask is not positive, a NaN not being
 * so (the gradient of a Relu whose result is the mask, as PyTorch has it). RESIDUAL and MASK say which of them are there.
 */
export interface ConvTile {
  /** Pixels and output channels (a multiple of 4) of one lane. */
  readonly pixels: number;
  readonly outputs: number;
  /** Lanes a workgroup. */
  readonly lanes: number;
  readonly share: "broadcast" | "quad" | "load";
  /**
   * Fours of input that a lane keeps of each of its pixels in workgroup memory, for all the tiles of outputs that its
   * workgroup computes; 0: it loads them again for each. Only for products of matrices with no more fours.
   */
  readonly staged: number;
  /** Without loops over taps: 1x1 without padding, and products of matrices. */
  readonly point: boolean;
  /** Lanes of a subgroup, with "broadcast": the least that the adapter has. */
  readonly subgroup: number;
}

export const tileName = (t: ConvTile): string =>
  `conv_fours ${t.pixels}x${t.outputs} ${t.share}${t.share === "broadcast" ? ` ${t.subgroup}` : ""} of ${t.lanes}` +
  (t.staged > 0 ? `, ${t.staged} staged` : t.point ? ", points" : "");

const repeat = (n: number, f: (i: number) => string): string => Array.from({ length: n }, (_, i) => f(i)).join("");

/** Loads of a step's weights by a lane, and for output `o` of the tile the expression of its vec4. */
function sharing(t: ConvTile): { readonly loads: number; readonly weight: (o: number) => string } {
  const loads = (each: number): number => Math.ceil(t.outputs / each);
  if (t.share === "load") return { loads: t.outputs, weight: (o) => `w${o}` };
  if (t.share === "broadcast") {
    const each = Math.min(t.subgroup, t.outputs);
    return { loads: loads(each), weight: (o) => `subgroupBroadcast(w${Math.floor(o / each)}, ${o % each}u)` };
  }
  const swaps = [(w: string) => w, ...["X", "Y", "Diagonal"].map((s) => (w: string) => `quadSwap${s}(${w})`)];
  return { loads: loads(4), weight: (o) => swaps[o % 4]?.(`w${Math.floor(o / 4)}`) ?? "" };
}

export function convFoursShader(t: ConvTile): string {
  const { loads, weight } = sharing(t);
  const each = t.share === "load" ? 1 : t.share === "quad" ? 4 : Math.min(t.subgroup, t.outputs);
  const quads = t.outputs / 4;
  const sum = (p: number, o: number): string => `a${p}_${o}`;
  // SwiftShader multiplies and adds apart, whatever is written; lavapipe too.
  const products = (p: number, o: number): string =>
    `      ${sum(p, o)} = fma(x${p}.w, b.w, fma(x${p}.z, b.z, fma(x${p}.y, b.y, fma(x${p}.x, b.x, ${sum(p, o)}))));\n`;
  const four = (p: number, q: number): string => {
    const v = `vec4f(${[0, 1, 2, 3].map((j) => sum(p, 4 * q + j)).join(", ")})`;
    return t.share === "quad" ? `turned(${v}, lane)` : v;
  };
  // In the order in which a quad has them, output j of lane l is 4q + (j xor l): the bias likewise.
  const bias = (q: number, j: number): string => (t.share === "quad" ? `b${q}[${j}u ^ (lane & 3u)]` : `b${q}[${j}]`);
  // A lane loads one four of the bias, where there are enough of them, and hands it round.
  const handed = t.share === "broadcast" && quads <= t.subgroup;
  const biases = handed
    ? `    let own = biasOf(min(channel + lane % ${t.subgroup}u, last));\n` +
      repeat(quads, (q) => `    let b${q} = subgroupBroadcast(own, ${q}u);\n`)
    : repeat(quads, (q) => `    let b${q} = biasOf(min(channel + ${q}u, last));\n`);
  const staged = t.staged > 0;
  const at = (p: number): string => `(four * PIXELS + ${p}u) * LANES + index`;
  const point = staged || t.point;
  const read = (p: number): string => (point ? `input[offset + o${p}]` : `load(offset + t${p}.offset, t${p}.valid)`);
  const input = (p: number): string => (staged ? `kept[${at(p)}]` : read(p));
  /** What is read is kept, then serves the tiles of this workgroup one after the other. */
  const several = (): string => `let part = id.y % parts;
  for (var four = 0u; four < params.fours; four++) {
    let offset = base + four * params.inPlane;
${repeat(t.pixels, (p) => `    kept[${at(p)}] = ${read(p)};\n`)}  }
  let end = min(part * params.each + params.each, params.tiles);
  for (var tile = part * params.each; tile < end; tile++) {`;
  return `${t.share === "load" ? "" : "enable subgroups;\n"}
override RESIDUAL: bool = false;
override MASK: bool = false;
const LANES = ${t.lanes}u;
const PIXELS = ${t.pixels}u;
const OUTPUTS = ${t.outputs}u;

struct Params {
  // Pixels of all images and of one; of a row of the output; fours of one group's input channels.
  pixels: u32, outPixels: u32, outWidth: u32, fours: u32,
  // Input: plane and image in vec4, size.
  inPlane: u32, inImage: u32, height: u32, width: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32, padTop: i32, padLeft: i32,
  // Output in vec4: between columns, rows, planes and images, and before the first.
  outColumn: u32, outRow: u32, outPlane: u32, outImage: u32,
  outFirst: u32,
  // Tiles of one group, and its fours of output channels.
  tiles: u32, outFours: u32, hasBias: u32,
  // Independent products one after the other (z): how far apart their inputs, weights and outputs are, in vec4.
  products: u32, inProduct: u32, weightProduct: u32, outProduct: u32,
  lowest: f32, highest: f32,
  // Tiles of outputs that a workgroup computes.
  each: u32,
  // 1 / outPixels, 1 / outWidth.
  perImage: f32, perRow: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [image][four][y][x]
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
// [product][group][tile][tap][four][output of the tile], zeros beyond the outputs
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;
@group(0) @binding(5) var<storage, read> mask: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> output: array<vec4f>;

${staged ? `var<workgroup> kept: array<vec4f, ${t.staged * t.pixels * t.lanes}>;\n` : ""}
// a / b for b > 0, given 1 / b: integer division is slow on software adapters. Exact where a / b < 2^22: the quotient in
// float32 is then off by less than one.
fn divide(a: u32, b: u32, reciprocal: f32) -> u32 {
  let q = u32(f32(a) * reciprocal);
  let rest = i32(a - q * b);
  return select(select(q, q + 1u, rest >= i32(b)), q - 1u, rest < 0);
}

struct Pixel {
  // Of the window's first tap, and of the image in the input; of the pixel in the output.
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

// What lies before the image wraps to beyond it.
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
${t.share === "quad" ? `\nfn turned(v: vec4f, lane: u32) -> vec4f {\n  let e = select(v, v.yxwz, (lane & 1u) != 0u);\n  return select(e, e.zwxy, (lane & 2u) != 0u);\n}\n` : ""}
fn finish(at: u32, sum: vec4f) {
  var v = sum;
  if (RESIDUAL) {
    v += residual[at];
  }
  // NaN passes.
  v = select(v, vec4f(params.lowest), v < vec4f(params.lowest));
  v = select(v, vec4f(params.highest), v > vec4f(params.highest));
  if (MASK) {
    v = select(v, vec4f(), mask[at] <= vec4f());
  }
  output[at] = v;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) index: u32,${t.share === "load" ? "" : "\n  @builtin(subgroup_invocation_id) lane: u32,"}
) {
  let product = id.z % params.products;
  let first = ((id.z / params.products) * counts.x + id.x) * LANES * PIXELS + index;
${repeat(t.pixels, (p) => `  let p${p} = pixel(first + ${p}u * LANES);\n`)}${point ? repeat(t.pixels, (p) => `  let o${p} = p${p}.start + p${p}.y * params.width + p${p}.x;\n`) : ""}
  let parts = (params.tiles + params.each - 1u) / params.each;
  let group = id.y / parts;
  let last = group * params.outFours + params.outFours - 1u;
  let taps = params.kernelHeight * params.kernelWidth;
  let base = product * params.inProduct + group * params.fours * params.inPlane;
  ${staged ? several() : "let tile = id.y % parts;"}
    let channel = group * params.outFours + tile * ${quads}u;
${biases}
${repeat(t.pixels, (p) => repeat(t.outputs, (o) => `    var ${sum(p, o)} = ${bias(Math.floor(o / 4), o % 4)};\n`))}
    var w = product * params.weightProduct + (group * params.tiles + tile) * taps * params.fours * OUTPUTS${t.share === "load" ? "" : ` + lane % ${each}u`};
${point ? "" : `    for (var ky = 0u; ky < params.kernelHeight; ky++) {\n    for (var kx = 0u; kx < params.kernelWidth; kx++) {\n${repeat(t.pixels, (p) => `      let t${p} = tap(p${p}, ky, kx);\n`)}`}${staged ? "" : "      var offset = base;\n"}
      for (var four = 0u; four < params.fours; four++) {
${repeat(loads, (i) => `        let w${i} = weights[w + ${i * each}u];\n`)}${repeat(t.pixels, (p) => `        let x${p} = ${input(p)};\n`)}${repeat(
    t.outputs,
    (o) => `        {\n        let b = ${weight(o)};\n${repeat(t.pixels, (p) => products(p, o))}        }\n`,
  )}
${staged ? "" : "        offset += params.inPlane;\n"}        w += OUTPUTS;
      }
${point ? "" : "    }\n    }\n"}
    let left = params.outFours - min(params.outFours, tile * ${quads}u);
    let to = product * params.outProduct + channel * params.outPlane;
    let count = min(left, ${quads}u);
${repeat(
  t.pixels,
  (p) => `    if (p${p}.inside) {
      var sums = array<vec4f, ${quads}>(${Array.from({ length: quads }, (_, q) => four(p, q)).join(", ")});
      for (var q = 0u; q < count; q++) {
        finish(to + p${p}.end + q * params.outPlane, sums[q]);
      }
    }
`,
)}  ${staged ? "}" : ""}
}
`;
}
