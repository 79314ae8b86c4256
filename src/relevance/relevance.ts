/**
 * Relevance of a pass's layers on the GPU, each as soon as its gradient is made, and which channels are important: what
 * shaders/relevance.wgsl and shaders/importance.wgsl are dispatched with. METHOD.md A1 and A2.
 */
import { invariant, UnbraidError } from "../errors.ts";
import type { Extension } from "../engine/plan.ts";
import type { Graph } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { readers } from "../graph/prune.ts";
import { wholeFours } from "../kernels/fours.ts";
import { f32, spread, type DeviceTensor } from "../kernels/operator.ts";
import { importanceShader, relevanceShader } from "../shaders.generated.ts";
import { importanceWords } from "./importance.ts";
import type { PassOptions, StudiedLayer } from "./pass.ts";
import { lanesFor } from "./tap-sums.ts";

/** What shaders/importance.wgsl holds. */
export const MAX_TAUS = 32;

export function checkTaus(taus: readonly number[]): void {
  const rising = taus.every((tau, k) => k === 0 || tau > (taus[k - 1] ?? 0));
  if (taus.length > 0 && taus.length <= MAX_TAUS && rising) return;
  throw new UnbraidError(
    "usage",
    "OPTION_TAU",
    `a pass takes 1 to ${MAX_TAUS} rising values of tau, given ${taus.join(", ") || "none"}`,
    "Pass the taus of the study, which are sorted, and at most so many.",
  );
}

/**
 * Where relevance is taken: z, or behind a BatchNormalization that can be merged into the layer, so that it is merged. There
 * z' - b' = s (z - b) and the gradient is 1/s of z's: their product is the same.
 */
export const tapOf = ({ layer }: StudiedLayer) => layer.norm ?? { output: layer.output, bias: layer.bias };

/**
 * The value that stands for each of `names` in the product with its gradient: where a Relu alone reads it, the Relu's result.
 * They differ where the gradient is 0, and the convolution need not write both. (At z = -Infinity the product is then 0, not
 * NaN.)
 * @param logits their gradient is the seed, which no Relu has masked
 */
export function standIns(graph: Graph, names: readonly string[], logits: string): Map<string, string> {
  const uses = readers(graph);
  const relus = graph.nodes.filter((n) => n.opType === "Relu" && uses.get(n.inputs[0] ?? "") === 1);
  const resultOf = new Map(relus.map((n) => [n.inputs[0], n.outputs[0]]));
  const standIn = (name: string): string => (name === logits ? name : (resultOf.get(name) ?? name));
  return new Map(names.map((name) => [name, standIn(name)]));
}

/** Layers of as many channels, whose relevances stand in one tensor [layers n, C]: one dispatch finds what is important. */
export interface Group {
  readonly channels: number;
  /** Indices into the pass's layers. */
  readonly layers: readonly number[];
  readonly names: { readonly relevance: string; readonly bits: string };
}

export function groupsOf(layers: readonly StudiedLayer[]): Group[] {
  const byChannels = new Map<number, number[]>();
  layers.forEach(({ geometry: { outChannels } }, index) => {
    const list = byChannels.get(outChannels);
    if (list === undefined) byChannels.set(outChannels, [index]);
    else list.push(index);
  });
  return Array.from(byChannels, ([channels, list]) => ({
    channels,
    layers: list,
    names: { relevance: `relevance of ${channels} channels`, bits: `importance of ${channels} channels` },
  }));
}

/** The relevances of a group's layers as they are made and, behind the last, which channels reach the thresholds. */
export class GroupResult {
  readonly #group: Group;
  readonly #options: PassOptions;
  #target: DeviceTensor | undefined;
  #missing: number;

  constructor(group: Group, options: PassOptions) {
    this.#group = group;
    this.#options = options;
    this.#missing = group.layers.length;
  }

  /**
   * Behind the gradient of a layer, which may be another group's.
   * @param value of `standIns`
   */
  add(x: Extension, studied: StudiedLayer, index: number, value: string): void {
    const { channels, layers, names } = this.#group;
    const { batch, taus } = this.#options;
    const place = layers.indexOf(index);
    if (place < 0) return;
    invariant(this.#missing > 0, "a pass's request is planned once");
    this.#target ??= x.result(names.relevance, [layers.length * batch, channels]);
    relevance(x, studied, value, this.#target, batch, place * batch);
    if (--this.#missing > 0) return;
    const words = importanceWords(taus.length, channels);
    markImportant(x, this.#target, x.result(names.bits, [layers.length * batch, words]), taus);
  }
}

/** @param first where the first image's relevances go in `target`, [.., C] */
function relevance(
  x: Extension,
  studied: StudiedLayer,
  value: string,
  target: DeviceTensor,
  batch: number,
  first: number,
): void {
  const { output, bias } = tapOf(studied);
  const channels = studied.geometry.outChannels;
  const biasTensor = bias === undefined ? undefined : x.constant(tensorKey(bias), () => bias);
  const lanes = lanesFor(x.subgroups);
  // By the shape alone, so that a layer's relevance has the same bits whatever else is studied.
  const { outputShape } = studied.layer;
  const inFours = wholeFours(outputShape);
  const [z, g] = inFours ? [x.valueFours(value), x.gradientFours(output)] : [x.value(value), x.gradient(output)];
  const positions = outputShape.slice(2).reduce((a, b) => a * b, 1);
  x.dispatch({
    shader: relevanceShader,
    entry: inFours ? "fours" : "main",
    constants: { LANES: lanes },
    params: [batch, channels, positions, bias === undefined ? 0 : 1, first],
    reads: [z.slot, g.slot, (biasTensor ?? z).slot],
    writes: [target.slot],
    workgroups: spread(Math.ceil((batch * channels) / (inFours ? 4 : 1) / lanes)),
    label: "relevance",
  });
}

/**
 * Which channels are important on each image.
 * @param relevance [n, C]
 * @param bits [n, words] as `addImportanceBits` takes them
 * @param totals 2 n elements, the images' total relevance by each variant; for tests
 */
export function markImportant(
  x: Pick<Extension, "dispatch" | "subgroups" | "scratch">,
  relevance: DeviceTensor,
  bits: DeviceTensor,
  taus: readonly number[],
  totals = x.scratch(2 * (relevance.shape[0] ?? 0)),
): void {
  const [batch = 0, channels = 0] = relevance.shape;
  x.dispatch({
    shader: importanceShader,
    constants: { LANES: lanesFor(x.subgroups) },
    // A word of padding: WGSL aligns the array of taus to 16 bytes.
    params: [batch, channels, taus.length, 0, ...Array.from({ length: MAX_TAUS }, (_, k) => f32(taus[k] ?? 0))],
    reads: [relevance.slot],
    writes: [totals, bits.slot],
    workgroups: spread(batch),
    label: "importance",
  });
}
