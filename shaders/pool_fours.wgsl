// Pooling in fours: MaxPool, AveragePool and GlobalAveragePool of images with two axes, [image][four][y][x] of vec4. A lane
// does one window of four channels. Maxima as in max_pool.wgsl (a NaN stays), averages as in average_pool.wgsl.

struct Params {
  // Windows in all; of the input: rows, columns; of the output.
  count: u32, height: u32, width: u32, outHeight: u32,
  outWidth: u32, kernelHeight: u32, kernelWidth: u32, strideY: u32,
  strideX: u32, dilationY: u32, dilationX: u32, padTop: u32,
  padLeft: u32,
  // Taps from .. to - 1, counted from the start of the padded input, enter an average's divisor.
  fromY: u32, fromX: u32, toY: u32, toX: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4f>;

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 32u + lane;
}

fn is_nan(x: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

@compute @workgroup_size(32)
fn maximum(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.count) {
    return;
  }
  // Below zero this wraps around, and is then not below any size.
  let left = index % params.outWidth * params.strideX - params.padLeft;
  let top = index / params.outWidth % params.outHeight * params.strideY - params.padTop;
  let plane = index / params.outWidth / params.outHeight * params.height * params.width;
  var best = vec4f(-0x1.fffffep+127f);
  var none = true;
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    let y = top + ky * params.dilationY;
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      let x = left + kx * params.dilationX;
      let inside = (y < params.height) & (x < params.width);
      let value = input[select(0u, plane + y * params.width + x, inside)];
      let takes = (value > best) | is_nan(value) | vec4<bool>(none);
      best = select(best, value, takes & vec4<bool>(inside));
      none = none & !inside;
    }
  }
  output[index] = best;
}

// How many taps of a window that starts at `start` of the padded input lie at least .. end - 1.
fn taps(start: u32, kernel: u32, dilation: u32, least: u32, end: u32) -> u32 {
  let below = (max(least, start) - start + dilation - 1u) / dilation;
  let upto = min((max(end, start) - start + dilation - 1u) / dilation, kernel);
  return max(upto, below) - below;
}

@compute @workgroup_size(32)
fn average(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.count) {
    return;
  }
  let startX = index % params.outWidth * params.strideX;
  let startY = index / params.outWidth % params.outHeight * params.strideY;
  let plane = index / params.outWidth / params.outHeight * params.height * params.width;
  var sum = vec4f();
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    let y = startY - params.padTop + ky * params.dilationY;
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      let x = startX - params.padLeft + kx * params.dilationX;
      let inside = (y < params.height) & (x < params.width);
      sum += select(vec4f(), input[select(0u, plane + y * params.width + x, inside)], inside);
    }
  }
  let counted = taps(startY, params.kernelHeight, params.dilationY, params.fromY, params.toY) *
    taps(startX, params.kernelWidth, params.dilationX, params.fromX, params.toX);
  output[index] = sum / f32(counted);
}

// The mean of a whole plane, summed in blocks of 16: rounding grows with 16 + elements / 16.
@compute @workgroup_size(32)
fn mean(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.count) {
    return;
  }
  let elements = params.height * params.width;
  let end = (index + 1u) * elements;
  var at = index * elements;
  var sum = vec4f();
  while (at < end) {
    let blockEnd = min(at + 16u, end);
    var block = vec4f();
    for (; at < blockEnd; at++) {
      block += input[at];
    }
    sum += block;
  }
  output[index] = sum / f32(elements);
}
