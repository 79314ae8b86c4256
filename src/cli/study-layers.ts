/** --layer of `study`: one layer, a list, or all that can be split. */
import { UnbraidError } from "../errors.ts";
import { assertSplittable, convLayers, findLayer, type ConvLayer } from "../graph/conv-layers.ts";
import type { ShapedGraph } from "../graph/graph.ts";
import { neededNodes } from "../graph/prune.ts";
import type { Output } from "./output.ts";

export interface LayerChoice {
  /** In the order of the network, each once. */
  readonly layers: readonly ConvLayer[];
  /** What a report calls them: a name, a list of names, or "all". */
  readonly name: string;
}

/**
 * @param text a layer by any of its names, several with commas between, or "all": those that can be split, the others being
 * said once
 * @throws UnbraidError LAYER_UNKNOWN, LAYER_NOT_CONV, LAYER_AMBIGUOUS, LAYER_NOT_SPLITTABLE
 */
export function chooseLayers(out: Output, graph: ShapedGraph, logits: string, text: string): LayerChoice {
  if (text === "all") return { layers: allLayers(out, graph, logits), name: "all" };
  const given = new Set(text.split(",").map((name) => findLayer(graph, name.trim()).output));
  const layers = convLayers(graph).filter((layer) => given.has(layer.output));
  layers.forEach(assertSplittable);
  return { layers, name: layers.map((layer) => layer.name).join(",") };
}

function allLayers(out: Output, graph: ShapedGraph, logits: string): ConvLayer[] {
  const needed = new Set(neededNodes(graph, [logits]));
  const left = new Map<string, string[]>();
  const layers = convLayers(graph).filter((layer) => {
    // A Conv of another head, for one: nothing flows back to it.
    const why = !needed.has(layer.node) ? "the logits do not depend on it" : layer.why;
    if (why !== "") left.set(why, [...(left.get(why) ?? []), layer.name]);
    return why === "";
  });
  const reasons = [...left].map(([why, names]) => `${why}: ${names.join(", ")}`);
  if (layers.length === 0)
    throw new UnbraidError(
      "input",
      "LAYER_NOT_SPLITTABLE",
      left.size === 0
        ? "the network has no Conv layer"
        : `no Conv layer of the network can be split: ${reasons.join("; ")}`,
      "Choose another model; `unbraid inspect` says which layers can be split.",
    );
  for (const [why, names] of left) {
    const these = names.length === 1 ? "1 layer is" : `${names.length} layers are`;
    out.note(`${these} left out, because ${why}: ${names.join(", ")}`);
  }
  return layers;
}
