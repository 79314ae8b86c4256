/**
 * Which tensors of a plan stand in float16, decided when all its dispatches are known: operators know nothing of it. It takes a
 * candidate (a value in fours that is not to be seen, laid-out weights) whose every reader and writer takes vec4 there
 * (half-shader.ts). What is read in rows, gradients, scratch memory (Winograd's components), biases: float32.
 */
import { must, UnbraidError } from "../errors.ts";
import type { KernelCall } from "../kernels/operator.ts";
import { halvable, withHalves } from "./half-shader.ts";
import type { Precision } from "./precision.ts";
import { toHalves } from "./to-halves.ts";

/** Slots by the number of their binding. */
const bindings = (call: KernelCall): readonly { readonly id: number; readonly binding: number }[] =>
  [...call.reads, ...call.writes].map(({ id }, k) => ({ id, binding: k + 1 }));

function store(calls: readonly KernelCall[], roundable: ReadonlySet<number>): ReturnType<Precision["store"]> {
  const halves = new Set(roundable);
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

/**
 * Half precision, for `Session` and `PlanRequest`. Needs the device's shader-f16. Numbers are rounded where they are stored, by 2^-11 of
 * their size on lavapipe, which takes the nearest and makes 65520 and more infinite. WGSL also allows 2^-10, and the largest
 * float16, 65504, for numbers up to 2^16.
 */
export const f16: Precision = {
  name: "f16",
  checkDevice: (gpu) => {
    if (gpu.device.features.has("shader-f16")) return;
    throw new UnbraidError(
      "adapter",
      "PRECISION_MISSING",
      `${gpu.info.description || "the adapter"} has no half precision (shader-f16)`,
      "Leave the precision out (--precision f32), or use an adapter that has it: `unbraid doctor --json` lists their features.",
    );
  },
  checkPlan: ({ plainSums }) => {
    if (plainSums !== true) return;
    throw new UnbraidError(
      "usage",
      "PRECISION_PROOF",
      "the bounds that a proof rests on are those of float32; this network was opened in half precision",
      "Open it without a precision, in float32.",
    );
  },
  store,
  encode: toHalves,
};
