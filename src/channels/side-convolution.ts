/** Rows of weights run beside a network, at the input of one of its layers, as that layer runs its own. */
import type { ConvLayer } from "../graph/conv-layers.ts";
import type { ConvGeometry } from "../kernels/conv-geometry.ts";
import { planeOf } from "../kernels/spatial.ts";
import type { StudyLayer } from "../relevance/study.ts";

/**
 * The geometry of `rows` rows over all input channels of the layer ([rows, I, K], zeros outside a row's group).
 */
export function sideConvolution(layer: ConvLayer, g: StudyLayer, batch: number, rows: number): ConvGeometry {
  return {
    batch,
    groups: 1,
    channels: g.inChannels,
    outputs: rows,
    input: planeOf(layer.inputShape),
    output: planeOf(layer.outputShape),
    kernel: g.kernel,
    strides: g.strides,
    dilations: g.dilations,
    pads: [g.pads[0], g.pads[1]],
    transposed: false,
  };
}
