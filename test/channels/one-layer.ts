/** Small networks around one Conv layer, as files and as graphs, for the passes over images that channels need. */
import { must } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { findLayer, type ConvLayer } from "../../src/graph/conv-layers.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { inferRule } from "../../src/kernels/table.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import type { StudyLayer } from "../../src/relevance/study.ts";
import { floats, makeModel, node, valueInfo } from "../onnx/make.ts";
import { Random } from "../support/random.ts";

export interface LayerCase {
  readonly title: string;
  readonly size: readonly number[];
  readonly inputs: number;
  readonly channels: number;
  readonly kernel: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly group?: number;
  readonly bias?: boolean;
}

export const CLASSES = 4;

/** x -Relu-> a -Conv-> z -Relu-> y -GlobalAveragePool-> g -Flatten-> f -Gemm-> logits. `change` edits the Conv's weights. */
export function layerModel(c: LayerCase, change: (weights: Float32Array) => void = () => undefined): OnnxModel {
  const random = new Random(31);
  const normal = (n: number) => Float32Array.from({ length: n }, () => random.normal());
  const dims = [c.channels, c.inputs / (c.group ?? 1), ...c.kernel];
  const w = normal(dims.reduce((a, b) => a * b, 1));
  const [b, head] = [normal(c.channels), normal(CLASSES * c.channels)];
  change(w);
  return makeModel({
    node: [
      node("Relu", ["x"], ["a"], {}, "before"),
      node(
        "Conv",
        ["a", "layer.weight", ...(c.bias === true ? ["layer.bias"] : [])],
        ["z"],
        {
          kernel_shape: [...c.kernel],
          strides: [...(c.strides ?? c.kernel.map(() => 1))],
          dilations: [...(c.dilations ?? c.kernel.map(() => 1))],
          pads: [...(c.pads ?? c.kernel.flatMap(() => [0, 0]))],
          group: c.group ?? 1,
        },
        "conv",
      ),
      node("Relu", ["z"], ["y"], {}, "relu"),
      node("GlobalAveragePool", ["y"], ["g"], {}, "pool"),
      node("Flatten", ["g"], ["f"], {}, "flat"),
      node("Gemm", ["f", "head"], ["logits"], {}, "head"),
    ],
    input: [valueInfo("x", ["n", c.inputs, ...c.size])],
    output: [valueInfo("logits", ["n", CLASSES])],
    initializer: [
      floats("layer.weight", dims, w),
      ...(c.bias === true ? [floats("layer.bias", [c.channels], b)] : []),
      floats("head", [c.channels, CLASSES], head),
    ],
  });
}

export interface LayerNetwork {
  readonly graph: Graph;
  readonly layer: ConvLayer;
  readonly geometry: StudyLayer;
  readonly imageShape: readonly number[];
}

export function layerNetwork(c: LayerCase, batch: number, model = layerModel(c)): LayerNetwork {
  const graph = buildGraph(model);
  const imageShape = [c.inputs, ...c.size];
  const shaped = inferShapes(graph, new Map([["x", [batch, ...imageShape]]]), inferRule);
  const layer = findLayer(shaped, "layer");
  return { graph, layer, geometry: studyLayer(layer), imageShape };
}

/** n images, always the same for the same seed. */
export function imagesFor(c: LayerCase, n: number, seed: number): Float32Array {
  const random = new Random(seed);
  const size = c.size.reduce((a, b) => a * b, c.inputs);
  return Float32Array.from({ length: n * size }, () => random.normal());
}

export const convIndex = (model: OnnxModel): number =>
  must(
    model.nodes.findIndex((n) => n.opType === "Conv"),
    "a Conv",
  );
