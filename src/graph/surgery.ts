/**
 * Splitting channels of a Conv layer by rewiring its weights (METHOD.md A6; B "Any Conv", "K concepts"). The layer grows
 * by the parts of each channel, and a 1x1 Conv without bias behind it adds them up again under the layer's old output
 * name, so that nothing else in the file has to change. Source: arXiv 2504.12939.
 */
import { attributeBytes, editModel, freshName } from "../onnx/edit.ts";
import type { NewNode, NewTensor, NodeRename } from "../onnx/edit.ts";
import { layoutOf, subgraphNames } from "../onnx/layout.ts";
import type { OnnxModel } from "../onnx/model.ts";
import { concatBytes } from "../onnx/wire.ts";
import { checkSplits } from "./check-splits.ts";
import { layerOf } from "./layer.ts";
import type { Layer } from "./layer.ts";
import { partRows, placeRows } from "./membership.ts";
import type { ChannelSplit, PartRow, SplitPart } from "./membership.ts";

export type { ChannelSplit, SetSplit, SourceSets, SplitPart, WeightSplit } from "./membership.ts";

export interface SplitRequest {
  /** Position of the Conv in model.nodes. */
  readonly nodeIndex: number;
  /** In any order; each channel once. */
  readonly channels: readonly ChannelSplit[];
  /** Written to metadata_props. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The split model and where everything went. */
export interface LayerSplit {
  readonly bytes: Uint8Array;
  /** Name of the Conv's output, which the merge layer now gives. */
  readonly output: string;
  /** The value that holds all parts, `grownChannels` wide. */
  readonly grown: string;
  readonly channels: number;
  readonly grownChannels: number;
  /** The new weight of the Conv, and its new bias where it has one that grew or changed. */
  readonly weight: string;
  readonly bias: string | undefined;
  readonly mergeNode: string;
  readonly mergeWeight: string;
  /** Slice, side Conv and Concat nodes, which only a layer with groups needs. */
  readonly sideNodes: readonly string[];
  readonly parts: readonly SplitPart[];
  /**
   * Nodes (Identity, Constant) that gave the old weight or bias and that nothing uses now. They are left where they
   * are: removing them would move other nodes' bytes and indices, and every runtime drops them on loading.
   */
  readonly unused: readonly string[];
}

/**
 * Splits channels of one Conv layer.
 * @throws UnbraidError kind "input": LAYER_NOT_CONV, LAYER_WEIGHT_COMPUTED, CHANNEL_RANGE, CHANNEL_TWICE, CHANNEL_NONE,
 * CHANNEL_DEPTHWISE, SETS_LENGTH, SETS_CONCEPTS, PARTS_RANGE; kind "model": LAYER_WEIGHT_SHAPE; kind "unsupported": LAYER_WEIGHT_TYPE
 */
export function splitLayer(model: OnnxModel, request: SplitRequest): LayerSplit {
  const layer = layerOf(model, request.nodeIndex);
  const splits = checkSplits(request.channels, layer, layer.label).map((split) => rewrite(layer, split));
  const parts = placeRows(splits, layer.channels);
  const grownChannels = layer.channels + parts.length - splits.length;
  const name = namer(model);
  const grown = name(`${layer.output}_parts`);
  const merge: NewNode = {
    name: name(`${layer.path}/merge`),
    opType: "Conv",
    inputs: [grown, name(`${layer.stem}.merge.weight`)],
    outputs: [layer.output],
    attributes: { kernel_shape: layer.kernel.map(() => 1) },
  };
  const grow =
    layer.groups === 1 ? growLayer(layer, splits, grown, name) : growGroups(model, layer, splits, grown, name);
  const mergeWeight = merge.inputs[1] ?? "";
  const mergeTensor: NewTensor = {
    name: mergeWeight,
    dataType: layer.weight.dataType,
    dims: [layer.channels, grownChannels, ...layer.kernel.map(() => 1)],
    raw: mergeRows(layer, parts, grownChannels),
  };
  const bytes = editModel(model, {
    renames: [grow.rename],
    insertions: [{ after: request.nodeIndex, nodes: [...grow.nodes, merge] }],
    initializers: [...grow.tensors, mergeTensor],
    unneeded: [layer.weight.name, ...(grow.bias === undefined ? [] : [layer.bias?.name ?? ""])],
    metadata: request.metadata ?? {},
  });
  return {
    bytes,
    output: layer.output,
    grown,
    channels: layer.channels,
    grownChannels,
    weight: grow.weight,
    bias: grow.bias,
    mergeNode: merge.name,
    mergeWeight,
    sideNodes: grow.nodes.map((node) => node.name),
    parts,
    unused: unusedNodes(model, layer, grow.rename),
  };
}

type Namer = (base: string) => string;

function namer(model: OnnxModel): Namer {
  const taken = new Set(model.names);
  return (base) => {
    const name = freshName(taken, base);
    taken.add(name);
    return name;
  };
}

interface Growth {
  readonly rename: NodeRename;
  readonly nodes: readonly NewNode[];
  readonly tensors: readonly NewTensor[];
  readonly weight: string;
  readonly bias: string | undefined;
}

/** A channel and the rows that it becomes: the first takes its place, the others are appended. */
interface Rewritten {
  readonly channel: number;
  readonly rows: readonly PartRow[];
}

function rewrite(layer: Layer, split: ChannelSplit): Rewritten {
  const { bytes } = layer.elements;
  const at = (raw: Uint8Array, size: number): Uint8Array =>
    raw.subarray(split.channel * size, (split.channel + 1) * size);
  const bits = {
    weights: at(layer.rows, layer.rowBytes),
    bias: layer.bias === undefined ? undefined : at(layer.bias.raw, bytes),
    tapBytes: layer.taps * bytes,
    elements: layer.elements,
  };
  return { channel: split.channel, rows: partRows(bits, split) };
}

/** The layer's own rows, with concept 1 alone in those of channels that are split. */
function ownRows(layer: Layer, splits: readonly Rewritten[]): Uint8Array {
  const out = layer.rows.slice();
  for (const { channel, rows } of splits) if (rows[0]) out.set(rows[0].weights, channel * layer.rowBytes);
  return out;
}

/** The layer's own bias, with concept 1's in those of channels that are split. Undefined without one. */
function ownBias(layer: Layer, splits: readonly Rewritten[]): Uint8Array | undefined {
  const out = layer.bias?.raw.slice();
  for (const { channel, rows } of splits) if (rows[0]?.bias) out?.set(rows[0].bias, channel * layer.elements.bytes);
  return out;
}

const newRows = (splits: readonly Rewritten[]): Uint8Array =>
  concatBytes(splits.flatMap(({ rows }) => rows.slice(1).map((row) => row.weights)));

const newBias = (splits: readonly Rewritten[]): Uint8Array =>
  concatBytes(splits.flatMap(({ rows }) => rows.slice(1).flatMap((row) => row.bias ?? [])));

/** Without groups: the same node with more rows. */
function growLayer(layer: Layer, splits: readonly Rewritten[], grown: string, name: Namer): Growth {
  const weight = name(`${layer.stem}.split.weight`);
  const kept = ownBias(layer, splits);
  const bias = kept === undefined ? undefined : name(`${layer.stem}.split.bias`);
  const added = newRows(splits);
  const rows = layer.channels + added.length / layer.rowBytes;
  const { dataType } = layer.weight;
  const tensors: NewTensor[] = [
    {
      name: weight,
      dataType,
      dims: [rows, layer.groupInputs, ...layer.kernel],
      raw: concatBytes([ownRows(layer, splits), added]),
    },
  ];
  const inputs = new Map([[1, weight]]);
  if (bias !== undefined && kept !== undefined) {
    tensors.push({ name: bias, dataType, dims: [rows], raw: concatBytes([kept, newBias(splits)]) });
    inputs.set(2, bias);
  }
  return { rename: { index: layer.index, inputs, outputs: new Map([[0, grown]]) }, nodes: [], tensors, weight, bias };
}

/**
 * With groups, rows cannot be added to one group alone: the layer keeps its size with concept 1 in place, and each group
 * concerned gets a side Conv over its slice of the input channels for the other parts; all are concatenated.
 */
function growGroups(model: OnnxModel, layer: Layer, splits: readonly Rewritten[], grown: string, name: Namer): Growth {
  const { dataType } = layer.weight;
  const weight = name(`${layer.stem}.split.weight`);
  const own = name(`${layer.output}_own`);
  const tensors: NewTensor[] = [
    { name: weight, dataType, dims: [layer.channels, layer.groupInputs, ...layer.kernel], raw: ownRows(layer, splits) },
  ];
  // Parts by sets keep the channel's bias, and the node its input; parts by weights share it out.
  const changed = ownBias(layer, splits);
  const moves = changed?.some((byte, k) => byte !== layer.bias?.raw[k]) === true;
  const bias = moves ? name(`${layer.stem}.split.bias`) : undefined;
  if (bias !== undefined && changed !== undefined)
    tensors.push({ name: bias, dataType, dims: [layer.channels], raw: changed });
  const copied = attributeBytes(model, layer.index, "group");
  const groupChannels = layer.channels / layer.groups;
  const nodes: NewNode[] = [];
  const pieces = [own];
  for (const [group, members] of byGroup(splits, groupChannels)) {
    const begin = group * layer.groupInputs;
    const sliced = name(`${layer.output}_group${group}_input`);
    const slice = sliceChannels(
      model.opset,
      layer.input,
      sliced,
      begin,
      begin + layer.groupInputs,
      name,
      `${layer.path}/group${group}/slice`,
    );
    const rows = newRows(members);
    const sideWeight = name(`${layer.stem}.group${group}.weight`);
    const inputs = [sliced, sideWeight];
    tensors.push(...slice.tensors, {
      name: sideWeight,
      dataType,
      dims: [rows.length / layer.rowBytes, layer.groupInputs, ...layer.kernel],
      raw: rows,
    });
    if (layer.bias !== undefined) {
      inputs.push(name(`${layer.stem}.group${group}.bias`));
      const bias = newBias(members);
      tensors.push({ name: inputs[2] ?? "", dataType, dims: [bias.length / layer.elements.bytes], raw: bias });
    }
    const output = name(`${layer.output}_group${group}`);
    nodes.push(slice.node, {
      name: name(`${layer.path}/group${group}/conv`),
      opType: "Conv",
      inputs,
      outputs: [output],
      copied,
    });
    pieces.push(output);
  }
  nodes.push({
    name: name(`${layer.path}/concat`),
    opType: "Concat",
    inputs: pieces,
    outputs: [grown],
    attributes: { axis: 1 },
  });
  const inputs = new Map([[1, weight], ...(bias === undefined ? [] : [[2, bias] as const])]);
  return { rename: { index: layer.index, inputs, outputs: new Map([[0, own]]) }, nodes, tensors, weight, bias };
}

/** Splits of each group, groups rising: channels rise too, as splits are sorted. */
function byGroup(splits: readonly Rewritten[], groupChannels: number): ReadonlyMap<number, Rewritten[]> {
  const groups = new Map<number, Rewritten[]>();
  for (const split of splits) {
    const group = Math.floor(split.channel / groupChannels);
    groups.set(group, [...(groups.get(group) ?? []), split]);
  }
  return groups;
}

/** Slice of input channels: bounds are attributes until opset 9, inputs from opset 10. */
function sliceChannels(
  opset: number,
  input: string,
  output: string,
  begin: number,
  end: number,
  name: Namer,
  path: string,
): { node: NewNode; tensors: NewTensor[] } {
  const base = { name: name(path), opType: "Slice", outputs: [output] };
  if (opset < 10)
    return { node: { ...base, inputs: [input], attributes: { axes: [1], starts: [begin], ends: [end] } }, tensors: [] };
  const tensors = Object.entries({ starts: begin, ends: end, axes: 1 }).map(([what, value]): NewTensor => ({
    name: name(`${path}.${what}`),
    dataType: "int64",
    dims: [1],
    raw: new Uint8Array(BigInt64Array.of(BigInt(value)).buffer),
  }));
  return { node: { ...base, inputs: [input, ...tensors.map((tensor) => tensor.name)] }, tensors };
}

/** The merge layer: the identity, and in the row of each split channel the factors of its parts. */
function mergeRows(layer: Layer, parts: readonly SplitPart[], grownChannels: number): Uint8Array {
  const n = layer.elements.bytes;
  const out = new Uint8Array(layer.channels * grownChannels * n);
  const put = (row: number, column: number, value: number): void => {
    out.set(layer.elements.encode([value]), (row * grownChannels + column) * n);
  };
  for (let c = 0; c < layer.channels; c++) put(c, c, 1);
  for (const part of parts) put(part.channel, part.row, part.factor);
  return out;
}

/** Nodes between the old weight or bias and the Conv that nothing else reads. */
function unusedNodes(model: OnnxModel, layer: Layer, rename: NodeRename): string[] {
  const replaced = new Set([...(rename.inputs?.keys() ?? [])]);
  const reads = new Map<string, number>();
  const count = (name: string, by: number): void => void reads.set(name, (reads.get(name) ?? 0) + by);
  for (const node of model.nodes)
    node.inputs.forEach((input, k) => {
      if (node.index !== layer.index || !replaced.has(k)) count(input, 1);
    });
  for (const output of model.outputs) count(output.name, 1);
  for (const inner of subgraphNames(model.bytes, layoutOf(model.bytes))) count(inner, 1);
  const unused: string[] = [];
  const through = [...layer.weight.through, ...(replaced.has(2) ? (layer.bias?.through ?? []) : [])];
  for (const index of through) {
    const node = model.nodes[index];
    if (node === undefined || node.outputs.some((output) => (reads.get(output) ?? 0) > 0)) continue;
    unused.push(node.name === "" ? `${node.opType} at position ${index}` : node.name);
    for (const input of node.inputs) count(input, -1);
  }
  return unused;
}
