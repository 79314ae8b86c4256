// Reductions. The input is seen as rows: the elements that are reduced together. Axes that are kept number the rows, axes
// that are reduced number the elements of a row; neighbouring axes of one sort are merged by the caller, which leaves at
// most four of each. Elements lie at place(row) + place(element), whatever the axes.
//
// `serial` gives a row to one invocation, `tree` to a workgroup of 64: lane l sums elements l, l + 64, ... and the 64
// sums are joined pairwise. The caller chooses by the length of the row alone, so that the same row gives the same bits
// in every batch.

struct Params {
  // Sizes and strides, outermost first, with leading sizes of 1.
  row_size: vec4u,
  row_stride: vec4u,
  element_size: vec4u,
  element_stride: vec4u,
  rows: u32,
  length: u32,
  // Result of an empty row before `finish`.
  start: f32,
  // Norm of LP.
  p: f32,
}

const SUM = 0u;
const MEAN = 1u;
const L1 = 2u;
const L2 = 3u;
const MAX = 4u;
const MIN = 5u;
const PROD = 6u;
const SUM_SQUARE = 7u;
const LOG_SUM = 8u;
const LP = 9u;
// Of exp(x - reference), where the reference is the row's maximum.
const LOG_SUM_EXP = 10u;
// How many elements equal the row's reference.
const COUNT = 11u;

override OP: u32 = SUM;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// One number a row, for LOG_SUM_EXP and COUNT; otherwise anything.
@group(0) @binding(2) var<storage, read> reference: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

var<workgroup> partial: array<f32, 64>;

fn place(index: u32, size: vec4u, stride: vec4u) -> u32 {
  var rest = index / size.w;
  var at = (index - rest * size.w) * stride.w;
  if (rest > 0u) {
    at += (rest % size.z) * stride.z;
    rest /= size.z;
    at += (rest % size.y) * stride.y + (rest / size.y) * stride.x;
  }
  return at;
}

fn lift(x: f32, row: u32) -> f32 {
  switch OP {
    case L1: { return abs(x); }
    case L2, SUM_SQUARE: { return x * x; }
    case LP: { return select(pow(abs(x), params.p), 0.0, x == 0.0); }
    case LOG_SUM_EXP: { return exp(x - reference[row]); }
    case COUNT: { return select(0.0, 1.0, x == reference[row]); }
    default: { return x; }
  }
}

// By its bits, which no compiler may fold away.
fn is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn join(a: f32, b: f32) -> f32 {
  switch OP {
    // WGSL's max and min may drop a NaN; here it stays.
    case MAX: { return select(a, b, (b > a) | is_nan(b)); }
    case MIN: { return select(a, b, (b < a) | is_nan(b)); }
    case PROD: { return a * b; }
    default: { return a + b; }
  }
}

fn finish(x: f32, row: u32) -> f32 {
  switch OP {
    case MEAN: { return x / f32(params.length); }
    case L2: { return sqrt(x); }
    case LOG_SUM: { return log(x); }
    case LP: { return select(pow(x, 1.0 / params.p), 0.0, x == 0.0); }
    case LOG_SUM_EXP: { return log(x) + reference[row]; }
    default: { return x; }
  }
}

@compute @workgroup_size(64)
fn serial(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (row >= params.rows) { return; }
  let base = place(row, params.row_size, params.row_stride);
  var sum = params.start;
  for (var k = 0u; k < params.length; k++) {
    sum = join(sum, lift(input[base + place(k, params.element_size, params.element_stride)], row));
  }
  output[row] = finish(sum, row);
}

@compute @workgroup_size(64)
fn tree(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = (group.z * groups.y + group.y) * groups.x + group.x;
  // Workgroups beyond the last row (spread over two dimensions) do the last row again and write nothing.
  let mine = min(row, params.rows - 1u);
  let base = place(mine, params.row_size, params.row_stride);
  var sum = params.start;
  for (var k = lane; k < params.length; k += 64u) {
    sum = join(sum, lift(input[base + place(k, params.element_size, params.element_stride)], mine));
  }
  partial[lane] = sum;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] = join(partial[lane], partial[lane + half]);
    }
  }
  if (lane == 0u && row < params.rows) {
    output[row] = finish(partial[0], row);
  }
}
