// Winograd's convolution for 3x3 kernels of stride 1, F(2x2, 3x3) and F(4x4, 3x3) (Lavin and Gray, "Fast algorithms for
// convolutional neural networks", 2015): Y = A^T [ (G w G^T) . (B^T d B) ] A for each tile of 2x2 or 4x4 outputs, d the 4x4 or
// 6x6 inputs under it. `input_*` makes B^T d B of every tile and four of channels, the products of matrices run in
// conv_fours, one for each of the 16 or 36 components, and `output_*` makes Y. A lane does one tile of one four of channels.
// Tensors in fours; components [component][four][tile].

override RESIDUAL: bool = false;
override MASK: bool = false;
override SUMS: bool = false;

struct Params {
  // The first tile of those that are computed, of all images, and how many; tiles of one image, of a row of it; fours of
  // channels.
  firstTile: u32, tiles: u32, imageTiles: u32, rowTiles: u32, fours: u32,
  // Of the image that is read or written.
  height: u32, width: u32, padTop: i32, padLeft: i32,
  lowest: f32, highest: f32, hasBias: u32,
  // Of a tile's inputs. The loops run to it, not to a number that compilers know: written out they take seconds to compile.
  // Nor do they index arrays, which puts these into memory: columns move in at the end of rows, rows up to the first.
  side: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> components: array<vec4f>;

@group(0) @binding(1) var<storage, read> products: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read> mask: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec4f>;

alias Line4 = array<vec4f, 4>;
alias Line6 = array<vec4f, 6>;

struct Place {
  inside: bool,
  // Of the tile among all components of its kind; its four; the image's four in the tensor; the tile's first pixel.
  at: u32, four: u32, start: u32, y: u32, x: u32,
}

fn place(group: vec3u, groups: vec3u, lane: u32, size: u32) -> Place {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 32u + lane;
  let four = index / params.tiles;
  let tile = params.firstTile + index % params.tiles;
  let image = tile / params.imageTiles;
  let rest = tile % params.imageTiles;
  let start = (image * params.fours + four) * params.height * params.width;
  return Place(four < params.fours, index, four, start, rest / params.rowTiles * size, rest % params.rowTiles * size);
}

// Zero outside the image: what lies before it wraps to beyond it.
fn load(p: Place, i: u32, j: u32) -> vec4f {
  let y = p.y + i - u32(params.padTop);
  let x = p.x + j - u32(params.padLeft);
  let valid = (y < params.height) & (x < params.width);
  return select(vec4f(), input[select(0u, p.start + y * params.width + x, valid)], valid);
}

fn store(p: Place, i: u32, j: u32, sum: vec4f) {
  if ((p.y + i < params.height) & (p.x + j < params.width)) {
    let at = p.start + (p.y + i) * params.width + p.x + j;
    var v = sum;
    if (SUMS) {
      sums[at] = v;
    }
    if (RESIDUAL) {
      v += residual[at];
    }
    // NaN passes.
    v = select(v, vec4f(params.lowest), v < vec4f(params.lowest));
    v = select(v, vec4f(params.highest), v > vec4f(params.highest));
    if (MASK) {
      v = select(v, vec4f(), mask[at] <= vec4f());
    }
    output[at] = v;
  }
}

fn biasOf(p: Place) -> vec4f {
  return select(vec4f(), bias[p.four], params.hasBias != 0u);
}

// Rows of B^T.
fn b4(d: Line4) -> Line4 {
  return Line4(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

fn b6(d: Line6) -> Line6 {
  let even = d[4] - 4.0 * d[2];
  let odd = d[3] - 4.0 * d[1];
  let far = d[4] - d[2];
  let near = 2.0 * (d[3] - d[1]);
  return Line6(
    4.0 * d[0] - 5.0 * d[2] + d[4],
    even + odd,
    even - odd,
    far + near,
    far - near,
    4.0 * d[1] - 5.0 * d[3] + d[5],
  );
}

// Rows of A^T.
fn a4(m: Line4) -> array<vec4f, 2> {
  return array<vec4f, 2>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}

fn a6(m: Line6) -> Line4 {
  let sum = m[1] + m[2];
  let difference = m[1] - m[2];
  let far = m[3] + m[4];
  let near = m[3] - m[4];
  return Line4(m[0] + sum + far, difference + 2.0 * near, sum + 4.0 * far, difference + 8.0 * near + m[5]);
}

@compute @workgroup_size(32)
fn input_2(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane, 2u);
  if (!p.inside) {
    return;
  }
  var r0 = Line4();
  var r1 = Line4();
  var r2 = Line4();
  var r3 = Line4();
  for (var j = 0u; j < params.side; j++) {
    let c = b4(Line4(load(p, 0u, j), load(p, 1u, j), load(p, 2u, j), load(p, 3u, j)));
    r0 = Line4(r0[1], r0[2], r0[3], c[0]);
    r1 = Line4(r1[1], r1[2], r1[3], c[1]);
    r2 = Line4(r2[1], r2[2], r2[3], c[2]);
    r3 = Line4(r3[1], r3[2], r3[3], c[3]);
  }
  let step = params.fours * params.tiles;
  var at = p.at;
  for (var i = 0u; i < params.side; i++) {
    let r = b4(r0);
    components[at + 0u * step] = r[0];
    components[at + 1u * step] = r[1];
    components[at + 2u * step] = r[2];
    components[at + 3u * step] = r[3];
    at += 4u * step;
    r0 = r1;
    r1 = r2;
    r2 = r3;
  }
}

@compute @workgroup_size(32)
fn input_4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane, 4u);
  if (!p.inside) {
    return;
  }
  var r0 = Line6();
  var r1 = Line6();
  var r2 = Line6();
  var r3 = Line6();
  var r4 = Line6();
  var r5 = Line6();
  for (var j = 0u; j < params.side; j++) {
    let c = b6(Line6(load(p, 0u, j), load(p, 1u, j), load(p, 2u, j), load(p, 3u, j), load(p, 4u, j), load(p, 5u, j)));
    r0 = Line6(r0[1], r0[2], r0[3], r0[4], r0[5], c[0]);
    r1 = Line6(r1[1], r1[2], r1[3], r1[4], r1[5], c[1]);
    r2 = Line6(r2[1], r2[2], r2[3], r2[4], r2[5], c[2]);
    r3 = Line6(r3[1], r3[2], r3[3], r3[4], r3[5], c[3]);
    r4 = Line6(r4[1], r4[2], r4[3], r4[4], r4[5], c[4]);
    r5 = Line6(r5[1], r5[2], r5[3], r5[4], r5[5], c[5]);
  }
  let step = params.fours * params.tiles;
  var at = p.at;
  for (var i = 0u; i < params.side; i++) {
    let r = b6(r0);
    components[at + 0u * step] = r[0];
    components[at + 1u * step] = r[1];
    components[at + 2u * step] = r[2];
    components[at + 3u * step] = r[3];
    components[at + 4u * step] = r[4];
    components[at + 5u * step] = r[5];
    at += 6u * step;
    r0 = r1;
    r1 = r2;
    r2 = r3;
    r3 = r4;
    r4 = r5;
  }
}

