/**
 * The spatial attributes that Conv and the pooling operators share: strides, dilations, pads, auto_pad.
 * Source: ONNX operators Conv, MaxPool, AveragePool, LpPool (opsets 7 to 22).
 */
import type { GraphNode } from "../graph/graph.ts";
import { intsAttr, modelError, stringAttr } from "./attributes.ts";
import { showShape } from "./shape.ts";

/** A window that slides over the spatial axes; every list has one entry a spatial axis. */
export interface Spatial {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly padsBegin: readonly number[];
  readonly padsEnd: readonly number[];
  /** Output sizes. */
  readonly output: readonly number[];
}

/** Two spatial axes from one or two: what has one is an image of height 1. @param filler of the axis that is not there */
export const pair = (list: readonly number[], filler: number): [number, number] =>
  list.length === 1 ? [filler, list[0] ?? filler] : [list[0] ?? filler, list[1] ?? filler];

/** Height and width of [n, channels, ...] with one or two spatial axes. */
export const planeOf = (shape: readonly number[]): [number, number] => pair(shape.slice(2), 1);

export const AUTO_PADS = ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"] as const;

/** Positions in a padded input that kernels can count without wrapping around. */
const MOST = 2 ** 31 - 1;

/** What the window covers along one axis, gaps included: (k - 1) d + 1. */
export const extent = (kernel: number, dilation: number): number => (kernel - 1) * dilation + 1;

function positive(node: GraphNode, what: string, list: readonly number[]): readonly number[] {
  if (!list.every((x) => x > 0)) throw modelError(node, "ATTRIBUTE", `${what} ${showShape(list)} must be positive`);
  return list;
}

/**
 * Explicit pads and output sizes of a sliding window, from the node's strides, pads, dilations and auto_pad.
 *
 * `ceilMode` rounds output sizes up, and then drops a last window that would start beyond the input and its begin
 * padding, as ONNX says and PyTorch does; with auto_pad it has no effect, as ONNX says. `kernel_shape` is not read:
 * Conv's kernel is its weight's shape, which the caller compares with the attribute.
 * @throws UnbraidError ATTRIBUTE for lists of a wrong length or non-positive sizes; SHAPE where the window is larger
 * than the padded input
 */
export function resolveSpatial(
  node: GraphNode,
  inputSpatial: readonly number[],
  kernel: readonly number[],
  options: { readonly ceilMode?: boolean } = {},
): Spatial {
  const rank = inputSpatial.length;
  if (kernel.length !== rank) {
    throw modelError(node, "SHAPE", `kernel ${showShape(kernel)} does not fit the ${rank} spatial axes of the input`);
  }
  const ones = new Array<number>(rank).fill(1);
  const strides = positive(node, "strides", intsAttr(node, "strides", ones, rank));
  const dilations = positive(node, "dilations", intsAttr(node, "dilations", ones, rank));
  positive(node, "kernel", kernel);
  const autoPad = stringAttr(node, "auto_pad", "NOTSET", AUTO_PADS);
  const explicit = intsAttr(node, "pads", new Array<number>(2 * rank).fill(0), 2 * rank);
  if (explicit.some((p) => p < 0)) {
    throw modelError(node, "ATTRIBUTE", `pads ${showShape(explicit)} must not be negative`);
  }

  const padsBegin: number[] = [];
  const padsEnd: number[] = [];
  const output: number[] = [];
  inputSpatial.forEach((size, axis) => {
    const stride = strides[axis] ?? 1;
    const span = extent(kernel[axis] ?? 1, dilations[axis] ?? 1);
    let begin = 0;
    let end = 0;
    if (autoPad === "NOTSET") {
      begin = explicit[axis] ?? 0;
      end = explicit[rank + axis] ?? 0;
    } else if (autoPad !== "VALID") {
      const total = Math.max((Math.ceil(size / stride) - 1) * stride + span - size, 0);
      const less = Math.floor(total / 2);
      begin = autoPad === "SAME_UPPER" ? less : total - less;
      end = total - begin;
    }
    if (size + begin + end > MOST) {
      throw modelError(
        node,
        "ATTRIBUTE",
        `spatial axis ${axis}: ${size} elements with pads ${begin} and ${end} exceed ${MOST}`,
      );
    }
    const room = size + begin + end - span;
    const up = options.ceilMode === true && autoPad === "NOTSET";
    // Rounded up, a window that only begins inside is one: 3x3/2 on 2x2 gives 1x1.
    let count = (up ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
    if (up && (count - 1) * stride >= size + begin) count--;
    if (size < 1 || count < 1) {
      throw modelError(
        node,
        "SHAPE",
        `spatial axis ${axis}: a window of ${span} does not fit into ${size} elements with pads ${begin} and ${end}`,
        "Use a larger image: the network shrinks this one to nothing.",
      );
    }
    padsBegin.push(begin);
    padsEnd.push(end);
    output.push(count);
  });
  return { kernel, strides, dilations, padsBegin, padsEnd, output };
}
