enable subgroups;

// Convolution as an implicit matrix product over packed input, float32: the fast path. y[o, p] = bias[o] + sum over taps
// and channels of w[o, c, k] x[c, s p + d k], x already padded (conv_pack.wgsl), four channels to a vec4.
//
// A lane computes 4 pixels x 16 output channels, the pixels WORKGROUP apart so that neighbouring lanes read neighbouring
// addresses. For each four channels it loads 4 vec4 of input and, of the 16 vec4 of weights, 2: lane l of 8 has those of
// output channels l and l + 8, and they reach the others by broadcast, which on lavapipe costs a tenth of a load.
// That is 6 loads for 256 products a lane. Needs subgroups of at least 8 lanes.
// Sum order for one output: taps outermost, then channels in fours; independent of batch size and of the lane.

override WORKGROUP: u32 = 8u;

struct Params {
  // Pixels of all images; channels in fours and output channels of one group; groups.
  pixels: u32, fours: u32, outputs: u32, groups: u32,
  // Packed input: width and plane, padding included.
  width: u32, plane: u32, outWidth: u32, outPlane: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32,
  // Output channels of one group, padded to a multiple of 16; whether a bias is added.
  packedOutputs: u32, hasBias: u32,
  // Where outputs go: elements between columns, rows and channels, and before the first.
  columnPitch: u32, rowPitch: u32, planePitch: u32, firstOutput: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [image][group][four][y][x]
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
// [group][tap][four][output]
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

struct Pixel {
  inside: bool,
  // Of the image and group in the input, and of the output element of the group's first channel.
  start: u32,
  end: u32,
}

fn pixel(index: u32, group: u32) -> Pixel {
  let p = min(index, params.pixels - 1u);
  let image = p / params.outPlane * params.groups + group;
  let rest = p % params.outPlane;
  let y = rest / params.outWidth;
  let x = rest % params.outWidth;
  let start = image * params.fours * params.plane + y * params.strideY * params.width + x * params.strideX;
  let end = image * params.outputs * params.planePitch + y * params.rowPitch + x * params.columnPitch;
  return Pixel(index < params.pixels, start, params.firstOutput + end);
}

fn biasOf(group: u32, channel: u32) -> f32 {
  return select(0.0, bias[group * params.outputs + min(channel, params.outputs - 1u)], params.hasBias != 0u);
}

fn store(p: Pixel, channel: u32, value: f32) {
  if (p.inside && channel < params.outputs) {
    output[p.end + channel * params.planePitch] = value;
  }
}

// sum + x . w, in the order of the channels.
fn add(sum: f32, x: vec4f, w: vec4f) -> f32 {
  return fma(x.w, w.w, fma(x.z, w.z, fma(x.y, w.y, fma(x.x, w.x, sum))));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) subgroupLane: u32,
) {
  let tiles = params.packedOutputs / 16u;
  let group = id.y / tiles;
  let channel = id.y % tiles * 16u;
  let first = (id.z * counts.x + id.x) * WORKGROUP * 4u + lane;
  let p0 = pixel(first + 0u * WORKGROUP, group);
  let p1 = pixel(first + 1u * WORKGROUP, group);
  let p2 = pixel(first + 2u * WORKGROUP, group);
  let p3 = pixel(first + 3u * WORKGROUP, group);
  let b0 = biasOf(group, channel + 0u);
  let b1 = biasOf(group, channel + 1u);
  let b2 = biasOf(group, channel + 2u);
  let b3 = biasOf(group, channel + 3u);
  let b4 = biasOf(group, channel + 4u);
  let b5 = biasOf(group, channel + 5u);
  let b6 = biasOf(group, channel + 6u);
  let b7 = biasOf(group, channel + 7u);
  let b8 = biasOf(group, channel + 8u);
  let b9 = biasOf(group, channel + 9u);
  let ba = biasOf(group, channel + 10u);
  let bb = biasOf(group, channel + 11u);
  let bc = biasOf(group, channel + 12u);
  let bd = biasOf(group, channel + 13u);
  let be = biasOf(group, channel + 14u);
  let bf = biasOf(group, channel + 15u);
  var a00 = b0; var a01 = b1; var a02 = b2; var a03 = b3; var a04 = b4; var a05 = b5; var a06 = b6; var a07 = b7;
  var a08 = b8; var a09 = b9; var a0a = ba; var a0b = bb; var a0c = bc; var a0d = bd; var a0e = be; var a0f = bf;
  var a10 = b0; var a11 = b1; var a12 = b2; var a13 = b3; var a14 = b4; var a15 = b5; var a16 = b6; var a17 = b7;
  var a18 = b8; var a19 = b9; var a1a = ba; var a1b = bb; var a1c = bc; var a1d = bd; var a1e = be; var a1f = bf;
  var a20 = b0; var a21 = b1; var a22 = b2; var a23 = b3; var a24 = b4; var a25 = b5; var a26 = b6; var a27 = b7;
  var a28 = b8; var a29 = b9; var a2a = ba; var a2b = bb; var a2c = bc; var a2d = bd; var a2e = be; var a2f = bf;
  var a30 = b0; var a31 = b1; var a32 = b2; var a33 = b3; var a34 = b4; var a35 = b5; var a36 = b6; var a37 = b7;
  var a38 = b8; var a39 = b9; var a3a = ba; var a3b = bb; var a3c = bc; var a3d = bd; var a3e = be; var a3f = bf;

  var w = group * params.kernelHeight * params.kernelWidth * params.fours * params.packedOutputs
    + channel + (subgroupLane & 7u);
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      var offset = ky * params.dilationY * params.width + kx * params.dilationX;
      for (var four = 0u; four < params.fours; four++) {
        let lower = weights[w];
        let upper = weights[w + 8u];
        let x0 = input[p0.start + offset];
        let x1 = input[p1.start + offset];
        let x2 = input[p2.start + offset];
        let x3 = input[p3.start + offset];
        let w0 = subgroupBroadcast(lower, 0u);
        a00 = add(a00, x0, w0); a10 = add(a10, x1, w0); a20 = add(a20, x2, w0); a30 = add(a30, x3, w0);
        let w1 = subgroupBroadcast(lower, 1u);
        a01 = add(a01, x0, w1); a11 = add(a11, x1, w1); a21 = add(a21, x2, w1); a31 = add(a31, x3, w1);
        let w2 = subgroupBroadcast(lower, 2u);
        a02 = add(a02, x0, w2); a12 = add(a12, x1, w2); a22 = add(a22, x2, w2); a32 = add(a32, x3, w2);
        let w3 = subgroupBroadcast(lower, 3u);
        a03 = add(a03, x0, w3); a13 = add(a13, x1, w3); a23 = add(a23, x2, w3); a33 = add(a33, x3, w3);
        let w4 = subgroupBroadcast(lower, 4u);
        a04 = add(a04, x0, w4); a14 = add(a14, x1, w4); a24 = add(a24, x2, w4); a34 = add(a34, x3, w4);
        let w5 = subgroupBroadcast(lower, 5u);
        a05 = add(a05, x0, w5); a15 = add(a15, x1, w5); a25 = add(a25, x2, w5); a35 = add(a35, x3, w5);
        let w6 = subgroupBroadcast(lower, 6u);
        a06 = add(a06, x0, w6); a16 = add(a16, x1, w6); a26 = add(a26, x2, w6); a36 = add(a36, x3, w6);
        let w7 = subgroupBroadcast(lower, 7u);
        a07 = add(a07, x0, w7); a17 = add(a17, x1, w7); a27 = add(a27, x2, w7); a37 = add(a37, x3, w7);
        let w8 = subgroupBroadcast(upper, 0u);
        a08 = add(a08, x0, w8); a18 = add(a18, x1, w8); a28 = add(a28, x2, w8); a38 = add(a38, x3, w8);
        let w9 = subgroupBroadcast(upper, 1u);
        a09 = add(a09, x0, w9); a19 = add(a19, x1, w9); a29 = add(a29, x2, w9); a39 = add(a39, x3, w9);
        let wa = subgroupBroadcast(upper, 2u);
        a0a = add(a0a, x0, wa); a1a = add(a1a, x1, wa); a2a = add(a2a, x2, wa); a3a = add(a3a, x3, wa);
        let wb = subgroupBroadcast(upper, 3u);
        a0b = add(a0b, x0, wb); a1b = add(a1b, x1, wb); a2b = add(a2b, x2, wb); a3b = add(a3b, x3, wb);
        let wc = subgroupBroadcast(upper, 4u);
        a0c = add(a0c, x0, wc); a1c = add(a1c, x1, wc); a2c = add(a2c, x2, wc); a3c = add(a3c, x3, wc);
        let wd = subgroupBroadcast(upper, 5u);
        a0d = add(a0d, x0, wd); a1d = add(a1d, x1, wd); a2d = add(a2d, x2, wd); a3d = add(a3d, x3, wd);
        let we = subgroupBroadcast(upper, 6u);
        a0e = add(a0e, x0, we); a1e = add(a1e, x1, we); a2e = add(a2e, x2, we); a3e = add(a3e, x3, we);
        let wf = subgroupBroadcast(upper, 7u);
        a0f = add(a0f, x0, wf); a1f = add(a1f, x1, wf); a2f = add(a2f, x2, wf); a3f = add(a3f, x3, wf);
        offset += params.plane;
        w += params.packedOutputs;
      }
    }
  }

  store(p0, channel + 0u, a00); store(p0, channel + 1u, a01); store(p0, channel + 2u, a02); store(p0, channel + 3u, a03);
  store(p0, channel + 4u, a04); store(p0, channel + 5u, a05); store(p0, channel + 6u, a06); store(p0, channel + 7u, a07);
  store(p0, channel + 8u, a08); store(p0, channel + 9u, a09); store(p0, channel + 10u, a0a); store(p0, channel + 11u, a0b);
  store(p0, channel + 12u, a0c); store(p0, channel + 13u, a0d); store(p0, channel + 14u, a0e); store(p0, channel + 15u, a0f);
  store(p1, channel + 0u, a10); store(p1, channel + 1u, a11); store(p1, channel + 2u, a12); store(p1, channel + 3u, a13);
  store(p1, channel + 4u, a14); store(p1, channel + 5u, a15); store(p1, channel + 6u, a16); store(p1, channel + 7u, a17);
  store(p1, channel + 8u, a18); store(p1, channel + 9u, a19); store(p1, channel + 10u, a1a); store(p1, channel + 11u, a1b);
  store(p1, channel + 12u, a1c); store(p1, channel + 13u, a1d); store(p1, channel + 14u, a1e); store(p1, channel + 15u, a1f);
  store(p2, channel + 0u, a20); store(p2, channel + 1u, a21); store(p2, channel + 2u, a22); store(p2, channel + 3u, a23);
  store(p2, channel + 4u, a24); store(p2, channel + 5u, a25); store(p2, channel + 6u, a26); store(p2, channel + 7u, a27);
  store(p2, channel + 8u, a28); store(p2, channel + 9u, a29); store(p2, channel + 10u, a2a); store(p2, channel + 11u, a2b);
  store(p2, channel + 12u, a2c); store(p2, channel + 13u, a2d); store(p2, channel + 14u, a2e); store(p2, channel + 15u, a2f);
  store(p3, channel + 0u, a30); store(p3, channel + 1u, a31); store(p3, channel + 2u, a32); store(p3, channel + 3u, a33);
  store(p3, channel + 4u, a34); store(p3, channel + 5u, a35); store(p3, channel + 6u, a36); store(p3, channel + 7u, a37);
  store(p3, channel + 8u, a38); store(p3, channel + 9u, a39); store(p3, channel + 10u, a3a); store(p3, channel + 11u, a3b);
  store(p3, channel + 12u, a3c); store(p3, channel + 13u, a3d); store(p3, channel + 14u, a3e); store(p3, channel + 15u, a3f);
}
