// Elementwise functions of two tensors with numpy's broadcasting, and their gradients before the sum over what was
// broadcast (sum.wgsl does that).
//
// Accuracy, u = 2^-24: Add, Sub and Mul are rounded once; Div within 5u (WGSL's 2.5 units in the last place); Pow
// within (|y| + 5) u for whole y up to 64, else (8 + 4 |y log|x||) u. Comparisons are exact.
// Max and Min give NaN where either argument is (tested by its bits, which no compiler may fold away).

override OP: u32;
// Which argument the gradient is for: 0 or 1.
override SIDE: u32 = 0u;

const ADD = 0u;
const SUB = 1u;
const MUL = 2u;
const DIV = 3u;
const DIV_INTEGER = 4u;
const POW = 5u;
const PRELU = 6u;
const MIN = 7u;
const MAX = 8u;
const EQUAL = 9u;
const LESS = 10u;
const LESS_OR_EQUAL = 11u;
const GREATER = 12u;
const GREATER_OR_EQUAL = 13u;
const AND = 14u;
const OR = 15u;
const XOR = 16u;

struct Params {
  count: u32,
  rank: u32,
  // Add gives scale * (a + b).
  scale: f32,
  // Numbers that WGSL has no way to write.
  infinity: f32,
  not_a_number: f32,
  // Of the output: size, a's stride, b's stride, last dimension last.
  dims: array<vec4u, 8>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;
// The same for equal shapes, four at a time: buffers are whole multiples of 16 bytes, and nobody reads what is beyond
// a tensor's end.
@group(0) @binding(1) var<storage, read> left4: array<vec4f>;
@group(0) @binding(2) var<storage, read> right4: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output4: array<vec4f>;
// Gradients read both arguments and the output's gradient.
@group(0) @binding(3) var<storage, read> seed: array<f32>;
@group(0) @binding(4) var<storage, read_write> slope: array<f32>;

// e^x and log x as in unary.wgsl, where the approximations are explained.
fn exponential(x: vec4f) -> vec4f {
  let low = select(x, vec4f(-104.0), x < vec4f(-104.0));
  let c = select(low, vec4f(89.0), low > vec4f(89.0));
  let n = round(c * 1.44269504);
  let r = (c - n * 0.693359375) + n * 2.12194440e-4;
  let tail = 0.5 + r * (1.6666518e-1 + r * (4.1666206e-2 + r * (8.368883e-3 + r * 1.3950479e-3)));
  let p = 1.0 + (r + r * r * tail);
  let k = vec4i(n);
  let half = k >> vec4u(1u);
  return p * bitcast<vec4f>((half + 127) << vec4u(23u)) * bitcast<vec4f>((k - half + 127) << vec4u(23u));
}

fn logarithm(x: vec4f) -> vec4f {
  let small = x < vec4f(1.17549435e-38);
  let scaled = select(x, x * 8388608.0, small);
  let bits = bitcast<vec4u>(scaled);
  var e = vec4i((bits >> vec4u(23u)) & vec4u(0xffu)) - select(vec4i(126), vec4i(149), small);
  var m = bitcast<vec4f>((bits & vec4u(0x7fffffu)) | vec4u(0x3f000000u));
  let below = m < vec4f(0.70710678);
  m = select(m, m * 2.0, below);
  e = select(e, e - 1, below);
  let n = vec4f(e);
  let f = m - 1.0;
  var q = vec4f(6.746685e-2);
  q = -1.1675772e-1 + f * q;
  q = 1.1888209e-1 + f * q;
  q = -1.24055736e-1 + f * q;
  q = 1.4219545e-1 + f * q;
  q = -1.6667996e-1 + f * q;
  q = 2.0002119e-1 + f * q;
  q = -2.500001e-1 + f * q;
  q = 3.3333313e-1 + f * q;
  let square = f * f;
  let own = n * 0.693359375 + (f + (n * -2.12194440e-4 - (0.5 * square - square * f * q)));
  // Infinity and NaN as they are; NaN below zero.
  let special = (bits & vec4u(0x7fffffffu)) >= vec4u(0x7f800000u);
  let result = select(select(own, x, special), vec4f(params.not_a_number), x < vec4f());
  return select(result, vec4f(-params.infinity), scaled == vec4f());
}

// As IEEE pow: a negative base only to whole powers, x^0 = 1^y = 1.
fn power(x: vec4f, y: vec4f) -> vec4f {
  let one = vec4f(1.0);
  let size = abs(y);
  // Whole powers up to 64 by squaring.
  var left_over = vec4u(select(vec4f(), size, size <= vec4f(64.0)));
  var base = x;
  var product = one;
  for (var k = 0u; k < 7u; k++) {
    product = select(product, product * base, (left_over & vec4u(1u)) == vec4u(1u));
    base = base * base;
    left_over = left_over >> vec4u(1u);
  }
  product = select(product, one / product, y < vec4f());
  let whole = floor(y) == y;
  let odd = whole & (abs(y * 0.5 - floor(y * 0.5)) == vec4f(0.5));
  let magnitude = exponential(y * logarithm(abs(x)));
  var general = select(magnitude, -magnitude, odd & (x < vec4f()));
  general = select(general, vec4f(params.not_a_number), !whole & (x < vec4f()));
  let result = select(general, product, whole & (size <= vec4f(64.0)));
  return select(result, one, (y == vec4f()) | (x == one));
}

fn is_nan(x: vec4f) -> vec4<bool> {
  return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

// Towards zero, exact for |a| < 2^24: the rounded quotient, put right by its remainder.
fn divide_integers(a: vec4f, b: vec4f) -> vec4f {
  let q = trunc(a / b);
  let rest = abs(a) - abs(q * b);
  let up = select(vec4f(), vec4f(1.0), rest >= abs(b));
  let down = select(vec4f(), vec4f(1.0), rest < vec4f());
  return q + (up - down) * sign(a) * sign(b);
}

fn truth(c: vec4<bool>) -> vec4f {
  return select(vec4f(), vec4f(1.0), c);
}

fn value(a: vec4f, b: vec4f) -> vec4f {
  let zero = vec4f();
  switch OP {
    case ADD: { return params.scale * (a + b); }
    case SUB: { return a - b; }
    case MUL: { return a * b; }
    case DIV: { return a / b; }
    case DIV_INTEGER: { return divide_integers(a, b); }
    case POW: { return power(a, b); }
    case PRELU: { return select(a, a * b, a < zero); }
    case MIN: { return select(a, b, (b < a) | is_nan(b)); }
    case MAX: { return select(a, b, (b > a) | is_nan(b)); }
    case EQUAL: { return truth(a == b); }
    case LESS: { return truth(a < b); }
    case LESS_OR_EQUAL: { return truth(a <= b); }
    case GREATER: { return truth(a > b); }
    case GREATER_OR_EQUAL: { return truth(a >= b); }
    case AND: { return truth((a != zero) & (b != zero)); }
    case OR: { return truth((a != zero) | (b != zero)); }
    case XOR: { return truth((a != zero) != (b != zero)); }
    default: { return a; }
  }
}

// 1 where a > b, 1/2 where they are equal, else 0: PyTorch's gradient of maximum.
fn share(a: vec4f, b: vec4f) -> vec4f {
  return select(select(vec4f(), vec4f(1.0), a > b), vec4f(0.5), a == b);
}

fn derivative(a: vec4f, b: vec4f) -> vec4f {
  let zero = vec4f();
  let one = vec4f(1.0);
  let first = SIDE == 0u;
  switch OP {
    case ADD: { return vec4f(params.scale); }
    case SUB: { return select(-one, one, first); }
    case MUL: { return select(a, b, first); }
    case DIV: {
      if (first) { return one / b; }
      return -(a / b) / b;
    }
    case POW: {
      if (first) { return select(b * power(a, b - 1.0), zero, b == zero); }
      return select(power(a, b) * logarithm(a), zero, (a == zero) & (b >= zero));
    }
    case PRELU: {
      if (first) { return select(b, one, a > zero); }
      return select(a, zero, a > zero);
    }
    case MIN: {
      if (first) { return share(b, a); }
      return share(a, b);
    }
    case MAX: {
      if (first) { return share(a, b); }
      return share(b, a);
    }
    default: { return zero; }
  }
}

fn position(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

// Where the two arguments of output element `index` lie.
fn places(index: u32) -> vec2u {
  var rest = index;
  var at = vec2u();
  for (var k = params.rank; k > 0u; k--) {
    let dim = params.dims[k - 1u];
    at += (rest % dim.x) * dim.yz;
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
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let at = places(index);
  output[index] = value(vec4f(left[at.x]), vec4f(right[at.y])).x;
}

@compute @workgroup_size(64)
fn same_shape(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index < (params.count + 3u) / 4u) { output4[index] = value(left4[index], right4[index]); }
}

@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index >= params.count) { return; }
  let at = places(index);
  slope[index] = seed[index] * derivative(vec4f(left[at.x]), vec4f(right[at.y])).x;
}
