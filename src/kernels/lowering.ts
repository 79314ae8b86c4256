/** Small things that operators say while they are lowered to dispatches. */
import { modelError, unsupported } from "./attributes.ts";
import type { DeviceTensor, GradientLowering, KernelCall, Lowering, Param, Slot } from "./operator.ts";
import { spread } from "./operator.ts";

/** Input `k`, which infer has seen to be there. */
export function deviceInput(l: Lowering, k: number): DeviceTensor {
  const tensor = l.input(k);
  if (tensor === undefined) throw modelError(l.node, "INPUT_MISSING", `input ${k} is missing`);
  return tensor;
}

/** Whether the node has output `k` (a name that is not empty). */
export const hasOutput = (l: Lowering, k: number): boolean => (l.node.outputs[k] ?? "") !== "";

/** Workgroups of 64 for one invocation an element. */
export const groupsFor = (elements: number): number => Math.ceil(elements / 64);

interface Step {
  readonly shader: Extract<KernelCall["shader"], string>;
  readonly entry?: string;
  readonly params: readonly Param[];
  readonly reads: readonly Slot[];
  readonly writes: readonly Slot[];
}

/** Dispatches `step` with `groups` workgroups, however many; none where there is nothing to do. */
export function dispatchGroups(l: Lowering, groups: number, step: Step): void {
  if (groups === 0) return;
  l.dispatch({
    shader: step.shader,
    ...(step.entry === undefined ? {} : { entry: step.entry }),
    params: step.params,
    reads: step.reads,
    writes: step.writes,
    workgroups: spread(groups),
    label: `${l.node.name}: ${step.entry ?? step.shader}`,
  });
}

/** Dispatches `step` with one invocation for each of `elements`, 64 in a workgroup. */
export function dispatchElements(l: Lowering, elements: number, step: Step): void {
  dispatchGroups(l, groupsFor(elements), step);
}

/**
 * The gradient of output 0, where that of input 0 is wanted; undefined where there is nothing to do. For operators whose
 * other inputs have no gradient.
 * @throws UnbraidError UNSUPPORTED_NODE where the gradient with regard to a parameter is wanted
 */
export function dataGradient(l: GradientLowering): DeviceTensor | undefined {
  l.node.inputs.forEach((name, k) => {
    if (k > 0 && name !== "" && l.wants(k)) {
      throw unsupported(
        l.node,
        `there is no gradient with regard to input ${k} ("${name}")`,
        "Ask for gradients with regard to values that reach this node through its first input only.",
      );
    }
  });
  return l.wants(0) ? l.outputGradient(0) : undefined;
}
