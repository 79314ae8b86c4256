/** A 1x1 Conv layer as a study records it: what its channels read is a vector of inputs, without positions or taps. */
import type { StudyLayer } from "../../src/relevance/study.ts";

/**
 * @param weights [C][I/groups]
 * @param sign [C] 1 throughout unless told
 */
export function pointLayer(
  weights: readonly (readonly number[])[],
  sign: readonly number[] = weights.map(() => 1),
  groups = 1,
): StudyLayer {
  return {
    name: "conv",
    nodeName: "conv",
    output: "z",
    kernel: [1, 1],
    strides: [1, 1],
    dilations: [1, 1],
    pads: [0, 0, 0, 0],
    groups,
    inChannels: groups * (weights[0]?.length ?? 0),
    outChannels: weights.length,
    hasBias: false,
    weights: Float32Array.from(weights.flat()),
    sign: Int8Array.from(sign),
  };
}
