/** `unbraid inspect`: what a model is made of, and which of its layers can be split. */
import { convLayers, type ConvLayer } from "../../graph/conv-layers.ts";
import { sizeOf, type HostTensor } from "../../graph/graph.ts";
import { unsupportedNodes } from "../../graph/infer.ts";
import { inferRule } from "../../kernels/table.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { PREPROCESS_OPTIONS } from "../images.ts";
import { guessShapes, inferWhatCanBe, openModel, type OpenModel } from "../model.ts";
import { table } from "../table.ts";

export const inspect: Command = {
  name: "inspect",
  summary: "operators, layers with shapes and parameters, which can be split and why not",
  usage: ["inspect MODEL [--crop N]"],
  positionals: [1, 1],
  options: { crop: { ...PREPROCESS_OPTIONS.crop, help: "side of the images, where the model leaves it open (224)" } },
  details: "Needs no adapter.",
  example: "unbraid inspect resnet50.onnx",
  run,
};

async function run(context: Context): Promise<undefined> {
  const opened = openModel(context, context.args.positional(0), "as stored");
  const { model, graph } = opened;
  const operators = count(graph.nodes.map((n) => n.opType));
  const side = context.args.number("crop", { integer: true, least: 1 });
  const shapes = await guessShapes(opened, side, (guess) => {
    context.out.note(`the model takes images of any size: shapes are those for ${guess} x ${guess} (--crop)`);
  });
  const { shaped, problem } = inferWhatCanBe(graph, shapes);
  const unsupported = unsupportedNodes(shaped, inferRule);
  const layers = convLayers(shaped);
  const parameters = [...model.initializers.values()].reduce((n, t) => n + t.size, 0);
  const json = {
    file: opened.path,
    sha256: opened.digest(),
    producer: model.producer,
    ir_version: model.irVersion,
    opset: model.opset,
    parameters,
    inputs: graph.inputs.map((i) => ({ name: i.name, type: i.type, shape: i.shape ?? null })),
    outputs: graph.outputs.map((name) => ({ name, shape: shaped.values.get(name)?.shape ?? null })),
    shapes_for: Object.fromEntries(shapes),
    problem: problem?.message ?? null,
    operators,
    unsupported,
    layers: layers.map((l) => ({
      name: l.name,
      kernel: l.kernel,
      in: l.inChannels,
      out: l.outChannels,
      groups: l.groups,
      splittable: l.splittable,
      why: l.why,
      node: l.node.name,
      names: l.names,
      input: l.input,
      output: l.output,
      input_shape: l.inputShape,
      output_shape: l.outputShape,
      parameters: parametersOf(l),
      bias: (l.node.inputs[2] ?? "") !== "",
      negative_scales: l.sign.filter((s) => s < 0).length,
    })),
    metadata: Object.fromEntries(model.metadata),
  };
  await context.out.result(json, describe(opened, json, layers));
  return undefined;
}

const count = (names: readonly string[]): Record<string, number> => {
  const counts = new Map<string, number>();
  for (const name of [...names].sort()) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Object.fromEntries(counts);
};

const elements = (tensor: HostTensor | undefined): number => (tensor === undefined ? 0 : sizeOf(tensor.shape));
const parametersOf = (layer: ConvLayer): number => elements(layer.weights) + elements(layer.bias);

function describe(
  { path, model }: OpenModel,
  json: {
    readonly parameters: number;
    readonly operators: Readonly<Record<string, number>>;
    readonly unsupported: readonly { node: string; type: string; why: string }[];
    readonly problem: string | null;
    readonly outputs: readonly { name: string; shape: readonly number[] | null }[];
  },
  layers: readonly ConvLayer[],
): string {
  const shown = (shape: readonly (number | null)[] | null | undefined): string =>
    shape?.map((d) => d ?? "?").join("x") ?? "of any rank";
  const rows = layers.map((l) => [
    l.name,
    l.kernel.join("x"),
    l.inChannels,
    l.outChannels,
    l.groups,
    shown(l.outputShape.slice(2)) || "?",
    parametersOf(l),
    l.splittable ? "yes" : `no: ${l.why}`,
  ]);
  const from = model.producer === "" ? "" : `, by ${model.producer}`;
  return [
    `${path}: opset ${model.opset}, IR ${model.irVersion}${from}, ${json.parameters} parameters\n`,
    ...model.inputs.map(
      (i) => `input   ${i.name}: ${i.dataType} ${i.dims?.map((d) => d ?? "?").join("x") ?? "of any rank"}\n`,
    ),
    ...json.outputs.map((o) => `output  ${o.name}: ${o.shape === null ? "unknown" : shown(o.shape)}\n`),
    `\n${table(
      ["operator", "nodes"],
      Object.entries(json.operators).map(([type, n]) => [type, n]),
    )}`,
    json.unsupported.length === 0
      ? ""
      : `\nnot supported\n${json.unsupported.map((u) => `  ${u.node}: ${u.why}\n`).join("")}`,
    json.problem === null || json.unsupported.length > 0 ? "" : `\nproblem: ${json.problem}\n`,
    layers.length === 0
      ? "\nno Conv layer\n"
      : `\n${table(["layer", "kernel", "in", "out", "groups", "size", "parameters", "can be split"], rows)}`,
  ].join("");
}
