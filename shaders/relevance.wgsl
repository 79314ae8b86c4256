// Relevance of every channel on every image, R[n, c] = sum over positions p of (z[n, c, p] - b[c]) g[n, c, p], where g is
// the gradient of the label's logit (METHOD.md A1; without the bias, so that a folded BatchNormalization changes nothing).
//   main:  tensors in rows; a lane sums one channel of one image, four positions at a time, in blocks of 64: rounding grows with
//          16 + positions / 64.
//   fours: tensors in fours, whole ones; a lane sums four channels, in blocks of 32: rounding grows with 32 + positions / 32.

override LANES: u32 = 8;

struct Params {
  images: u32,
  channels: u32,
  positions: u32,
  hasBias: u32,
  // The first image's place among those whose relevances are written together.
  first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> relevance: array<f32>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
  if (index >= params.images * params.channels) {
    return;
  }
  var b = 0.0;
  if (params.hasBias != 0u) {
    b = bias[index % params.channels];
  }
  // A plane need not begin or end at a multiple of four elements: what lies beyond it counts as zero.
  let begin = index * params.positions;
  let end = begin + params.positions;
  let fours = (end + 3u) / 4u;
  var at = begin / 4u;
  var sum = vec4f();
  while (at < fours) {
    let blockEnd = min(at + 16u, fours);
    var block = vec4f();
    for (; at < blockEnd; at++) {
      let element = 4u * at + vec4u(0u, 1u, 2u, 3u);
      let inside = (element >= vec4u(begin)) & (element < vec4u(end));
      block = select(block, fma(z[at] - b, gradient[at], block), inside);
    }
    sum += block;
  }
  relevance[params.first * params.channels + index] = (sum.x + sum.y) + (sum.z + sum.w);
}

@group(0) @binding(3) var<storage, read> biases: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> relevances: array<vec4f>;

@compute @workgroup_size(LANES)
fn fours(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * LANES + lane;
  let fours = params.channels / 4u;
  if (index >= params.images * fours) {
    return;
  }
  let b = select(vec4f(), biases[index % fours], params.hasBias != 0u);
  let end = (index + 1u) * params.positions;
  var at = index * params.positions;
  var sum = vec4f();
  while (at < end) {
    let blockEnd = min(at + 32u, end);
    var block = vec4f();
    for (; at < blockEnd; at++) {
      block = fma(z[at] - b, gradient[at], block);
    }
    sum += block;
  }
  relevances[params.first * fours + index] = sum;
}
