/** A Conv layer as a study records it. */
import { must, UnbraidError } from "../errors.ts";
import type { ConvLayer } from "../graph/conv-layers.ts";
import { pair, resolveSpatial } from "../kernels/spatial.ts";
import type { StudyLayer } from "./study.ts";

/** @throws UnbraidError LAYER_WEIGHT_COMPUTED where the weights are not stored in the file */
export function studyLayer(layer: ConvLayer): StudyLayer {
  if (layer.weights === undefined) {
    throw new UnbraidError(
      "input",
      "LAYER_WEIGHT_COMPUTED",
      `the weights of layer "${layer.name}" are computed while the network runs`,
      "Choose a layer whose weights are stored in the file.",
    );
  }
  const s = resolveSpatial(layer.node, layer.inputShape.slice(2), layer.kernel);
  const [top, left] = pair(s.padsBegin, 0);
  const [bottom, right] = pair(s.padsEnd, 0);
  return {
    name: layer.name,
    nodeName: layer.node.name,
    output: layer.output,
    kernel: pair(layer.kernel, 1),
    strides: pair(s.strides, 1),
    dilations: pair(s.dilations, 1),
    pads: [top, left, bottom, right],
    groups: layer.groups,
    inChannels: layer.inChannels,
    outChannels: layer.outChannels,
    hasBias: layer.bias !== undefined,
    weights: Float32Array.from(must(layer.weights, "weights").data),
    sign: layer.sign,
  };
}
