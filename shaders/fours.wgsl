// Between rows, [image][channel][position], and fours, [image][four][position] of vec4 (src/kernels/fours.ts). A lane does one
// vec4; what lies beyond the last channel is zero.

struct Params {
  // vec4 in all; channels, fours and positions of one image.
  count: u32, channels: u32, fours: u32, positions: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<vec4f>;

@group(0) @binding(1) var<storage, read> fours: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> unpacked: array<f32>;

struct Place {
  index: u32,
  // Of the first channel in the rows, and how many there are from it on.
  at: u32,
  left: u32,
}

fn place(group: vec3u, groups: vec3u, lane: u32) -> Place {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 32u + lane;
  let four = index / params.positions;
  let channel = four % params.fours * 4u;
  let at = (four / params.fours * params.channels + channel) * params.positions + index % params.positions;
  return Place(index, at, params.channels - channel);
}

@compute @workgroup_size(32)
fn pack(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane);
  if (p.index >= params.count) {
    return;
  }
  var value = vec4f();
  value.x = rows[p.at];
  if (p.left > 1u) { value.y = rows[p.at + params.positions]; }
  if (p.left > 2u) { value.z = rows[p.at + 2u * params.positions]; }
  if (p.left > 3u) { value.w = rows[p.at + 3u * params.positions]; }
  packed[p.index] = value;
}

@compute @workgroup_size(32)
fn unpack(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane);
  if (p.index >= params.count) {
    return;
  }
  let value = fours[p.index];
  unpacked[p.at] = value.x;
  if (p.left > 1u) { unpacked[p.at + params.positions] = value.y; }
  if (p.left > 2u) { unpacked[p.at + 2u * params.positions] = value.z; }
  if (p.left > 3u) { unpacked[p.at + 3u * params.positions] = value.w; }
}
