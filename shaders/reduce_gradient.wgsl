// Gradients of the reductions in reduce.wgsl, which explains rows and elements. One invocation writes one input element;
// in which order invocations go over them is the caller's choice (`rows_inside`), by which axis is the innermost.

struct Params {
  row_size: vec4u,
  row_stride: vec4u,
  element_size: vec4u,
  element_stride: vec4u,
  rows: u32,
  length: u32,
  // 1: neighbouring invocations take neighbouring rows; 0: neighbouring elements of a row.
  rows_inside: u32,
  p: f32,
}

// As in reduce.wgsl.
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
const LOG_SUM_EXP = 10u;

override OP: u32 = SUM;

@group(0) @binding(0) var<uniform> params: Params;
// Output gradient and output, one number a row.
@group(0) @binding(1) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<storage, read> input: array<f32>;
// How many elements attain the row's maximum or minimum, for MAX and MIN; otherwise anything.
@group(0) @binding(4) var<storage, read> ties: array<f32>;
@group(0) @binding(5) var<storage, read_write> input_gradient: array<f32>;

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

// The product of the row's other elements: right where some are zero, unlike output / x.
fn product_of_others(base: u32, element: u32) -> f32 {
  var product = 1.0;
  for (var k = 0u; k < params.length; k++) {
    if (k != element) {
      product *= input[base + place(k, params.element_size, params.element_stride)];
    }
  }
  return product;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
  if (index >= params.rows * params.length) { return; }
  var row = index / params.length;
  var element = index - row * params.length;
  if (params.rows_inside == 1u) {
    element = index / params.rows;
    row = index - element * params.rows;
  }
  let base = place(row, params.row_size, params.row_stride);
  let at = base + place(element, params.element_size, params.element_stride);
  let x = input[at];
  let y = output[row];
  var slope = 1.0;
  switch OP {
    case MEAN: { slope = 1.0 / f32(params.length); }
    case L1: { slope = sign(x); }
    // 0 where the norm is 0, as PyTorch has it.
    case L2: { slope = select(x / y, 0.0, y == 0.0); }
    // Evenly among ties, as PyTorch's amax and amin.
    case MAX, MIN: { slope = select(0.0, 1.0 / ties[row], x == y); }
    case PROD: { slope = product_of_others(base, element); }
    case SUM_SQUARE: { slope = 2.0 * x; }
    case LOG_SUM: { slope = exp(-y); }
    case LOG_SUM_EXP: { slope = exp(x - y); }
    case LP: { slope = select(sign(x) * pow(abs(x) / y, params.p - 1.0), 0.0, y == 0.0 || x == 0.0); }
    default: {}
  }
  input_gradient[at] = output_gradient[row] * slope;
}
