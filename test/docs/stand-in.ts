/**
 * A network that stands in for an ImageNet ResNet-50 where a document takes one: the demo network behind what undoes the
 * preprocessing of `--preset imagenet` (images of 224 pixels with ImageNet's mean and deviation), its last stage called layer4.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { onnx as Onnx } from "onnx-proto";
import { root } from "../cli/built.ts";
import { floats, node, valueInfo } from "../onnx/make.ts";
import { onnx } from "../support/onnx-proto.ts";

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const DEMO = { mean: 0.5, std: 0.25, side: 64 };
/** Side of the preset's images. */
export const SIDE = 224;

const renamed = (name: string): string => name.replaceAll("layer3", "layer4");

export function resnetStandIn(): Uint8Array {
  const model = onnx.ModelProto.decode(readFileSync(join(root, "models", "demo.onnx")));
  const graph = model.graph as Onnx.GraphProto;
  for (const n of graph.node) {
    n.name = renamed(n.name ?? "");
    n.input = (n.input ?? []).map(renamed);
    n.output = (n.output ?? []).map(renamed);
  }
  for (const tensor of graph.initializer) tensor.name = renamed(tensor.name ?? "");
  const scale = Float32Array.from(IMAGENET.std, (std) => std / DEMO.std);
  const shift = Float32Array.from(IMAGENET.mean, (mean) => (mean - DEMO.mean) / DEMO.std);
  const small = Float32Array.of(1, 1, DEMO.side / SIDE, DEMO.side / SIDE);
  graph.node.unshift(
    onnx.NodeProto.fromObject(node("Resize", ["image", "", "small"], ["resized"], { mode: "linear" }, "/resize")),
    onnx.NodeProto.fromObject(node("Mul", ["resized", "scale"], ["scaled"], {}, "/scale")),
    onnx.NodeProto.fromObject(node("Add", ["scaled", "shift"], ["input"], {}, "/shift")),
  );
  graph.initializer.push(
    ...[floats("small", [4], small), floats("scale", [3, 1, 1], scale), floats("shift", [3, 1, 1], shift)].map((t) =>
      onnx.TensorProto.fromObject(t),
    ),
  );
  graph.input = [onnx.ValueInfoProto.fromObject(valueInfo("image", ["n", 3, SIDE, SIDE]))];
  return onnx.ModelProto.encode(model).finish();
}
