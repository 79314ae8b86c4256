// Which channels are important on each image (METHOD.md A2), by two rules at once:
//   variant 0: R >= tau total, where total is the sum of the positive relevances, and is positive;
//   variant 1: the original's float16 steps: R, total, tau total each rounded to float16; a total of 0 counts every R of 0.
// A workgroup takes an image: its lanes share the total, then write a bit a channel.

override LANES: u32 = 8;

struct Params {
  images: u32,
  channels: u32,
  taus: u32,
  tau: array<vec4f, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> relevance: array<f32>;
// [image] total of variant 0, then of variant 1.
@group(0) @binding(2) var<storage, read_write> total: array<vec2f>;
// [image][variant][tau][channels / 32, rounded up], a bit a channel, the lowest first.
@group(0) @binding(3) var<storage, read_write> hits: array<u32>;

var<workgroup> partial: array<vec2f, LANES>;

// The nearest float16 value, ties to even, as float32; what overflows float16 becomes larger than any of its values.
fn half(value: f32) -> f32 {
  let magnitude = abs(value);
  if (magnitude >= 65520.0) {
    return sign(value) * 3e38;
  }
  // The spacing of float16 at this magnitude is 2^(exponent - 10), at least 2^-24; products with powers of two are exact.
  let exponent = max(i32(bitcast<u32>(magnitude) >> 23u) - 127, -14);
  return sign(value) * round(magnitude * ldexp(1.0, 10 - exponent)) * ldexp(1.0, exponent - 10);
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = (group.z * groups.y + group.y) * groups.x + group.x;
  if (n >= params.images) {
    return;
  }
  let first = n * params.channels;
  var mine = vec2f();
  for (var c = lane; c < params.channels; c += LANES) {
    let r = relevance[first + c];
    mine += max(vec2f(r, half(r)), vec2f());
  }
  partial[lane] = mine;
  workgroupBarrier();
  var whole = vec2f();
  for (var k = 0u; k < LANES; k++) {
    whole += partial[k];
  }
  whole.y = half(whole.y);
  if (lane == 0u) {
    total[n] = whole;
  }

  let words = (params.channels + 31u) / 32u;
  let rows = n * 2u * params.taus;
  for (var i = lane; i < words * params.taus; i += LANES) {
    let k = i / words;
    let tau = params.tau[k / 4u][k % 4u];
    let word = i % words;
    let leastHalf = half(whole.y * tau);
    var exact = 0u;
    var rounded = 0u;
    for (var c = 32u * word; c < min(32u * word + 32u, params.channels); c++) {
      let r = relevance[first + c];
      exact |= select(0u, 1u, whole.x > 0.0 && r >= tau * whole.x) << (c % 32u);
      rounded |= select(0u, 1u, half(r) >= leastHalf) << (c % 32u);
    }
    hits[(rows + k) * words + word] = exact;
    hits[(rows + params.taus + k) * words + word] = rounded;
  }
}
