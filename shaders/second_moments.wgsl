// Sums of outer products of rows, M[i, j] = sum over rows r of x[r, offset + i] x[r, offset + j], for columns of one group
// (METHOD.md B, "Beyond partitions": second moments of patches, and of images' tap sums). Rows come `perImage` an image;
// those of images that the batch does not have are left out. A lane computes a tile of 4 x 4, in blocks of 64 rows of an
// image, so that rounding grows with 64 + rows / 64 + images. Tiles below the diagonal are not computed: they hold what
// they held.

struct Params {
  // Rows of the buffer belong to images [first, first + images).
  first: u32, images: u32, perImage: u32,
  // Columns of a row, where the group's begin, and how many they are.
  stride: u32, offset: u32, size: u32,
  // Adds to the result instead of replacing it.
  adds: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
// [1] how many images of the batch count.
@group(0) @binding(2) var<storage, read> count: array<u32>;
@group(0) @binding(3) var<storage, read_write> moments: array<f32>;

// Columns i to i + 3 of the row that begins at `at`; the group's last column again where it has no more.
fn four(at: u32, i: u32) -> vec4f {
  let last = params.size - 1u;
  return vec4f(
    rows[at + min(i, last)], rows[at + min(i + 1u, last)], rows[at + min(i + 2u, last)], rows[at + min(i + 3u, last)],
  );
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  let tiles = (params.size + 3u) / 4u;
  let row = index / tiles;
  let column = index % tiles;
  if (row >= tiles || column < row) {
    return;
  }
  let i = row * 4u;
  let j = column * 4u;
  let images = clamp(count[0], params.first, params.first + params.images) - params.first;
  var sum = mat4x4f();
  for (var n = 0u; n < images; n++) {
    var image = mat4x4f();
    for (var begin = 0u; begin < params.perImage; begin += 64u) {
      var block = mat4x4f();
      for (var q = begin; q < min(begin + 64u, params.perImage); q++) {
        let at = (n * params.perImage + q) * params.stride + params.offset;
        let a = four(at, i);
        let b = four(at, j);
        block[0] = fma(vec4f(a.x), b, block[0]);
        block[1] = fma(vec4f(a.y), b, block[1]);
        block[2] = fma(vec4f(a.z), b, block[2]);
        block[3] = fma(vec4f(a.w), b, block[3]);
      }
      image += block;
    }
    sum += image;
  }
  for (var r = 0u; r < 4u && i + r < params.size; r++) {
    for (var c = 0u; c < 4u && j + c < params.size; c++) {
      let at = (i + r) * params.size + j + c;
      var value = sum[r][c];
      if (params.adds != 0u) {
        value += moments[at];
      }
      moments[at] = value;
    }
  }
}
