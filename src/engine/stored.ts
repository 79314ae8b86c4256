/** A tensor of a plan in rows, in fours (kernels/fours.ts), or in both: what is missing is made when it is asked for. */
import { invariant, must } from "../errors.ts";
import {
  canBeInFours,
  foursElements,
  packFours,
  sameInFours,
  unpackFours,
  type FoursTensor,
} from "../kernels/fours.ts";
import type { DeviceTensor, KernelCall, Slot } from "../kernels/operator.ts";

/** What conversions need of a plan. */
export interface StoredTarget {
  slot(elements: number): Slot;
  dispatch(call: KernelCall): void;
}

export class Stored {
  readonly shape: readonly number[];
  #rows: DeviceTensor | undefined;
  #fours: FoursTensor | undefined;

  private constructor(shape: readonly number[], rows?: DeviceTensor, fours?: FoursTensor) {
    this.shape = shape;
    this.#rows = rows;
    this.#fours = fours;
    // Some memory is both: nothing needs converting then.
    if (!sameInFours(shape)) return;
    if (rows !== undefined) this.#fours = { slot: rows.slot, shape, inFours: true };
    else if (fours !== undefined) this.#rows = { slot: fours.slot, shape };
  }

  static inRows(tensor: DeviceTensor): Stored {
    return new Stored(tensor.shape, tensor);
  }

  static inFours(tensor: FoursTensor): Stored {
    return new Stored(tensor.shape, undefined, tensor);
  }

  /** New memory in fours. */
  static reserveFours(plan: StoredTarget, shape: readonly number[]): Stored {
    return Stored.inFours(newFours(plan, shape));
  }

  get standsInRows(): boolean {
    return this.#rows !== undefined;
  }

  get standsInFours(): boolean {
    return this.#fours !== undefined;
  }

  /** @param label of the dispatch, where one is needed */
  rows(plan: StoredTarget, label: string): DeviceTensor {
    if (this.#rows === undefined) {
      const rows = { slot: plan.slot(this.shape.reduce((a, b) => a * b, 1)), shape: this.shape };
      unpackFours(plan, must(this.#fours, label), rows, label);
      this.#rows = rows;
    }
    return this.#rows;
  }

  fours(plan: StoredTarget, label: string): FoursTensor {
    if (this.#fours === undefined) {
      const fours = newFours(plan, this.shape);
      packFours(plan, must(this.#rows, label), fours, label);
      this.#fours = fours;
    }
    return this.#fours;
  }
}

function newFours(plan: StoredTarget, shape: readonly number[]): FoursTensor {
  invariant(canBeInFours(shape), `a tensor of shape ${shape.join("x")} cannot stand in fours`);
  return { slot: plan.slot(foursElements(shape)), shape, inFours: true };
}
