/**
 * Conv and ConvTranspose in float64 from one list: which input element meets which weight in which output element.
 * Forward, all three gradients and the sums of magnitudes that bounds need follow from it.
 * Source: ONNX operators Conv and ConvTranspose (opset 11), whose text gives pads and output sizes.
 */
import { sizeOf } from "../../src/graph/graph.ts";
import { stridesOf } from "../../src/kernels/shape.ts";
import { indices } from "./pool.ts";

export interface ConvAttributes {
  readonly group?: number;
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly auto_pad?: string;
  readonly output_padding?: readonly number[];
  readonly output_shape?: readonly number[];
}

/** The products that make up the output: output += input * weight, each an offset into its tensor. */
export interface ConvTerms {
  readonly shape: readonly number[];
  readonly each: (visit: (input: number, weight: number, output: number) => void) => void;
}

const filled = (list: readonly number[] | undefined, rank: number, value: number): readonly number[] =>
  list ?? new Array<number>(rank).fill(value);

/** Output [N, C, ...] of Conv of x with w. */
export function convTerms(x: readonly number[], w: readonly number[], a: ConvAttributes): ConvTerms {
  const rank = x.length - 2;
  const strides = filled(a.strides, rank, 1);
  const dilations = filled(a.dilations, rank, 1);
  const explicit = filled(a.pads, 2 * rank, 0);
  const begins: number[] = [];
  const output: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const [size, stride] = [x[axis + 2] ?? 0, strides[axis] ?? 1];
    const span = ((w[axis + 2] ?? 1) - 1) * (dilations[axis] ?? 1) + 1;
    if (a.auto_pad === "SAME_UPPER" || a.auto_pad === "SAME_LOWER") {
      const count = Math.ceil(size / stride);
      const total = Math.max(0, (count - 1) * stride + span - size);
      begins.push(a.auto_pad === "SAME_UPPER" ? Math.floor(total / 2) : Math.ceil(total / 2));
      output.push(count);
      continue;
    }
    const [begin, end] = a.auto_pad === "VALID" ? [0, 0] : [explicit[axis] ?? 0, explicit[rank + axis] ?? 0];
    begins.push(begin);
    output.push(Math.floor((size + begin + end - span) / stride) + 1);
  }
  const shape = [x[0] ?? 0, w[0] ?? 0, ...output];
  // Weight [O, I/g, ...]: output channel o of group g reads that group's inputs.
  const meeting = { coarse: shape, fine: x, w, group: a.group ?? 1, strides, dilations, begins };
  return {
    shape,
    each: (visit) => {
      meetings(meeting, (weight, coarse, fine) => {
        visit(fine, weight, coarse);
      });
    },
  };
}

/** Output of ConvTranspose: what Conv reads where, it writes there. */
export function transposeTerms(x: readonly number[], w: readonly number[], a: ConvAttributes): ConvTerms {
  const rank = x.length - 2;
  const strides = filled(a.strides, rank, 1);
  const dilations = filled(a.dilations, rank, 1);
  const explicit = filled(a.pads, 2 * rank, 0);
  const begins: number[] = [];
  const output: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const [size, stride] = [x[axis + 2] ?? 0, strides[axis] ?? 1];
    const span = ((w[axis + 2] ?? 1) - 1) * (dilations[axis] ?? 1) + 1;
    const all = stride * (size - 1) + (a.output_padding?.[axis] ?? 0) + span;
    const same = a.auto_pad === "SAME_UPPER" || a.auto_pad === "SAME_LOWER";
    const wanted = a.output_shape?.at(axis - rank) ?? (same ? size * stride : undefined);
    if (wanted === undefined) {
      const [begin, end] = a.auto_pad === "VALID" ? [0, 0] : [explicit[axis] ?? 0, explicit[rank + axis] ?? 0];
      begins.push(begin);
      output.push(all - begin - end);
    } else {
      const total = Math.max(0, all - wanted);
      begins.push(a.auto_pad === "SAME_UPPER" ? Math.floor(total / 2) : Math.ceil(total / 2));
      output.push(wanted);
    }
  }
  const group = a.group ?? 1;
  const shape = [x[0] ?? 0, (w[1] ?? 0) * group, ...output];
  const meeting = { coarse: x, fine: shape, w, group, strides, dilations, begins };
  return {
    shape,
    each: (visit) => {
      meetings(meeting, (weight, coarse, fine) => {
        visit(coarse, weight, fine);
      });
    },
  };
}

