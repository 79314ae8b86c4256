/** A model file as a task for all engines: shapes, and inputs that every run repeats. */
import type { Precision } from "../../engine/precision.ts";
import { UnbraidError } from "../../errors.ts";
import { sizeOf, type ShapedGraph } from "../../graph/graph.ts";
import { inferShapes } from "../../graph/infer.ts";
import { inferRule } from "../../kernels/table.ts";
import type { OpenAdapter } from "../../gpu/dawn/adapters.ts";
import { guessShapes, type OpenModel } from "../model.ts";
import type { Feed, Task } from "./engine.ts";

export interface PreparedTask {
  readonly task: Task;
  readonly shaped: ShapedGraph;
}

/** @param asked images at a time, which a file with a fixed batch overrules @throws UnbraidError BENCH_INPUT */
export async function prepareTask(
  opened: OpenModel,
  asked: number,
  side: number | undefined,
  adapter: OpenAdapter["kind"],
  precision: Precision | undefined,
): Promise<PreparedTask> {
  const { graph, path } = opened;
  const shapes = await guessShapes(opened, side, () => undefined);
  const feeds = graph.inputs.map((input): Feed => {
    const shape = shapes.get(input.name);
    if (input.type !== "float32" || shape === undefined)
      throw new UnbraidError(
        "input",
        "BENCH_INPUT",
        `${path}: the input "${input.name}" holds ${input.type} numbers of ${shape === undefined ? "unknown shape" : `shape ${shape.join("x")}`}`,
        "Only networks whose inputs are float32 and have a rank can be timed.",
      );
    const full = input.shape?.[0] === null ? [asked, ...shape.slice(1)] : [...shape];
    return { name: input.name, shape: full, data: waves(sizeOf(full)) };
  });
  const batch = feeds[0]?.shape[0] ?? 1;
  const shaped = inferShapes(graph, new Map(feeds.map((f) => [f.name, f.shape])), inferRule);
  return { task: { path, batch, feeds, outputs: graph.outputs, precision, adapter }, shaped };
}

/** Of the size that preprocessed images have, and no two neighbours equal. */
const waves = (size: number): Float32Array => Float32Array.from({ length: size }, (_, i) => 1.5 * Math.sin(0.7 * i));
