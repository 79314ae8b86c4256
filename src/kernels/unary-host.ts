/** Elementwise functions of one number in float64, for constants on the host. Parameters as in shaders/unary.wgsl. */

/** Sum of the Taylor series of erf up to |x| = 3, beyond it the continued fraction of erfc (Abramowitz & Stegun 7.1.5, 7.1.14). */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x) || a > 6) return Number.isNaN(x) ? x : Math.sign(x);
  if (a < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 200; n++) {
      term *= -(x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = a;
  for (let k = 60; k >= 1; k--) fraction = a + k / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (fraction * Math.sqrt(Math.PI)));
}

/** Half to even, as IEEE 754 and ONNX round. */
export function roundHalfToEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

const sigmoid = (x: number): number => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
/** Unlike Math.min and Math.max in the order given: a NaN goes through, and an upper limit below the lower one wins. */
export const clip = (x: number, low: number, high: number): number => {
  const y = x < low ? low : x;
  return y > high ? high : y;
};

/** f(x; alpha, beta, gamma) */
export type UnaryFunction = (x: number, a: number, b: number, c: number) => number;

export const unaryFunctions = {
  Relu: (x) => (x < 0 ? 0 : x),
  LeakyRelu: (x, a) => (x < 0 ? a * x : x),
  Elu: (x, a, b, c) => c * (x < 0 ? a * Math.expm1(b * x) : x),
  Sigmoid: sigmoid,
  HardSigmoid: (x, a, b) => clip(a * x + b, 0, 1),
  HardSwish: (x) => x * clip(x / 6 + 0.5, 0, 1),
  Swish: (x, a) => x * sigmoid(a * x),
  Mish: (x) => x * Math.tanh(softplus(x)),
  Gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  GeluTanh: (x) => x * sigmoid(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)),
  Erf: erf,
  Tanh: Math.tanh,
  Softplus: softplus,
  Softsign: (x) => x / (1 + Math.abs(x)),
  ThresholdedRelu: (x, a) => (x <= a ? 0 : x),
  Clip: clip,
  Sqrt: Math.sqrt,
  Exp: Math.exp,
  Log: Math.log,
  Scale: (x, a) => a * x,
  Abs: Math.abs,
  Reciprocal: (x) => 1 / x,
  Sign: Math.sign,
  Floor: Math.floor,
  Ceil: Math.ceil,
  Round: roundHalfToEven,
  Truncate: Math.trunc,
  Nonzero: (x) => (x === 0 ? 0 : 1),
  Not: (x) => (x === 0 ? 1 : 0),
} as const satisfies Record<string, UnaryFunction>;

export type UnaryName = keyof typeof unaryFunctions;

/** OP of shaders/unary.wgsl, which lists the functions in this order (test/kernels/op-codes.test.ts). */
export const unaryCode = (name: UnaryName): number => Object.keys(unaryFunctions).indexOf(name);
