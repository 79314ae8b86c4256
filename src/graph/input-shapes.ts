/** The shapes that a graph is run with, held against those that it declares. */
import { UnbraidError } from "../errors.ts";
import type { Graph, GraphInput, ValueInfo } from "./graph.ts";

/** Elements of a tensor that a kernel can index with 32 bits. */
const MAX_ELEMENTS = 2 ** 32 - 1;

/** @throws UnbraidError INPUT_SHAPE */
export const inputInfos = (graph: Graph, shapes: ReadonlyMap<string, readonly number[]>): Map<string, ValueInfo> =>
  new Map(graph.inputs.map((input) => [input.name, { type: input.type, shape: checkedShape(input, shapes) }]));

function checkedShape(input: GraphInput, shapes: ReadonlyMap<string, readonly number[]>): readonly number[] {
  const shape = shapes.get(input.name);
  const declared = input.shape?.map((d) => d ?? "?").join("x") ?? "any shape";
  const fits =
    shape !== undefined &&
    (input.shape === undefined ||
      (shape.length === input.shape.length && input.shape.every((d, i) => d === null || d === shape[i])));
  if (!fits) {
    throw new UnbraidError(
      "input",
      "INPUT_SHAPE",
      `input "${input.name}" is declared as ${declared}, given ${shape?.join("x") ?? "nothing"}`,
      "Give the input the declared shape (for images: --resize and --crop).",
    );
  }
  const elements = shape.reduce((n, d) => n * Math.max(d, 1), 1);
  if (!shape.every((d) => Number.isInteger(d) && d >= 0) || elements > MAX_ELEMENTS) {
    throw new UnbraidError(
      "input",
      "INPUT_SHAPE",
      `input "${input.name}" of shape ${shape.join("x")} has ${elements} elements; kernels count whole numbers up to ${MAX_ELEMENTS}`,
      "Use a smaller batch or image size.",
    );
  }
  return shape;
}
