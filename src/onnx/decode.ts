/**
 * ONNX bytes -> OnnxModel. The file is walked at wire level, and of its small messages the fields are read that the schema
 * lists; tensors stay where they are until they are asked for.
 */
import { UnbraidError } from "../errors.ts";
import { readGraph } from "./graph.ts";
import { layoutOf, subgraphNames, subgraphsOf } from "./layout.ts";
import { readMessage } from "./message.ts";
import type { Message } from "./message.ts";
import type { ExternalReader, OnnxModel, OnnxTensor, OnnxValueInfo } from "./model.ts";
import { ATTRIBUTE, GRAPH, MODEL, MODEL_HEADER, NODE } from "./schema.ts";
import { externalLocation } from "./tensor.ts";
import { holds, plainBytes, WireError, wireFields } from "./wire.ts";
import type { WireField } from "./wire.ts";

/** Oldest versions whose operators and file layout are known here. Newer ones are not refused by number alone. */
export const OLDEST_OPSET = 7;
export const OLDEST_IR = 3;

/**
 * Reads a model.
 * @param bytes the whole file; kept, and viewed by every tensor
 * @param external reads data files beside the model; without it, tensors with external data fail when asked for
 * @throws UnbraidError kind "model": NOT_ONNX, ONNX_TRUNCATED, ONNX_DAMAGED, OPSET_UNSUPPORTED, IR_UNSUPPORTED,
 * TENSOR_DIMS, DUPLICATE_NAME, EXTERNAL_DATA, EXTERNAL_DATA_OUTSIDE, ATTRIBUTE_EMPTY
 */
export function decodeModel(bytes: Uint8Array, external?: ExternalReader): OnnxModel {
  try {
    return decode(plainBytes(bytes), external);
  } catch (error) {
    if (error instanceof UnbraidError) throw error;
    throw unreadable(bytes, error);
  }
}

function decode(bytes: Uint8Array, external: ExternalReader | undefined): OnnxModel {
  const layout = layoutOf(bytes);
  const header = readMessage(MODEL_HEADER, bytes, layout.model);
  const { irVersion = 0 } = header;
  const { opset, domains } = opsets(header.opsetImport);
  checkVersions(irVersion, opset);

  // This also bounds how deep graphs nest.
  const names = new Set(subgraphNames(bytes, layout));
  const { nodes, initializers, declared, outputs, valueInfo } = readGraph(bytes, layout.inGraph, external);
  for (const info of valueInfo) names.add(info.name);
  for (const node of nodes) for (const name of [node.name, ...node.inputs, ...node.outputs]) names.add(name);
  for (const name of [...initializers.keys(), ...[...declared, ...outputs].map((info) => info.name)]) names.add(name);
  names.delete("");
  for (const info of declared) checkDeclared(info, initializers.get(info.name));
  return {
    bytes,
    irVersion,
    opset,
    domains,
    producer: [header.producerName, header.producerVersion].filter((part = "") => part !== "").join(" "),
    nodes,
    initializers,
    inputs: declared.filter((info) => !initializers.has(info.name)),
    outputs,
    metadata: new Map(header.metadataProps.map((entry) => [entry.key ?? "", entry.value ?? ""])),
    names,
  };
}

function opsets(imports: Message<typeof MODEL_HEADER>["opsetImport"]): {
  opset: number | undefined;
  domains: Map<string, number>;
} {
  const domains = new Map(
    imports.map((entry) => [entry.domain === "ai.onnx" ? "" : (entry.domain ?? ""), entry.version ?? 0]),
  );
  for (const entry of imports) {
    const domain = entry.domain === "ai.onnx" ? "" : (entry.domain ?? "");
    const [one, other] = [entry.version ?? 0, domains.get(domain)];
    if (one !== other)
      throw new UnbraidError(
        "model",
        "OPSET_UNSUPPORTED",
        `the model imports two versions, ${one} and ${other ?? 0}, of the operators of "${domain === "" ? "ai.onnx" : domain}"`,
        faulty,
      );
  }
  const opset = domains.get("");
  domains.delete("");
  return { opset, domains };
}

function checkVersions(ir: number, opset: number | undefined): asserts opset is number {
  if (ir < OLDEST_IR) {
    throw new UnbraidError(
      "model",
      "IR_UNSUPPORTED",
      `the file has IR version ${ir}; ${OLDEST_IR} and later are read`,
      "Export the model again with a current exporter, or convert it with onnx.version_converter.",
    );
  }
  if (opset !== undefined && opset >= OLDEST_OPSET) return;
  throw new UnbraidError(
    "model",
    "OPSET_UNSUPPORTED",
    opset === undefined
      ? "the model imports no version of the standard operators (ai.onnx)"
      : `the model uses opset ${opset}; ${OLDEST_OPSET} and later are read`,
    "Export the model again with opset 13 or later, or convert it with onnx.version_converter.",
  );
}

