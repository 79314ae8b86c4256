// Resampling along one axis: each output element is a weighted sum of input elements of its line, by a table made on the
// host in float64. Nearest, linear, cubic and antialiased resizing differ only in the table, and the gradient is the same
// kernel with the transposed table. Layout [outer, length, inner].

struct Params {
  // Output elements.
  count: u32,
  input_length: u32,
  output_length: u32,
  inner: u32,
  // Entries of the table.
  entries: u32,
  // Result of an output position without entries.
  empty: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// output_length + 1 numbers: where the entries of each output position begin and end; then for each entry the input
// position, and after those the weights. Whole numbers as float32, below 2^24.
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (index >= params.count) { return; }
  let line = index / params.inner;
  let position = line % params.output_length;
  let base = (line / params.output_length) * params.input_length * params.inner + index % params.inner;
  let first = u32(table[position]);
  let last = u32(table[position + 1u]);
  if (first == last) {
    output[index] = params.empty;
    return;
  }
  let positions = params.output_length + 1u;
  let weights = positions + params.entries;
  var sum = 0.0;
  for (var e = first; e < last; e++) {
    sum += table[weights + e] * input[base + u32(table[positions + e]) * params.inner];
  }
  output[index] = sum;
}
