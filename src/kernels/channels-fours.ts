/** Dispatches of shaders/channels_fours.wgsl: elementwise work in fours with something by channel. */
import { sizeOf, type ValueInfo } from "../graph/graph.ts";
import type { Epilogue } from "./conv-fours.ts";
import { foursOf, sameInFours, wholeFours, type FoursTensor } from "./fours.ts";
import { f32, spread, type DeviceTensor, type KernelCall, type Lowering } from "./operator.ts";

/** Positions of a plane that one lane does. */
const EACH = 4;

function call(
  x: FoursTensor,
  entry: string,
  io: Pick<KernelCall, "reads" | "writes" | "label" | "constants">,
  rest: { readonly outFours?: number; readonly first?: number; readonly clamp?: Epilogue["clamp"] } = {},
): KernelCall {
  const [n = 0, channels = 0, ...image] = x.shape;
  const positions = sizeOf(image);
  const lanes = 32 * Math.ceil(positions / (32 * EACH));
  const planes = n * foursOf(channels);
  const [lowest, highest] = rest.clamp ?? [-Infinity, Infinity];
  return {
    shader: "channels_fours",
    entry,
    params: [
      ...[planes, lanes, positions, foursOf(channels)],
      ...[rest.outFours ?? 0, rest.first ?? 0, f32(lowest), f32(highest)],
    ],
    workgroups: spread((planes * lanes) / 32),
    ...io,
  };
}

/**
 * y = (x - mean) factor + shift, then the epilogue.
 * @param constants [four][mean, factor, shift][4]
 */
export function dispatchAffine(
  l: Pick<Lowering, "dispatch">,
  x: FoursTensor,
  constants: DeviceTensor,
  y: FoursTensor,
  label: string,
  epilogue: Epilogue = {},
): void {
  if (sizeOf(x.shape) === 0) return;
  const { residual, clamp } = epilogue;
  const io = {
    constants: { RESIDUAL: residual === undefined ? 0 : 1 },
    reads: [x.slot, constants.slot, (residual ?? constants).slot],
    writes: [y.slot],
    label,
  };
  l.dispatch(call(x, "affine", io, { clamp }));
}

/**
 * Which input of a Mul is an image in fours that the other scales by image and channel, if any: [image, factors].
 */
export function scaledImage(l: Lowering): readonly [number, number] | undefined {
  const shape = (k: number): readonly number[] => l.info(k)?.shape ?? [];
  const suits = (a: number, b: number): boolean => {
    const [x, s] = [shape(a), shape(b)];
    return (
      l.standsInFours(a) && wholeFours(x) && sameInFours(s) && x.length === s.length && x[0] === s[0] && x[1] === s[1]
    );
  };
  if (suits(0, 1)) return [0, 1];
  return suits(1, 0) ? [1, 0] : undefined;
}

/** y = x s, s one number for each image and channel. */
export function dispatchScaleChannels(l: Lowering, image: number, factors: number): void {
  const x = l.inputFours(image);
  const io = { reads: [x.slot, l.inputFours(factors).slot], writes: [l.outputFours(0).slot], label: l.node.name };
  if (sizeOf(x.shape) > 0) l.dispatch(call(x, "scale", io));
}

/** Whether a Concat along the channels can be done in fours: whole ones, and at least one input stands so. */
export function joinsFours(l: Lowering, axis: number): boolean {
  const infos: readonly (ValueInfo | undefined)[] = l.node.inputs.map((_, k) => l.info(k));
  if (axis !== 1 || infos.length < 2) return false;
  return (
    infos.every((info) => wholeFours(info?.shape ?? []) && sizeOf(info?.shape ?? [0]) > 0) &&
    infos.some((_, k) => l.standsInFours(k))
  );
}

export function dispatchJoin(l: Lowering): void {
  const inputs = l.node.inputs.map((_, k) => l.inputFours(k));
  const output = l.outputFours(0);
  const outFours = foursOf(output.shape[1] ?? 0);
  let first = 0;
  inputs.forEach((x, k) => {
    const io = { reads: [x.slot], writes: [output.slot], label: `${l.node.name}: input ${k}` };
    l.dispatch(call(x, "join", io, { outFours, first }));
    first += foursOf(x.shape[1] ?? 0);
  });
}
