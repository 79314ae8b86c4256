/** Typed readers of a node's attributes and constant inputs. Errors name the node, the attribute and what was found. */
import { UnbraidError } from "../errors.ts";
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** How a node is called in messages: `Conv "layer1/conv"`. */
export const nodeLabel = (node: GraphNode): string => `${node.opType} "${node.name}"`;

/** An error in the model at `node`; `code` as in docs/errors.md. */
export function modelError(node: GraphNode, code: string, message: string, remedy?: string): UnbraidError {
  return new UnbraidError(
    "model",
    code,
    `${nodeLabel(node)}: ${message}`,
    remedy ?? "Export the model again, and check it with onnx.checker.",
  );
}

/** Something that ONNX allows and this version does not do. */
export function unsupported(node: GraphNode, message: string, remedy?: string): UnbraidError {
  return new UnbraidError(
    "unsupported",
    "UNSUPPORTED_NODE",
    `${nodeLabel(node)}: ${message}`,
    remedy ?? "Export the model without it, or simplify the model (onnxsim) first.",
  );
}

function wrongType(node: GraphNode, name: string, wanted: string): UnbraidError {
  const value = node.attributes.get(name);
  const found =
    typeof value === "number" || typeof value === "string"
      ? JSON.stringify(value)
      : Array.isArray(value)
        ? "a list"
        : "a tensor";
  return modelError(node, "ATTRIBUTE", `attribute ${name} must be ${wanted}, but is ${found}`);
}

const isTensor = (value: unknown): value is HostTensor =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** An integer attribute; `fallback` (or undefined) where the node does not have it. */
export function intAttr(node: GraphNode, name: string, fallback: number): number;
export function intAttr(node: GraphNode, name: string, fallback?: number): number | undefined;
export function intAttr(node: GraphNode, name: string, fallback?: number): number | undefined {
  const value = node.attributes.get(name);
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value)) throw wrongType(node, name, "an integer");
  return value;
}

/** A float attribute; `fallback` (or undefined) where the node does not have it. */
export function floatAttr(node: GraphNode, name: string, fallback: number): number;
export function floatAttr(node: GraphNode, name: string, fallback?: number): number | undefined;
export function floatAttr(node: GraphNode, name: string, fallback?: number): number | undefined {
  const value = node.attributes.get(name);
  if (value === undefined) return fallback;
  if (typeof value !== "number") throw wrongType(node, name, "a number");
  return value;
}

/** A string attribute; with `allowed`, anything else is an error that lists what is. */
export function stringAttr<T extends string = string>(
  node: GraphNode,
  name: string,
  fallback: T,
  allowed?: readonly T[],
): T {
  const value = node.attributes.get(name);
  if (value === undefined) return fallback;
  if (typeof value !== "string") throw wrongType(node, name, "a string");
  const known = allowed?.find((a) => a === value);
  if (allowed !== undefined && known === undefined) {
    throw wrongType(node, name, `one of ${allowed.map((a) => JSON.stringify(a)).join(", ")}`);
  }
  return known ?? (value as T);
}

function numbersAttr(node: GraphNode, name: string, wanted: string): readonly number[] | undefined {
  const value = node.attributes.get(name);
  if (value === undefined) return undefined;
  if (!Array.isArray(value)) throw wrongType(node, name, wanted);
  const numbers: number[] = [];
  for (const item of value as readonly unknown[]) {
    if (typeof item !== "number") throw wrongType(node, name, wanted);
    numbers.push(item);
  }
  return numbers;
}

/** A list of integers; `fallback` (or undefined) where the node does not have it; `length` is checked where given. */
export function intsAttr(
  node: GraphNode,
  name: string,
  fallback: readonly number[],
  length?: number,
): readonly number[];
export function intsAttr(
  node: GraphNode,
  name: string,
  fallback?: readonly number[],
  length?: number,
): readonly number[] | undefined;
export function intsAttr(
  node: GraphNode,
  name: string,
  fallback?: readonly number[],
  length?: number,
): readonly number[] | undefined {
  const value = numbersAttr(node, name, "a list of integers");
  if (value === undefined) return fallback;
  if (!value.every(Number.isInteger)) throw wrongType(node, name, "a list of integers");
  if (length !== undefined && value.length !== length) {
    throw modelError(node, "ATTRIBUTE", `attribute ${name} must have ${length} entries, but has ${value.length}`);
  }
  return value;
}

/** A list of floats; undefined where the node does not have it. */
export function floatsAttr(node: GraphNode, name: string): readonly number[] | undefined {
  return numbersAttr(node, name, "a list of numbers");
}

/** A tensor; undefined where the node does not have it. */
export function tensorAttr(node: GraphNode, name: string): HostTensor | undefined {
  const value = node.attributes.get(name);
  if (value === undefined) return undefined;
  if (!isTensor(value)) throw wrongType(node, name, "a tensor");
  return value;
}

/** `value` of an attribute that ONNX demands. */
export function required<T>(node: GraphNode, name: string, value: T | undefined): T {
  if (value === undefined) throw modelError(node, "ATTRIBUTE", `attribute ${name} is missing`);
  return value;
}

/** What is known of input `k`, which ONNX demands. */
export function requireInput(node: GraphNode, inputs: Inputs, k: number): ValueInfo {
  const info = inputs[k];
  if (info === undefined) throw modelError(node, "INPUT_MISSING", `input ${k} is missing`);
  return info;
}

/**
 * Elements of input `k`, which must not depend on the graph's inputs (shapes, axes, pads, ...); undefined where it is
 * left out.
 */
export function constantInput(node: GraphNode, inputs: Inputs, k: number, what: string): HostTensor | undefined {
  const info = inputs[k];
  if (info === undefined) return undefined;
  if (info.value === undefined) {
    throw unsupported(
      node,
      `input ${k} (${what}) depends on the network's inputs, so shapes would change from image to image`,
      "Export the model with constant shapes (fixed image size), or run onnxsim on it.",
    );
  }
  return info.value;
}

/** `constantInput` as a list of integers (any rank, at most 1 in valid ONNX). */
export function intsInput(
  node: GraphNode,
  inputs: Inputs,
  k: number,
  what: string,
  length?: number,
): readonly number[] | undefined {
  const tensor = constantInput(node, inputs, k, what);
  if (tensor === undefined) return undefined;
  const list = Array.from(tensor.data);
  if (tensor.shape.length > 1) {
    throw modelError(node, "SHAPE", `input ${k} (${what}) must be a list, but has shape [${tensor.shape.join(",")}]`);
  }
  if (!list.every(Number.isInteger)) {
    throw modelError(node, "INPUT_TYPE", `input ${k} (${what}) must hold integers, but is ${tensor.type}`);
  }
  if (length !== undefined && list.length !== length) {
    throw modelError(node, "SHAPE", `input ${k} (${what}) must have ${length} entries, but has ${list.length}`);
  }
  return list;
}

/** `constantInput` as one number (a scalar, or a tensor of one element). */
export function scalarInput(node: GraphNode, inputs: Inputs, k: number, what: string): number | undefined {
  const tensor = constantInput(node, inputs, k, what);
  if (tensor === undefined) return undefined;
  const value = tensor.data[0];
  if (value === undefined || tensor.data.length !== 1) {
    throw modelError(node, "SHAPE", `input ${k} (${what}) must be one number, but has ${tensor.data.length}`);
  }
  return value;
}