interface Meeting {
  /** The side whose positions step by 1, [N, A, ...], and the side where they step by the stride, [N, B, ...]. */
  readonly coarse: readonly number[];
  readonly fine: readonly number[];
  /** [A, B/g, ...kernel] */
  readonly w: readonly number[];
  readonly group: number;
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begins: readonly number[];
}

/** Visits the offsets wherever fine's position = stride * coarse's + dilation * tap - pad lies inside. */
function meetings(m: Meeting, visit: (weight: number, coarse: number, fine: number) => void): void {
  const [coarseSteps, fineSteps] = [stridesOf(m.coarse), stridesOf(m.fine)];
  const at = (steps: readonly number[], index: readonly number[]) =>
    index.reduce((sum, i, axis) => sum + i * (steps[axis] ?? 0), 0);
  const [channels = 1, perGroup = 1, ...kernel] = m.w;
  const [batch = 1, , ...positions] = m.coarse;
  const size = m.fine.slice(2);
  const taps = indices(kernel);
  for (const [n = 0, a = 0, ...p] of indices([batch, channels, ...positions])) {
    const group = Math.floor(a / (channels / m.group));
    taps.forEach((tap, t) => {
      const q = tap.map((k, d) => (p[d] ?? 0) * (m.strides[d] ?? 1) + k * (m.dilations[d] ?? 1) - (m.begins[d] ?? 0));
      if (!q.every((i, d) => i >= 0 && i < (size[d] ?? 0))) return;
      for (let b = 0; b < perGroup; b++) {
        const weight = (a * perGroup + b) * taps.length + t;
        visit(weight, at(coarseSteps, [n, a, ...p]), at(fineSteps, [n, group * perGroup + b, ...q]));
      }
    });
  }
}

/** A sum of products for each element: its value, the sum of its terms' sizes, and their number. */
export interface Sums {
  readonly values: Float64Array;
  readonly sizes: Float64Array;
  readonly counts: Uint32Array;
}

export const emptySums = (n: number): Sums => ({
  values: new Float64Array(n),
  sizes: new Float64Array(n),
  counts: new Uint32Array(n),
});

export function add(s: Sums, at: number, product: number): void {
  s.values[at] = (s.values[at] ?? 0) + product;
  s.sizes[at] = (s.sizes[at] ?? 0) + Math.abs(product);
  s.counts[at] = (s.counts[at] ?? 0) + 1;
}

type Numbers = ArrayLike<number>;

/** Forward. @param bias [C] */
export function convForward({ shape, each }: ConvTerms, x: Numbers, w: Numbers, bias?: Numbers): Sums {
  const sums = emptySums(sizeOf(shape));
  each((input, weight, output) => {
    add(sums, output, (x[input] ?? NaN) * (w[weight] ?? NaN));
  });
  const plane = sizeOf(shape.slice(2));
  if (bias !== undefined) {
    for (let i = 0; i < sums.values.length; i++) add(sums, i, bias[Math.floor(i / plane) % (shape[1] ?? 1)] ?? NaN);
  }
  return sums;
}

/** Gradients of sum(dy * y) with regard to input, weight and bias. */
export function convGradients({ shape, each }: ConvTerms, x: Numbers, w: Numbers, dy: Numbers): [Sums, Sums, Sums] {
  const [dx, dw, db] = [emptySums(x.length), emptySums(w.length), emptySums(shape[1] ?? 0)];
  each((input, weight, output) => {
    add(dx, input, (dy[output] ?? NaN) * (w[weight] ?? NaN));
    add(dw, weight, (dy[output] ?? NaN) * (x[input] ?? NaN));
  });
  const plane = sizeOf(shape.slice(2));
  for (let i = 0; i < dy.length; i++) add(db, Math.floor(i / plane) % (shape[1] ?? 1), dy[i] ?? NaN);
  return [dx, dw, db];
}
