// MaxPool over up to three spatial axes; images of fewer have leading sizes of 1. Layout [planes, depth, height, width].
//
// The maximum of a window is its first in row-major order of the window's taps, as PyTorch chooses among ties; where there
// is a NaN it is the last of these, as in PyTorch (tested by its bits, which no compiler may fold away). The gradient is a gather: `argmax` notes what each window chose, and each input element sums the output gradients of the
// windows that chose it, in row-major order of the windows. No atomics, hence the same bits in every run.

struct Params {
  // x, y, z: depth, height, width; w of `size` and `output`: elements of a plane.
  size: vec4u,
  output: vec4u,
  kernel: vec4u,
  stride: vec4u,
  dilation: vec4u,
  pad: vec4u,
  planes: u32,
  // 1: positions are counted down the columns (storage_order of ONNX).
  by_columns: u32,
}

struct Choice {
  value: f32,
  // Within the plane.
  position: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(2) var<storage, read_write> chosen: array<u32>;

@group(0) @binding(1) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(2) var<storage, read> choices: array<u32>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<f32>;

// A window without any tap inside the input.
const NOTHING: Choice = Choice(-0x1.fffffep+127f, 0xffffffffu);

fn linear(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn place(position: u32, size: vec4u) -> vec3u {
  return vec3u(position / (size.y * size.z), (position / size.z) % size.y, position % size.z);
}

fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// The maximum of the window of output element `index`.
fn first_maximum(index: u32) -> Choice {
  let plane = index / params.output.w;
  // Below zero this wraps around, and is then not below any size.
  let start = place(index - plane * params.output.w, params.output) * params.stride.xyz - params.pad.xyz;
  var best = NOTHING;
  for (var i = 0u; i < params.kernel.x; i++) {
    let d = start.x + i * params.dilation.x;
    if (d >= params.size.x) { continue; }
    for (var j = 0u; j < params.kernel.y; j++) {
      let h = start.y + j * params.dilation.y;
      if (h >= params.size.y) { continue; }
      for (var k = 0u; k < params.kernel.z; k++) {
        let w = start.z + k * params.dilation.z;
        if (w >= params.size.z) { continue; }
        let position = (d * params.size.y + h) * params.size.z + w;
        let value = input[plane * params.size.w + position];
        if ((value > best.value) | is_nan(value) | (best.position == NOTHING.position)) {
          best = Choice(value, position);
        }
      }
    }
  }
  return best;
}

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.planes * params.output.w) {
    output[index] = first_maximum(index).value;
  }
}

// ONNX's second output: positions in the whole input, as float32 (exact below 2^24, which the caller sees to).
@compute @workgroup_size(64)
fn indices(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.planes * params.output.w) {
    var position = first_maximum(index).position;
    if (params.by_columns == 1u) {
      let p = place(position, params.size);
      position = (p.z * params.size.y + p.y) * params.size.x + p.x;
    }
    output[index] = f32((index / params.output.w) * params.size.w + position);
  }
}

@compute @workgroup_size(64)
fn argmax(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  if (index < params.planes * params.output.w) {
    chosen[index] = first_maximum(index).position;
  }
}

// Four neighbours in a row at a time: most windows that reach one of them reach the others too.
@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = linear(group, groups, lane);
  let fours = (params.size.z + 3u) / 4u;
  let rows = params.size.x * params.size.y;
  if (index >= params.planes * rows * fours) { return; }
  let column = index % fours * 4u;
  let row = index / fours % rows;
  let plane = index / (fours * rows);
  let position = row * params.size.z + column;
  // The windows first .. last (inclusive) are those whose extent contains any of the four.
  let reach = vec3u(row / params.size.y, row % params.size.y, column) + params.pad.xyz;
  let furthest = vec3u(reach.xy, min(column + 3u, params.size.z - 1u) + params.pad.z);
  let span = (params.kernel.xyz - 1u) * params.dilation.xyz;
  let first = (max(reach, span) - span + params.stride.xyz - 1u) / params.stride.xyz;
  let last = min(furthest / params.stride.xyz + 1u, params.output.xyz);
  var sum = vec4f();
  for (var d = first.x; d < last.x; d++) {
    for (var h = first.y; h < last.y; h++) {
      for (var w = first.z; w < last.z; w++) {
        let at = plane * params.output.w + (d * params.output.y + h) * params.output.z + w;
        let chose = vec4u(choices[at]) == position + vec4u(0u, 1u, 2u, 3u);
        if (any(chose)) {
          sum = select(sum, sum + output_gradient[at], chose);
        }
      }
    }
  }
  let left = params.size.z - column;
  let to = plane * params.size.w + position;
  input_gradient[to] = sum.x;
  if (left > 1u) { input_gradient[to + 1u] = sum.y; }
  if (left > 2u) { input_gradient[to + 2u] = sum.z; }
  if (left > 3u) { input_gradient[to + 3u] = sum.w; }
}
