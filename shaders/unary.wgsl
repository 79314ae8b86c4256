// Elementwise functions of one tensor and their gradients: y = f(x), and dx = g * f'(x).
//
// Accuracy, u = 2^-24 (half a unit in the last place, relative). WGSL promises little of exp, log and tanh, so that
// they are made here of additions and multiplications, whose rounding is exact, and divisions (2.5 units in the last
// place, 5u). Relative errors: exp 3u, log 3u, expm1 8u, sigmoid 12u, tanh 16u, softplus 8u, erf 5u, mish 18u, sqrt 9u;
// gelu 4u |x| + 2u |y|. Nothing overflows on the way to a finite result; what is below 2^-126 may be flushed to zero.
//
// NaN: comparisons are written so that a NaN passes through (select picks x where x < 0 is false); WGSL lets an
// implementation assume that there is none, though none of those tested here does.

override OP: u32;

const RELU = 0u;
const LEAKY_RELU = 1u;
const ELU = 2u;
const SIGMOID = 3u;
const HARD_SIGMOID = 4u;
const HARD_SWISH = 5u;
const SWISH = 6u;
const MISH = 7u;
const GELU = 8u;
const GELU_TANH = 9u;
const ERF = 10u;
const TANH = 11u;
const SOFTPLUS = 12u;
const SOFTSIGN = 13u;
const THRESHOLDED_RELU = 14u;
const CLIP = 15u;
const SQRT = 16u;
const EXP = 17u;
const LOG = 18u;
const SCALE = 19u;
const ABS = 20u;
const RECIPROCAL = 21u;
const SIGN = 22u;
const FLOOR = 23u;
const CEIL = 24u;
const ROUND = 25u;
const TRUNCATE = 26u;
const NONZERO = 27u;
const NOT = 28u;

