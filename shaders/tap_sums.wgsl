// Tap sums of a layer's input, S[n, i, k] = sum over output positions p of x[n, i, s p + d k - pad], zero outside the
// image (METHOD.md B, "One pass finds"). A lane computes one of them: rows first, then the rows' sums.

struct Params {
  images: u32, channels: u32, height: u32, width: u32,
  outHeight: u32, outWidth: u32, kernelHeight: u32, kernelWidth: u32,
  strideY: u32, strideX: u32, dilationY: u32, dilationX: u32,
  padTop: i32, padLeft: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 8u + lane;
  let taps = params.kernelHeight * params.kernelWidth;
  if (index >= params.images * params.channels * taps) {
    return;
  }
  let plane = index / taps * params.height * params.width;
  let ky = index % taps / params.kernelWidth;
  let kx = index % params.kernelWidth;
  var sum = 0.0;
  for (var oy = 0u; oy < params.outHeight; oy++) {
    let y = i32(oy * params.strideY + ky * params.dilationY) - params.padTop;
    if (y < 0 || y >= i32(params.height)) {
      continue;
    }
    let row = plane + u32(y) * params.width;
    var rowSum = 0.0;
    for (var ox = 0u; ox < params.outWidth; ox++) {
      let x = i32(ox * params.strideX + kx * params.dilationX) - params.padLeft;
      if (x >= 0 && x < i32(params.width)) {
        rowSum += input[row + u32(x)];
      }
    }
    sum += rowSum;
  }
  sums[index] = sum;
}
