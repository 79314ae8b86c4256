// Sums a tensor over some of its dimensions, in a fixed order: the gradient of whatever was broadcast or repeated.
// One lane adds one segment of one output element's terms in order; a second run of this kernel adds the segments,
// so that the error stays within (segment + number of segments) u of the sum of magnitudes.

struct Params {
  // Elements of the output, without segments.
  kept: u32,
  segments: u32,
  // Terms of one segment, and of all together.
  segment: u32,
  terms: u32,
  // Dimensions that are kept, and all of them.
  kept_rank: u32,
  rank: u32,
  scale: f32,
  padding: u32,
  // Size and stride in `input`: the kept dimensions first, then those summed over.
  dims: array<vec4u, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// Segment by segment, each shaped like the output.
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn offset(index: u32, first: u32, end: u32) -> u32 {
  var rest = index;
  var at = 0u;
  for (var k = end; k > first; k--) {
    let dim = params.dims[k - 1u];
    at += (rest % dim.x) * dim.y;
    rest /= dim.x;
  }
  return at;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (index >= params.kept * params.segments) { return; }
  let base = offset(index % params.kept, 0u, params.kept_rank);
  let first = index / params.kept * params.segment;
  let end = min(first + params.segment, params.terms);
  var sum = 0.0;
  for (var term = first; term < end; term++) {
    sum += input[base + offset(term, params.kept_rank, params.rank)];
  }
  output[index] = params.scale * sum;
}
