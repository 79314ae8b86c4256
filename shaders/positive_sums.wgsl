// For each image n and row r of y[n, r, p]: the sum over positions of max(y, 0), and of y (METHOD.md A7, A9).
// A lane sums one row, in blocks of 64 so that rounding grows with 64 + positions / 64.

struct Params {
  rows: u32,
  positions: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2f>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 8u + lane;
  if (index >= params.rows) {
    return;
  }
  var at = index * params.positions;
  let end = at + params.positions;
  var sum = vec2f();
  while (at < end) {
    let blockEnd = min(at + 64u, end);
    var block = vec2f();
    for (; at < blockEnd; at++) {
      block += vec2f(max(y[at], 0.0), y[at]);
    }
    sum += block;
  }
  sums[index] = sum;
}
