/**
 * A network whose truth is known. x [n, 4, 2, 2] -layer-> z -Relu-> r -(+ skip)-> s -pool-> Gemm -> logits of 4 classes. Input
 * channel t is lit on images of class t. Channel 0 of the layer adds up inputs 0 and 1, channel 1 reads input 2, channel 2
 * input 3. Classes 0 and 1 both read channel 0: it is polysemantic, and its parts are inputs 0 and 1.
 */
import { must } from "../../../src/errors.ts";
import { splitChannel, type SplitChannel } from "../../../src/channels/evaluate/channel.ts";
import { ablationRows } from "../../../src/channels/evaluate/ablation.ts";
import type { Draw } from "../../../src/channels/evaluate/nulls.ts";
import { planAblations, type AblationPlan } from "../../../src/channels/evaluate/observe.ts";
import { EvaluationPass } from "../../../src/channels/evaluate/pass.ts";
import { linearRows } from "../../../src/channels/evaluate/rows.ts";
import type { Gpu } from "../../../src/gpu/gpu.ts";
import { buildGraph } from "../../../src/graph/build.ts";
import { convLayers } from "../../../src/graph/conv-layers.ts";
import { inferShapes } from "../../../src/graph/infer.ts";
import { splitLayer } from "../../../src/graph/surgery.ts";
import { inferRule } from "../../../src/kernels/table.ts";
import { decodeModel } from "../../../src/onnx/decode.ts";
import type { ImageBatch } from "../../../src/relevance/run-study.ts";
import { studyLayer } from "../../../src/relevance/study-layer.ts";
import { floats, makeModel, node, valueInfo } from "../../onnx/make.ts";
import { Random } from "../../support/random.ts";

export const BATCH = 8;
const SIZE = 4 * 2 * 2;
/** The layer's rows, and its bias, which must not matter for what is measured. */
const WEIGHTS = [
  [1, 1, 0, 0],
  [0, 0, 1, 0],
  [0, 0, 0, 1],
];
const BIAS = [0.5, 0.25, 0];
/** [3][4] from channels to logits. */
const HEAD = [
  [2, 3, 0, 0],
  [0, 0, 2, 0],
  [0, 0, 0, 2],
];

function sourceModel() {
  return makeModel({
    node: [
      node("Conv", ["x", "layer.weight", "layer.bias"], ["z"], { kernel_shape: [1, 1] }, "conv"),
      node("Relu", ["z"], ["r"], {}, "relu"),
      node("Conv", ["x", "skip.weight"], ["skip"], { kernel_shape: [1, 1] }, "skip"),
      node("Add", ["r", "skip"], ["s"], {}, "add"),
      node("GlobalAveragePool", ["s"], ["g"], {}, "pool"),
      node("Flatten", ["g"], ["f"], {}, "flat"),
      node("Gemm", ["f", "head"], ["logits"], {}, "head"),
    ],
    input: [valueInfo("x", ["n", 4, 2, 2])],
    output: [valueInfo("logits", ["n", 4])],
    initializer: [
      floats("layer.weight", [3, 4, 1, 1], Float32Array.from(WEIGHTS.flat())),
      floats("layer.bias", [3], Float32Array.from(BIAS)),
      floats("skip.weight", [3, 4, 1, 1], new Float32Array(12).fill(0.125)),
      floats("head", [3, 4], Float32Array.from(HEAD.flat())),
    ],
  });
}

/** The split model, opened for evaluate. */
export function knownSplit(draws: (channel: SplitChannel) => readonly Draw[]) {
  const made = splitLayer(sourceModel(), {
    nodeIndex: 0,
    channels: [{ channel: 0, concepts: 2, sets: Uint32Array.of(1, 2, 3, 3) }],
  });
  const graph = buildGraph(decodeModel(made.bytes));
  const shaped = inferShapes(graph, new Map([["x", [BATCH, 4, 2, 2]]]), inferRule);
  const layer = must(
    convLayers(shaped).find((l) => l.node.name === "conv"),
    "layer",
  );
  const geometry = studyLayer(layer);
  const from = { input: layer.input, inChannels: 4, taps: 1 };
  const [grown, output] = [linearRows(shaped, made.grown, from), linearRows(shaped, made.output, from)];
  const rows = made.parts.map((part) => part.row);
  const channel = splitChannel(
    { channel: 0, concepts: ["red", "green"], classes: [0, 1], ids: [0, 1], rho: 1, rule: "symmetric", rows },
    { grown, output, sign: [], taps: 1, groups: 1 },
  );
  const drawn = draws(channel);
  const plan: AblationPlan = planAblations([channel], [drawn]);
  const open = (gpu: Gpu): Promise<EvaluationPass> =>
    EvaluationPass.open(gpu, {
      ...{ graph, shaped, node: layer.node, geometry, output: made.output, input: "x", logits: "logits" },
      ...{ batch: BATCH, rows: ablationRows(channel, drawn) },
    });
  return { graph, channel, plan, draws: drawn, bias: output.bias, output: made.output, open };
}

/** `n` images of a class: its input is lit between 1 and 2 at each position, all others between 0 and 0.1. */
export function knownImages(label: number, n: number, seed: number): { tensor: Float32Array; label: number } {
  const random = new Random(seed);
  const tensor = Float32Array.from({ length: n * SIZE }, (_, at) => {
    const lit = Math.floor((at % SIZE) / 4) === label;
    return lit ? 1 + random.uniform() : 0.1 * random.uniform();
  });
  return { tensor, label };
}

/** Batches of those images, by class. */
export async function* knownBatches(
  images: readonly { readonly tensor: Float32Array; readonly label: number }[],
): AsyncGenerator<ImageBatch, void, undefined> {
  for (const { tensor, label } of images)
    for (let at = 0; at < tensor.length; at += BATCH * SIZE) {
      const part = tensor.subarray(at, Math.min(tensor.length, at + BATCH * SIZE));
      const labels = Int32Array.from({ length: part.length / SIZE }, () => label);
      const items = Array.from(labels, (_, i) => ({ path: `class ${label}/${at / SIZE + i}.png` }));
      yield await Promise.resolve({ tensor: part, labels, items, skipped: [], next: 0 });
    }
}

/** The mean over images and positions of an input channel. */
export function meanInput(tensor: Float32Array, input: number): number {
  const values = tensor.filter((_, at) => Math.floor((at % SIZE) / 4) === input);
  return values.reduce((a, b) => a + b, 0) / values.length;
}
