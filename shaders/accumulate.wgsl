// sum = a + b, elementwise, four at a time: gradients that reach one value along two paths. Buffers end at a multiple of four
// elements; what the last four add beyond the tensor is read by nobody.

struct Params {
  fours: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> sum: array<vec4f>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (index < params.fours) {
    sum[index] = a[index] + b[index];
  }
}
