// Relevance of every channel on every image, R[n, c] = sum over positions p of (z[n, c, p] - b[c]) g[n, c, p], where g is
// the gradient of the label's logit (METHOD.md A1; without the bias, so that a folded BatchNormalization changes nothing).
// A lane sums one channel of one image, in blocks of 64 positions so that rounding grows with 64 + positions / 64.

struct Params {
  images: u32,
  channels: u32,
  positions: u32,
  hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> relevance: array<f32>;

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 8u + lane;
  if (index >= params.images * params.channels) {
    return;
  }
  var b = 0.0;
  if (params.hasBias != 0u) {
    b = bias[index % params.channels];
  }
  var at = index * params.positions;
  let end = at + params.positions;
  var sum = 0.0;
  while (at < end) {
    let blockEnd = min(at + 64u, end);
    var block = 0.0;
    for (; at < blockEnd; at++) {
      block = fma(z[at] - b, gradient[at], block);
    }
    sum += block;
  }
  relevance[index] = sum;
}
