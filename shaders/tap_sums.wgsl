// Tap sums of a layer's input, S[n, i, k] = sum over output positions p of x[n, i, s p + d k - pad], zero outside the
// image (METHOD.md B, "One pass finds"). Ways: loads decide (on software adapters above all), and most kernels are
// of one tap or of 3x3 ones, whose sums one lane can gather while it reads each element once, four at a time.
//   main:  any kernel; a lane a tap, rows first, then the rows' sums.
//   point: one tap, horizontal stride a power of two; a lane a plane, in blocks of 16 loads.
//   fours: up to 3x3 taps, tensors in fours; a lane a plane of four channels, rows first, then the rows' sums.
//   fours_point: the same of one tap, which need not ask of each element whether it meets it.
//   small: up to 3x3 taps, strides powers of two; a lane a plane, rows first, then the rows' sums.

override LANES: u32 = 8;

struct Params {
  images: u32, channels: u32, height: u32, width: u32,
  outHeight: u32, outWidth: u32, kernelHeight: u32, kernelWidth: u32,
  strideY: u32, strideX: u32, dilationY: u32, dilationX: u32,
  padTop: i32, padLeft: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
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
        let element = row + u32(x);
        rowSum += input[element / 4u][element % 4u];
      }
    }
    sum += rowSum;
  }
  sums[index] = sum;
}

// Which of `at`, positions in the padded image counted from a tap's first one, the tap's stride meets.
fn met(at: vec4i, stride: u32, count: u32) -> vec4<bool> {
  return (at >= vec4i()) & (at < vec4i(i32(count * stride))) & ((at & vec4i(i32(stride - 1u))) == vec4i());
}

fn across(v: vec4f) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(LANES)
fn point(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
  if (index >= params.images * params.channels) {
    return;
  }
  let plane = index * params.height * params.width;
  var sum = vec4f();
  for (var oy = 0u; oy < params.outHeight; oy++) {
    let y = i32(oy * params.strideY) - params.padTop;
    if (y < 0 || y >= i32(params.height)) {
      continue;
    }
    let row = plane + u32(y) * params.width;
    let fours = (row + params.width + 3u) / 4u;
    var at = row / 4u;
    while (at < fours) {
      let blockEnd = min(at + 16u, fours);
      var block = vec4f();
      for (; at < blockEnd; at++) {
        let x = vec4i(i32(4u * at) - i32(row)) + vec4i(0, 1, 2, 3);
        let inside = (x >= vec4i()) & (x < vec4i(i32(params.width)));
        block = select(block, block + input[at], inside & met(x + params.padLeft, params.strideX, params.outWidth));
      }
      sum += block;
    }
  }
  sums[index] = across(sum);
}

@compute @workgroup_size(LANES)
fn small(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
  if (index >= params.images * params.channels) {
    return;
  }
  let plane = index * params.height * params.width;
  let apart = i32(params.dilationX);
  // Of the taps of the kernel's first row, second and third.
  var first = vec3f();
  var second = vec3f();
  var third = vec3f();
  for (var y = 0; y < i32(params.height); y++) {
    let rowsOfTaps = met(vec4i(y + params.padTop) - vec4i(0, 1, 2, 3) * i32(params.dilationY), params.strideY, params.outHeight);
    if (!any(rowsOfTaps.xyz)) {
      continue;
    }
    let row = plane + u32(y) * params.width;
    let fours = (row + params.width + 3u) / 4u;
    var left = vec4f();
    var middle = vec4f();
    var right = vec4f();
    for (var at = row / 4u; at < fours; at++) {
      let x = vec4i(i32(4u * at) - i32(row)) + vec4i(0, 1, 2, 3);
      let inside = (x >= vec4i()) & (x < vec4i(i32(params.width)));
      let value = select(vec4f(), input[at], inside);
      let start = x + params.padLeft;
      left = select(left, left + value, met(start, params.strideX, params.outWidth));
      middle = select(middle, middle + value, met(start - apart, params.strideX, params.outWidth));
      right = select(right, right + value, met(start - 2 * apart, params.strideX, params.outWidth));
    }
    let rowSums = vec3f(across(left), across(middle), across(right));
    first = select(first, first + rowSums, rowsOfTaps.x);
    second = select(second, second + rowSums, rowsOfTaps.y);
    third = select(third, third + rowSums, rowsOfTaps.z);
  }
  let all = array<vec3f, 3>(first, second, third);
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      sums[(index * params.kernelHeight + ky) * params.kernelWidth + kx] = all[ky][kx];
    }
  }
}

