/**
 * Tensors in fours: [N, C, H, W] as [N][C/4 rounded up][H][W] vectors of four channels ("NC4HW4"). Kernels that reduce over
 * channels load four of them at once; elementwise ones do not care. What lies beyond the last channel is finite and means
 * nothing. One spatial axis counts as W with H = 1.
 */
import { sizeOf } from "../graph/graph.ts";
import { spread, type DeviceTensor, type KernelCall, type Slot } from "./operator.ts";
import { planeOf } from "./spatial.ts";

/** A tensor whose memory is in fours; `shape` is what the network calls it. */
export interface FoursTensor {
  readonly slot: Slot;
  readonly shape: readonly number[];
  readonly inFours: true;
}

interface Target {
  dispatch(call: KernelCall): void;
}

export const foursOf = (channels: number): number => Math.ceil(channels / 4);

/** Whether a tensor of this shape can stand in fours at all: images of one or two axes. */
export const canBeInFours = (shape: readonly number[]): boolean => shape.length === 3 || shape.length === 4;

/** Elements of the memory, a multiple of 4. */
export const foursElements = (shape: readonly number[]): number =>
  4 * (shape[0] ?? 0) * foursOf(shape[1] ?? 0) * sizeOf(shape.slice(2));

/** Whether fours and rows are the same bytes: images of one pixel with a multiple of four channels. */
export const sameInFours = (shape: readonly number[]): boolean =>
  canBeInFours(shape) && (shape[1] ?? 0) % 4 === 0 && sizeOf(shape.slice(2)) === 1;

/** Whether there is nothing beyond the last channel: elementwise kernels then take the memory as it is. */
export const wholeFours = (shape: readonly number[]): boolean => canBeInFours(shape) && (shape[1] ?? 0) % 4 === 0;

/** The plain shape whose rows are the memory: [N, C/4, H W, 4]. */
export const foursAsPlain = (t: FoursTensor): DeviceTensor => {
  const [n = 0, c = 0, ...image] = t.shape;
  return { slot: t.slot, shape: [n, foursOf(c), sizeOf(image), 4] };
};

function convert(
  l: Target,
  entry: "pack" | "unpack",
  shape: readonly number[],
  from: Slot,
  to: Slot,
  label: string,
): void {
  const [n = 0, c = 0] = shape;
  const plane = planeOf(shape).reduce((a, b) => a * b, 1);
  const count = n * foursOf(c) * plane;
  if (count === 0) return;
  l.dispatch({
    shader: "fours",
    entry,
    params: [count, c, foursOf(c), plane],
    reads: [from],
    writes: [to],
    workgroups: spread(Math.ceil(count / 32)),
    label: `${label}: ${entry === "pack" ? "to fours" : "to rows"}`,
  });
}

/** Rows to fours, zeros beyond the last channel. */
export const packFours = (l: Target, from: DeviceTensor, to: FoursTensor, label: string): void => {
  convert(l, "pack", from.shape, from.slot, to.slot, label);
};

/** Fours to rows. */
export const unpackFours = (l: Target, from: FoursTensor, to: DeviceTensor, label: string): void => {
  convert(l, "unpack", from.shape, from.slot, to.slot, label);
};
