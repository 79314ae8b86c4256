// Fills a tensor with one value, four elements at a time: sentinels in tests, zeros where a gradient does not flow.

struct Params {
  count: u32,
  value: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<vec4f>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (4u * index + 4u <= params.count) {
    output[index] = vec4f(params.value);
    return;
  }
  for (var k = 0u; k < 4u; k++) {
    if (4u * index + k < params.count) {
      output[index][k] = params.value;
    }
  }
}
