// The arithmetic ceiling of an adapter, for `unbraid doctor`: 12 independent chains of x * m + c in each lane (three
// vectors of four), enough to hide the latency of one and few enough to stay in registers. The body is unrolled 8 times,
// since software adapters pay for every loop-carried variable in each iteration.

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
  var z = x + 0.8;
  for (var i = 0u; i < params.loops; i++) {
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
    x = x * m + c; y = y * m + c; z = z * m + c;
  }
  // Written, so that no compiler may leave the work out.
  output[id.x] = dot(x + y + z, vec4f(1.0));
}
