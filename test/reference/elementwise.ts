/** Elementwise operators in float64, from their definitions in ONNX's operator documentation. */

/** Simpson's rule on 2/sqrt(pi) e^(-t^2): error below 1e-13 at this width. */
export function erf(x: number): number {
  const a = Math.min(Math.abs(x), 6);
  const n = 2 * Math.ceil(a * 200) + 2;
  const h = a / n;
  let sum = 1 + Math.exp(-a * a);
  for (let i = 1; i < n; i++) sum += (i % 2 === 0 ? 2 : 4) * Math.exp(-((i * h) ** 2));
  return (Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum * h) / 3;
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
/** log(1 + e^x); for large x it is x to the last bit. */
export const softplus = (x: number): number => (x > 40 ? x : Math.log1p(Math.exp(x)));
const positive = (x: number): number => Math.max(x, 0);
const negative = (x: number): number => Math.min(x, 0);

export type Attributes = Readonly<Record<string, number | string>>;
const number = (value: number | string | undefined, fallback: number): number =>
  typeof value === "number" ? value : fallback;

export const unaryReference: Readonly<Record<string, (x: number, a: Attributes) => number>> = {
  Relu: positive,
  LeakyRelu: (x, a) => positive(x) + number(a.alpha, 0.01) * negative(x),
  Elu: (x, a) => positive(x) + number(a.alpha, 1) * Math.expm1(negative(x)),
  Selu: (x, a) =>
    number(a.gamma, 1.05070102214813232421875) *
    (positive(x) + number(a.alpha, 1.67326319217681884765625) * Math.expm1(negative(x))),
  Celu: (x, a) => positive(x) + negative(number(a.alpha, 1) * Math.expm1(x / number(a.alpha, 1))),
  Sigmoid: sigmoid,
  HardSigmoid: (x, a) => Math.min(1, positive(number(a.alpha, 0.2) * x + number(a.beta, 0.5))),
  HardSwish: (x) => x * Math.min(1, positive(x / 6 + 0.5)),
  Swish: (x, a) => x * sigmoid(number(a.alpha, 1) * x),
  Mish: (x) => x * Math.tanh(softplus(x)),
  Gelu: (x, a) =>
    a.approximate === "tanh"
      ? 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)))
      : 0.5 * x * (1 + erf(x / Math.SQRT2)),
  Erf: erf,
  Tanh: Math.tanh,
  Softplus: softplus,
  Softsign: (x) => x / (1 + Math.abs(x)),
  ThresholdedRelu: (x, a) => (x > number(a.alpha, 1) ? x : 0),
  Clip: (x, a) => Math.min(number(a.max, Infinity), Math.max(number(a.min, -Infinity), x)),
  Sqrt: Math.sqrt,
  Exp: Math.exp,
  Log: Math.log,
  Neg: (x) => -x,
  Abs: Math.abs,
  Reciprocal: (x) => 1 / x,
  Sign: Math.sign,
  Floor: Math.floor,
  Ceil: Math.ceil,
  // Halves are told apart by the parity of their neighbours.
  Round: (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)),
};

const bit = (b: boolean): number => (b ? 1 : 0);

export const binaryReference: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Pow: Math.pow,
  PRelu: (a, b) => positive(a) + b * negative(a),
  Min: Math.min,
  Max: Math.max,
  Equal: (a, b) => bit(a === b),
  Less: (a, b) => bit(a < b),
  LessOrEqual: (a, b) => bit(a <= b),
  Greater: (a, b) => bit(a > b),
  GreaterOrEqual: (a, b) => bit(a >= b),
  And: (a, b) => bit(a === 1 && b === 1),
  Or: (a, b) => bit(a === 1 || b === 1),
  Xor: (a, b) => bit(a !== b),
};

/** Row-major positions of the elements of a tensor of `shape` at every index of `out`, to which it is broadcast. */
export function broadcastPositions(shape: readonly number[], out: readonly number[]): number[] {
  const size = out.reduce((n, d) => n * d, 1);
  return Array.from({ length: size }, (_, flat) => {
    let rest = flat;
    let at = 0;
    let stride = 1;
    for (let i = 1; i <= out.length; i++) {
      const outSize = out[out.length - i] ?? 1;
      const ownSize = shape[shape.length - i] ?? 1;
      if (ownSize > 1) at += (rest % outSize) * stride;
      stride *= ownSize;
      rest = Math.floor(rest / outSize);
    }
    return at;
  });
}
