// Depthwise convolution in fours: every channel has a kernel of its own, y[c, p] = bias[c] + sum over taps of
// w[c, k] x[c, s p + d k - pad]. A lane does four neighbouring columns of one four of channels. With SLIDE (stride and
// dilation 1 along the row) the four columns' inputs move on by one at each tap: one load in place of four.
// Sum order: bias, then taps, row by row.

override RESIDUAL: bool = false;
override MASK: bool = false;
override SUMS: bool = false;
override SLIDE: bool = false;

struct Params {
  // Lanes; fours of channels; of the output: rows, columns, lanes a row.
  count: u32, fours: u32, outHeight: u32, outWidth: u32,
  rowLanes: u32, height: u32, width: u32, hasBias: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32, padTop: i32, padLeft: i32,
  lowest: f32, highest: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// [image][four][y][x]
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
// [tap][four]
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;
@group(0) @binding(5) var<storage, read> mask: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

// Zero outside the row: what lies before it wraps to beyond it.
fn load(row: u32, valid: bool, x: u32) -> vec4f {
  let there = valid & (x < params.width);
  return select(vec4f(), input[select(0u, row + x, there)], there);
}

fn finish(at: u32, sum: vec4f) {
  var v = sum;
  if (SUMS) {
    sums[at] = v;
  }
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

@compute @workgroup_size(32)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 32u + lane;
  if (index >= params.count) {
    return;
  }
  let ox = index % params.rowLanes * 4u;
  let oy = index / params.rowLanes % params.outHeight;
  let plane = index / params.rowLanes / params.outHeight;
  let four = plane % params.fours;
  var a0 = select(vec4f(), bias[four], params.hasBias != 0u);
  var a1 = a0;
  var a2 = a0;
  var a3 = a0;
  let left = ox * params.strideX - u32(params.padLeft);
  var w = four;
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    let y = oy * params.strideY + ky * params.dilationY - u32(params.padTop);
    let valid = y < params.height;
    let row = select(0u, (plane * params.height + y) * params.width, valid);
    if (SLIDE) {
      var x0 = vec4f();
      var x1 = load(row, valid, left);
      var x2 = load(row, valid, left + 1u);
      var x3 = load(row, valid, left + 2u);
      for (var kx = 0u; kx < params.kernelWidth; kx++) {
        x0 = x1;
        x1 = x2;
        x2 = x3;
        x3 = load(row, valid, left + kx + 3u);
        let b = weights[w];
        a0 = fma(x0, b, a0);
        a1 = fma(x1, b, a1);
        a2 = fma(x2, b, a2);
        a3 = fma(x3, b, a3);
        w += params.fours;
      }
    } else {
      for (var kx = 0u; kx < params.kernelWidth; kx++) {
        let x = left + kx * params.dilationX;
        let b = weights[w];
        a0 = fma(load(row, valid, x), b, a0);
        a1 = fma(load(row, valid, x + params.strideX), b, a1);
        a2 = fma(load(row, valid, x + 2u * params.strideX), b, a2);
        a3 = fma(load(row, valid, x + 3u * params.strideX), b, a3);
        w += params.fours;
      }
    }
  }
  let at = (plane * params.outHeight + oy) * params.outWidth + ox;
  let there = params.outWidth - ox;
  finish(at, a0);
  if (there > 1u) { finish(at + 1u, a1); }
  if (there > 2u) { finish(at + 2u, a2); }
  if (there > 3u) { finish(at + 3u, a3); }
}
