/** A layer's images for `plant` and `score`: a folder, class by class, and the device that runs the network on it. */
import type { ClassImages } from "../channels/concepts.ts";
import { momentRequest } from "../channels/moments-pass.ts";
import { conceptImages } from "../channels/second-pass.ts";
import { findLayer, convLayers, type ConvLayer } from "../graph/conv-layers.ts";
import { UnbraidError } from "../errors.ts";
import type { ImageList } from "../images/folder.ts";
import { studyLayer } from "../relevance/study-layer.ts";
import type { StudyLayer } from "../relevance/study.ts";
import type { Context, Device } from "./context.ts";
import { fitBatch, plansOf } from "./fit-batch.ts";
import { checkClassCount, imageBatches, imageNetwork, withBatch, type ImageNetwork } from "./images.ts";
import type { OpenModel } from "./model.ts";

export interface PlantedLayer {
  readonly network: ImageNetwork;
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly images: (root: string, list: ImageList) => ClassImages;
}

/**
 * @param which a layer's name as users give it, or the node that has it
 * @throws UnbraidError LAYER_UNKNOWN, CHANNEL_DEPTHWISE, IMAGES_CLASS_COUNT, and what opening images throws
 */
export async function plantedLayer(
  context: Context,
  device: Device,
  opened: OpenModel,
  { root, list }: { readonly root: string; readonly list: ImageList },
  which: { readonly name: string } | { readonly node: string },
): Promise<PlantedLayer> {
  const whole = await imageNetwork(context, opened, root, list.items);
  checkClassCount(context, list, whole.logits);
  const largest = Math.max(1, ...countsOf(list));
  const { graph } = opened;
  const layerOf = ({ shaped }: ImageNetwork): ConvLayer | undefined =>
    "name" in which ? findLayer(shaped, which.name) : convLayers(shaped).find((l) => l.node.name === which.node);
  const few = whole.classifier.batch === null ? withBatch(whole, graph, Math.min(whole.batch, largest)) : whole;
  // Moments are what takes most of the passes over the layer's input.
  const network = fitBatch(context, device, graph, few, (n) => {
    const { classifier, imageShape, batch } = n;
    const at = layerOf(n);
    if (at === undefined) return [];
    const options = { layer: at, geometry: studyLayer(at), input: classifier.input, imageShape, batch, groups: [0] };
    return [plansOf(device.gpu, graph, momentRequest(options))];
  });
  const layer = layerOf(network);
  if (layer === undefined) throw new Error("internal error: the model of the plants has no such node");
  const geometry = studyLayer(layer);
  if (geometry.inChannels === geometry.groups)
    throw new UnbraidError(
      "unsupported",
      "CHANNEL_DEPTHWISE",
      `Layer ${geometry.name} is depthwise: each channel reads one input channel, so there is nothing to divide.`,
      "Choose a layer whose channels read several input channels.",
    );
  return {
    network,
    layer,
    geometry,
    images: (folder, { items }) =>
      conceptImages(items, (some) => imageBatches(context, network, { root: folder, items: some })),
  };
}

/** [T] */
export function countsOf({ classes, items }: ImageList): number[] {
  const counts = classes.map(() => 0);
  for (const { label } of items) counts[label] = (counts[label] ?? 0) + 1;
  return counts;
}