@compute @workgroup_size(32)
fn output_2(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane, 2u);
  if (!p.inside) {
    return;
  }
  let step = params.fours * params.tiles;
  let b = biasOf(p);
  var r0 = Line4();
  var r1 = Line4();
  for (var j = 0u; j < params.side; j++) {
    let at = p.at + j * step;
    let c = a4(Line4(products[at + 0u * step], products[at + 4u * step], products[at + 8u * step], products[at + 12u * step]));
    r0 = Line4(r0[1], r0[2], r0[3], c[0]);
    r1 = Line4(r1[1], r1[2], r1[3], c[1]);
  }
  for (var i = 0u; i < params.side - 2u; i++) {
    let r = a4(r0);
    store(p, i, 0u, r[0] + b);
    store(p, i, 1u, r[1] + b);
    r0 = r1;
  }
}

@compute @workgroup_size(32)
fn output_4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let p = place(group, groups, lane, 4u);
  if (!p.inside) {
    return;
  }
  let step = params.fours * params.tiles;
  let b = biasOf(p);
  var r0 = Line6();
  var r1 = Line6();
  var r2 = Line6();
  var r3 = Line6();
  for (var j = 0u; j < params.side; j++) {
    let at = p.at + j * step;
    let c = a6(Line6(products[at + 0u * step], products[at + 6u * step], products[at + 12u * step], products[at + 18u * step], products[at + 24u * step], products[at + 30u * step]));
    r0 = Line6(r0[1], r0[2], r0[3], r0[4], r0[5], c[0]);
    r1 = Line6(r1[1], r1[2], r1[3], r1[4], r1[5], c[1]);
    r2 = Line6(r2[1], r2[2], r2[3], r2[4], r2[5], c[2]);
    r3 = Line6(r3[1], r3[2], r3[3], r3[4], r3[5], c[3]);
  }
  for (var i = 0u; i < params.side - 2u; i++) {
    let r = a6(r0);
    store(p, i, 0u, r[0] + b);
    store(p, i, 1u, r[1] + b);
    store(p, i, 2u, r[2] + b);
    store(p, i, 3u, r[3] + b);
    r0 = r1;
    r1 = r2;
    r2 = r3;
  }
}
