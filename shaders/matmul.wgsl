// Matrix products in batches, any strides (so that transposed operands need no copy), float32:
//   output[n, i, j] = alpha * sum over k of a[n, i, k] b[n, k, j] + beta * c[i, j]
// A lane computes 4 rows of one column; sum order over k is fixed.

struct Params {
  rows: u32, columns: u32, depth: u32, batch: u32,
  aRow: u32, aDepth: u32, bDepth: u32, bColumn: u32,
  // Matrix n begins at base + n step.
  aBase: u32, aStep: u32, bBase: u32, bStep: u32,
  outputBase: u32, cRow: u32, cColumn: u32, hasC: u32,
  alpha: f32, beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((id.z * counts.y + id.y) * counts.x + id.x) * 64u + lane;
  let blocks = (params.rows + 3u) / 4u;
  if (index >= params.columns * blocks * params.batch) {
    return;
  }
  let column = index % params.columns;
  let row = index / params.columns % blocks * 4u;
  let n = index / params.columns / blocks;

  let last = params.rows - 1u;
  let aBase = params.aBase + n * params.aStep;
  let bBase = params.bBase + n * params.bStep;
  var a0 = aBase + row * params.aRow;
  var a1 = aBase + min(row + 1u, last) * params.aRow;
  var a2 = aBase + min(row + 2u, last) * params.aRow;
  var a3 = aBase + min(row + 3u, last) * params.aRow;
  var at = bBase + column * params.bColumn;
  var sum = vec4f();
  for (var k = 0u; k < params.depth; k++) {
    let step = k * params.aDepth;
    sum = fma(vec4f(a[a0 + step], a[a1 + step], a[a2 + step], a[a3 + step]), vec4f(b[at]), sum);
    at += params.bDepth;
  }
  for (var r = 0u; r < 4u; r++) {
    if (row + r < params.rows) {
      var value = params.alpha * sum[r];
      if (params.hasC != 0u) {
        value += params.beta * c[(row + r) * params.cRow + column * params.cColumn];
      }
      output[params.outputBase + (n * params.rows + row + r) * params.columns + column] = value;
    }
  }
}
