/** Tap sums on the GPU (METHOD.md B, "One pass finds"): the dispatch, and which of its shader's ways suits a layer. */
import type { Extension } from "../engine/plan.ts";
import { wholeFours, type FoursTensor } from "../kernels/fours.ts";
import { spread, type DeviceTensor } from "../kernels/operator.ts";
import { planeOf } from "../kernels/spatial.ts";
import { tapSumsShader } from "../shaders.generated.ts";
import type { StudyLayer } from "./study.ts";
import { tapsOf } from "./study.ts";

/** Lanes of a workgroup where each walks a plane by itself: one subgroup of a software adapter, two of a GPU. */
export const lanesFor = (subgroups: number): number => (subgroups >= 16 ? 64 : 8);

const isPowerOfTwo = (n: number): boolean => (n & (n - 1)) === 0;

/** The entry point of shaders/tap_sums.wgsl. */
function wayFor({ kernel, strides }: StudyLayer): "main" | "point" | "small" {
  if (!strides.every(isPowerOfTwo)) return "main";
  if (kernel.every((k) => k === 1)) return "point";
  return kernel.every((k) => k <= 3) ? "small" : "main";
}

/**
 * Tap sums of `input` for a layer of this geometry.
 * @param input [n, I, height, width] or [n, I, width]
 * @param target [n, I, K]
 * @param outputShape the layer's, [n, C, ...]
 */
export function tapSums(
  x: Pick<Extension, "dispatch" | "subgroups">,
  input: DeviceTensor,
  target: DeviceTensor,
  g: StudyLayer,
  outputShape: readonly number[],
): void {
  const [batch = 0] = input.shape;
  const [top, left] = g.pads;
  const way = wayFor(g);
  let [from, to] = [planeOf(input.shape), planeOf(outputShape)];
  // One tap that meets every element: the plane is as good as one row, and has fewer ends.
  if (way === "point" && from.join() === to.join() && [...g.strides, top + 1, left + 1].every((n) => n === 1)) {
    from = [1, from.reduce((a, b) => a * b, 1)];
    to = from;
  }
  const lanes = lanesFor(x.subgroups);
  const tasks = batch * g.inChannels * (way === "main" ? tapsOf(g) : 1);
  x.dispatch({
    shader: tapSumsShader,
    entry: way,
    constants: { LANES: lanes },
    params: [...[batch, g.inChannels, ...from], ...[...to, ...g.kernel], ...[...g.strides, ...g.dilations, top, left]],
    reads: [input.slot],
    writes: [target.slot],
    workgroups: spread(Math.ceil(tasks / lanes)),
    label: "tap sums",
  });
}

/** Whether `tapSumsFours` can do a layer: whole fours, up to 3x3 taps. By the shape alone: bits must not depend on the plan. */
export const tapSumsInFours = (inputShape: readonly number[], g: StudyLayer): boolean =>
  wholeFours(inputShape) && g.kernel.every((k) => k <= 3);

/** Tap sums of an input in fours; the rest as in `tapSums`. */
export function tapSumsFours(
  x: Pick<Extension, "dispatch" | "subgroups">,
  input: FoursTensor,
  target: DeviceTensor,
  g: StudyLayer,
  outputShape: readonly number[],
): void {
  const [batch = 0] = input.shape;
  const lanes = lanesFor(x.subgroups);
  x.dispatch({
    shader: tapSumsShader,
    entry: g.kernel.every((k) => k === 1) ? "fours_point" : "fours",
    constants: { LANES: lanes },
    params: [
      ...[batch, g.inChannels, ...planeOf(input.shape)],
      ...[...planeOf(outputShape), ...g.kernel],
      ...[...g.strides, ...g.dilations, g.pads[0], g.pads[1]],
    ],
    reads: [input.slot],
    writes: [target.slot],
    workgroups: spread(Math.ceil((batch * g.inChannels) / 4 / lanes)),
    label: "tap sums",
  });
}
