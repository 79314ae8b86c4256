// Gradient of a convolution with regard to its weights, in two stages so that the sum has a fixed order:
// this shader sums one range of (image, position) for each weight, sum.wgsl adds the ranges.
//   dw[a, b, k] = sum over images n and positions q of coarse[n, a, q] fine[n, b, s q + d k - pad]
// Conv: coarse is the output's gradient, fine the input. ConvTranspose: coarse is the input, fine the output's gradient.

struct Params {
  batch: u32, groups: u32, coarseChannels: u32, fineChannels: u32,
  coarseHeight: u32, coarseWidth: u32, fineHeight: u32, fineWidth: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32, padTop: i32, padLeft: i32,
  // Number of ranges, and positions in each.
  ranges: u32, range: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> coarse: array<f32>;
@group(0) @binding(2) var<storage, read> fine: array<f32>;
// [range][group][a][b][tap]
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((id.z * counts.y + id.y) * counts.x + id.x) * 64u + lane;
  let taps = params.kernelHeight * params.kernelWidth;
  let weights = params.groups * params.coarseChannels * params.fineChannels * taps;
  if (index >= weights * params.ranges) {
    return;
  }
  let weight = index % weights;
  let ky = weight % taps / params.kernelWidth;
  let kx = weight % params.kernelWidth;
  let b = weight / taps % params.fineChannels;
  let a = weight / taps / params.fineChannels; // of all groups
  let group = a / params.coarseChannels;

  let coarsePlane = params.coarseHeight * params.coarseWidth;
  let finePlane = params.fineHeight * params.fineWidth;
  let first = index / weights * params.range;
  let last = min(first + params.range, params.batch * coarsePlane);
  var sum = 0.0;
  for (var at = first; at < last; at++) {
    let n = at / coarsePlane;
    let q = at % coarsePlane;
    let y = i32(q / params.coarseWidth * params.strideY + ky * params.dilationY) - params.padTop;
    let x = i32(q % params.coarseWidth * params.strideX + kx * params.dilationX) - params.padLeft;
    if (y >= 0 && x >= 0 && y < i32(params.fineHeight) && x < i32(params.fineWidth)) {
      let c = coarse[(n * params.groups * params.coarseChannels + a) * coarsePlane + q];
      let f = (n * params.groups + group) * params.fineChannels + b;
      sum = fma(c, fine[f * finePlane + u32(y) * params.fineWidth + u32(x)], sum);
    }
  }
  sums[index] = sum;
}
