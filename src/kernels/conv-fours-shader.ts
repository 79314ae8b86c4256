/**
 * Generator of the fast convolution, an implicit matrix product over tensors in fours (kernels/fours.ts), float32.
 *
 *   y[o, p] = bias[o] + sum over taps t, fours of channels q:  w[o, t, q] . x[q, s p + d t - pad]       (. of two vec4)
 *
 * A lane computes `pixels` x `outputs` sums in registers, its pixels `lanes` apart so that neighbouring lanes read
 * neighbouring addresses. In a step, one four of channels at one tap, it loads its channels of input a pixel and shares the
 * weights of the tile's outputs with its neighbours, for on software adapters loads cost far more than arithmetic:
 *
 *   broadcast  lane l of a subgroup loads the weights of outputs l, l + subgroup, ...; subgroupBroadcast hands each round. Around
 *              it Tint selects between the value and 0, for the lane might not be there, which costs as much as the broadcast;
 *              not around quadBroadcast. So the two quads of 8 lanes swap what they have once, and each hands it round.
 *   quad       lane l of four loads those of outputs l, l + 4, ...; three swaps within the quad hand them round. Lane l then
 *              has the sums of outputs 4q + (j xor l) in the order j = 0..3, which the end puts right.
 *   load       each lane loads all: hardware reads an address that all lanes share once.
 *   memory     the workgroup stages input and weights for all its lanes: conv-memory-shader.ts.
 *
 * A workgroup computes several tiles of outputs for its pixels, one after the other. What it reads of the input in its first
 * steps, or all, it can keep in workgroup memory meanwhile (`staged`): each lane reads back only what it wrote itself, so
 * that no barrier is needed. On software adapters that costs less than a load from a storage buffer, of which every number
 * is checked against the buffer's end.
 *
 * The sum of one output runs over taps, then fours, then its channels, the bias first, whatever the tile, the
 * sharing and the batch: every variant gives the same bits.
 *
 * The end of a tile: + residual, then clamped to [lowest, highest], then 0 where the mask is not positive, a NaN not being
 * so (the gradient of a Relu whose result is the mask, as PyTorch has it). RESIDUAL and MASK say which of them are there.
 */
import { CONV_WGSL, repeat } from "./conv-wgsl.ts";

export interface ConvTile {
  /** Pixels and output channels (a multiple of 4) of one lane. */
  readonly pixels: number;
  readonly outputs: number;
  /** Lanes a workgroup. */
  readonly lanes: number;
  readonly share: "broadcast" | "quad" | "load" | "memory";
  /** Lanes of a workgroup that compute tiles of outputs side by side for the same pixels: 1 unless "memory". */
  readonly across: number;
  /**
   * Steps of which a lane keeps the input of its pixels in workgroup memory, for all the tiles of outputs that its workgroup
   * computes; 0: it loads them again for each. With `point` or fewer than 4 `channels` all of them, for products with no more.
   */
  readonly staged: number;
  /** Without loops over taps: 1x1 without padding, and products of matrices. */
  readonly point: boolean;
  /** Channels of a four: 4, or fewer where the input has no more in all, as images have three. */
  readonly channels: number;
  /**
   * With "broadcast": lanes of a subgroup, at most as many as the adapter's narrowest has. A wider one runs the same code, for
   * only lanes below `subgroup` are read from (with 8, each eight reads its own). They must all be there: on adapters with
   * several widths `lanes` is a multiple of the widest (64 where the narrowest has 16 or 32 lanes, 128 where it has 64), so
   * that every subgroup is full.
   */
  readonly subgroup: number;
}

/** Pixels of a workgroup. */
export const blockPixels = (t: ConvTile): number => (t.lanes / t.across) * t.pixels;

export const tileName = (t: ConvTile): string =>
  `conv_fours ${t.pixels}x${t.outputs} ${t.share}${t.share === "broadcast" ? ` ${t.subgroup}` : ""} of ${t.lanes}` +
  (t.across > 1 ? `, ${t.across} across` : "") +
  (t.point ? ", points" : "") +
  (t.channels < 4 ? `, ${t.channels} channels` : "") +
  (t.staged > 0 ? `, ${t.staged} staged` : "");

interface WeightSharing {
  /** Outputs whose weights a load of all lanes brings, and loads of a step by a lane. */
  readonly each: number;
  readonly loads: number;
  /** What is done with load `i` before its weights are handed round. */
  readonly handing: (i: number) => string;
  /** The weights of output `o` of the tile. */
  readonly weight: (o: number) => string;
}

