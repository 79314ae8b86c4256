/** How many images at a time: what plans need by their own count, against what a device allows. No device is touched. */
import { usedConstants, type Plan } from "./plan.ts";

/** What plans take of a device. */
export interface PlanNeeds {
  /** Constants and activations, in bytes. */
  readonly bytes: number;
  /** Bytes of the largest buffer. */
  readonly largest: number;
  /** The most workgroups of a dispatch in one dimension. */
  readonly workgroups: number;
}

/** Buffers come in multiples of 16 bytes (`Gpu.buffer`). */
const rounded = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16);

/**
 * What sessions need that are open at once. The parameters of dispatches, a few kilobytes, are not counted.
 * @param sessions the plans of each: they share constants, and have activations of their own
 */
export function needsOf(sessions: readonly (readonly Plan[])[]): PlanNeeds {
  const buffers = sessions.flatMap((plans) => {
    const constants = new Map(plans.flatMap(usedConstants).map((slot) => [slot.key, rounded(slot.bytes)]));
    return [...constants.values(), ...plans.flatMap((plan) => plan.bufferBytes.map(rounded))];
  });
  const most = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), 0);
  return {
    bytes: buffers.reduce((a, b) => a + b, 0),
    largest: most(buffers),
    workgroups: most(sessions.flat().flatMap((plan) => plan.calls.map((call) => most(call.workgroups)))),
  };
}

/** `largest` and `workgroups` are the device's; `bytes` is a budget, as WebGPU tells nobody how much memory is free. */
export const fits = (needs: PlanNeeds, limits: PlanNeeds): boolean =>
  needs.bytes <= limits.bytes && needs.largest <= limits.largest && needs.workgroups <= limits.workgroups;

/**
 * The first that fits of `most` and the powers of two below it; 1 if none does.
 * @param needsAt what a batch of so many images takes; called once for each that is tried
 */
export function largestBatch(
  most: number,
  needsAt: (batch: number) => PlanNeeds,
  limits: PlanNeeds,
): { readonly batch: number; readonly needs: PlanNeeds } {
  for (let batch = most; ; batch = 2 ** Math.ceil(Math.log2(batch) - 1)) {
    const needs = needsAt(batch);
    if (batch === 1 || fits(needs, limits)) return { batch, needs };
  }
}
