/** Opening models for commands. */
import { UnbraidError } from "../errors.ts";
import { modelDigest, readModelFile } from "../files.ts";
import { buildGraph } from "../graph/build.ts";
import { sizeOf, type Graph, type ShapedGraph } from "../graph/graph.ts";
import { inferPartly } from "../graph/branches.ts";
import { inferShapes } from "../graph/infer.ts";
import { channelsFirst, channelsLast } from "../graph/channels-first.ts";
import { batchShape, type Classifier } from "../graph/classifier.ts";
import { inferRule } from "../kernels/table.ts";
import type { OnnxModel } from "../onnx/model.ts";
import { mergePreprocess } from "../images/presets.ts";
import { readSidecar } from "../images/sidecar.ts";
import type { Context } from "./context.ts";

export interface OpenModel {
  readonly path: string;
  readonly model: OnnxModel;
  /** Takes images with channels first, also where the file does not (unless it was opened "as stored"). */
  readonly graph: Graph;
  /** Whether the graph transposes its images for a file that has channels last, as Keras has. */
  readonly channelsLast: boolean;
  /** SHA-256 of the model with its external data: read once, when first asked for. */
  readonly digest: () => string;
}

/**
 * @param layout "as stored" for the file's own inputs
 * @throws UnbraidError kind "model" or "unsupported"
 */
export function openModel(
  context: Context,
  path: string,
  layout: "channels first" | "as stored" = "channels first",
): OpenModel {
  const model = readModelFile(path);
  const others = otherFloats(model);
  if (others.length > 0) context.out.note(`${path} holds ${others.join(" and ")} numbers; all is computed in float32`);
  let digest: string | undefined;
  const stored = buildGraph(model);
  const graph = layout === "as stored" ? stored : channelsFirst(stored);
  return { path, model, graph, channelsLast: graph !== stored, digest: () => (digest ??= modelDigest(path, model)) };
}

/** Floating-point types other than float32 of a model's inputs, weights and constants. */
function otherFloats(model: OnnxModel): string[] {
  const constants = model.nodes.flatMap((node) =>
    [...node.attributes.values()].flatMap((a) => (a.type === "tensor" ? [a.value] : [])),
  );
  const types = [...model.inputs, ...model.initializers.values(), ...constants].map((t) => t.dataType);
  return ["float16", "float64", "bfloat16"].filter((type) => types.some((t) => t === type));
}

/** The values' shapes for batches of images. */
export function shapedFor(graph: Graph, c: Classifier, batch: number, image: readonly number[]): ShapedGraph {
  return inferShapes(graph, new Map([[c.input, batchShape(c, batch, image)]]), inferRule);
}

/**
 * T, of logits [batch, T] (or [batch, T, 1, 1], as fully convolutional networks give them).
 * @throws UnbraidError NOT_A_CLASSIFIER
 */
export function logitCount(shaped: ShapedGraph, logits: string): number {
  const shape = shaped.values.get(logits)?.shape ?? [];
  const count = shape[1];
  if (count !== undefined && count > 0 && sizeOf(shape.slice(2)) === 1) return count;
  throw new UnbraidError(
    "input",
    "NOT_A_CLASSIFIER",
    `the network's output "${logits}" has shape ${shape.join("x") || "of a scalar"}; logits are [batch, classes]`,
    "Use `unbraid run` for other networks.",
  );
}

/** A side of images where neither the model nor anybody else says: ImageNet's. */
const USUAL_SIDE = 224;

/** Shapes of the inputs, with what the file leaves open filled in: batch 1, and images of the preprocessing's size. */
export async function guessShapes(
  { graph, path }: OpenModel,
  side: number | undefined,
  guessed: (side: number) => void,
): Promise<Map<string, number[]>> {
  const spec = mergePreprocess(side === undefined ? {} : { crop: side }, (await readSidecar(path))?.spec);
  const open = spec.crop ?? USUAL_SIDE;
  const shapes = new Map<string, number[]>();
  for (const input of graph.inputs) {
    if (input.shape === undefined) continue;
    const image = input.shape.length === 4;
    const last = channelsLast(input.shape);
    const [from, to] = last ? [1, 3] : [2, 4];
    if (image && spec.crop === undefined && input.shape.slice(from, to).includes(null)) guessed(open);
    const fill = (axis: number): number => (!image || axis === 0 ? 1 : axis === 1 && !last ? 3 : open);
    shapes.set(
      input.name,
      input.shape.map((d, axis) => d ?? fill(axis)),
    );
  }
  return shapes;
}

/** All shapes, or, where something is in the way, as many as can be known; then `problem` says what. */
export function inferWhatCanBe(
  graph: Graph,
  shapes: ReadonlyMap<string, readonly number[]>,
): { readonly shaped: ShapedGraph; readonly problem?: UnbraidError } {
  try {
    return { shaped: inferShapes(graph, shapes, inferRule) };
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
    return { shaped: inferPartly(graph, shapes, inferRule).shaped, problem: error };
  }
}
