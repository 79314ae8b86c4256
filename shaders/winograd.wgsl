// Winograd's convolution for 3x3 kernels of stride 1, F(2x2, 3x3) and F(4x4, 3x3) (Lavin and Gray, "Fast algorithms for
// convolutional neural networks", 2015): Y = A^T [ (G w G^T) . (B^T d B) ] A for each tile of 2x2 or 4x4 outputs, d the 4x4 or
// 6x6 inputs under it. `input_*` makes B^T d B of every tile and four of channels, the products of matrices run in
// conv_fours, one for each of the 16 or 36 components, and `output_*` makes Y. A lane does one tile of one four of channels.
// Tensors in fours; components [component][four][tile].

override RESIDUAL: bool = false;
override MASK: bool = false;

struct Params {
  // The first tile of those that are computed, of all images, and how many; tiles of one image, of a row of it; fours of
  // channels.
  firstTile: u32, tiles: u32, imageTiles: u32, rowTiles: u32, fours: u32,
  // Of the image that is read or written.
  height: u32, width: u32, padTop: i32, padLeft: i32,
  lowest: f32, highest: f32, hasBias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> components: array<vec4f>;

@group(0) @binding(1) var<storage, read> products: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read> mask: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> output: array<vec4f>;

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
  let c0 = b4(Line4(load(p, 0u, 0u), load(p, 1u, 0u), load(p, 2u, 0u), load(p, 3u, 0u)));
  let c1 = b4(Line4(load(p, 0u, 1u), load(p, 1u, 1u), load(p, 2u, 1u), load(p, 3u, 1u)));
  let c2 = b4(Line4(load(p, 0u, 2u), load(p, 1u, 2u), load(p, 2u, 2u), load(p, 3u, 2u)));
  let c3 = b4(Line4(load(p, 0u, 3u), load(p, 1u, 3u), load(p, 2u, 3u), load(p, 3u, 3u)));
  let step = params.fours * params.tiles;
  let r0 = b4(Line4(c0[0], c1[0], c2[0], c3[0]));
  components[p.at + 0u * step] = r0[0];
  components[p.at + 1u * step] = r0[1];
  components[p.at + 2u * step] = r0[2];
  components[p.at + 3u * step] = r0[3];
  let r1 = b4(Line4(c0[1], c1[1], c2[1], c3[1]));
  components[p.at + 4u * step] = r1[0];
  components[p.at + 5u * step] = r1[1];
  components[p.at + 6u * step] = r1[2];
  components[p.at + 7u * step] = r1[3];
  let r2 = b4(Line4(c0[2], c1[2], c2[2], c3[2]));
  components[p.at + 8u * step] = r2[0];
  components[p.at + 9u * step] = r2[1];
  components[p.at + 10u * step] = r2[2];
  components[p.at + 11u * step] = r2[3];
  let r3 = b4(Line4(c0[3], c1[3], c2[3], c3[3]));
  components[p.at + 12u * step] = r3[0];
  components[p.at + 13u * step] = r3[1];
  components[p.at + 14u * step] = r3[2];
  components[p.at + 15u * step] = r3[3];
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
  let c0 = b6(Line6(load(p, 0u, 0u), load(p, 1u, 0u), load(p, 2u, 0u), load(p, 3u, 0u), load(p, 4u, 0u), load(p, 5u, 0u)));
  let c1 = b6(Line6(load(p, 0u, 1u), load(p, 1u, 1u), load(p, 2u, 1u), load(p, 3u, 1u), load(p, 4u, 1u), load(p, 5u, 1u)));
  let c2 = b6(Line6(load(p, 0u, 2u), load(p, 1u, 2u), load(p, 2u, 2u), load(p, 3u, 2u), load(p, 4u, 2u), load(p, 5u, 2u)));
  let c3 = b6(Line6(load(p, 0u, 3u), load(p, 1u, 3u), load(p, 2u, 3u), load(p, 3u, 3u), load(p, 4u, 3u), load(p, 5u, 3u)));
  let c4 = b6(Line6(load(p, 0u, 4u), load(p, 1u, 4u), load(p, 2u, 4u), load(p, 3u, 4u), load(p, 4u, 4u), load(p, 5u, 4u)));
  let c5 = b6(Line6(load(p, 0u, 5u), load(p, 1u, 5u), load(p, 2u, 5u), load(p, 3u, 5u), load(p, 4u, 5u), load(p, 5u, 5u)));
  let step = params.fours * params.tiles;
  let r0 = b6(Line6(c0[0], c1[0], c2[0], c3[0], c4[0], c5[0]));
  components[p.at + 0u * step] = r0[0];
  components[p.at + 1u * step] = r0[1];
  components[p.at + 2u * step] = r0[2];
  components[p.at + 3u * step] = r0[3];
  components[p.at + 4u * step] = r0[4];
  components[p.at + 5u * step] = r0[5];
  let r1 = b6(Line6(c0[1], c1[1], c2[1], c3[1], c4[1], c5[1]));
  components[p.at + 6u * step] = r1[0];
  components[p.at + 7u * step] = r1[1];
  components[p.at + 8u * step] = r1[2];
  components[p.at + 9u * step] = r1[3];
  components[p.at + 10u * step] = r1[4];
  components[p.at + 11u * step] = r1[5];
  let r2 = b6(Line6(c0[2], c1[2], c2[2], c3[2], c4[2], c5[2]));
  components[p.at + 12u * step] = r2[0];
  components[p.at + 13u * step] = r2[1];
  components[p.at + 14u * step] = r2[2];
  components[p.at + 15u * step] = r2[3];
  components[p.at + 16u * step] = r2[4];
  components[p.at + 17u * step] = r2[5];
  let r3 = b6(Line6(c0[3], c1[3], c2[3], c3[3], c4[3], c5[3]));
  components[p.at + 18u * step] = r3[0];
  components[p.at + 19u * step] = r3[1];
  components[p.at + 20u * step] = r3[2];
  components[p.at + 21u * step] = r3[3];
  components[p.at + 22u * step] = r3[4];
  components[p.at + 23u * step] = r3[5];
  let r4 = b6(Line6(c0[4], c1[4], c2[4], c3[4], c4[4], c5[4]));
  components[p.at + 24u * step] = r4[0];
  components[p.at + 25u * step] = r4[1];
  components[p.at + 26u * step] = r4[2];
  components[p.at + 27u * step] = r4[3];
  components[p.at + 28u * step] = r4[4];
  components[p.at + 29u * step] = r4[5];
  let r5 = b6(Line6(c0[5], c1[5], c2[5], c3[5], c4[5], c5[5]));
  components[p.at + 30u * step] = r5[0];
  components[p.at + 31u * step] = r5[1];
  components[p.at + 32u * step] = r5[2];
  components[p.at + 33u * step] = r5[3];
  components[p.at + 34u * step] = r5[4];
  components[p.at + 35u * step] = r5[5];
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
  let c0 = a4(Line4(products[p.at + 0u * step], products[p.at + 4u * step], products[p.at + 8u * step], products[p.at + 12u * step]));
  let c1 = a4(Line4(products[p.at + 1u * step], products[p.at + 5u * step], products[p.at + 9u * step], products[p.at + 13u * step]));
  let c2 = a4(Line4(products[p.at + 2u * step], products[p.at + 6u * step], products[p.at + 10u * step], products[p.at + 14u * step]));
  let c3 = a4(Line4(products[p.at + 3u * step], products[p.at + 7u * step], products[p.at + 11u * step], products[p.at + 15u * step]));
  let r0 = a4(Line4(c0[0], c1[0], c2[0], c3[0]));
  store(p, 0u, 0u, r0[0] + b);
  store(p, 0u, 1u, r0[1] + b);
  let r1 = a4(Line4(c0[1], c1[1], c2[1], c3[1]));
  store(p, 1u, 0u, r1[0] + b);
  store(p, 1u, 1u, r1[1] + b);
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
  let c0 = a6(Line6(products[p.at + 0u * step], products[p.at + 6u * step], products[p.at + 12u * step], products[p.at + 18u * step], products[p.at + 24u * step], products[p.at + 30u * step]));
  let c1 = a6(Line6(products[p.at + 1u * step], products[p.at + 7u * step], products[p.at + 13u * step], products[p.at + 19u * step], products[p.at + 25u * step], products[p.at + 31u * step]));
  let c2 = a6(Line6(products[p.at + 2u * step], products[p.at + 8u * step], products[p.at + 14u * step], products[p.at + 20u * step], products[p.at + 26u * step], products[p.at + 32u * step]));
  let c3 = a6(Line6(products[p.at + 3u * step], products[p.at + 9u * step], products[p.at + 15u * step], products[p.at + 21u * step], products[p.at + 27u * step], products[p.at + 33u * step]));
  let c4 = a6(Line6(products[p.at + 4u * step], products[p.at + 10u * step], products[p.at + 16u * step], products[p.at + 22u * step], products[p.at + 28u * step], products[p.at + 34u * step]));
  let c5 = a6(Line6(products[p.at + 5u * step], products[p.at + 11u * step], products[p.at + 17u * step], products[p.at + 23u * step], products[p.at + 29u * step], products[p.at + 35u * step]));
  let r0 = a6(Line6(c0[0], c1[0], c2[0], c3[0], c4[0], c5[0]));
  store(p, 0u, 0u, r0[0] + b);
  store(p, 0u, 1u, r0[1] + b);
  store(p, 0u, 2u, r0[2] + b);
  store(p, 0u, 3u, r0[3] + b);
  let r1 = a6(Line6(c0[1], c1[1], c2[1], c3[1], c4[1], c5[1]));
  store(p, 1u, 0u, r1[0] + b);
  store(p, 1u, 1u, r1[1] + b);
  store(p, 1u, 2u, r1[2] + b);
  store(p, 1u, 3u, r1[3] + b);
  let r2 = a6(Line6(c0[2], c1[2], c2[2], c3[2], c4[2], c5[2]));
  store(p, 2u, 0u, r2[0] + b);
  store(p, 2u, 1u, r2[1] + b);
  store(p, 2u, 2u, r2[2] + b);
  store(p, 2u, 3u, r2[3] + b);
  let r3 = a6(Line6(c0[3], c1[3], c2[3], c3[3], c4[3], c5[3]));
  store(p, 3u, 0u, r3[0] + b);
  store(p, 3u, 1u, r3[1] + b);
  store(p, 3u, 2u, r3[2] + b);
  store(p, 3u, 3u, r3[3] + b);
}
