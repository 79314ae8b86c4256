// output = condition != 0 ? yes : no, with numpy's broadcasting of all three. Serves its own gradient too, with the
// output's gradient and a zero as the two choices.

struct Params {
  count: u32,
  rank: u32,
  padding: vec2u,
  // Of the output: size, then the strides of condition, yes and no; last dimension last.
  dims: array<vec4u, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> condition: array<f32>;
@group(0) @binding(2) var<storage, read> yes: array<f32>;
@group(0) @binding(3) var<storage, read> no: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (index >= params.count) { return; }
  var rest = index;
  var at = vec3u();
  for (var k = params.rank; k > 0u; k--) {
    let dim = params.dims[k - 1u];
    at += (rest % dim.x) * dim.yzw;
    rest /= dim.x;
  }
  if (condition[at.x] != 0.0) {
    output[index] = yes[at.y];
  } else {
    output[index] = no[at.z];
  }
}
