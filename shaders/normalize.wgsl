// Normalisation over rows (instance, layer, group, mean-variance): rows and elements as reduce.wgsl explains them.
//
//   y = (x - mean) r scale + bias,     r = 1 / (sqrt(variance + epsilon) + epsilon_outside)
//   dx = r (g - mean(g) - h mean(g h)),     g = dy scale,  h = (x - mean) r
//
// The variance is the mean square of x - mean, in a second pass over the row, so that a large mean costs no digits.
// `*_serial` gives a row to one invocation, `*_tree` to a workgroup of 64; the caller chooses by the row's length alone.

struct Params {
  row_size: vec4u,
  row_stride: vec4u,
  element_size: vec4u,
  element_stride: vec4u,
  rows: u32,
  length: u32,
  // 1: neighbouring invocations take neighbouring rows; 0: neighbouring elements of a row.
  rows_inside: u32,
  epsilon: f32,
  // Element i of the tensor has scale (i / inner) % count; a count of 0: there is none.
  scale_inner: u32,
  scale_count: u32,
  bias_inner: u32,
  bias_count: u32,
  epsilon_outside: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

// statistics_*: x in, mean and r out.
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(3) var<storage, read_write> inverse_out: array<f32>;

// The others read mean and r.
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> inverse: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;

// apply
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<f32>;

// sums_*: mean(g) and mean(g h) of each row, one after the other.
@group(0) @binding(5) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(6) var<storage, read_write> sums_out: array<f32>;

// gradient
@group(0) @binding(6) var<storage, read> sums: array<f32>;
@group(0) @binding(7) var<storage, read_write> input_gradient: array<f32>;

var<workgroup> partial: array<f32, 64>;

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn place(index: u32, size: vec4u, stride: vec4u) -> u32 {
  var rest = index / size.w;
  var at = (index - rest * size.w) * stride.w;
  if (rest > 0u) {
    at += (rest % size.z) * stride.z;
    rest /= size.z;
    at += (rest % size.y) * stride.y + (rest / size.y) * stride.x;
  }
  return at;
}

fn base_of(row: u32) -> u32 {
  return place(row, params.row_size, params.row_stride);
}

fn offset_of(element: u32) -> u32 {
  return place(element, params.element_size, params.element_stride);
}

// The sum of `value` over the workgroup, in a fixed order, the same in every lane.
fn workgroup_sum(value: f32, lane: u32) -> f32 {
  partial[lane] = value;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) { partial[lane] += partial[lane + half]; }
  }
  return workgroupUniformLoad(&partial[0]);
}

// Partial sums of a row over elements first, first + step, ...
fn sum_of(base: u32, first: u32, step: u32) -> f32 {
  var sum = 0.0;
  for (var k = first; k < params.length; k += step) {
    sum += input[base + offset_of(k)];
  }
  return sum;
}

fn sum_of_squares(base: u32, centre: f32, first: u32, step: u32) -> f32 {
  var sum = 0.0;
  for (var k = first; k < params.length; k += step) {
    let d = input[base + offset_of(k)] - centre;
    sum += d * d;
  }
  return sum;
}

fn inverse_deviation(sum_of_squares: f32) -> f32 {
  return 1.0 / (sqrt(sum_of_squares / f32(params.length) + params.epsilon) + params.epsilon_outside);
}

fn scaled_gradient(at: u32) -> f32 {
  if (params.scale_count == 0u) { return output_gradient[at]; }
  return output_gradient[at] * scale[(at / params.scale_inner) % params.scale_count];
}

fn sums_of(base: u32, row: u32, first: u32, step: u32) -> vec2f {
  var sum = vec2f(0.0);
  for (var k = first; k < params.length; k += step) {
    let at = base + offset_of(k);
    let g = scaled_gradient(at);
    sum += vec2f(g, g * ((input[at] - mean[row]) * inverse[row]));
  }
  return sum;
}

@compute @workgroup_size(64)
fn statistics_serial(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = linear(group, groups, lane);
  if (row >= params.rows) { return; }
  let base = base_of(row);
  let centre = sum_of(base, 0u, 1u) / f32(params.length);
  mean_out[row] = centre;
  inverse_out[row] = inverse_deviation(sum_of_squares(base, centre, 0u, 1u));
}

// In the trees, workgroups beyond the last row (spread over two dimensions) do the last row again and write nothing.
@compute @workgroup_size(64)
fn statistics_tree(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.z * groups.y + group.y) * groups.x + group.x;
  let base = base_of(min(row, params.rows - 1u));
  let centre = workgroup_sum(sum_of(base, lane, 64u), lane) / f32(params.length);
  let squares = workgroup_sum(sum_of_squares(base, centre, lane, 64u), lane);
  if (lane == 0u && row < params.rows) {
    mean_out[row] = centre;
    inverse_out[row] = inverse_deviation(squares);
  }
}

// Row and position in memory of the element that an invocation writes.
struct Element {
  row: u32,
  at: u32,
}

fn element_of(index: u32) -> Element {
  var row = index / params.length;
  var element = index - row * params.length;
  if (params.rows_inside == 1u) {
    element = index / params.rows;
    row = index - element * params.rows;
  }
  return Element(row, base_of(row) + offset_of(element));
}

@compute @workgroup_size(64)
fn apply(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.rows * params.length) { return; }
  let e = element_of(index);
  var y = (input[e.at] - mean[e.row]) * inverse[e.row];
  if (params.scale_count > 0u) { y *= scale[(e.at / params.scale_inner) % params.scale_count]; }
  if (params.bias_count > 0u) { y += bias[(e.at / params.bias_inner) % params.bias_count]; }
  output[e.at] = y;
}

@compute @workgroup_size(64)
fn sums_serial(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = linear(group, groups, lane);
  if (row >= params.rows) { return; }
  let sum = sums_of(base_of(row), row, 0u, 1u) / f32(params.length);
  sums_out[2u * row] = sum.x;
  sums_out[2u * row + 1u] = sum.y;
}

@compute @workgroup_size(64)
fn sums_tree(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.z * groups.y + group.y) * groups.x + group.x;
  let mine = min(row, params.rows - 1u);
  let sum = sums_of(base_of(mine), mine, lane, 64u);
  let g = workgroup_sum(sum.x, lane);
  let gh = workgroup_sum(sum.y, lane);
  if (lane == 0u && row < params.rows) {
    sums_out[2u * row] = g / f32(params.length);
    sums_out[2u * row + 1u] = gh / f32(params.length);
  }
}

@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.rows * params.length) { return; }
  let e = element_of(index);
  let r = inverse[e.row];
  let h = (input[e.at] - mean[e.row]) * r;
  input_gradient[e.at] = r * (scaled_gradient(e.at) - sums[2u * e.row] - h * sums[2u * e.row + 1u]);
}
