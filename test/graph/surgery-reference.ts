/** A float64 reference of Conv, and runs of ONNX bytes in onnxruntime, for the tests of surgery. */
import { InferenceSession, Tensor } from "onnxruntime-node";
import { must } from "../../src/errors.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import { GRAPH, MODEL } from "../../src/onnx/schema.ts";
import { bytesField } from "../../src/onnx/fields.ts";
import { concatBytes, holds, wireFields } from "../../src/onnx/wire.ts";
import { onnx } from "../support/onnx-proto.ts";

export interface ConvCase {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  readonly groups: number;
}

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** Coordinates of position `flat` in a box of `dims`, row-major. */
function unflatten(flat: number, dims: readonly number[]): number[] {
  const out: number[] = [];
  for (let rest = flat, k = dims.length - 1; k >= 0; k--) {
    const d = dims[k] ?? 1;
    out[k] = rest % d;
    rest = Math.floor(rest / d);
  }
  return out;
}

/** Conv (ONNX operator Conv, any rank) in float64: x [N, I, ...], w [C, I/groups, ...kernel], b [C]. */
export function conv64(
  x: ArrayLike<number>,
  xDims: readonly number[],
  w: ArrayLike<number>,
  channels: number,
  b: ArrayLike<number> | undefined,
  c: ConvCase,
): Float64Array {
  const [n = 1, inputs = 1, ...size] = xDims;
  const rank = size.length;
  const outSize = size.map(
    (s, d) =>
      Math.floor(
        (s + (c.pads[d] ?? 0) + (c.pads[d + rank] ?? 0) - (c.dilations[d] ?? 1) * ((c.kernel[d] ?? 1) - 1) - 1) /
          (c.strides[d] ?? 1),
      ) + 1,
  );
  const groupInputs = inputs / c.groups;
  const taps = product(c.kernel);
  const out = new Float64Array(n * channels * product(outSize));
  for (let o = 0; o < out.length; o++) {
    const [image = 0, channel = 0, ...at] = unflatten(o, [n, channels, ...outSize]);
    const first = Math.floor(channel / (channels / c.groups)) * groupInputs;
    let sum = b?.[channel] ?? 0;
    for (let t = 0; t < taps; t++) {
      const tap = unflatten(t, c.kernel);
      const from = at.map((p, d) => p * (c.strides[d] ?? 1) + (tap[d] ?? 0) * (c.dilations[d] ?? 1) - (c.pads[d] ?? 0));
      if (from.some((p, d) => p < 0 || p >= (size[d] ?? 0))) continue;
      const offset = from.reduce((k, p, d) => k * (size[d] ?? 0) + p, 0);
      for (let i = 0; i < groupInputs; i++) {
        sum +=
          (w[(channel * groupInputs + i) * taps + t] ?? 0) *
          (x[(image * inputs + first + i) * product(size) + offset] ?? 0);
      }
    }
    out[o] = sum;
  }
  return out;
}

export interface Result {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** One run in onnxruntime (CPU, one thread, no rewriting of the graph). */
export async function runOrt(
  model: Uint8Array | string,
  name: string,
  x: Float32Array,
  dims: readonly number[],
): Promise<Readonly<Record<string, Result>>> {
  const options: InferenceSession.SessionOptions = {
    intraOpNumThreads: 1,
    graphOptimizationLevel: "disabled",
    logSeverityLevel: 3,
  };
  const session = await (typeof model === "string"
    ? InferenceSession.create(model, options)
    : InferenceSession.create(model, options));
  const outputs = await session.run({ [name]: new Tensor("float32", x, dims) });
  await session.release();
  return Object.fromEntries(
    Object.entries(outputs).map(([key, value]) => [key, { dims: value.dims, data: value.data as Float32Array }]),
  );
}

/** The file with more values made graph outputs, so that onnxruntime shows them. */
export function withOutputs(model: OnnxModel, names: readonly string[]): Uint8Array {
  const { bytes } = model;
  const graph = must(
    [...wireFields(bytes)].find((field) => holds(field, MODEL.graph)),
    "graph",
  );
  const added = names.map((name) => bytesField(GRAPH.output, onnx.ValueInfoProto.encode({ name }).finish()));
  const content = concatBytes([bytes.subarray(graph.value, graph.end), ...added]);
  return concatBytes([bytes.subarray(0, graph.start), bytesField(MODEL.graph, content), bytes.subarray(graph.end)]);
}

/**
 * How far a split layer may be from the layer it came from, at an output where sum |w||x| + |b| is `sum`, in arithmetic
 * of unit roundoff u. A sum of n products and a bias, in any order, is off by at most (n+1) u sum (first order). The
 * original is one such sum. Each of the K parts and the residual is one; the merge weighs them 1, ..., 1, -(K-1), so
 * their magnitudes add to at most (2K-1) sum, and adds K+1 terms that are not 0. For K = 2 that is METHOD.md C's
 * 3 u (n+2) sum. The factor 1.01 is for the second order.
 */
export const splitBound = (n: number, concepts: number, u: number, sum: number): number =>
  1.01 * u * sum * (n + 1 + (2 * concepts - 1) * (n + 1 + concepts + 1));
