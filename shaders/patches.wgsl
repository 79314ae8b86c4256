// Patches of a layer's input: for each image n of [first, first + images) and output position q of the layer, the values
// that a filter reads there, patch[n, q, i, k] = x[n, i, s q + d k - pad], zero outside the image (METHOD.md B, "Beyond
// partitions"). A lane copies one value; neighbouring lanes write neighbouring ones.

struct Params {
  first: u32, images: u32, channels: u32, height: u32, width: u32,
  outHeight: u32, outWidth: u32, kernelHeight: u32, kernelWidth: u32,
  strideY: u32, strideX: u32, dilationY: u32, dilationX: u32,
  padTop: i32, padLeft: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> patches: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  let taps = params.kernelHeight * params.kernelWidth;
  let size = params.channels * taps;
  let positions = params.outHeight * params.outWidth;
  if (index >= params.images * positions * size) {
    return;
  }
  let weight = index % size;
  let q = index / size % positions;
  let n = index / size / positions + params.first;
  let tap = weight % taps;
  let y = i32(q / params.outWidth * params.strideY + tap / params.kernelWidth * params.dilationY) - params.padTop;
  let x = i32(q % params.outWidth * params.strideX + tap % params.kernelWidth * params.dilationX) - params.padLeft;
  var value = 0.0;
  if (y >= 0 && x >= 0 && y < i32(params.height) && x < i32(params.width)) {
    let plane = (n * params.channels + weight / taps) * params.height;
    value = input[(plane + u32(y)) * params.width + u32(x)];
  }
  patches[index] = value;
}
