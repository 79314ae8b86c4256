/** Sums over dimensions in a fixed order: what the gradient of broadcasting and repeating is made of. */
import type { DeviceTensor, Lowering, Slot } from "./operator.ts";
import { f32, spread } from "./operator.ts";
import { unsupported } from "./attributes.ts";
import { broadcastStrides, MAX_RANK, stridesOf } from "./shape.ts";
import type { Dim } from "./strided.ts";
import { boxParams, boxSize, collapse } from "./strided.ts";

/** Terms that one lane adds: bounds the rounding error, and gives small outputs enough lanes. */
const SEGMENT = 256;

/**
 * Writes into `to`, row-major over `kept`, the sums over `summed`; each dimension has the stride of its tensor in
 * `from`. Rounding error: at most (256 + the number of stages after the first times 256) u times the sum of the terms'
 * magnitudes, u = 2^-24.
 */
export function sumOver(
  l: Lowering,
  from: Slot,
  kept: readonly Dim[],
  summed: readonly Dim[],
  to: Slot,
  scale: number,
  step: string,
): void {
  const keptDims = collapse(kept);
  const summedDims = collapse(summed);
  if (keptDims.length + summedDims.length > MAX_RANK) {
    throw unsupported(
      l.node,
      `${keptDims.length + summedDims.length} dimensions to sum over; kernels take ${MAX_RANK}`,
    );
  }
  const outputs = boxSize(keptDims);
  const terms = boxSize(summedDims);
  if (outputs === 0) return;
  const segments = Math.max(1, Math.ceil(terms / SEGMENT));
  const target = segments === 1 ? to : l.scratch(outputs * segments);
  l.dispatch({
    shader: "sum",
    params: [
      outputs,
      segments,
      SEGMENT,
      terms,
      keptDims.length,
      keptDims.length + summedDims.length,
      f32(segments === 1 ? scale : 1),
      0,
      ...boxParams(l, [...keptDims, ...summedDims]),
    ],
    reads: [from],
    writes: [target],
    workgroups: spread(Math.ceil((outputs * segments) / 64)),
    label: `${l.node.name}: ${step}`,
  });
  if (segments > 1) {
    sumOver(
      l,
      target,
      [{ size: outputs, strides: [1] }],
      [{ size: segments, strides: [outputs] }],
      to,
      scale,
      `${step}, segments`,
    );
  }
}

/** The sum of `from`, a tensor of shape `fromShape`, down to the shape of `to`, which was broadcast to it. */
export function sumTo(
  l: Lowering,
  from: Slot,
  fromShape: readonly number[],
  to: DeviceTensor,
  scale: number,
  step: string,
): void {
  const own = broadcastStrides(to.shape, fromShape);
  const dims = fromShape.map((size, i) => ({ size, kept: own[i] !== 0 }));
  const strides = stridesOf(fromShape);
  const pick = (kept: boolean): Dim[] =>
    dims.flatMap((d, i) => (d.kept === kept ? [{ size: d.size, strides: [strides[i] ?? 0] }] : []));
  sumOver(l, from, pick(true), pick(false), to.slot, scale, step);
}
