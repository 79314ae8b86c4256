/** The Conv layers of a network: what users call them, their sizes, and whether each can be split. */
import { UnbraidError } from "../errors.ts";
import { batchNormScale, foldedNorm } from "./fold-batchnorm.ts";
import type { GraphNode, HostTensor, ShapedGraph } from "./graph.ts";
import { nearest } from "./names.ts";

export interface ConvLayer {
  /** The first of the names that users may give that is this layer's alone. */
  readonly name: string;
  /** All of them: module path, weight's name with and without `.weight`, node name, output. */
  readonly names: readonly string[];
  readonly node: GraphNode;
  /** Values: x, and z before BatchNormalization and activation. */
  readonly input: string;
  readonly output: string;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly groups: number;
  /** One or two entries. */
  readonly kernel: readonly number[];
  readonly inputShape: readonly number[];
  readonly outputShape: readonly number[];
  readonly weights: HostTensor | undefined;
  readonly bias: HostTensor | undefined;
  /** [C] -1 where an unfolded BatchNormalization follows whose scale is negative, else 1 (METHOD.md B). */
  readonly sign: Int8Array;
  /** An unfolded BatchNormalization that can be merged: what it writes, and the bias [C] that the Conv would then have. */
  readonly norm: { readonly output: string; readonly bias: HostTensor } | undefined;
  readonly splittable: boolean;
  /** Why not; "" where it can. */
  readonly why: string;
}

/** In the order of the graph. Layers that share weights share names: each is shown by the first that is its own. */
export function convLayers(graph: ShapedGraph): ConvLayer[] {
  const layers = graph.nodes.flatMap((node) => (node.opType === "Conv" ? [describe(graph, node)] : []));
  const count = new Map<string, number>();
  for (const name of layers.flatMap((l) => l.names)) count.set(name, (count.get(name) ?? 0) + 1);
  const first = new Set<string>();
  return layers.map((layer) => {
    const path = modulePath(layer.node.name);
    // A module path says where the layer is, also where the weights that others read too are called the same.
    const name = path !== "" && !first.has(path) ? path : (layer.names.find((n) => count.get(n) === 1) ?? layer.name);
    first.add(name);
    return { ...layer, name };
  });
}

/**
 * @param name any of a layer's names, or `last`
 * @throws UnbraidError LAYER_UNKNOWN with the nearest names; LAYER_NOT_CONV where another node is called so;
 * LAYER_AMBIGUOUS
 */
export function findLayer(graph: ShapedGraph, name: string): ConvLayer {
  const layers = convLayers(graph);
  const last = layers.at(-1);
  if (name === "last" && last !== undefined) return last;
  const shown = layers.filter((l) => l.name === name);
  const found = shown.length === 1 ? shown : layers.filter((l) => l.names.includes(name));
  const [first] = found;
  if (found.length > 1) {
    throw new UnbraidError(
      "input",
      "LAYER_AMBIGUOUS",
      `"${name}" names ${found.length} layers: ${found.map((l) => l.node.name).join(", ")}`,
      "Name it by its node or its output.",
    );
  }
  if (first !== undefined) return first;
  const other = graph.nodes.find((n) => n.name === name || n.outputs.includes(name) || n.inputs.includes(name));
  if (other !== undefined) {
    throw new UnbraidError(
      "input",
      "LAYER_NOT_CONV",
      `"${name}" is ${other.name === name ? "" : "a value of "}the ${other.opType} node "${other.name}", not a Conv layer`,
      `Nearest Conv layers: ${nearest(name, known(layers)).join(", ")}.`,
    );
  }
  throw new UnbraidError(
    "input",
    "LAYER_UNKNOWN",
    `the network has no layer "${name}"`,
    layers.length === 0
      ? "The network has no Conv layer that its output needs."
      : `Nearest names: ${nearest(name, known(layers)).join(", ")}. \`unbraid inspect\` lists all.`,
  );
}

