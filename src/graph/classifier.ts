/** A network as a classifier of images: one image input, one output of logits. */
import { UnbraidError } from "../errors.ts";
import { channelsLast } from "./channels-first.ts";
import type { Graph } from "./graph.ts";

export interface Classifier {
  readonly input: string;
  readonly logits: string;
  /** [channels, height, width] as the file declares them; null where it leaves them open. */
  readonly imageShape: readonly [number | null, number | null, number | null];
  /** The file's batch size; null where any will do. */
  readonly batch: number | null;
}

/**
 * @throws UnbraidError NOT_A_CLASSIFIER where there is not exactly one input of rank 4, or no output
 */
export function classifierOf(graph: Graph): Classifier {
  const [input, second] = graph.inputs;
  const [logits] = graph.outputs;
  if (input === undefined || second !== undefined || logits === undefined) {
    throw new UnbraidError(
      "input",
      "NOT_A_CLASSIFIER",
      `the network has ${graph.inputs.length} inputs and ${graph.outputs.length} outputs; a classifier of images has one input`,
      "Use `unbraid run` for other networks.",
    );
  }
  if (input.shape !== undefined && input.shape.length !== 4) {
    throw new UnbraidError(
      "input",
      "NOT_A_CLASSIFIER",
      `input "${input.name}" has rank ${input.shape.length}; images are [batch, channels, height, width]`,
      "Use `unbraid run` for other networks.",
    );
  }
  const [batch = null, channels = null, height = null, width = null] = input.shape ?? [];
  return { input: input.name, logits, imageShape: [channels, height, width], batch };
}

/** How images come to fit: `--crop` cuts squares, so other shapes must be the files' own. */
function fixedRemedy({ imageShape: [, height, width] }: Classifier): string {
  return height === null || width === null || height === width
    ? "Set --resize and --crop, a --preset, or a .preprocess.json beside the model."
    : `Leave --crop out, which cuts squares, and give images of ${width} x ${height} pixels (width x height), or of that shape with --resize ${Math.min(width, height)}.`;
}

/**
 * The shape of a batch of images for this network.
 * @param image [channels, height, width] of the images at hand
 * @throws UnbraidError INPUT_SHAPE where the network wants another
 */
export function batchShape(c: Classifier, batch: number, image: readonly number[]): number[] {
  const fits = c.imageShape.every((d, i) => d === null || d === image[i]);
  if (!fits) {
    throw new UnbraidError(
      "input",
      "INPUT_SHAPE",
      `the network wants images of ${c.imageShape.map((d) => d ?? "any").join("x")} (channels x height x width), given ${image.join("x")}`,
      channelsLast([c.batch, ...c.imageShape])
        ? "Its channels seem to come last: take channelsFirst(graph), or export it with channels first (tf2onnx: --inputs-as-nchw)."
        : fixedRemedy(c),
    );
  }
  if (c.batch !== null && c.batch !== batch) {
    throw new UnbraidError(
      "input",
      "INPUT_BATCH",
      `the network is exported for batches of ${c.batch}, not ${batch}`,
      `Pass --batch ${c.batch}, or export it with a free batch dimension.`,
    );
  }
  return [batch, ...image];
}
