/**
 * Plants inside the network (tier P5): each takes the place of the first channel that it is made of, at that channel's mean
 * and variance over the evidence, so that what follows reads it in the same range. The other channel stays where it is.
 */
import { must } from "../../errors.ts";
import type { ConvLayer } from "../../graph/conv-layers.ts";
import type { Graph, GraphNode, HostTensor } from "../../graph/graph.ts";
import { weightsOf } from "../../relevance/arv.ts";
import type { StudyLayer } from "../../relevance/study.ts";
import { dot, form, type Vector } from "../linear-algebra.ts";
import type { GroupMoments } from "../moments.ts";
import { groupOf, truthOf, weightsOfPlant, type Plant } from "./plant.ts";

/** A channel's new row, and what is to be taken off its output. */
export interface Slot {
  readonly channel: number;
  /** [D] in the file's orientation. */
  readonly row: Float32Array;
  /** New mean over the evidence less the old one. */
  readonly shift: number;
}

export function slotOf(layer: StudyLayer, moments: ReadonlyMap<number, GroupMoments>, plant: Plant): Slot {
  const channel = must(plant.parts[0], "part").channel;
  const own = must(moments.get(groupOf(layer, channel)), "moments");
  const sign = layer.sign[channel] ?? 1;
  const planted = weightsOfPlant(truthOf(layer, plant));
  const before: Vector = Float64Array.from(weightsOf(layer, channel));
  const factor = Math.sqrt(form(before, own.imageMeans, before) / form(planted, own.imageMeans, planted));
  const row = Float32Array.from(planted, (w) => sign * factor * w);
  return { channel, row, shift: dot(Float64Array.from(row), own.mean) - dot(before, own.mean) };
}

/** Plants in as few networks as hold each channel's place once. @param most plants a network */
export function networksOf(plants: readonly Plant[], most: number): Plant[][] {
  const networks: Plant[][] = [];
  for (const plant of plants) {
    const place = plant.parts[0]?.channel;
    const free = networks.find((n) => n.length < most && n.every((p) => p.parts[0]?.channel !== place));
    if (free === undefined) networks.push([plant]);
    else free.push(plant);
  }
  return networks;
}

/** The constant that is the layer's bias in a planted network, where it has one. */
export const PLANTED_BIAS = "planted bias";

/** The network with the rows in place; means are mended in the Conv's bias, or in the BatchNormalization behind it. */
export function plantedGraph(graph: Graph, layer: ConvLayer, slots: readonly Slot[]): Graph {
  const constants = new Map(graph.constants);
  const edited = new Map<GraphNode, Map<number, string>>();
  const edit = (node: GraphNode, input: number, name: string, change: (data: Float32Array) => void): boolean => {
    const before = valueOf(graph, node.inputs[input] ?? "");
    if (before === undefined) return false;
    const data = Float32Array.from(before.load?.() ?? before.data);
    change(data);

    constants.set(name, { type: "float32", shape: before.shape, data });
    edited.set(node, (edited.get(node) ?? new Map<number, string>()).set(input, name));
    return true;
  };
  const conv = must(
    graph.nodes.find((n) => n.outputs[0] === layer.output),
    "the layer's node",
  );
  const size = slots[0]?.row.length ?? 0;
  edit(conv, 1, "planted weights", (data) => {
    for (const { channel, row } of slots) data.set(row, channel * size);
  });
  const mended = edit(conv, 2, PLANTED_BIAS, (data) => {
    for (const { channel, shift } of slots) data[channel] = (data[channel] ?? 0) - shift;
  });
  const norm = graph.nodes.find((n) => n.opType === "BatchNormalization" && n.inputs[0] === layer.output);
  if (!mended && norm !== undefined)
    edit(norm, 3, "planted mean", (data) => {
      for (const { channel, shift } of slots) data[channel] = (data[channel] ?? 0) + shift;
    });
  const nodes = graph.nodes.map((node) => {
    const inputs = edited.get(node);
    return inputs === undefined ? node : { ...node, inputs: node.inputs.map((n, k) => inputs.get(k) ?? n) };
  });
  return { ...graph, nodes, constants };
}

/** A constant, maybe through Identity nodes. */
function valueOf(graph: Graph, name: string): HostTensor | undefined {
  for (let at = name, steps = 0; steps < 8; steps++) {
    const constant = graph.constants.get(at);
    if (constant !== undefined) return constant;
    const node = graph.nodes.find((n) => n.outputs.includes(at) && n.opType === "Identity");
    if (node === undefined) return undefined;
    at = node.inputs[0] ?? "";
  }
  return undefined;
}
