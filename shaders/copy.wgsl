// Copies a box of elements from one tensor's memory into another's, each with its own strides: Transpose, Slice,
// Concat, Split, Expand, Tile, constant Pad, DepthToSpace, and the gradients of those that repeat nothing.
// Strides and offsets may be negative: they wrap around in 32 bits, as does the sum, which is in range.

struct Params {
  count: u32,
  rank: u32,
  from_offset: u32,
  to_offset: u32,
  // Size, stride in `input`, stride in `output`; last dimension last.
  dims: array<vec4u, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
// The same, four at a time: every size, stride and offset is then in fours.
@group(0) @binding(1) var<storage, read> input4: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output4: array<vec4f>;

fn position(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn places(index: u32) -> vec2u {
  var rest = index;
  var at = vec2u(params.from_offset, params.to_offset);
  for (var k = params.rank; k > 0u; k--) {
    let dim = params.dims[k - 1u];
    at += (rest % dim.x) * dim.yz;
    rest /= dim.x;
  }
  return at;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let at = places(index);
  output[at.y] = input[at.x];
}

@compute @workgroup_size(64)
fn quads(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let at = places(index);
  output4[at.y] = input4[at.x];
}
