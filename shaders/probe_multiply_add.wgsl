// The arithmetic ceiling of an adapter, for `unbraid doctor`: 8 independent chains of x * m + c in each lane (two vectors
// of four), enough to hide the latency of one; 12 spill on software adapters. The body is unrolled 32 times, since those
// pay for every loop-carried variable in each iteration.

struct Params {
  loops: u32,
  m: f32,
  c: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let m = vec4f(params.m);
  let c = vec4f(params.c);
  let seed = f32(id.x % 1024u) * 0.001;
  var x = vec4f(seed, seed + 0.1, seed + 0.2, seed + 0.3);
  var y = x + 0.4;
  for (var i = 0u; i < params.loops; i++) {
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
    x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c; x = x * m + c; y = y * m + c;
  }
  // Written, so that no compiler may leave the work out.
  output[id.x] = dot(x + y, vec4f(1.0));
}
