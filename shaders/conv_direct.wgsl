// Convolution, one output element a lane, weights as ONNX stores them: for depthwise and other layers with few output
// channels a group, where a tile of 16 would be mostly empty, and for weights that are not constant.
// TRANSPOSED as in conv.wgsl. Sum order for one output: taps outermost, channels within.

override TRANSPOSED: bool = false;

struct Params {
  batch: u32, channels: u32, outputs: u32, groups: u32,
  height: u32, width: u32, outHeight: u32, outWidth: u32,
  kernelHeight: u32, kernelWidth: u32, strideY: u32, strideX: u32,
  dilationY: u32, dilationX: u32, padTop: i32, padLeft: i32,
  packedOutputs: u32, hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// Conv: [group][output][channel][tap]. Transposed: [group][channel][output][tap].
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((id.z * counts.y + id.y) * counts.x + id.x) * 64u + lane;
  let outPlane = params.outHeight * params.outWidth;
  if (index >= params.batch * params.groups * params.outputs * outPlane) {
    return;
  }
  let rest = index % outPlane;
  let outY = i32(rest / params.outWidth);
  let outX = i32(rest % params.outWidth);
  let channel = index / outPlane % (params.groups * params.outputs);
  let image = index / outPlane / (params.groups * params.outputs);
  let group = channel / params.outputs;
  let o = channel % params.outputs;

  let plane = params.height * params.width;
  let base = (image * params.groups + group) * params.channels * plane;
  let taps = params.kernelHeight * params.kernelWidth;
  let firstWeight = select(channel * params.channels, group * params.channels * params.outputs + o, TRANSPOSED) * taps;
  let weightStep = select(1u, params.outputs, TRANSPOSED) * taps;

  var sum = 0.0;
  if (params.hasBias != 0u) {
    sum = bias[channel];
  }
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    var y = outY * i32(params.strideY) + i32(ky * params.dilationY) - params.padTop;
    if (TRANSPOSED) {
      let v = outY + params.padTop - i32(ky * params.dilationY);
      y = select(-1, v / i32(params.strideY), v >= 0 && v % i32(params.strideY) == 0);
    }
    if (y < 0 || y >= i32(params.height)) {
      continue;
    }
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      var x = outX * i32(params.strideX) + i32(kx * params.dilationX) - params.padLeft;
      if (TRANSPOSED) {
        let h = outX + params.padLeft - i32(kx * params.dilationX);
        x = select(-1, h / i32(params.strideX), h >= 0 && h % i32(params.strideX) == 0);
      }
      if (x < 0 || x >= i32(params.width)) {
        continue;
      }
      var at = base + u32(y) * params.width + u32(x);
      var w = firstWeight + ky * params.kernelWidth + kx;
      for (var c = 0u; c < params.channels; c++) {
        sum = fma(input[at], weights[w], sum);
        at += plane;
        w += weightStep;
      }
    }
  }
  output[index] = sum;
}
