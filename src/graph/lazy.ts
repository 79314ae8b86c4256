/** Tensors that are not held in memory: a network's weights may be larger than it, and are needed once. */
import type { Elements, ElementType, HostTensor } from "./graph.ts";

/**
 * Elements from which on tensors are read or computed when they are asked for. Below, the bookkeeping would cost more
 * than the memory.
 */
export const LAZY_FROM = 2 ** 16;

/**
 * A tensor whose elements `load` gives, again at each use. `data` gives the same array for as long as anyone holds it, and
 * at least until the event loop turns: code may read it element by element.
 * @param part `count` elements from `start` on, where they can be had without the rest
 */
export function lazyTensor(
  type: ElementType,
  shape: readonly number[],
  load: () => Elements,
  part?: (start: number, count: number) => Elements,
): HostTensor {
  let last: WeakRef<Elements> | undefined;
  return {
    type,
    shape,
    get data() {
      const held = last?.deref();
      if (held !== undefined) return held;
      const data = load();
      last = new WeakRef(data);
      return data;
    },
    load,
    ...(part === undefined ? {} : { part }),
  };
}