function sharing(t: ConvTile): WeightSharing {
  const every = (each: number) => ({ each, loads: Math.ceil(t.outputs / each), handing: () => "" });
  if (t.share === "load") return { ...every(1), weight: (o) => `w${o}` };
  if (t.share === "quad") {
    const swaps = [(w: string) => w, ...["X", "Y", "Diagonal"].map((s) => (w: string) => `quadSwap${s}(${w})`)];
    return { ...every(4), weight: (o) => swaps[o % 4]?.(`w${Math.floor(o / 4)}`) ?? "" };
  }
  const each = Math.min(t.subgroup, t.outputs);
  const of = (o: number): number => Math.floor(o / each);
  if (each === 4) return { ...every(4), weight: (o) => `quadBroadcast(w${of(o)}, ${o % 4}u)` };
  if (t.subgroup !== 8) return { ...every(each), weight: (o) => `subgroupBroadcast(w${of(o)}, ${o % each}u)` };
  return {
    ...every(8),
    handing: (i) =>
      `      let other${i} = subgroupShuffleXor(w${i}, 4u);\n` +
      `      let low${i} = select(w${i}, other${i}, upper);\n      let high${i} = select(other${i}, w${i}, upper);\n`,
    weight: (o) => `quadBroadcast(${o % 8 < 4 ? "low" : "high"}${of(o)}, ${o % 4}u)`,
  };
}

/** After the last four of a tap comes the first of the next. */
const NEXT_TAP = `      rest--;
      let turns = rest == 0u;
      rest = select(rest, params.fours, turns);
      offset = select(offset, base, turns);
      kx += u32(turns);
      let wraps = kx == params.kernelWidth;
      ky += u32(wraps);
      kx = select(kx, 0u, wraps);
`;

/** Beyond any sum: as many vec4 of weights an output do not fit into a buffer. */
const MOST_STEPS = 2 ** 30;

