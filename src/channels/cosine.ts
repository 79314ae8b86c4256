/** The cosine of two ARVs. */
import { roundToHalf } from "../onnx/half.ts";
import { dot, type Vector } from "./linear-algebra.ts";

/** In float64; NaN where a norm is zero or anything is not finite. */
export function cosine(a: Vector, b: Vector): number {
  const norms = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b));
  return norms > 0 ? dot(a, b) / norms : NaN;
}

/**
 * In the original's float16 steps (METHOD.md A4): dot product, squared norms, roots, product and quotient each rounded.
 * A norm of 256 overflows its square, and the cosine is then 0 or NaN: `overflow` says so.
 * @param a, b rounded to float16
 */
export function officialCosine(a: Vector, b: Vector): { readonly cosine: number; readonly overflow: boolean } {
  const norm = (v: Vector): number => roundToHalf(Math.sqrt(roundToHalf(dot(v, v))));
  const norms = roundToHalf(norm(a) * norm(b));
  return { cosine: roundToHalf(roundToHalf(dot(a, b)) / norms), overflow: norms === Infinity };
}
