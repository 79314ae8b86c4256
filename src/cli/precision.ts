/** The option of commands that can run a network in half precision. Proofs (`verify`, the guards of `split`) stay in float32. */
import { f16 } from "../engine/halves.ts";
import type { Precision } from "../engine/precision.ts";
import { usageError, type Arguments } from "./arguments.ts";
import type { OptionSpecs } from "./options.ts";

export const PRECISION_OPTION = {
  precision: {
    type: "string",
    value: "f32|f16",
    help: "how weights and activations are stored: float32 (f32, the default), or float16 where the adapter has shader-f16",
  },
} as const satisfies OptionSpecs;

/** What --precision chooses; undefined for float32. @throws UnbraidError OPTION_VALUE */
export function precisionOf(args: Arguments): Precision | undefined {
  const text = args.text("precision") ?? "f32";
  if (text === "f32") return undefined;
  if (text === f16.name) return f16;
  throw usageError("OPTION_VALUE", `--precision is f32 or f16, not "${text}"`, "Leave --precision out for f32.");
}