export function convFoursShader(t: ConvTile): string {
  const { each, loads, handing, weight } = sharing(t);
  const quads = t.outputs / 4;
  const sum = (p: number, o: number): string => `a${p}_${o}`;
  // Both software adapters multiply and add apart, whatever is written; SwiftShader is faster where it is written apart.
  const term = (p: number, before: string, c: string): string =>
    t.share === "quad" ? `(${before} + x${p}${c} * b${c})` : `fma(x${p}${c}, b${c}, ${before})`;
  // What is not read of a four is not loaded either.
  const channels = [".x", ".y", ".z", ".w"].slice(0, t.channels).map((c) => (t.channels > 1 ? c : ""));
  const vector = t.channels > 1 ? `vec${t.channels}f` : "f32";
  const part = t.channels < 4 ? `.${"xyz".slice(0, t.channels)}` : "";
  const products = (p: number, o: number): string =>
    `      ${sum(p, o)} = ${channels.reduce((before, c) => term(p, before, c), sum(p, o))};\n`;
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
  const { point } = t;
  const staged = t.staged > 0;
  const keepsAll = point || t.channels < 4;
  const ofPixels = (f: (p: number) => string): string => repeat(t.pixels, f);
  const taps = point ? "" : ofPixels((p) => `      let t${p} = tap(p${p}, ky, kx);\n`);
  const read = (p: number): string =>
    (point ? `input[offset + o${p}]` : `load(offset + t${p}.offset, t${p}.valid)`) + part;
  const kept = (p: number): string => `kept[(four * PIXELS + ${p}u) * LANES + index]`;
  const next = `      offset += params.inPlane;\n${point ? "" : NEXT_TAP}`;
  // All loads first, then what hands their weights round, then sums: the fewer values are alive between loads, the fewer a
  // compiler spills.
  const step = (input: (p: number) => string): string =>
    repeat(loads, (i) => `      let w${i} = weights[w + ${i * each}u]${part};\n`) +
    ofPixels((p) => `      let x${p} = ${input(p)};\n`) +
    repeat(loads, handing) +
    repeat(t.outputs, (o) => `      {\n      let b = ${weight(o)};\n${ofPixels((p) => products(p, o))}      }\n`) +
    "      w += OUTPUTS;\n";
  // One loop over taps and fours: each loop blends all sums with the lanes that are active, in every round of it.
  const held = ["offset", ...(point ? [] : ["ky", "kx", "rest"])];
  // Where Tint knows a bound it need not count rounds itself, in 64 bits, lest they never end.
  const rounds = (from: string, to: string): string =>
    `for (var four = ${from}; four < ${MOST_STEPS}u; four++) {\n      if (four >= ${to}) { break; }\n`;
  /** What is read first is kept, then serves the tiles of this workgroup one after the other. */
  const several = `let part = id.y % parts;
  ${rounds("0u", "params.held")}${taps}${ofPixels((p) => `      ${kept(p)} = ${read(p)};\n`)}${next}  }
${held.map((v) => `  let ${v}1 = ${v};\n`).join("")}  let end = min(part * params.each + params.each, params.tiles);
  for (var tile = part * params.each; tile < end; tile++) {
${held.map((v) => `    ${v} = ${v}1;\n`).join("")}`;
  // One body for all pixels and fours, compiled once.
  const fours = (p: number): string => Array.from({ length: quads }, (_, q) => four(p, q)).join(", ");
  // Where arrays stand in memory anyway, by index.
  const indexed = `    var s = array<vec4f, PIXELS * ${quads}u>(${Array.from({ length: t.pixels }, (_, p) => fours(p)).join(", ")});
    var ends = array<u32, PIXELS>(${Array.from({ length: t.pixels }, (_, p) => `p${p}.end`).join(", ")});
    var inside = array<bool, PIXELS>(${Array.from({ length: t.pixels }, (_, p) => `p${p}.inside`).join(", ")});
    for (var p = 0u; p < PIXELS; p++) {
      if (inside[p]) {
        var at = to + ends[p];
        for (var q = 0u; q < count; q++) {
          finish(at, s[p * ${quads}u + q]);
          at += params.outPlane;
        }
      }
    }
`;
  const turn =
    quads > 1
      ? `          s0 = array<vec4f, ${quads}>(${Array.from({ length: quads }, (_, q) => `s0[${(q + 1) % quads}]`).join(", ")});\n`
      : "";
  const ending = `          finish(at, s0[0]);\n          at += params.outPlane;\n${turn}`;
  // Elsewhere each moves up to be the first, for an index would put them into memory. Two ways to leave out pixels that are
  // not there: a branch around the loop makes the sums above faster without a residual, and slower to compile and run with
  // one. Measured; compilers spill registers as they like.
  const moved = `${ofPixels((p) => `    var s${p} = array<vec4f, ${quads}>(${fours(p)});\n    var e${p} = p${p}.end;\n    var i${p} = p${p}.inside;\n`)}    for (var p = 0u; p < params.pixelLoop; p++) {
      var at = to + e0;
      if (RESIDUAL) {
        let end = select(0u, count, i0);
        for (var q = 0u; q < end; q++) {
${ending}        }
      } else if (i0) {
        for (var q = 0u; q < count; q++) {
${ending}        }
      }
${repeat(t.pixels - 1, (p) => `      s${p} = s${p + 1};\n      e${p} = e${p + 1};\n      i${p} = i${p + 1};\n`)}    }
`;
  return `${t.share === "load" ? "" : "enable subgroups;\n"}
${CONV_WGSL}
const LANES = ${t.lanes}u;
const PIXELS = ${t.pixels}u;
const OUTPUTS = ${t.outputs}u;

${staged ? `var<workgroup> kept: array<${vector}, ${t.staged * t.pixels * t.lanes}>;\n` : ""}
${t.share === "quad" ? `\nfn turned(v: vec4f, lane: u32) -> vec4f {\n  let e = select(v, v.yxwz, (lane & 1u) != 0u);\n  return select(e, e.zwxy, (lane & 2u) != 0u);\n}\n` : ""}
@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) index: u32,${t.share === "load" ? "" : "\n  @builtin(subgroup_invocation_id) lane: u32,"}
) {
${handing(0) === "" ? "" : "  let upper = (lane & 4u) != 0u;\n"}  let product = id.z % params.products;
  let first = params.firstPixel + ((id.z / params.products) * counts.x + id.x) * LANES * PIXELS + index;
${repeat(t.pixels, (p) => `  let p${p} = pixel(first + ${p}u * LANES);\n`)}${point ? repeat(t.pixels, (p) => `  let o${p} = p${p}.start + p${p}.y * params.width + p${p}.x;\n`) : ""}
  let parts = (params.tiles + params.each - 1u) / params.each;
  let group = id.y / parts;
  let last = group * params.outFours + params.outFours - 1u;
  let taps = params.kernelHeight * params.kernelWidth;
  let base = product * params.inProduct + group * params.fours * params.inPlane;
  var offset = base;
${point ? "" : "  var ky = 0u;\n  var kx = 0u;\n  var rest = params.fours;\n"}  ${staged ? several : "let tile = id.y % parts;\n"}    let channel = group * params.outFours + tile * ${quads}u;
${biases}
${repeat(t.pixels, (p) => repeat(t.outputs, (o) => `    var ${sum(p, o)} = ${bias(Math.floor(o / 4), o % 4)};\n`))}
    var w = product * params.weightProduct + (group * params.tiles + tile) * taps * params.fours * OUTPUTS${t.share === "load" ? "" : ` + lane % ${each}u`};
    let steps = ${point ? "params.fours" : "params.fours * taps"};
${staged ? `    ${rounds("0u", "params.held")}${step(kept)}    }\n` : ""}${staged && keepsAll ? "" : `    ${rounds(staged ? "params.held" : "0u", "steps")}${taps}${step(read)}${next}    }\n`}    let left = params.outFours - min(params.outFours, tile * ${quads}u);
    let to = product * params.outProduct + channel * params.outPlane;
    let count = min(left, ${quads}u);
${t.share === "quad" ? indexed : moved}  ${staged ? "}" : ""}
}
`;
}
