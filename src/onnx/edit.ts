/**
 * Lossless editing of a model's own bytes. Only what an edit names is rewritten; every other byte stays, in its order,
 * fields unknown to this version included. Without edits the result equals the file.
 */
import { invariant, must } from "../errors.ts";
import { encodeInput, encodeNode, encodeTensor } from "./encode.ts";
import type { NewNode, NewTensor } from "./encode.ts";
import { bytesField, bytesHeader, textField } from "./fields.ts";
import { declaredName, layoutOf, subgraphNames } from "./layout.ts";
import type { Layout } from "./layout.ts";
import type { OnnxModel } from "./model.ts";
import { ENTRY, GRAPH, MODEL, NODE } from "./schema.ts";
import { concatBytes, holds, textOf, wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

export type { NewNode, NewTensor } from "./encode.ts";

/** New names for some of a node's inputs and outputs, by position. */
export interface NodeRename {
  /** Position in model.nodes. */
  readonly index: number;
  readonly inputs?: ReadonlyMap<number, string>;
  readonly outputs?: ReadonlyMap<number, string>;
}

export interface ModelEdits {
  readonly renames?: readonly NodeRename[];
  /** New nodes, each list placed right behind the node of that index. */
  readonly insertions?: readonly { readonly after: number; readonly nodes: readonly NewNode[] }[];
  /** Placed behind the last initialiser that is there; with IR version 3, which wants it, in graph.input as well. */
  readonly initializers?: readonly NewTensor[];
  /** Initialisers to drop, with their entries in graph.input and value_info, unless something still uses them. */
  readonly unneeded?: readonly string[];
  /** metadata_props: the value of a key that is there is replaced, others are appended. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * The file with the edits made. They must name what is there, and new names must be fresh (freshName).
 * With no edits the result is byte-identical to model.bytes.
 */
export function editModel(model: OnnxModel, edits: ModelEdits): Uint8Array {
  const { bytes } = model;
  const layout = layoutOf(bytes);
  const pieces = new Pieces(bytes);
  const metadata = new Map(Object.entries(edits.metadata ?? {}));
  const replaced = new Set<string>();
  for (const field of layout.model) {
    if (field === layout.graph) pieces.replace(field, editGraph(model, layout, edits));
    else if (holds(field, MODEL.metadataProps)) {
      const key = entryKey(bytes, field);
      const value = metadata.get(key);
      if (value === undefined) continue;
      replaced.add(key);
      pieces.replace(field, replaceText(bytes, field, ENTRY.value, value));
    }
  }
  const added = [...metadata].filter(([key]) => !replaced.has(key));
  pieces.insert(
    bytes.length,
    added.map(([key, value]) =>
      bytesField(MODEL.metadataProps, concatBytes([textField(ENTRY.key, key), textField(ENTRY.value, value)])),
    ),
  );
  return concatBytes(pieces.finish(0, bytes.length));
}

/** `base`, or `base` with the first number behind it that makes it new. */
export function freshName(taken: ReadonlySet<string>, base: string): string {
  if (!taken.has(base)) return base;
  for (let k = 2; ; k++) if (!taken.has(`${base}_${k}`)) return `${base}_${k}`;
}

/** The AttributeProtos of a node as they stand in the file, without the one named `except`. */
export function attributeBytes(model: OnnxModel, index: number, except: string): Uint8Array[] {
  const { bytes } = model;
  const node = must(nodeFields(layoutOf(bytes))[index], `node ${index}`);
  const found: Uint8Array[] = [];
  for (const field of wireFields(bytes, node.value, node.end)) {
    if (!holds(field, NODE.attribute)) continue;
    let name = "";
    for (const part of wireFields(bytes, field.value, field.end)) if (holds(part, 1)) name = textOf(bytes, part);
    if (name !== except) found.push(bytes.subarray(field.value, field.end));
  }
  return found;
}

/** A message's bytes as pieces of the file and what replaces or joins them. */
class Pieces {
  private readonly bytes: Uint8Array;
  private readonly changes: { readonly start: number; readonly end: number; readonly parts: readonly Uint8Array[] }[] =
    [];

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Gives the field new content, or none at all: the same pieces as before leave it as it is. */
  replace(field: WireField, content: readonly Uint8Array[] | undefined): void {
    if (content === undefined) return;
    const length = content.reduce((n, part) => n + part.length, 0);
    this.changes.push({ start: field.start, end: field.end, parts: [bytesHeader(field.number, length), ...content] });
  }

  remove(field: WireField): void {
    this.changes.push({ start: field.start, end: field.end, parts: [] });
  }

  insert(at: number, parts: readonly Uint8Array[]): void {
    if (parts.length > 0) this.changes.push({ start: at, end: at, parts });
  }

  get changed(): boolean {
    return this.changes.length > 0;
  }

  /** The content from `start` to `end` with the changes made; changes come in file order. */
  finish(start: number, end: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    let at = start;
    for (const change of this.changes) {
      invariant(change.start >= at && change.end <= end, "edits overlap or are out of order");
      if (change.start > at) out.push(this.bytes.subarray(at, change.start));
      out.push(...change.parts);
      at = change.end;
    }
    if (at < end) out.push(this.bytes.subarray(at, end));
    return out;
  }
}

const nodeFields = ({ inGraph }: Layout): WireField[] => inGraph.filter((field) => holds(field, GRAPH.node));

/** New content of the graph, or undefined where nothing in it changes. */
function editGraph(model: OnnxModel, layout: Layout, edits: ModelEdits): Uint8Array[] | undefined {
  const { bytes } = model;
  const { graph, inGraph } = layout;
  const pieces = new Pieces(bytes);
  const renames = new Map((edits.renames ?? []).map((rename) => [rename.index, rename]));
  const insertions = new Map((edits.insertions ?? []).map(({ after, nodes }) => [after, nodes]));
  const removed = removable(bytes, layout, edits, renames);
  const tensors = (edits.initializers ?? []).map((tensor) => bytesField(GRAPH.initializer, encodeTensor(tensor)));
  const lastTensor = inGraph.findLast((field) => holds(field, GRAPH.initializer));
  const lastInput = inGraph.findLast((field) => holds(field, GRAPH.input));
  const inputs =
    model.irVersion > 3 ? [] : (edits.initializers ?? []).map((tensor) => bytesField(GRAPH.input, encodeInput(tensor)));
  let index = 0;
  for (const field of inGraph) {
    if (holds(field, GRAPH.node)) {
      const rename = renames.get(index);
      if (rename) pieces.replace(field, renameNode(bytes, field, rename));
      pieces.insert(
        field.end,
        (insertions.get(index) ?? []).map((node) => bytesField(GRAPH.node, encodeNode(node))),
      );
      index += 1;
    } else if (removed.has(declaredName(bytes, field) ?? "") && field.number !== GRAPH.output) {
      pieces.remove(field);
    }
    if (field === lastTensor) pieces.insert(field.end, tensors);
    if (field === lastInput) pieces.insert(field.end, inputs);
  }
  const last = Math.max(-1, ...renames.keys(), ...insertions.keys());
  invariant(last < index, `an edit of node ${last}, of ${index} nodes`);
  if (lastTensor === undefined) pieces.insert(graph.end, tensors);
  if (lastInput === undefined) pieces.insert(graph.end, inputs);
  return pieces.changed ? pieces.finish(graph.value, graph.end) : undefined;
}

/** Those of edits.unneeded that no node, subgraph or output uses once the edits are made. */
function removable(
  bytes: Uint8Array,
  layout: Layout,
  edits: ModelEdits,
  renames: ReadonlyMap<number, NodeRename>,
): ReadonlySet<string> {
  const removed = new Set(edits.unneeded ?? []);
  removed.delete("");
  if (removed.size === 0) return removed;
  for (const { nodes } of edits.insertions ?? [])
    for (const node of nodes) for (const name of node.inputs) removed.delete(name);
  nodeFields(layout).forEach((field, index) => {
    let position = 0;
    for (const part of wireFields(bytes, field.value, field.end)) {
      if (!holds(part, NODE.input)) continue;
      removed.delete(renames.get(index)?.inputs?.get(position) ?? textOf(bytes, part));
      position += 1;
    }
  });
  for (const name of subgraphNames(bytes, layout)) removed.delete(name);
  for (const field of layout.inGraph)
    if (field.number === GRAPH.output) removed.delete(declaredName(bytes, field) ?? "");
  return removed;
}

/** Rewrites only the entries that are renamed; the node's other bytes stay. */
function renameNode(bytes: Uint8Array, node: WireField, rename: NodeRename): Uint8Array[] | undefined {
  const pieces = new Pieces(bytes);
  const wanted = { [NODE.input]: rename.inputs, [NODE.output]: rename.outputs };
  const seen = { [NODE.input]: 0, [NODE.output]: 0 };
  for (const field of wireFields(bytes, node.value, node.end)) {
    if (!holds(field, NODE.input) && !holds(field, NODE.output)) continue;
    const side = field.number === NODE.input ? NODE.input : NODE.output;
    const name = wanted[side]?.get(seen[side]);
    if (name !== undefined) pieces.replace(field, [new TextEncoder().encode(name)]);
    seen[side] += 1;
  }
  for (const side of [NODE.input, NODE.output]) {
    for (const position of wanted[side]?.keys() ?? [])
      invariant(position < seen[side], `node ${rename.index} has no such input or output: ${position}`);
  }
  return pieces.changed ? pieces.finish(node.value, node.end) : undefined;
}

function entryKey(bytes: Uint8Array, entry: WireField): string {
  let key = "";
  for (const field of wireFields(bytes, entry.value, entry.end))
    if (holds(field, ENTRY.key)) key = textOf(bytes, field);
  return key;
}

/** Content of the message with the text field `number` set to `text`; undefined where it says that already. */
function replaceText(bytes: Uint8Array, message: WireField, number: number, text: string): Uint8Array[] | undefined {
  const pieces = new Pieces(bytes);
  const found = [...wireFields(bytes, message.value, message.end)].findLast((field) => holds(field, number));
  if (found === undefined) pieces.insert(message.end, [textField(number, text)]);
  else if (textOf(bytes, found) === text) return undefined;
  else pieces.replace(found, [new TextEncoder().encode(text)]);
  return pieces.finish(message.value, message.end);
}
