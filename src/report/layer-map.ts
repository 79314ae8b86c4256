/** How polysemantic each layer is, zeros included, beside what chance would list. */
import type { Findings } from "../channels/find.ts";
import type { LayerMap } from "./data.ts";

/** Of one layer. @param channels of the layer */
export function layerEntry(layer: string, channels: number, { pairs, relevant, decision }: Findings): LayerMap {
  return {
    layer,
    channels,
    relevant: relevant.filter((classes) => classes.length > 0).length,
    polysemantic: new Set(pairs.map((q) => q.channel)).size,
    pairs: pairs.length,
    ...(decision.rule === "calibrated" ? { expected: decision.fdr * pairs.length } : {}),
  };
}
