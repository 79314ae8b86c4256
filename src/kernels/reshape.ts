/** Identity, Reshape, Flatten, Squeeze, Unsqueeze: another shape for the same elements. ONNX opset 7 to 22. */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { intAttr, intsAttr, intsInput, modelError, requireInput } from "./attributes.ts";
import { reshapeOperator } from "./movement.ts";
import type { Operator } from "./operator.ts";
import { normaliseAxes, showShape } from "./shape.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** Reshape: 0 keeps the input's size there (unless `allowzero`), one -1 is worked out. */
function reshape(node: GraphNode, inputs: Inputs): number[] {
  const { shape } = requireInput(node, inputs, 0);
  const wanted = intsInput(node, inputs, 1, "shape") ?? intsAttr(node, "shape");
  if (wanted === undefined) throw modelError(node, "INPUT_MISSING", "input 1 (shape) is missing");
  const allowZero = intAttr(node, "allowzero", 0) !== 0;
  const refuse = (why: string): Error =>
    modelError(node, "SHAPE", `cannot reshape ${showShape(shape)} to ${showShape(wanted)}: ${why}`);
  const out = wanted.map((d, i) => {
    if (d < -1) throw refuse(`${d} is no size`);
    if (d !== 0 || allowZero) return d;
    const size = shape[i];
    if (size === undefined) throw refuse(`the input has no dimension ${i} to keep`);
    return size;
  });
  const unknown = out.indexOf(-1);
  const size = sizeOf(shape);
  if (unknown >= 0) {
    if (out.includes(-1, unknown + 1)) throw refuse("two sizes are -1");
    if (allowZero && out.includes(0)) throw refuse("-1 beside a size of 0 is ambiguous");
    const rest = out.reduce((n, d, i) => (i === unknown ? n : n * d), 1);
    if (rest === 0 ? size !== 0 : size % rest !== 0) throw refuse(`${size} elements do not divide by ${rest}`);
    out[unknown] = rest === 0 ? 0 : size / rest;
  }
  if (sizeOf(out) !== size) throw refuse(`${size} elements are not ${sizeOf(out)}`);
  return out;
}

function flatten(node: GraphNode, inputs: Inputs): number[] {
  const { shape } = requireInput(node, inputs, 0);
  const axis = intAttr(node, "axis", 1);
  const split = axis < 0 ? axis + shape.length : axis;
  // The rank itself is allowed: everything goes into the first dimension.
  if (split < 0 || split > shape.length) {
    throw modelError(node, "SHAPE", `axis ${axis} is outside -${shape.length} .. ${shape.length}`);
  }
  return [sizeOf(shape.slice(0, split)), sizeOf(shape.slice(split))];
}

/** Squeeze and Unsqueeze: axes are an attribute before opset 13, an input from there on. */
const axesOf = (node: GraphNode, inputs: Inputs): readonly number[] | undefined =>
  intsAttr(node, "axes") ?? intsInput(node, inputs, 1, "axes");

function squeeze(node: GraphNode, inputs: Inputs): number[] {
  const { shape } = requireInput(node, inputs, 0);
  const given = axesOf(node, inputs);
  if (given === undefined) return shape.filter((d) => d !== 1);
  const axes = normaliseAxes(node, given, shape.length);
  for (const axis of axes) {
    if (shape[axis] !== 1) {
      throw modelError(node, "SHAPE", `axis ${axis} of ${showShape(shape)} has size ${shape[axis] ?? 0}, not 1`);
    }
  }
  return shape.filter((_, i) => !axes.includes(i));
}

function unsqueeze(node: GraphNode, inputs: Inputs): number[] {
  const { shape } = requireInput(node, inputs, 0);
  const given = axesOf(node, inputs);
  if (given === undefined) throw modelError(node, "ATTRIBUTE", "axes are missing");
  const axes = normaliseAxes(node, given, shape.length + given.length);
  const rest = shape[Symbol.iterator]();
  return Array.from({ length: shape.length + axes.length }, (_, i) =>
    axes.includes(i) ? 1 : (rest.next().value ?? 1),
  );
}

export const reshaping: Record<string, Operator> = {
  // A constant stays the very tensor: weights behind an Identity count as stored, and are uploaded once.
  Identity: {
    ...reshapeOperator((node, inputs) => requireInput(node, inputs, 0).shape),
    infer: (node, inputs) => [requireInput(node, inputs, 0)],
  },
  Reshape: reshapeOperator(reshape),
  Flatten: reshapeOperator(flatten),
  Squeeze: reshapeOperator(squeeze),
  Unsqueeze: reshapeOperator(unsqueeze),
};
