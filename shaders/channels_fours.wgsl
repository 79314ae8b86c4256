// Elementwise work in fours that needs something by channel, [image][four][position] of vec4. A lane does four positions, 32
// apart, of one four of channels, so that what belongs to the channels is loaded once.
//   affine: BatchNormalization at inference, (x - mean) factor + shift, + residual, clamped.
//   scale:  times a factor for each image and channel (squeeze and excitation).
//   join:   one input of a Concat along the channels: copied to its place.

override RESIDUAL: bool = false;

struct Params {
  // Lanes: planes in all, lanes a plane, positions a plane; fours of one image.
  planes: u32, lanes: u32, positions: u32, fours: u32,
  // join: fours of one image of the output, and the first of them.
  outFours: u32, first: u32,
  lowest: f32, highest: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;

// Three vec4 a four: mean, factor, shift.
@group(0) @binding(2) var<storage, read> constants: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> normalised: array<vec4f>;

// [image][four]
@group(0) @binding(2) var<storage, read> factors: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> scaled: array<vec4f>;

@group(0) @binding(2) var<storage, read_write> joined: array<vec4f>;

struct Place {
  inside: bool,
  plane: u32,
  // Of the first position in the plane.
  position: u32,
}

fn place(group: vec3u, groups: vec3u, lane: u32) -> Place {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 32u + lane;
  let plane = index / params.lanes;
  let block = index % params.lanes;
  return Place(plane < params.planes, plane, block / 32u * 128u + block % 32u);
}

@compute @workgroup_size(32)
fn affine(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane);
  if (!p.inside) {
    return;
  }
  let four = p.plane % params.fours * 3u;
  let mean = constants[four];
  let factor = constants[four + 1u];
  let shift = constants[four + 2u];
  for (var i = 0u; i < 4u; i++) {
    let position = p.position + 32u * i;
    if (position < params.positions) {
      let at = p.plane * params.positions + position;
      var v = (input[at] - mean) * factor + shift;
      if (RESIDUAL) {
        v += residual[at];
      }
      // NaN passes.
      v = select(v, vec4f(params.lowest), v < vec4f(params.lowest));
      normalised[at] = select(v, vec4f(params.highest), v > vec4f(params.highest));
    }
  }
}

@compute @workgroup_size(32)
fn scale(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane);
  if (!p.inside) {
    return;
  }
  let factor = factors[p.plane];
  for (var i = 0u; i < 4u; i++) {
    let position = p.position + 32u * i;
    if (position < params.positions) {
      let at = p.plane * params.positions + position;
      scaled[at] = input[at] * factor;
    }
  }
}

@compute @workgroup_size(32)
fn join(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane);
  if (!p.inside) {
    return;
  }
  let to = p.plane / params.fours * params.outFours + params.first + p.plane % params.fours;
  for (var i = 0u; i < 4u; i++) {
    let position = p.position + 32u * i;
    if (position < params.positions) {
      joined[to * params.positions + position] = input[p.plane * params.positions + position];
    }
  }
}