struct Params {
  // Fours of elements, the last one perhaps not full.
  count: u32,
  alpha: f32,
  beta: f32,
  gamma: f32,
  // Numbers that WGSL has no way to write.
  infinity: f32,
  not_a_number: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Four elements at a time: buffers are whole multiples of 16 bytes, and nobody reads what is beyond a tensor's end.
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4f>;
// Gradients read the forward input and the output's gradient.
@group(0) @binding(2) var<storage, read> seed: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> slope: array<vec4f>;

// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2: minimax, error 5e-9 of e^r.
fn exp_tail(r: vec4f) -> vec4f {
  return 0.5 + r * (1.6666518e-1 + r * (4.1666206e-2 + r * (8.368883e-3 + r * 1.3950479e-3)));
}

fn power_of_two(n: vec4i) -> vec4f {
  return bitcast<vec4f>((n + 127) << vec4u(23u));
}

// e^x = 2^n e^r with r = x - n ln 2, ln 2 in two parts of which the first times n is exact.
fn exponential(x: vec4f) -> vec4f {
  let low = select(x, vec4f(-104.0), x < vec4f(-104.0));
  let c = select(low, vec4f(89.0), low > vec4f(89.0));
  let n = round(c * 1.44269504);
  let r = (c - n * 0.693359375) + n * 2.12194440e-4;
  let p = 1.0 + (r + r * r * exp_tail(r));
  // In two steps, for 2^128 and what is below 2^-126 are no float.
  let k = vec4i(n);
  let half = k >> vec4u(1u);
  return p * power_of_two(half) * power_of_two(k - half);
}

// e^x - 1 for x <= 0.
fn exponential_minus_1(x: vec4f) -> vec4f {
  return select(exponential(x) - 1.0, x + x * x * exp_tail(x), x > vec4f(-0.3465));
}

// log(1 + f) for sqrt(1/2) <= 1 + f <= sqrt(2), as f - (f^2/2 - f^3 Q(f)): minimax, error 4e-9; `extra` is added last.
fn log_near_1(f: vec4f, extra: vec4f) -> vec4f {
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
  return f + (extra - (0.5 * square - square * f * q));
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
  let own = n * 0.693359375 + log_near_1(m - 1.0, n * -2.12194440e-4);
  // Infinity and NaN as they are; NaN below zero.
  let special = (bits & vec4u(0x7fffffffu)) >= vec4u(0x7f800000u);
  let result = select(select(own, x, special), vec4f(params.not_a_number), x < vec4f());
  return select(result, vec4f(-params.infinity), scaled == vec4f());
}

// log(1 + t) for 0 <= t <= 1.
fn log_1_plus(t: vec4f) -> vec4f {
  let large = t > vec4f(0.41421356);
  let near = log_near_1(select(t, (t - 1.0) * 0.5, large), vec4f());
  return select(near, 0.69314718 + near, large);
}

fn sigmoid(x: vec4f) -> vec4f {
  let e = exponential(-abs(x));
  return select(vec4f(1.0), e, x < vec4f()) / (1.0 + e);
}

// sigmoid(x) (1 - sigmoid(x))
fn sigmoid_slope(x: vec4f) -> vec4f {
  let e = exponential(-abs(x));
  return e / ((1.0 + e) * (1.0 + e));
}

fn hyperbolic_tangent(x: vec4f) -> vec4f {
  let e = exponential_minus_1(-2.0 * abs(x));
  let t = -e / (e + 2.0);
  return select(t, -t, x < vec4f());
}

// erf for |x| < 1, as x P(x^2): minimax, error 6e-8 of the value.
fn erf_small(x: vec4f) -> vec4f {
  let s = x * x;
  var p = vec4f(7.889119e-5);
  p = -8.020841e-4 + s * p;
  p = 5.189535e-3 + s * p;
  p = -2.6854444e-2 + s * p;
  p = 1.12836e-1 + s * p;
  p = -3.7612626e-1 + s * p;
  p = 1.1283791 + s * p;
  return x * p;
}

// erfc(a) for a >= 1, as e^(-a^2) t Q(t) with t = 1 / (1 + a/2): minimax, error 2e-8 of the value.
fn erfc_large(a: vec4f) -> vec4f {
  let c = select(a, vec4f(10.2), a > vec4f(10.2));
  let t = 1.0 / (1.0 + 0.5 * c);
  var q = vec4f(9.3299985e-2);
  q = -2.2567174e-1 + t * q;
  q = 8.170409e-2 + t * q;
  q = 6.1520882e-2 + t * q;
  q = 1.7857665e-1 + t * q;
  q = 2.4700983e-1 + t * q;
  q = 2.8203407e-1 + t * q;
  q = 2.8209868e-1 + t * q;
  return exponential(-c * c) * t * q;
}

fn error_function(x: vec4f) -> vec4f {
  let a = abs(x);
  let tail = 1.0 - erfc_large(a);
  return select(select(tail, -tail, x < vec4f()), erf_small(x), a < vec4f(1.0));
}

// The normal distribution's P(X <= x).
fn normal_cdf(x: vec4f) -> vec4f {
  let z = x * 0.70710678;
  let a = abs(z);
  let tail = 0.5 * erfc_large(a);
  return select(select(1.0 - tail, tail, x < vec4f()), 0.5 + 0.5 * erf_small(z), a < vec4f(1.0));
}

// Twice the argument of Gelu's tanh: 0.5 (1 + tanh(u)) = sigmoid(2u).
fn gelu_argument(x: vec4f) -> vec4f {
  return 1.5957691 * (x + 0.044715 * x * x * x);
}

// x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); both divided by e^(2x) where x > 0.
fn mish_factor(x: vec4f) -> vec4f {
  let e = exponential(-abs(x));
  let n = select(e * (e + 2.0), 1.0 + 2.0 * e, x > vec4f());
  return n / (n + select(vec4f(2.0), 2.0 * e * e, x > vec4f()));
}

// 1 - mish_factor^2
fn mish_rest(x: vec4f) -> vec4f {
  let e = exponential(-abs(x));
  let right = x > vec4f();
  let d = select(e * (e + 2.0) + 2.0, 1.0 + 2.0 * e + 2.0 * e * e, right);
  let r = (1.0 + e) / d;
  return 4.0 * r * r * select(vec4f(1.0), e * e, right);
}

fn clamped(x: vec4f, low: f32, high: f32) -> vec4f {
  let y = select(x, vec4f(low), x < vec4f(low));
  return select(y, vec4f(high), y > vec4f(high));
}

fn value(x: vec4f) -> vec4f {
  let zero = vec4f();
  let one = vec4f(1.0);
  switch OP {
    case RELU: { return select(x, zero, x < zero); }
    case LEAKY_RELU: { return select(x, params.alpha * x, x < zero); }
    // Elu, Selu and Celu: gamma x, or gamma alpha (e^(beta x) - 1).
    case ELU: { return params.gamma * select(x, params.alpha * exponential_minus_1(params.beta * x), x < zero); }
    case SIGMOID: { return sigmoid(x); }
    case HARD_SIGMOID: { return clamped(params.alpha * x + params.beta, 0.0, 1.0); }
    case HARD_SWISH: { return x * clamped(x / 6.0 + 0.5, 0.0, 1.0); }
    case SWISH: { return x * sigmoid(params.alpha * x); }
    case MISH: { return x * mish_factor(x); }
    case GELU: { return x * normal_cdf(x); }
    case GELU_TANH: { return x * sigmoid(gelu_argument(x)); }
    case ERF: { return error_function(x); }
    case TANH: { return hyperbolic_tangent(x); }
    case SOFTPLUS: { return select(x, zero, x < zero) + log_1_plus(exponential(-abs(x))); }
    case SOFTSIGN: { return x / (1.0 + abs(x)); }
    case THRESHOLDED_RELU: { return select(x, zero, x <= vec4f(params.alpha)); }
    case CLIP: { return clamped(x, params.alpha, params.beta); }
    case SQRT: { return sqrt(x); }
    case EXP: { return exponential(x); }
    case LOG: { return logarithm(x); }
    case SCALE: { return params.alpha * x; }
    case ABS: { return abs(x); }
    case RECIPROCAL: { return one / x; }
    case SIGN: { return sign(x); }
    case FLOOR: { return floor(x); }
    case CEIL: { return ceil(x); }
    case ROUND: { return round(x); }
    case TRUNCATE: { return trunc(x); }
    case NONZERO: { return select(one, zero, x == zero); }
    case NOT: { return select(zero, one, x == zero); }
    default: { return x; }
  }
}

// f'(x), where f has a corner the value that PyTorch takes there.
fn derivative(x: vec4f) -> vec4f {
  let zero = vec4f();
  let one = vec4f(1.0);
  switch OP {
    case RELU: { return select(zero, one, x > zero); }
    case LEAKY_RELU: { return select(vec4f(params.alpha), one, x > zero); }
    case ELU: {
      return params.gamma * select(params.alpha * params.beta * exponential(params.beta * x), one, x > zero);
    }
    case SIGMOID: { return sigmoid_slope(x); }
    case HARD_SIGMOID: {
      let y = params.alpha * x + params.beta;
      return select(zero, vec4f(params.alpha), (y > zero) & (y < one));
    }
    case HARD_SWISH: {
      return select(select(x / 3.0 + 0.5, one, x >= vec4f(3.0)), zero, x <= vec4f(-3.0));
    }
    case SWISH: {
      let z = params.alpha * x;
      return sigmoid(z) + z * sigmoid_slope(z);
    }
    case MISH: { return mish_factor(x) + x * mish_rest(x) * sigmoid(x); }
    case GELU: { return normal_cdf(x) + x * 0.39894228 * exponential(-0.5 * x * x); }
    case GELU_TANH: {
      // Beyond 50 the slope is 0 or 1 to the last bit, and x^2 may overflow.
      let c = clamp(x, vec4f(-50.0), vec4f(50.0));
      let z = gelu_argument(c);
      return sigmoid(z) + c * sigmoid_slope(z) * 1.5957691 * (1.0 + 0.134145 * c * c);
    }
    case ERF: { return 1.1283791 * exponential(-x * x); }
    case TANH: {
      // 1 - tanh^2 = 4 sigmoid'(2x): no cancellation where tanh is near 1.
      return 4.0 * sigmoid_slope(2.0 * x);
    }
    case SOFTPLUS: { return sigmoid(x); }
    case SOFTSIGN: {
      let r = 1.0 / (1.0 + abs(x));
      return r * r;
    }
    case THRESHOLDED_RELU: { return select(zero, one, x > vec4f(params.alpha)); }
    case CLIP: { return select(zero, one, (x > vec4f(params.alpha)) & (x < vec4f(params.beta))); }
    case SQRT: { return 0.5 / sqrt(x); }
    case EXP: { return exponential(x); }
    case LOG: { return one / x; }
    case SCALE: { return vec4f(params.alpha); }
    case ABS: { return sign(x); }
    case RECIPROCAL: {
      let r = one / x;
      return -r * r;
    }
    default: { return zero; }
  }
}

fn position(group: vec3u, groups: vec3u, lane: u32) -> u32 {
  return ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + lane;
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index < params.count) { output[index] = value(input[index]); }
}

@compute @workgroup_size(64)
fn gradient(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = position(group, groups, lane);
  if (index < params.count) { slope[index] = seed[index] * derivative(input[index]); }
}
