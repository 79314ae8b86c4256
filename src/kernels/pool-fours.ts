/** Pooling of images in fours (shaders/pool_fours.wgsl): maxima, averages, means of whole planes, and the gradients of two. */
import type { Epilogue } from "./conv-fours.ts";
import { foursElements, type FoursTensor } from "./fours.ts";
import type { GradientLowering, KernelCall, Lowering, Param, Slot } from "./operator.ts";
import { spread } from "./operator.ts";
import { pair, planeOf, type Spatial } from "./spatial.ts";

/** Which taps, counted in the padded input, enter the divisor of an average. */
export interface Range {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

interface Task {
  /** Lanes, and the tensors of the operator, whatever is read and written. */
  readonly count: number;
  readonly x: FoursTensor;
  readonly y: FoursTensor;
  /** None where a window is a whole plane. */
  readonly window?: Spatial;
  readonly range?: Range;
}

function params({ count, x, y, window, range = { from: [0], to: [0] } }: Task): Param[] {
  const [from, to] = [planeOf(x.shape), planeOf(y.shape)];
  return [
    ...[count, ...from, ...to],
    ...[...pair(window?.kernel ?? from, 1), ...pair(window?.strides ?? [1], 1)],
    ...[...pair(window?.dilations ?? [1], 1), ...pair(window?.padsBegin ?? [0], 0)],
    ...[...pair(range.from, 0), ...pair(range.to, 1)],
  ];
}

function dispatch(
  l: Lowering,
  entry: string,
  task: Task,
  call: Pick<KernelCall, "constants" | "reads" | "writes">,
): void {
  if (task.count === 0) return;
  l.dispatch({
    ...{ shader: "pool_fours", entry, params: params(task), ...call },
    workgroups: spread(Math.ceil(task.count / 32)),
    label: `${l.node.name}: ${entry}`,
  });
}

function forward(l: Lowering, entry: string, window?: Spatial, range?: Range): void {
  const [x, y] = [l.inputFours(0), l.outputFours(0)];
  const task = { count: foursElements(y.shape) / 4, x, y, ...(window && { window }), ...(range && { range }) };
  dispatch(l, entry, task, { reads: [x.slot], writes: [y.slot] });
}

/** Notes which tap is the maximum where the gradient will ask for it. */
export const maximumFours = (l: Lowering, window: Spatial): void => {
  if (l.note === undefined) {
    forward(l, "maximum", window);
    return;
  }
  const [x, y] = [l.inputFours(0), l.outputFours(0)];
  const elements = foursElements(y.shape);
  const chosen = l.scratch(elements);
  l.note(chosen);
  const task = { count: elements / 4, x, y, window };
  dispatch(l, "maximum_noted", task, { reads: [x.slot], writes: [y.slot, chosen] });
};

export const averageFours = (l: Lowering, window: Spatial, range: Range): void => {
  forward(l, "average", window, range);
};

/** The mean of each plane: one lane sums all of it, for the few hundred positions that networks have left there. */
export const meanFours = (l: Lowering): void => {
  forward(l, "mean");
};

const constantsOf = ({ residual, mask }: Epilogue): Record<string, number> => ({
  RESIDUAL: residual === undefined ? 0 : 1,
  MASK: mask === undefined ? 0 : 1,
});

/**
 * The gradient of a maximum, the gradient of the output being in fours.
 * @param chosen as `maximumFours` noted it
 */
export function maxGradientFours(l: GradientLowering, window: Spatial, chosen: Slot): void {
  const dy = l.outputGradientFours(0);
  if (dy === undefined) return;
  const { output: x, epilogue } = l.inputGradientFused(0);
  const width = planeOf(x.shape)[1];
  const lanes = width === 0 ? 0 : (foursElements(x.shape) / 4 / width) * Math.ceil(width / 4);
  const others = [epilogue.residual ?? dy, epilogue.mask ?? dy].map((t) => t.slot);
  dispatch(
    l,
    "max_gradient",
    { count: lanes, x, y: dy, window },
    { constants: constantsOf(epilogue), reads: [dy.slot, ...others, chosen], writes: [x.slot] },
  );
}

/** The gradient of `meanFours`. */
export function meanGradientFours(l: GradientLowering): void {
  const dy = l.outputGradientFours(0);
  if (dy === undefined) return;
  const { output, epilogue } = l.inputGradientFused(0);
  const others = [epilogue.residual ?? dy, epilogue.mask ?? dy].map((t) => t.slot);
  dispatch(
    l,
    "mean_gradient",
    { count: foursElements(output.shape) / 4, x: output, y: dy },
    { constants: constantsOf(epilogue), reads: [dy.slot, ...others], writes: [output.slot] },
  );
}
