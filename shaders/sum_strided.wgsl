// output[o, i] = sum over r of input[o, r, i], in the order of r: [outer][rows][inner] to [outer][inner].

struct Params {
  outer: u32,
  rows: u32,
  inner: u32,
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
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (index >= params.outer * params.inner) {
    return;
  }
  var at = index / params.inner * params.rows * params.inner + index % params.inner;
  var sum = 0.0;
  for (var r = 0u; r < params.rows; r++) {
    sum += input[at];
    at += params.inner;
  }
  output[index] = sum;
}
