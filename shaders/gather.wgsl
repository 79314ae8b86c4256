// Picks slices of a tensor [outer, size, inner] by a list of indices along its middle dimension: Gather, and Pad by
// reflection, edge and wrapping. Indices are whole numbers in float32; negative ones count from the end.
// The gradient adds up, for each slice of the input, those output slices that were read from it, in their order.

struct Params {
  // Elements of what is written.
  count: u32,
  size: u32,
  picked: u32,
  inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> indices: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
// Gradients of known indices: the output slices made from input slice i are order[starts[i] .. starts[i + 1] - 1].
@group(0) @binding(2) var<storage, read> starts: array<f32>;
@group(0) @binding(3) var<storage, read> order: array<f32>;
@group(0) @binding(4) var<storage, read_write> slope: array<f32>;

fn position(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

fn index_at(k: u32) -> u32 {
  let i = i32(indices[k]);
  // Out of range (an error in the model that only shows on the device) reads the nearest slice.
  return u32(clamp(select(i, i + i32(params.size), i < 0), 0, i32(params.size) - 1));
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let n = index % params.inner;
  let k = index / params.inner % params.picked;
  let o = index / params.inner / params.picked;
  output[index] = input[(o * params.size + index_at(k)) * params.inner + n];
}

@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let n = index % params.inner;
  let i = index / params.inner % params.size;
  let o = index / params.inner / params.size;
  var sum = 0.0;
  for (var k = u32(starts[i]); k < u32(starts[i + 1u]); k++) {
    sum += input[(o * params.picked + u32(order[k])) * params.inner + n];
  }
  slope[index] = sum;
}

// The same where the indices were computed on the device: every one is looked at.
@compute @workgroup_size(64)
fn gradient_search(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let n = index % params.inner;
  let i = index / params.inner % params.size;
  let o = index / params.inner / params.size;
  var sum = 0.0;
  for (var k = 0u; k < params.picked; k++) {
    if (index_at(k) == i) {
      sum += input[(o * params.picked + k) * params.inner + n];
    }
  }
  output[index] = sum;
}

// GatherND: the position that each tuple of indices stands for. input: tuples [count, size]; starts: the sizes of the
// axes that they go through; each element of the batch has `picked` tuples.
@compute @workgroup_size(64)
fn positions(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  var at = i32(index / params.picked);
  for (var j = 0u; j < params.size; j++) {
    let length = i32(starts[j]);
    let i = i32(input[index * params.size + j]);
    // Out of range reads the nearest, as in index_at.
    at = at * length + clamp(select(i, i + length, i < 0), 0, length - 1);
  }
  output[index] = f32(at);
}
