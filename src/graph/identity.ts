/** Tensors told apart by identity: names are not enough, since a folded constant depends on the shapes of its plan. */
import type { HostTensor } from "./graph.ts";

const ids = new WeakMap<HostTensor, number>();
let next = 0;

/** A text that stands for this very tensor and no other of this process. */
export function tensorKey(tensor: HostTensor): string {
  let id = ids.get(tensor);
  if (id === undefined) {
    id = next++;
    ids.set(tensor, id);
  }
  return `tensor ${id}`;
}
