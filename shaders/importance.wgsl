// Which channels are important on which images, counted by class (METHOD.md A2), by two rules at once:
//   variant 0: R >= tau total, where total is the sum of the positive relevances, and is positive;
//   variant 1: the original's float16 steps: R, total, tau total each rounded to float16; a total of 0 counts every R of 0.
// Two dispatches: phase 0 sums the totals, a lane an image; phase 1 counts, a lane a channel and class.

struct Params {
  images: u32,
  channels: u32,
  taus: u32,
  classes: u32,
  phase: u32,
  tau: array<vec4f, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> relevance: array<f32>;
// [image] class within this batch; images beyond the batch carry 0xffffffff.
@group(0) @binding(2) var<storage, read> classes: array<u32>;
// [image] total of variant 0, then of variant 1.
@group(0) @binding(3) var<storage, read_write> total: array<vec2f>;
// [class][variant][tau][channel]; as float32, exact to 2^24 images.
@group(0) @binding(4) var<storage, read_write> hits: array<f32>;

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

fn sumTotal(n: u32) {
  if (n >= params.images) {
    return;
  }
  var sum = vec2f();
  for (var first = 0u; first < params.channels; first += 64u) {
    var block = vec2f();
    for (var c = first; c < min(first + 64u, params.channels); c++) {
      let r = relevance[n * params.channels + c];
      block += max(vec2f(r, half(r)), vec2f());
    }
    sum += block;
  }
  total[n] = vec2f(sum.x, half(sum.y));
}

fn count(index: u32) {
  if (index >= params.channels * params.classes) {
    return;
  }
  let c = index % params.channels;
  let t = index / params.channels;
  for (var k = 0u; k < params.taus; k++) {
    let tau = params.tau[k / 4u][k % 4u];
    var exact = 0.0;
    var rounded = 0.0;
    for (var n = 0u; n < params.images; n++) {
      if (classes[n] != t) {
        continue;
      }
      let r = relevance[n * params.channels + c];
      let whole = total[n];
      if (whole.x > 0.0 && r >= tau * whole.x) {
        exact += 1.0;
      }
      if (half(r) >= half(whole.y * tau)) {
        rounded += 1.0;
      }
    }
    let at = (t * 2u * params.taus + k) * params.channels + c;
    hits[at] = exact;
    hits[at + params.taus * params.channels] = rounded;
  }
}

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 8u + lane;
  if (params.phase == 0u) {
    sumTotal(index);
  } else {
    count(index);
  }
}