// Whether a tap's stride meets `at`, counted from the tap's first position in the padded image.
fn meets(at: i32, stride: u32, count: u32) -> bool {
  return (at >= 0) & (at < i32(count * stride)) & (at % i32(stride) == 0);
}

fn within(at: i32) -> bool {
  return (at >= 0) & (at < i32(params.outWidth));
}

// The sum over the columns of a row in fours that a tap meets, `apart` elements from the first tap.
fn metSum(row: u32, apart: i32) -> vec4f {
  var sum = vec4f();
  for (var ox = 0u; ox < params.outWidth; ox++) {
    let x = i32(ox * params.strideX) + apart - params.padLeft;
    let inside = (x >= 0) & (x < i32(params.width));
    sum += select(vec4f(), input[row + select(0u, u32(x), inside)], inside);
  }
  return sum;
}

@compute @workgroup_size(LANES)
fn fours(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
  if (index >= params.images * (params.channels / 4u)) {
    return;
  }
  let apart = i32(params.dilationX);
  var first = array<vec4f, 3>();
  var second = array<vec4f, 3>();
  var third = array<vec4f, 3>();
  for (var y = 0; y < i32(params.height); y++) {
    let at = y + params.padTop;
    let down = i32(params.dilationY);
    let top = meets(at, params.strideY, params.outHeight);
    let centre = (params.kernelHeight > 1u) & meets(at - down, params.strideY, params.outHeight);
    let bottom = (params.kernelHeight > 2u) & meets(at - 2 * down, params.strideY, params.outHeight);
    if (!(top | centre | bottom)) {
      continue;
    }
    let row = (index * params.height + u32(y)) * params.width;
    // Without division by the stride, which costs more than a load: with one, each tap reads what it meets.
    var left = vec4f();
    var middle = vec4f();
    var right = vec4f();
    if (params.strideX == 1u) {
      for (var x = 0; x < i32(params.width); x++) {
        let value = input[row + u32(x)];
        let start = x + params.padLeft;
        left += select(vec4f(), value, within(start));
        middle += select(vec4f(), value, within(start - apart));
        right += select(vec4f(), value, within(start - 2 * apart));
      }
    } else {
      left = metSum(row, 0);
      middle = metSum(row, apart);
      right = metSum(row, 2 * apart);
    }
    if (top) {
      first[0] += left; first[1] += middle; first[2] += right;
    }
    if (centre) {
      second[0] += left; second[1] += middle; second[2] += right;
    }
    if (bottom) {
      third[0] += left; third[1] += middle; third[2] += right;
    }
  }
  let all = array<array<vec4f, 3>, 3>(first, second, third);
  let taps = params.kernelHeight * params.kernelWidth;
  for (var ky = 0u; ky < params.kernelHeight; ky++) {
    for (var kx = 0u; kx < params.kernelWidth; kx++) {
      let value = all[ky][kx];
      for (var k = 0u; k < 4u; k++) {
        sums[(4u * index + k) * taps + ky * params.kernelWidth + kx] = value[k];
      }
    }
  }
}

@compute @workgroup_size(LANES)
fn fours_point(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
  if (index >= params.images * (params.channels / 4u)) {
    return;
  }
  // Columns of the output whose tap lies inside the row: pads may be negative.
  let lead = u32(max(params.padLeft, 0));
  let first = (lead + params.strideX - 1u) / params.strideX;
  let reach = i32(params.width) + params.padLeft;
  let last = min(u32(max(reach + i32(params.strideX) - 1, 0)) / params.strideX, params.outWidth);
  var sum = vec4f();
  for (var oy = 0u; oy < params.outHeight; oy++) {
    let y = i32(oy * params.strideY) - params.padTop;
    if (y < 0 || y >= i32(params.height)) {
      continue;
    }
    let row = (index * params.height + u32(y)) * params.width - u32(params.padLeft);
    var rowSum = vec4f();
    for (var ox = first; ox < last; ox++) {
      rowSum += input[row + ox * params.strideX];
    }
    sum += rowSum;
  }
  for (var k = 0u; k < 4u; k++) {
    sums[4u * index + k] = sum[k];
  }
}
