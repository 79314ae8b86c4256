/**
 * Generator of the convolution for hardware (share "memory"): the sums of conv-fours-shader.ts, in the same order and with the
 * same parameters, by workgroups that stage what they read in the memory that they share.
 *
 * A workgroup of `lanes` computes a block: rows x `pixels` pixels times `across` x `outputs` outputs, rows = lanes / across. Lane
 * (row, column) has `pixels` x `outputs` sums in registers, its pixels `rows` apart, its outputs those of tile `column`. A step
 * is a four of channels at a tap; a slab is SLAB steps. A round fetches each lane's part of a slab into registers, computes the
 * slab before from workgroup memory meanwhile (so that the wait for global memory is hidden), and then stores what was
 * fetched, between barriers. Each lane loads for one pixel only: what lies where is computed once. It counts taps up
 * without dividing, and for points there are none to count.
 *
 * Everything is read as vec4. Neighbouring lanes load neighbouring vec4 of both tensors, and read neighbouring pixels from
 * workgroup memory; lanes of a column read one address of the weights, which is handed to all at once, and the columns'
 * addresses lie a vec4 off a multiple of all banks (PITCH): no two lanes meet in a bank. `inputSlab` is [step][pixel], `weightSlab`
 * [tile][step][output of the tile], RUN a slab's weights of one tile, STRIDE the steps between those of the input that a lane loads.
 *
 * Operations a byte, 8x8 sums a lane, 64 lanes, a block of 64 x 64. Of workgroup memory, a step of a lane reads
 * 8 + 8 vec4 = 256 bytes for 2 x 4 x 64 = 512 operations: 2 a byte, which is what a multiprocessor with 128 multiply-adds
 * and 128 bytes a cycle can feed (4x8: 1.33). Of global memory, a step of a block reads 64 + 64 vec4 = 2 KiB for 32768
 * operations: 16 a byte (128 x 64, of 128 lanes: 21; 64 x 32: 10.7), mostly out of the cache: at 10 TFLOP/s 625 GB/s.
 *
 * Uniform are: workgroup_id, `params`, loops over slabs; so barriers stand there. A last slab that is short ends its steps
 * early, for adding zeros would turn a sum of -0 into 0.
 */
import type { ConvTile } from "./conv-fours-shader.ts";
import { CONV_WGSL, repeat } from "./conv-wgsl.ts";

const SLAB = 4;

/** Bytes of workgroup memory. */
export const memoryBytes = (t: ConvTile): number => {
  const rows = t.lanes / t.across;
  return 16 * (SLAB * rows * t.pixels + t.across * (SLAB * t.outputs + 1));
};

