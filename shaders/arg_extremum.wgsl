// ArgMax and ArgMin along one axis: the position as float32 (exact below 2^24). Layout [outer, length, inner].

struct Params {
  rows: u32,
  length: u32,
  inner: u32,
  // 1: ArgMin.
  smallest: u32,
  // 1: the last of equals rather than the first.
  last: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  let base = (row / params.inner) * params.length * params.inner + row % params.inner;
  let sense = select(1.0, -1.0, params.smallest == 1u);
  var best = sense * input[base];
  var position = 0u;
  for (var k = 1u; k < params.length; k++) {
    let value = sense * input[base + k * params.inner];
    if (value > best || (value == best && params.last == 1u)) {
      best = value;
      position = k;
    }
  }
  output[row] = f32(position);
}
