/** The runs of `explain`: a map for each part that is asked for. */
import type { Session } from "../engine/session.ts";
import { must, UnbraidError } from "../errors.ts";
import type { HostTensor } from "../graph/graph.ts";
import { AttributionPass } from "../relevance/attribution-pass.ts";
import {
  attributeWith,
  channelSums,
  heatMaps,
  type Attribution,
  type AttributionMethod,
} from "../relevance/attribution.ts";
import { INTEGRATION_STEPS } from "../relevance/integrated-gradients.ts";
import { logitWeights } from "../relevance/logit-weights.ts";
import type { Context } from "./context.ts";
import type { ExplainedLayer, ExplainedPart } from "./explain-parts.ts";
import { baselineImage, type Picture } from "./explain-picture.ts";
import type { ImageNetwork } from "./images.ts";
import { Progress } from "./progress.ts";

export interface Choices {
  readonly method: AttributionMethod;
  readonly of: "channel" | "logit";
  readonly at: "image" | "input" | "output";
  readonly steps: number | undefined;
  readonly baseline: string | undefined;
}

/** One part's map and what it adds up to. */
export interface Explained {
  readonly part: ExplainedPart;
  readonly map: HostTensor;
  readonly attribution: Attribution;
  /** [channels of the layer's input] r[i]; none for a logit. */
  readonly inputs: Float32Array | undefined;
}

export interface Work {
  readonly network: ImageNetwork;
  readonly picture: Picture;
  readonly chosen: Choices;
  readonly layer: ExplainedLayer | undefined;
  readonly label: number | undefined;
}

export async function explainAll(context: Context, session: Session, work: Work): Promise<Explained[]> {
  const { network, picture, chosen, layer, label } = work;
  const { classifier, imageShape, logits, spec } = network;
  const { input } = classifier;
  const { tensor } = picture;
  const steps = chosen.steps ?? INTEGRATION_STEPS;
  const usual = chosen.method === "integrated" ? Math.min(8, steps + 2) : 1;
  const batch = context.batch(classifier.batch ?? usual);
  const whole: ExplainedPart = { name: "whole", value: classifier.logits, channel: label ?? 0, factor: 1 };
  const parts = layer?.parts ?? [whole];
  const sign = chosen.of === "channel" ? (layer?.sign ?? 1) : 1;
  const runs = chosen.method === "integrated" ? steps + 2 : 1;
  const progress = new Progress(context.out, "gradients", parts.length * runs);
  const found: Explained[] = [];
  for (const [k, part] of parts.entries()) {
    const { value } = part;
    const wrt = chosen.at === "image" ? input : chosen.at === "output" ? value : (layer?.input ?? input);
    using pass = await AttributionPass.open(session, { input, imageShape, batch, place: { value }, wrt });
    const positionWeights =
      layer !== undefined && label !== undefined
        ? await logitWeights(session, tensor, { input, logits: classifier.logits, logitCount: logits, classes: [label], value: layer.output, channel: layer.channel, batch }) // prettier-ignore
        : new Float32Array(pass.positions).fill(sign);
    const request = { channel: part.channel, positionWeights, signal: context.signal };
    const attribution = await attributeWith(pass, tensor, {
      ...request,
      method: chosen.method,
      ...(chosen.method === "integrated"
        ? { steps, baseline: baselineImage(chosen.baseline ?? "mean", picture.image, spec) }
        : {}),
      onProgress: (done) => {
        progress.update(k * runs + done);
      },
    });
    let inputs: Float32Array | undefined;
    if (layer !== undefined) {
      using inner = await AttributionPass.open(session, {
        input,
        imageShape,
        batch,
        place: { value },
        wrt: layer.input,
      });
      inputs = Float32Array.from(channelSums((await attributeWith(inner, tensor, request)).values).data);
    }
    found.push({ part, map: heatMaps(attribution.values), attribution, inputs });
  }
  return found;
}

/** The network's first choice. */
export async function bestClass(
  session: Session,
  { classifier, logits }: ImageNetwork,
  { tensor }: Picture,
): Promise<number> {
  const batch = classifier.batch ?? 1;
  const data = new Float32Array(batch * tensor.data.length);
  data.set(tensor.data);
  const feed: HostTensor = { type: "float32", shape: [batch, ...tensor.shape.slice(1)], data };
  const got = await session.run(new Map([[classifier.input, feed]]), [classifier.logits]);
  const row = must(got.get(classifier.logits), "logits").data.subarray(0, logits);
  return row.indexOf(Array.from(row).reduce((most, v) => Math.max(most, v), -Infinity));
}

/** @throws UnbraidError NOT_FINITE */
export function checkFinite(explained: readonly Explained[]): void {
  for (const { part, map } of explained) {
    const wrong = map.data.findIndex((x) => !Number.isFinite(x));
    if (wrong < 0) continue;
    throw new UnbraidError(
      "model",
      "NOT_FINITE",
      `the map of "${part.value}", channel ${part.channel}, is ${map.data[wrong] ?? NaN} at element ${wrong} of ${map.data.length}`,
      "Check the preprocessing and the model's weights: an activation overflows float32, or a weight is not finite.",
    );
  }
}