/** `pixels` <= `across`; all of them powers of two; lanes at least SLAB * outputs. */
export function convMemoryShader(t: ConvTile): string {
  const { pixels, outputs, lanes, across } = t;
  const quads = outputs / 4;
  const rows = lanes / across;
  /** Loads of a lane for a slab. */
  const inputs = (SLAB * pixels) / across;
  const weights = (SLAB * outputs) / rows;
  if (![inputs, weights, quads, rows, across / pixels].every((n) => Number.isInteger(n) && n > 0)) {
    throw new Error(`no workgroup of ${lanes} lanes computes ${pixels}x${outputs}, ${across} across`);
  }
  const sum = (p: number, o: number): string => `a${p}_${o}`;
  const products = (p: number, o: number): string =>
    `        ${sum(p, o)} = ${["x", "y", "z", "w"].reduce((before, c) => `fma(x${p}.${c}, b.${c}, ${before})`, sum(p, o))};\n`;
  // Each lane's steps of the input are STRIDE apart: the next slab begins where this one ends.
  const fetch = (indent: string): string =>
    repeat(inputs, (i) => `${indent}f${i} = fetch(own, at, base);\n${indent}at = onward(at, STRIDE);\n`) +
    repeat(weights, (i) => `${indent}g${i} = weights[w${i}];\n${indent}w${i} += RUN;\n`);
  /** The q-th four of a pixel's sums, without an array, which hardware would keep in memory. */
  const four = (p: number): string =>
    Array.from({ length: quads }, (_, q) => `vec4f(${[0, 1, 2, 3].map((j) => sum(p, 4 * q + j)).join(", ")})`).reduce(
      (before, v, q) => `select(${before}, ${v}, q == ${q}u)`,
    );
  const write = (p: number): string => `  {
    let to = pixel(first + row + ${p}u * ROWS);
    if (to.inside) {
      for (var q = 0u; q < count; q++) {
        let v = ${four(p)};
        finish(origin + to.end + q * params.outPlane, v);
      }
    }
  }
`;
  return `${CONV_WGSL}
const LANES = ${lanes}u;
const ACROSS = ${across}u;
const ROWS = ${rows}u;
const BLOCK = ${rows * pixels}u;
const OUTPUTS = ${outputs}u;
const SLAB = ${SLAB}u;
const STRIDE = ${across / pixels}u;
const RUN = SLAB * OUTPUTS;
const PITCH = RUN + 1u;

var<workgroup> inputSlab: array<vec4f, SLAB * BLOCK>;
var<workgroup> weightSlab: array<vec4f, ACROSS * PITCH>;

struct Step {
  four: u32, ky: u32, kx: u32,
}

${
  t.point
    ? `fn onward(s: Step, by: u32) -> Step {
  return Step(s.four + by, 0u, 0u);
}

fn fetch(p: Pixel, s: Step, base: u32) -> vec4f {
  return input[base + s.four * params.inPlane + p.start + p.y * params.width + p.x];
}`
    : `fn onward(s: Step, by: u32) -> Step {
  var next = Step(s.four + by, s.ky, s.kx);
  let fours = max(params.fours, 1u);
  while (next.four >= fours) {
    next.four -= fours;
    next.kx++;
    if (next.kx == params.kernelWidth) {
      next.kx = 0u;
      next.ky++;
    }
  }
  return next;
}

fn fetch(p: Pixel, s: Step, base: u32) -> vec4f {
  let t = tap(p, s.ky, s.kx);
  return load(base + s.four * params.inPlane + t.offset, t.valid);
}`
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  let product = id.z % params.products;
  let first = params.firstPixel + ((id.z / params.products) * counts.x + id.x) * BLOCK;
  let parts = (params.tiles + ACROSS - 1u) / ACROSS;
  let group = id.y / parts;
  let firstTile = (id.y % parts) * ACROSS;
  let steps = params.kernelHeight * params.kernelWidth * params.fours;
  let row = index % ROWS;
  let column = index / ROWS;

  let own = pixel(first + index % BLOCK);
  let base = product * params.inProduct + group * params.fours * params.inPlane;
  var at = onward(Step(0u, 0u, 0u), index / BLOCK);
  let tile = firstTile + index / RUN;
  let within = product * params.weightProduct + index % RUN;
  let lastTile = params.tiles - 1u;
${repeat(weights, (i) => `  var w${i} = within + (group * params.tiles + min(tile + ${i}u * (LANES / RUN), lastTile)) * steps * OUTPUTS;\n`)}
${repeat(inputs, (i) => `  var f${i}: vec4f;\n`)}${repeat(weights, (i) => `  var g${i}: vec4f;\n`)}
  let four = (firstTile + column) * ${quads}u;
  let channel = group * params.outFours + four;
  let last = group * params.outFours + params.outFours - 1u;
${repeat(quads, (q) => `  let b${q} = biasOf(min(channel + ${q}u, last));\n`)}${repeat(pixels, (p) => repeat(outputs, (o) => `  var ${sum(p, o)} = b${Math.floor(o / 4)}[${o % 4}];\n`))}
  var end = 0u;
  for (var start = 0u; start < steps + SLAB; start += SLAB) {
    if (start < steps) {
${fetch("      ")}    }
    for (var k = 0u; k < end; k++) {
      let x = k * BLOCK + row;
      let w = column * PITCH + k * OUTPUTS;
${repeat(pixels, (p) => `      let x${p} = inputSlab[x + ${p}u * ROWS];\n`)}${repeat(
    outputs,
    (o) => `      {\n        let b = weightSlab[w + ${o}u];\n${repeat(pixels, (p) => products(p, o))}      }\n`,
  )}    }
    workgroupBarrier();
${repeat(inputs, (i) => `    inputSlab[index + ${i}u * LANES] = f${i};\n`)}${repeat(
    weights,
    (i) => `    weightSlab[(index / RUN + ${i}u * (LANES / RUN)) * PITCH + index % RUN] = g${i};\n`,
  )}    end = min(SLAB, steps - start);
    workgroupBarrier();
  }
  let count = min(params.outFours - min(params.outFours, four), ${quads}u);
  let origin = product * params.outProduct + channel * params.outPlane;
${repeat(pixels, write)}}
`;
}
