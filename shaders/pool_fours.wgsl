// Pooling in fours: MaxPool, AveragePool and GlobalAveragePool of images with two axes, [image][four][y][x] of vec4. A lane
// does one window of four channels. Maxima and their gradient as in max_pool.wgsl (a NaN stays; the first of equals is
// chosen; what windows sent here is summed in their order), averages as in average_pool.wgsl.

// The end of a gradient's sum: + residual, then 0 where the mask is not positive, as in the convolutions.
override RESIDUAL: bool = false;
override MASK: bool = false;

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
@group(0) @binding(3) var<storage, read_write> chosen: array<vec4u>;

@group(0) @binding(1) var<storage, read> outputGradient: array<vec4f>;
@group(0) @binding(2) var<storage, read> residual: array<vec4f>;
@group(0) @binding(3) var<storage, read> mask: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> meanGradient: array<vec4f>;

@group(0) @binding(4) var<storage, read> choices: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> maxGradient: array<vec4f>;

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 32u + lane;
}

fn is_nan(x: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

struct Choice {
  value: vec4f,
  // Within the plane; beyond it where no tap of the window is inside the input.
  position: vec4u,
}

// The maximum of the window of output element `index`.
fn first_maximum(index: u32) -> Choice {
  // Below zero this wraps around, and is then not below any size.
  let left = index % params.outWidth * params.strideX - params.padLeft;
  let top = index / params.outWidth % params.outHeight * params.strideY - params.padTop;
  let plane = index / params.outWidth / params.outHeight * params.height * params.width;
  var best = Choice(vec4f(-0x1.fffffep+127f), vec4u(0xffffffffu));
  var none = true;
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    let y = top + ky * params.dilationY;
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      let x = left + kx * params.dilationX;
      let inside = (y < params.height) & (x < params.width);
      let position = select(0u, y * params.width + x, inside);
      let value = input[plane + position];
      let takes = ((value > best.value) | is_nan(value) | vec4<bool>(none)) & vec4<bool>(inside);
      best.value = select(best.value, value, takes);
      best.position = select(best.position, vec4u(position), takes);
      none = none & !inside;
    }
  }
  return best;
}

@compute @workgroup_size(32)
fn maximum(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    output[index] = first_maximum(index).value;
  }
}

// With the position of each maximum, for the gradient.
@compute @workgroup_size(32)
fn maximum_noted(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    let choice = first_maximum(index);
    output[index] = choice.value;
    chosen[index] = choice.position;
  }
}

fn finished(index: u32, sum: vec4f) -> vec4f {
  var v = sum;
  if (RESIDUAL) {
    v += residual[index];
  }
  if (MASK) {
    v = select(v, vec4f(), mask[index] <= vec4f());
  }
  return v;
}

// The first of an axis' windows whose extent contains `at`, counted in the padded input; the last is at / stride.
fn first_window(at: u32, kernel: u32, dilation: u32, stride: u32) -> u32 {
  let span = (kernel - 1u) * dilation;
  return (max(at, span) - span + stride - 1u) / stride;
}

// Four neighbours in a row a lane, for most windows that reach one of them reach the others too; `count` is of such lanes.
@compute @workgroup_size(32)
fn max_gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.count) {
    return;
  }
  let rowLanes = (params.width + 3u) / 4u;
  let row = index / rowLanes;
  let x = (index - row * rowLanes) * 4u;
  let image = row / params.height;
  let y = row - image * params.height;
  let there = min(params.width - x, 4u);
  let firstY = first_window(y + params.padTop, params.kernelHeight, params.dilationY, params.strideY);
  let lastY = min((y + params.padTop) / params.strideY + 1u, params.outHeight);
  let firstX = first_window(x + params.padLeft, params.kernelWidth, params.dilationX, params.strideX);
  let lastX = min((x + there - 1u + params.padLeft) / params.strideX + 1u, params.outWidth);
  let plane = image * params.outHeight * params.outWidth;
  let position = vec4u(y * params.width + x);
  var a0 = vec4f();
  var a1 = vec4f();
  var a2 = vec4f();
  var a3 = vec4f();
  for (var wy = firstY; wy < lastY; wy++) {
    for (var wx = firstX; wx < lastX; wx++) {
      let at = plane + wy * params.outWidth + wx;
      let choice = choices[at] - position;
      let g = outputGradient[at];
      a0 = select(a0, a0 + g, choice == vec4u(0u));
      a1 = select(a1, a1 + g, choice == vec4u(1u));
      a2 = select(a2, a2 + g, choice == vec4u(2u));
      a3 = select(a3, a3 + g, choice == vec4u(3u));
    }
  }
  let to = row * params.width + x;
  maxGradient[to] = finished(to, a0);
  if (there > 1u) { maxGradient[to + 1u] = finished(to + 1u, a1); }
  if (there > 2u) { maxGradient[to + 2u] = finished(to + 2u, a2); }
  if (there > 3u) { maxGradient[to + 3u] = finished(to + 3u, a3); }
}

// The gradient of `mean`: each element of a plane gets its share.
@compute @workgroup_size(32)
fn mean_gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.count) {
    let elements = params.height * params.width;
    meanGradient[index] = finished(index, outputGradient[index / elements] / f32(elements));
  }
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
