/** Both networks on the same pictures: whether the split one still computes the same function. */
import {
  buildGraph,
  channelsFirst,
  decodeModel,
  Session,
  splitLayers,
  splitRecords,
  verify,
  type Gpu,
  type Graph,
  type OnnxModel,
  type Verification,
} from "unbraid";
import { shapedFor, type Network } from "./network.ts";
import { batches, batchSize, imageShapeOf, type Listed } from "./pictures.ts";
import type { Progress } from "./protocol.ts";

export interface Verified extends Verification {
  readonly holds: boolean;
  readonly layers: readonly string[];
}

export async function verifySplit(
  { network, bytes, pictures, gpu }: { network: Network; bytes: Uint8Array; pictures: Listed; gpu: Gpu },
  { signal, onProgress }: { signal: AbortSignal; onProgress: (progress: Progress) => void },
): Promise<Verified> {
  const { items } = pictures;
  const imageShape = await imageShapeOf(network, items[0]);
  const batch = batchSize(network, imageShape, items.length);
  const { model, graph } = openSplitNetwork(network, bytes);
  const before = { model: network.model, shaped: shapedFor(network, batch, imageShape) };
  const after = shapedFor({ graph, classifier: network.classifier }, batch, imageShape);
  const records = splitRecords(model, "the split model");
  const layers = splitLayers(before, after, records.slice(-1));
  using first = new Session(gpu, network.graph);
  using second = new Session(gpu, graph);
  const found = await verify({
    ...{ before: first, after: second, layers, imageShape, batch, signal },
    input: network.classifier.input,
    logits: network.classifier.logits,
    batches: batches(items, { spec: network.spec, imageShape, batch, signal, skip: true }),
    onProgress: (done) => {
      onProgress({ done, total: items.length, unit: "pictures" });
    },
  });
  gpu.check();
  const holds = found.ratio <= 1 && found.other_channels === 0 && found.weights.holds;
  return { ...found, holds, layers: layers.map((l) => l.layer.name) };
}

/** The split network's data files, if any, are the original's. */
export function openSplitNetwork(network: Network, bytes: Uint8Array): { model: OnnxModel; graph: Graph } {
  const model = decodeModel(bytes, network.external);
  return { model, graph: channelsFirst(buildGraph(model)) };
}