const known = (layers: readonly ConvLayer[]): string[] => [...new Set(layers.map((l) => l.name)), "last"];

/** @throws UnbraidError LAYER_NOT_SPLITTABLE with the reason */
export function assertSplittable(layer: ConvLayer): void {
  if (layer.splittable) return;
  throw new UnbraidError(
    "input",
    "LAYER_NOT_SPLITTABLE",
    `layer "${layer.name}" cannot be split: ${layer.why}`,
    "Choose another layer; `unbraid inspect` says which can be split.",
  );
}

function describe(graph: ShapedGraph, node: GraphNode): ConvLayer {
  const [input = "", weightName = "", biasName = ""] = node.inputs;
  const output = node.outputs[0] ?? "";
  const inputShape = graph.values.get(input)?.shape ?? [];
  const outputShape = graph.values.get(output)?.shape ?? [];
  const weightShape = graph.values.get(weightName)?.shape ?? [];
  const group = node.attributes.get("group");
  const groups = typeof group === "number" ? group : 1;
  const weights = graph.values.get(weightName)?.value;
  const perGroup = weightShape[1] ?? 0;
  let why = "";
  // Identity passes on the very tensor; whatever computes one makes another.
  const isStored = (tensor: HostTensor | undefined) => [...graph.stored.values()].some((t) => t === tensor);
  const bias = graph.values.get(biasName);
  if (node.inside !== undefined)
    why = `it lies in a branch of the If node "${node.inside}", where the file's wiring is not changed`;
  else if (!isStored(weights))
    why = "its weights are computed, not stored as they are used (export it with constant folding)";
  else if (bias !== undefined && !isStored(bias.value))
    why = "its bias is computed, not stored as it is used (export it with constant folding)";
  else if (perGroup === 1)
    why = "each output channel reads one input channel only (depthwise), so there is nothing to divide";
  const names = layerNames(node, weightName, output);
  return {
    name: names[0] ?? output,
    names,
    node,
    input,
    output,
    inChannels: perGroup * groups,
    outChannels: weightShape[0] ?? 0,
    groups,
    kernel: weightShape.slice(2),
    inputShape,
    outputShape,
    weights,
    bias: bias?.value,
    sign: signs(graph, output, weightShape[0] ?? 0),
    norm: foldedNorm(graph, output),
    splittable: why === "",
    why,
  };
}

function layerNames(node: GraphNode, weight: string, output: string): string[] {
  const names = [modulePath(node.name), weight.replace(/\.weight$/, ""), weight, node.name, output];
  // PyTorch's `onnx::Conv_123` and the like say nothing: they stay usable, but are not the name that is shown.
  const [plain, opaque] = [names.filter((n) => !n.startsWith("onnx::")), names.filter((n) => n.startsWith("onnx::"))];
  return [...new Set([...plain, ...opaque])].filter((n) => n !== "");
}

/**
 * The module path inside an exporter's node name: `/layer4/layer4.2/conv3/Conv` is `layer4.2.conv3`; "" where there is
 * none. A segment that repeats the one before and extends it takes its place.
 */
export function modulePath(nodeName: string): string {
  if (!nodeName.startsWith("/")) return "";
  const path: string[] = [];
  for (const segment of nodeName.split("/").slice(1, -1)) {
    const before = path.at(-1);
    if (before !== undefined && segment.startsWith(`${before}.`)) path.pop();
    path.push(segment);
  }
  return path.join(".");
}

function signs(graph: ShapedGraph, output: string, channels: number): Int8Array {
  const all = new Int8Array(channels).fill(1);
  const next = graph.nodes.filter((n) => n.inputs.includes(output));
  const [only] = next;
  if (next.length !== 1 || only?.opType !== "BatchNormalization") return all;
  const scale = batchNormScale(graph, only);
  return scale === undefined ? all : all.map((_, c) => ((scale[c] ?? 1) < 0 ? -1 : 1));
}
