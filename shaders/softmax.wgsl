// Softmax and LogSoftmax along one axis, and their gradients. Layout [outer, length, inner]; a row is the `length` elements
// at a stride of `inner`. The largest element is subtracted first, so that no exponential overflows.
//
//   y = exp(x - m) / s        dx = y (dy - sum(dy y))         s = sum(exp(x - m)), m = max(x)
//   y = x - m - log(s)        dx = dy - exp(y) sum(dy)
//
// `serial` gives a row to one invocation, `tree` to a workgroup of 64; the caller chooses by the length of the row alone.

struct Params {
  rows: u32,
  length: u32,
  inner: u32,
  // 1: LogSoftmax.
  logarithm: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@group(0) @binding(1) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(2) var<storage, read> forward_output: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<f32>;

var<workgroup> partial: array<f32, 64>;

fn base_of(row: u32) -> u32 {
  return (row / params.inner) * params.length * params.inner + row % params.inner;
}

fn result(x: f32, largest: f32, sum: f32) -> f32 {
  if (params.logarithm == 1u) { return x - largest - log(sum); }
  return exp(x - largest) / sum;
}

// What the gradient sums over a row.
fn term(at: u32) -> f32 {
  return output_gradient[at] * select(forward_output[at], 1.0, params.logarithm == 1u);
}

fn slope(at: u32, sum: f32) -> f32 {
  let y = forward_output[at];
  if (params.logarithm == 1u) { return output_gradient[at] - exp(y) * sum; }
  return y * (output_gradient[at] - sum);
}

// The sum of `partial`, the same in every lane.
fn total(lane: u32) -> f32 {
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  return workgroupUniformLoad(&partial[0]);
}

fn largest_of_all(lane: u32) -> f32 {
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
  }
  return workgroupUniformLoad(&partial[0]);
}

@compute @workgroup_size(64)
fn serial(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  let base = base_of(row);
  var largest = input[base];
  for (var k = 1u; k < params.length; k++) {
    largest = max(largest, input[base + k * params.inner]);
  }
  var sum = 0.0;
  for (var k = 0u; k < params.length; k++) {
    sum += exp(input[base + k * params.inner] - largest);
  }
  for (var k = 0u; k < params.length; k++) {
    let at = base + k * params.inner;
    output[at] = result(input[at], largest, sum);
  }
}

// Workgroups beyond the last row (spread over two dimensions) do the last row again and write nothing.
@compute @workgroup_size(64)
fn tree(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.z * groups.y + group.y) * groups.x + group.x;
  let base = base_of(min(row, params.rows - 1u));
  var mine = input[base];
  for (var k = lane; k < params.length; k += 64u) {
    mine = max(mine, input[base + k * params.inner]);
  }
  partial[lane] = mine;
  let largest = largest_of_all(lane);
  var sum = 0.0;
  for (var k = lane; k < params.length; k += 64u) {
    sum += exp(input[base + k * params.inner] - largest);
  }
  partial[lane] = sum;
  let all = total(lane);
  if (row < params.rows) {
    for (var k = lane; k < params.length; k += 64u) {
      let at = base + k * params.inner;
      output[at] = result(input[at], largest, all);
    }
  }
}

@compute @workgroup_size(64)
fn gradient_serial(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  let base = base_of(row);
  var sum = 0.0;
  for (var k = 0u; k < params.length; k++) {
    sum += term(base + k * params.inner);
  }
  for (var k = 0u; k < params.length; k++) {
    let at = base + k * params.inner;
    input_gradient[at] = slope(at, sum);
  }
}

@compute @workgroup_size(64)
fn gradient_tree(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.z * groups.y + group.y) * groups.x + group.x;
  let base = base_of(min(row, params.rows - 1u));
  var sum = 0.0;
  for (var k = lane; k < params.length; k += 64u) {
    sum += term(base + k * params.inner);
  }
  partial[lane] = sum;
  let all = total(lane);
  if (row < params.rows) {
    for (var k = lane; k < params.length; k += 64u) {
      let at = base + k * params.inner;
      input_gradient[at] = slope(at, all);
    }
  }
}
