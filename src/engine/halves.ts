/**
 * Which tensors of a plan stand in float16, decided when all its dispatches are known: operators know nothing of it. It takes a
 * candidate (a value in fours that is not to be seen, laid-out weights) whose every reader and writer takes vec4 there
 * (half-shader.ts). What is read in rows, gradients, scratch memory (Winograd's components), biases: float32.
 */
import { must } from "../errors.ts";
import type { KernelCall } from "../kernels/operator.ts";
import { halvable, withHalves } from "./half-shader.ts";

/** How weights and values between kernels are stored; arithmetic and sums are float32 in any case. */
export type Precision = "f32" | "f16";

/** Slots by the number of their binding. */
const bindings = (call: KernelCall): readonly { readonly id: number; readonly binding: number }[] =>
  [...call.reads, ...call.writes].map(({ id }, k) => ({ id, binding: k + 1 }));

/**
 * @param candidates ids of slots whose elements may be rounded
 * @returns the dispatches on what is chosen among them
 */
export function storeHalves(
  calls: readonly KernelCall[],
  candidates: ReadonlySet<number>,
): { readonly calls: readonly KernelCall[]; readonly halves: ReadonlySet<number> } {
  const halves = new Set(candidates);
  if (halves.size === 0) return { calls, halves };
  for (const call of calls) {
    const may = halvable(call.shader, call.entry);
    for (const { id, binding } of bindings(call)) if (!may.has(binding)) halves.delete(id);
  }
  return {
    halves,
    calls: calls.map((call) => {
      const held = bindings(call).filter(({ id }) => halves.has(id));
      if (held.length === 0) return call;
      const may = halvable(call.shader, call.entry);
      const variables = held.map(({ binding }) => must(may.get(binding), `binding ${binding} of ${call.label}`));
      return { ...call, shader: withHalves(call.shader, variables) };
    }),
  };
}
