/** How many images a command takes at a time, where nobody says: as many as its own plans fit into the device's memory. */
import { evaluationRequests, type EvaluationPassOptions } from "../channels/evaluate/pass.ts";
import { largestBatch, needsOf } from "../engine/fit.ts";
import { makePlan, type Plan, type PlanRequest } from "../engine/plan.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph } from "../graph/graph.ts";
import { relevanceRequest, type PassOptions } from "../relevance/pass.ts";
import type { Context, Device } from "./context.ts";
import { withBatch, type ImageNetwork } from "./images.ts";
import { precisionOf } from "./precision.ts";
import { showBytes } from "./table.ts";

/** The plans of sessions that are open at once, session by session. */
export type SessionPlans = (network: ImageNetwork) => readonly (readonly Plan[])[];

/** One session that runs what is asked for. */
export const plansOf = (gpu: Gpu, graph: Graph, ...requests: readonly PlanRequest[]): readonly Plan[] =>
  requests.map((request) => makePlan(graph, request, gpu));

/** Input shapes of a batch, as requests have them. */
export const inputsOf = ({ classifier, batch, imageShape }: ImageNetwork): Map<string, readonly number[]> =>
  new Map([[classifier.input, [batch, ...imageShape]]]);

/**
 * Images that keep a software adapter busy: 8 of 224 x 224, 64 at most. More take as long each, and more memory, and Ctrl-C
 * waits for a batch (measured: docs/performance.md).
 */
function enoughForSoftware([, height = 1, width = 1]: readonly number[]): number {
  const exponent = Math.round(Math.log2((8 * 224 * 224) / (height * width)));
  return 2 ** Math.max(0, Math.min(6, exponent));
}

/**
 * The network with the largest batch, up to its own, whose plans fit the device's limits and --memory. What --batch or the
 * file says stays. One image is taken where even that does not fit: the device then says what it lacks.
 * @param plans what the command runs for a batch; the network from images to logits unless given
 * @throws UnbraidError OPTION_VALUE, and what planning throws
 */
export function fitBatch(
  context: Context,
  { adapter, gpu }: Device,
  graph: Graph,
  network: ImageNetwork,
  plans: SessionPlans = (n) => [
    plansOf(gpu, graph, { inputs: inputsOf(n), outputs: [n.classifier.logits], precision: precisionOf(context.args) }),
  ],
): ImageNetwork {
  const budget = context.memory();
  if (context.args.flag("batch") || network.classifier.batch !== null) return network;
  const limits = { bytes: budget, largest: gpu.largestTensor, workgroups: gpu.mostWorkgroups };
  const at = (batch: number): ImageNetwork => withBatch(network, graph, batch);
  const most = adapter.software ? Math.min(network.batch, enoughForSoftware(network.imageShape)) : network.batch;
  const { batch, needs } = largestBatch(most, (n) => needsOf(plans(at(n))), limits);
  const what = `${batch} image${batch === 1 ? "" : "s"} at a time: ${showBytes(needs.bytes)} of GPU memory`;
  if (needs.bytes > budget) context.out.warn(`${what}, more than the ${showBytes(budget)} of --memory`);
  else context.out.note(what, "batch", { batch, bytes: needs.bytes });
  return at(batch);
}

/** `fitBatch` for a study's pass over these layers. @returns the network, and the options of the pass for its batch */
export function fitRelevance(
  context: Context,
  device: Device,
  graph: Graph,
  whole: ImageNetwork,
  studied: Pick<PassOptions, "layers" | "taus">,
): { readonly network: ImageNetwork; readonly options: PassOptions } {
  const optionsOf = ({ classifier, imageShape, logits, batch }: ImageNetwork): PassOptions => ({
    ...studied,
    ...{ input: classifier.input, logits: classifier.logits, imageShape, logitCount: logits, batch },
  });
  const network = fitBatch(context, device, graph, whole, (n) => [
    plansOf(device.gpu, graph, {
      ...relevanceRequest(graph, optionsOf(n)).request,
      precision: precisionOf(context.args),
    }),
  ]);
  return { network, options: optionsOf(network) };
}

/** `fitBatch` for an EvaluationPass of a split network. @returns the network, and the options of the pass for its batch */
export function fitEvaluation(
  context: Context,
  device: Device,
  graph: Graph,
  whole: ImageNetwork,
  evaluated: Pick<EvaluationPassOptions, "node" | "geometry" | "output" | "rows">,
): { readonly network: ImageNetwork; readonly options: EvaluationPassOptions } {
  const optionsOf = ({ classifier, shaped, batch }: ImageNetwork): EvaluationPassOptions => ({
    ...evaluated,
    ...{ graph, shaped, input: classifier.input, logits: classifier.logits, batch },
  });
  const network = fitBatch(context, device, graph, whole, (n) => {
    const { head, tail } = evaluationRequests(optionsOf(n));
    return [plansOf(device.gpu, head.graph, head.forward, head.backward), plansOf(device.gpu, tail.graph, tail.rest)];
  });
  return { network, options: optionsOf(network) };
}
