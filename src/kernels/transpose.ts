/** Transpose, DepthToSpace, SpaceToDepth, Expand, Tile: one box of the input, walked in another order or repeatedly. */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { intAttr, intsAttr, intsInput, modelError, requireInput, required, stringAttr } from "./attributes.ts";
import type { Movement } from "./movement.ts";
import { movementOperator } from "./movement.ts";
import type { Operator } from "./operator.ts";
import { broadcastShapes, broadcastStrides, normaliseAxes, showShape, stridesOf } from "./shape.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** The whole output, its dimensions cut into `sizes`, reading the input with these strides. */
function oneBox(shape: readonly number[], sizes: readonly number[], from: readonly number[]): Movement[] {
  const to = stridesOf(sizes);
  const dims = sizes.map((size, i) => ({ size, strides: [from[i] ?? 0, to[i] ?? 0] }));
  return [{ shape, placements: [{ input: 0, copy: { dims, fromOffset: 0, toOffset: 0 } }] }];
}

function transpose(node: GraphNode, inputs: Inputs): Movement[] {
  const { shape } = requireInput(node, inputs, 0);
  const perm = intsAttr(node, "perm") ?? shape.map((_, i) => shape.length - 1 - i);
  const axes = normaliseAxes(node, perm, shape.length);
  if (axes.length !== shape.length) {
    throw modelError(node, "SHAPE", `perm [${perm.join(",")}] does not fit an input of shape ${showShape(shape)}`);
  }
  const strides = stridesOf(shape);
  const out = axes.map((a) => shape[a] ?? 1);
  return oneBox(
    out,
    out,
    axes.map((a) => strides[a] ?? 0),
  );
}

/** An input of shape [n, c, h, w], and the block size, checked. */
function blocks(node: GraphNode, inputs: Inputs): { n: number; c: number; h: number; w: number; b: number } {
  const { shape } = requireInput(node, inputs, 0);
  const b = required(node, "blocksize", intAttr(node, "blocksize"));
  const [n, c, h, w] = shape;
  if (n === undefined || c === undefined || h === undefined || w === undefined || shape.length !== 4) {
    throw modelError(node, "SHAPE", `the input must have shape [N,C,H,W], but has ${showShape(shape)}`);
  }
  if (b < 1) throw modelError(node, "ATTRIBUTE", `blocksize must be at least 1, but is ${b}`);
  return { n, c, h, w, b };
}

/** mode DCR: channel = (row in block, column in block, depth); CRD: (depth, row, column). */
function depthToSpace(node: GraphNode, inputs: Inputs): Movement[] {
  const { n, c, h, w, b } = blocks(node, inputs);
  const mode = stringAttr(node, "mode", "DCR", ["DCR", "CRD"]);
  if (c % (b * b) !== 0) throw modelError(node, "SHAPE", `${c} channels do not divide by blocksize ${b} squared`);
  const depth = c / (b * b);
  const plane = h * w;
  const [perDepth, perRow, perColumn] =
    mode === "DCR" ? [plane, b * depth * plane, depth * plane] : [b * b * plane, b * plane, plane];
  return oneBox([n, depth, h * b, w * b], [n, depth, h, b, w, b], [c * plane, perDepth, w, perRow, 1, perColumn]);
}

/** The inverse; mode from opset 28 on. */
function spaceToDepth(node: GraphNode, inputs: Inputs): Movement[] {
  const { n, c, h, w, b } = blocks(node, inputs);
  const mode = stringAttr(node, "mode", "DCR", ["DCR", "CRD"]);
  if (h % b !== 0 || w % b !== 0) throw modelError(node, "SHAPE", `${h}x${w} does not divide by blocksize ${b}`);
  const out = [n, c * b * b, h / b, w / b];
  const plane = h * w;
  return mode === "DCR"
    ? oneBox(out, [n, b, b, c, h / b, w / b], [c * plane, w, 1, plane, b * w, b])
    : oneBox(out, [n, c, b, b, h / b, w / b], [c * plane, plane, w, 1, b * w, b]);
}

/** Broadcasting goes both ways: a 1 in the wanted shape keeps the input's size. */
function expand(node: GraphNode, inputs: Inputs): Movement[] {
  const { shape } = requireInput(node, inputs, 0);
  const wanted = intsInput(node, inputs, 1, "shape");
  if (wanted === undefined) throw modelError(node, "INPUT_MISSING", "input 1 (shape) is missing");
  const out = broadcastShapes(node, [shape, wanted]);
  return oneBox(out, out, broadcastStrides(shape, out));
}

function tile(node: GraphNode, inputs: Inputs): Movement[] {
  const { shape } = requireInput(node, inputs, 0);
  const repeats = intsInput(node, inputs, 1, "repeats", shape.length);
  if (repeats === undefined) throw modelError(node, "INPUT_MISSING", "input 1 (repeats) is missing");
  const strides = stridesOf(shape);
  return oneBox(
    shape.map((d, i) => d * (repeats[i] ?? 1)),
    shape.flatMap((d, i) => [repeats[i] ?? 1, d]),
    shape.flatMap((_, i) => [0, strides[i] ?? 0]),
  );
}

export const transposition: Record<string, Operator> = {
  Transpose: movementOperator(transpose),
  DepthToSpace: movementOperator(depthToSpace),
  SpaceToDepth: movementOperator(spaceToDepth),
  Expand: movementOperator(expand),
  Tile: movementOperator(tile),
};
