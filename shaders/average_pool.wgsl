// AveragePool and LpPool over up to three spatial axes; images of fewer have leading sizes of 1.
// Layout [planes, depth, height, width]. Gradients are gathers: each input element sums over the windows that contain
// it, in row-major order of the windows.

struct Params {
  // x, y, z: depth, height, width; w of `size` and `output`: elements of a plane.
  size: vec4u,
  output: vec4u,
  kernel: vec4u,
  stride: vec4u,
  dilation: vec4u,
  pad: vec4u,
  // Taps at pad .. limit - 1, counted from the start of the padded input, enter an average's divisor.
  counted_from: vec4u,
  counted_to: vec4u,
  planes: u32,
  // LpPool's norm.
  p: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@group(0) @binding(1) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> average_input_gradient: array<f32>;
@group(0) @binding(2) var<storage, read> lp_input: array<f32>;
@group(0) @binding(3) var<storage, read> lp_output: array<f32>;
@group(0) @binding(4) var<storage, read_write> lp_input_gradient: array<f32>;

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn place(position: u32, size: vec4u) -> vec3u {
  return vec3u(position / (size.y * size.z), (position / size.z) % size.y, position % size.z);
}

// How many taps k = 0 .. kernel - 1 of the window at `start` (in the padded input) have start + k dilation in
// counted_from .. counted_to - 1: the divisor of an average.
fn taps(window: vec3u) -> f32 {
  let start = window * params.stride.xyz;
  let d = params.dilation.xyz;
  let below = (max(params.counted_from.xyz, start) - start + d - 1u) / d;
  let upto = min((max(params.counted_to.xyz, start) - start + d - 1u) / d, params.kernel.xyz);
  let n = max(upto, below) - below;
  return f32(n.x * n.y * n.z);
}

// |x|^p; the usual norms without pow's rounding.
fn power(x: f32, p: f32) -> f32 {
  if (p == 2.0) { return x * x; }
  if (p == 1.0) { return abs(x); }
  if (p == 0.0) { return 1.0; }
  return select(pow(abs(x), p), 0.0, x == 0.0);
}

fn root(x: f32, p: f32) -> f32 {
  if (p == 2.0) { return sqrt(x); }
  if (p == 1.0) { return x; }
  return select(pow(x, 1.0 / p), 0.0, x == 0.0);
}

// The sum over the window of output element `index` of x (norm 0) or |x|^norm.
fn window_sum(index: u32, norm: f32) -> f32 {
  let plane = index / params.output.w;
  // Below zero this wraps around, and is then not below any size.
  let start = place(index - plane * params.output.w, params.output) * params.stride.xyz - params.pad.xyz;
  var sum = 0.0;
  for (var i = 0u; i < params.kernel.x; i++) {
    let d = start.x + i * params.dilation.x;
    if (d >= params.size.x) { continue; }
    for (var j = 0u; j < params.kernel.y; j++) {
      let h = start.y + j * params.dilation.y;
      if (h >= params.size.y) { continue; }
      for (var k = 0u; k < params.kernel.z; k++) {
        let w = start.z + k * params.dilation.z;
        if (w >= params.size.z) { continue; }
        let value = input[plane * params.size.w + (d * params.size.y + h) * params.size.z + w];
        if (norm == 0.0) {
          sum += value;
        } else {
          sum += power(value, norm);
        }
      }
    }
  }
  return sum;
}

// Windows that contain an input element: from (inclusive), to (exclusive).
struct Windows {
  first: vec3u,
  last: vec3u,
}

fn windows_of(reach: vec3u) -> Windows {
  let span = (params.kernel.xyz - 1u) * params.dilation.xyz;
  return Windows(
    (max(reach, span) - span + params.stride.xyz - 1u) / params.stride.xyz,
    min(reach / params.stride.xyz + 1u, params.output.xyz),
  );
}

// Whether a tap of `window` falls on the element at `reach` (in the padded input), rather than a gap of the dilation.
fn hits(window: vec3u, reach: vec3u) -> bool {
  return all((reach - window * params.stride.xyz) % params.dilation.xyz == vec3u(0u));
}

@compute @workgroup_size(64)
fn average(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.planes * params.output.w) {
    output[index] = window_sum(index, 0.0) / taps(place(index % params.output.w, params.output));
  }
}

@compute @workgroup_size(64)
fn average_gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.planes * params.size.w) { return; }
  let plane = index / params.size.w;
  let reach = place(index - plane * params.size.w, params.size) + params.pad.xyz;
  let windows = windows_of(reach);
  var sum = 0.0;
  for (var d = windows.first.x; d < windows.last.x; d++) {
    for (var h = windows.first.y; h < windows.last.y; h++) {
      for (var w = windows.first.z; w < windows.last.z; w++) {
        let window = vec3u(d, h, w);
        if (hits(window, reach)) {
          let at = plane * params.output.w + (d * params.output.y + h) * params.output.z + w;
          sum += output_gradient[at] / taps(window);
        }
      }
    }
  }
  average_input_gradient[index] = sum;
}

@compute @workgroup_size(64)
fn lp(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.planes * params.output.w) {
    output[index] = root(window_sum(index, params.p), params.p);
  }
}

// d (sum |x|^p)^(1/p) / d x = sign(x) (|x| / y)^(p - 1), and 0 where y is 0, as PyTorch has it.
@compute @workgroup_size(64)
fn lp_gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index >= params.planes * params.size.w) { return; }
  let plane = index / params.size.w;
  let reach = place(index - plane * params.size.w, params.size) + params.pad.xyz;
  let windows = windows_of(reach);
  let x = lp_input[index];
  var sum = 0.0;
  for (var d = windows.first.x; d < windows.last.x; d++) {
    for (var h = windows.first.y; h < windows.last.y; h++) {
      for (var w = windows.first.z; w < windows.last.z; w++) {
        if (hits(vec3u(d, h, w), reach)) {
          let at = plane * params.output.w + (d * params.output.y + h) * params.output.z + w;
          let y = lp_output[at];
          if (y > 0.0) {
            sum += output_gradient[at] * power(abs(x) / y, params.p - 1.0);
          }
        }
      }
    }
  }
  lp_input_gradient[index] = sign(x) * sum;
}
