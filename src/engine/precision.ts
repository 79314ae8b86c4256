/** What a plan needs to store some of its tensors otherwise than in float32. Pages that do not use one need no more. */
import type { KernelCall } from "../kernels/operator.ts";
import type { Gpu } from "../gpu/gpu.ts";

/**
 * How weights, and values between kernels, are stored: `f16` (halves.ts), or float32 where there is none. Arithmetic and sums
 * are float32 in any case.
 */
export interface Precision {
  readonly name: string;
  /** @throws UnbraidError PRECISION_MISSING where the device cannot do it */
  checkDevice(gpu: Gpu): void;
  /** @param plainSums of the request @throws UnbraidError PRECISION_PROOF where a plan is for a proof */
  checkPlan(request: { readonly plainSums?: boolean }): void;
  /**
   * The dispatches of a plan on what it has chosen, of slots by id that may be rounded.
   * @returns `halves`: those that take half of the bytes
   */
  store(
    calls: readonly KernelCall[],
    roundable: ReadonlySet<number>,
  ): { readonly calls: readonly KernelCall[]; readonly halves: ReadonlySet<number> };
  /** Weights as they are stored. */
  encode(numbers: Float32Array): Uint16Array;
}
