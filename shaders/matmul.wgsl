// Matrix products in batches, any strides (so that transposed operands need no copy), float32:
//   output[n, i, j] = alpha * sum over k of a[n, i, k] b[n, k, j] + beta * c[i, j]
// A lane computes 4 rows of one column (main), or of 4 columns that lie a quarter of the width apart, so that neighbouring
// lanes still read neighbouring columns (wide). Both sum over k in order: the same bits.

struct Params {
  rows: u32, columns: u32, depth: u32, batch: u32,
  aRow: u32, aDepth: u32, bDepth: u32, bColumn: u32,
  // Matrix n begins at base + n step.
  aBase: u32, aStep: u32, bBase: u32, bStep: u32,
  outputBase: u32, outputRow: u32, hasC: u32,
  cBase: u32, cRow: u32, cColumn: u32,
  alpha: f32, beta: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> c: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

fn store(n: u32, row: u32, column: u32, sum: vec4f) {
  if (column >= params.columns) {
    return;
  }
  for (var r = 0u; r < min(params.rows - row, 4u); r++) {
    var value = params.alpha * sum[r];
    if (params.hasC != 0u) {
      value += params.beta * c[params.cBase + (row + r) * params.cRow + column * params.cColumn];
    }
    output[params.outputBase + (n * params.rows + row + r) * params.outputRow + column] = value;
  }
}

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
  let a0 = aBase + row * params.aRow;
  let a1 = aBase + min(row + 1u, last) * params.aRow;
  let a2 = aBase + min(row + 2u, last) * params.aRow;
  let a3 = aBase + min(row + 3u, last) * params.aRow;
  var at = bBase + column * params.bColumn;
  var sum = vec4f();
  for (var k = 0u; k < params.depth; k++) {
    let step = k * params.aDepth;
    sum = fma(vec4f(a[a0 + step], a[a1 + step], a[a2 + step], a[a3 + step]), vec4f(b[at]), sum);
    at += params.bDepth;
  }
  store(n, row, column, sum);
}

@compute @workgroup_size(64)
fn wide(
  @builtin(workgroup_id) id: vec3u,
  @builtin(num_workgroups) counts: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((id.z * counts.y + id.y) * counts.x + id.x) * 64u + lane;
  let blocks = (params.rows + 3u) / 4u;
  let quarter = (params.columns + 3u) / 4u;
  if (index >= quarter * blocks * params.batch) {
    return;
  }
  let column = index % quarter;
  let row = index / quarter % blocks * 4u;
  let n = index / quarter / blocks;

  let last = params.rows - 1u;
  let lastColumn = params.columns - 1u;
  let aBase = params.aBase + n * params.aStep;
  let bBase = params.bBase + n * params.bStep;
  var a0 = aBase + row * params.aRow;
  var a1 = aBase + min(row + 1u, last) * params.aRow;
  var a2 = aBase + min(row + 2u, last) * params.aRow;
  var a3 = aBase + min(row + 3u, last) * params.aRow;
  var b0 = bBase + column * params.bColumn;
  var b1 = bBase + min(column + quarter, lastColumn) * params.bColumn;
  var b2 = bBase + min(column + 2u * quarter, lastColumn) * params.bColumn;
  var b3 = bBase + min(column + 3u * quarter, lastColumn) * params.bColumn;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k = 0u; k < params.depth; k++) {
    let rows = vec4f(a[a0], a[a1], a[a2], a[a3]);
    s0 = fma(rows, vec4f(b[b0]), s0);
    s1 = fma(rows, vec4f(b[b1]), s1);
    s2 = fma(rows, vec4f(b[b2]), s2);
    s3 = fma(rows, vec4f(b[b3]), s3);
    a0 += params.aDepth; a1 += params.aDepth; a2 += params.aDepth; a3 += params.aDepth;
    b0 += params.bDepth; b1 += params.bDepth; b2 += params.bDepth; b3 += params.bDepth;
  }
  store(n, row, column, s0);
  store(n, row, column + quarter, s1);
  store(n, row, column + 2u * quarter, s2);
  store(n, row, column + 3u * quarter, s3);
}
