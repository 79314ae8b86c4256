/** The option of commands that can run a network in half precision. Proofs (`verify`, the guards of `split`) stay in float32. */
import type { Precision } from "../engine/halves.ts";
import { usageError, type Arguments } from "./arguments.ts";
import type { OptionSpecs } from "./options.ts";

export const PRECISION_OPTION = {
  precision: {
    type: "string",
    value: "f32|f16",
    help: "how weights and activations are stored: float32 (f32, the default), or float16 where the adapter has shader-f16",
  },
} as const satisfies OptionSpecs;

/** @throws UnbraidError OPTION_VALUE */
export function precisionOf(args: Arguments): Precision {
  const text = args.text("precision") ?? "f32";
  if (text === "f32" || text === "f16") return text;
  throw usageError("OPTION_VALUE", `--precision is f32 or f16, not "${text}"`, "Leave --precision out for f32.");
}
