/**
 * Fractions (METHOD.md A9), AUROC and ablations of one split channel against PyTorch in float64, whose numbers stand here:
 * cifar100-bottleneck26, layer3.2.conv3, channel 152 between flatfish and tulip, on the validation images. They must not
 * depend on whether BatchNormalization was folded or its scales negated.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { splitChannel } from "../../src/channels/evaluate/channel.ts";
import { evaluateSplit } from "../../src/channels/evaluate/evaluate.ts";
import { randomDraw } from "../../src/channels/evaluate/nulls.ts";
import { observe, planAblations } from "../../src/channels/evaluate/observe.ts";
import { EvaluationPass } from "../../src/channels/evaluate/pass.ts";
import { linearRows } from "../../src/channels/evaluate/rows.ts";
import { Random } from "../../src/channels/random.ts";
import { setsFromText } from "../../src/channels/sets.ts";
import { must } from "../../src/errors.ts";
import { buildGraph, nodeNames } from "../../src/graph/build.ts";
import { convLayers, findLayer } from "../../src/graph/conv-layers.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { inferShapes } from "../../src/graph/infer.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import { listImages } from "../../src/images/folder.ts";
import { batches } from "../../src/images/loader.ts";
import { PRESETS } from "../../src/images/presets.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { studyLayer } from "../../src/relevance/study-layer.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { testAdapters } from "../support/gpu.ts";
import { sharedDir } from "../support/shared.ts";

const BATCH = 20;
const [CHANNEL, CLASSES] = [152, [32, 92]];
const SETS = "010221020220221001020202202002000000100210022200000200022200101002121112000020122210000000010200";

/** [images of flatfish, of tulip][part 1, part 2, residual] from PyTorch 2.13 in float64. */
const RATIO_OF_SUMS = [
  [1.132359, 0.196076, 0.328435],
  [0.294015, 0.961278, 0.255293],
];
const MEDIAN = [
  [1.126617, 0.231676, 0.358293],
  [0.248725, 0.977478, 0.250718],
];
const MEAN_OF_RATIOS = [
  [1.133671, 0.23927, 0.372941],
  [0.310614, 0.95994, 0.270554],
];
/** [images][without part 1, without part 2] change of the own logit, by a forward pass of the whole network. */
const ABLATION = [
  [-0.256764, -0.055884],
  [-0.069604, -0.222295],
];
const AUROC = [0.9175, 0.97];
const COUNTED = [19, 18];

onAdapters(
  "evaluate against PyTorch (needs ../shared)",
  (gpu) => {
    test.skipIf(sharedDir === undefined).each(["", "-folded", "-negated"])(
      'form "%s"',
      async (form) => {
        const shared = sharedDir ?? "";
        const source = decodeModel(readFileSync(`${shared}/models/cifar100-bottleneck26${form}.onnx`));
        const shapedOf = (graph: Graph) => inferShapes(graph, new Map([["input", [BATCH, 3, 32, 32]]]), inferRule);
        const found = findLayer(shapedOf(buildGraph(source)), "layer3.2.conv3");
        const made = splitLayer(source, {
          nodeIndex: nodeNames(source).indexOf(found.node.name),
          channels: [{ channel: CHANNEL, concepts: 2, sets: setsFromText(SETS, 2) }],
        });
        const graph = buildGraph(decodeModel(made.bytes));
        const shaped = shapedOf(graph);
        const layers = convLayers(shaped);
        const layer = must(
          layers.find((l) => l.node.name === found.node.name),
          "layer",
        );
        const geometry = studyLayer(layer);
        const from = { input: layer.input, inChannels: layer.inChannels, taps: 1 };
        const output = linearRows(shaped, made.output, from);
        const sign = must(
          layers.find((l) => l.output === made.output),
          "merge",
        ).sign;
        const channel = splitChannel(
          {
            ...{ channel: CHANNEL, concepts: ["flatfish", "tulip"], classes: CLASSES, ids: CLASSES },
            ...{ rho: 0.4, rule: "symmetric", rows: made.parts.map((part) => part.row) },
          },
          { grown: linearRows(shaped, made.grown, from), output, sign, taps: 1, groups: 1 },
        );
        const draws = [randomDraw(channel, new Random(1))];
        const plan = planAblations([channel], [draws]);
        using pass = await EvaluationPass.open(gpu(), {
          ...{ graph, shaped, node: layer.node, geometry, output: made.output, input: "input", logits: "logits" },
          ...{ batch: BATCH, rows: plan.rows },
        });
        const root = `${shared}/images/cifar100/val`;
        const { items } = await listImages(root);
        const load = (labels: readonly number[]) =>
          batches({
            ...{ root, items: items.filter((i) => labels.includes(i.label)) },
            ...{ spec: PRESETS.cifar100, batchSize: BATCH },
          });
        const observed = await observe({
          ...{ pass, batch: BATCH, channels: [channel], bias: output.bias, ablations: plan.tallies },
          ...{ concepts: load(CLASSES), sample: load([0]) },
        });
        const options = { random: new Random(1), tau: 0.03, filters: 2, resamples: 10 };
        const { channels } = await evaluateSplit([channel], [draws], observed, options);
        const { fractions, separation, ablation } = must(channels[0], "channel");
        // Six decimals of the reference; activations and logits in float32 through 26 layers are good to about 1e-6.
        const near = (value: number | undefined, expected: number | undefined) => {
          expect(Math.abs((value ?? NaN) - (expected ?? NaN))).toBeLessThan(5e-6);
        };
        fractions.forEach((f, t) => {
          expect(f.counted).toBe(COUNTED[t]);
          [...f.parts, f.residual].forEach((part, k) => {
            near(part.ratio_of_sums.value, RATIO_OF_SUMS[t]?.[k]);
            near(part.median.value, MEDIAN[t]?.[k]);
            near(part.mean_of_ratios.value, MEAN_OF_RATIOS[t]?.[k]);
          });
        });
        ablation?.parts.forEach((part, k) => {
          part.logits.forEach(({ change }, t) => {
            near(change.value, ABLATION[t]?.[k]);
          });
        });
        separation.forEach(({ from_concepts }, k) => {
          near(from_concepts.auroc.value, AUROC[k]);
        });
      },
      120_000,
    );
  },
  testAdapters.slice(0, 1),
);