const faulty = "Export the model again; onnx.checker explains what is wrong with it.";

/** An initialiser that graph.input lists too (as IR version 3 wants) has the shape that is declared there. */
function checkDeclared(info: OnnxValueInfo, tensor: OnnxTensor | undefined): void {
  if (tensor === undefined || info.dims === undefined) return;
  const fits =
    info.dims.length === tensor.dims.length &&
    info.dims.every((d, k) => typeof d !== "number" || d <= 0 || d === tensor.dims[k]);
  if (fits) return;
  throw new UnbraidError(
    "model",
    "TENSOR_DIMS",
    `the tensor "${info.name}" has dimensions [${tensor.dims.join(", ")}], but the graph's inputs declare ` +
      `[${info.dims.map((d) => d ?? "?").join(", ")}]`,
    faulty,
  );
}

/** What is wrong with bytes that do not parse: nothing like ONNX, cut short, or damaged inside. */
function unreadable(bytes: Uint8Array, error: unknown): UnbraidError {
  const cause = error instanceof Error ? error : new Error(String(error));
  const at = error instanceof WireError ? error : undefined;
  const n = bytes.length;
  if (new TextDecoder().decode(bytes.subarray(0, 40)).startsWith("version https://git-lfs")) {
    return new UnbraidError(
      "model",
      "NOT_ONNX",
      `the file is a Git LFS pointer of ${n} bytes, not a model`,
      "Fetch the real file with `git lfs pull`.",
      { cause },
    );
  }
  if (!looksLikeOnnx(bytes)) {
    return new UnbraidError(
      "model",
      "NOT_ONNX",
      `the file of ${n} bytes is not an ONNX model`,
      "Pass a model in ONNX's binary format (.onnx).",
      { cause },
    );
  }
  if (at !== undefined && at.missing > 0 && topLevelOverrun(bytes)) {
    return new UnbraidError(
      "model",
      "ONNX_TRUNCATED",
      `the file ends after ${n} bytes; at least ${at.missing} more are missing`,
      "Download or export the file again.",
      { cause },
    );
  }
  if (at?.offset === 0 && cause.message === "0 graphs") {
    return new UnbraidError(
      "model",
      "ONNX_NO_GRAPH",
      `the file of ${n} bytes holds no graph`,
      "Download or export the file again.",
      { cause },
    );
  }
  const where = at === undefined ? "" : ` near byte ${at.offset}`;
  return new UnbraidError(
    "model",
    "ONNX_DAMAGED",
    `the file is damaged${where}: ${cause.message}`,
    "Download or export the file again.",
    { cause },
  );
}

/** ModelProto begins with its IR version (field 1, a small varint) in every writer known, or at least holds one. */
function looksLikeOnnx(bytes: Uint8Array): boolean {
  try {
    for (const field of wireFields(bytes)) {
      if (field.number === MODEL.irVersion) return field.wireType === 0 && field.end - field.value <= 2;
      if (field.number > 64) return false;
    }
  } catch {
    return false;
  }
  return false;
}

function topLevelOverrun(bytes: Uint8Array): boolean {
  try {
    for (const field of wireFields(bytes)) if (field.number === 0) return false;
    return false;
  } catch (error) {
    return error instanceof WireError && error.missing > 0;
  }
}

/** The data files that the model's tensors lie in, sorted, each once; paths as the model gives them. */
export function externalLocations(model: OnnxModel): readonly string[] {
  const { bytes } = model;
  const found = new Set<string>();
  const visitTensor = (field: WireField): void => {
    const at = externalLocation(bytes, field.value, field.end);
    if (at !== undefined) found.add(at.location);
  };
  const visitGraph = (fields: Iterable<WireField>): void => {
    for (const field of fields) {
      if (holds(field, GRAPH.initializer)) visitTensor(field);
      if (!holds(field, GRAPH.node)) continue;
      for (const attribute of wireFields(bytes, field.value, field.end)) {
        if (!holds(attribute, NODE.attribute)) continue;
        for (const part of wireFields(bytes, attribute.value, attribute.end)) {
          if (holds(part, ATTRIBUTE.tensor) || holds(part, ATTRIBUTE.tensors)) visitTensor(part);
        }
      }
      for (const graph of subgraphsOf(bytes, field)) visitGraph(wireFields(bytes, graph.value, graph.end));
    }
  };
  visitGraph(layoutOf(bytes).inGraph);
  return [...found].sort();
}
