/** `unbraid classify`: the five most probable classes of images. */
import { countNonFinite, overflowRemedy } from "../../engine/finite.ts";
import { Session } from "../../engine/session.ts";
import type { Precision } from "../../engine/precision.ts";
import { must, UnbraidError } from "../../errors.ts";
import type { Classifier } from "../../graph/classifier.ts";
import type { Graph } from "../../graph/graph.ts";
import { listFiles } from "../../images/folder.ts";
import type { Batch } from "../../images/loader.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { fitBatch } from "../fit-batch.ts";
import { FOLDER_OPTIONS, imageBatches, imageNetwork, PREPROCESS_OPTIONS } from "../images.ts";
import { labelNames } from "../labels.ts";
import { openModel } from "../model.ts";
import { PRECISION_OPTION, precisionOf } from "../precision.ts";
import { Progress } from "../progress.ts";

export const classify: Command = {
  name: "classify",
  summary: "top-5 classes of images, with probabilities and labels",
  usage: ["classify MODEL IMAGE..."],
  positionals: [2, Infinity],
  options: {
    labels: {
      type: "string",
      value: "FILE",
      help: "names of the classes in the order of the logits (JSON array, or one a line)",
    },
    classes: { type: "string", value: "FILE", help: "the same file as `study` takes" },
    top: { type: "string", value: "N", help: "classes an image (5)" },
    ...PREPROCESS_OPTIONS,
    ...PRECISION_OPTION,
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
  },
  details:
    "IMAGE may be a folder: all images below it. Names come from --labels, from MODEL-labels.json or MODEL.labels.json\n" +
    "beside the model, or from the model's metadata.",
  example: "unbraid classify resnet50.onnx dog.jpg --preset imagenet --labels labels.txt",
  run,
};

interface Row {
  readonly image: string;
  readonly top: readonly { class: number; label: string; probability: number }[];
}

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const [modelPath = "", ...paths] = args.positionals;
  const opened = openModel(context, modelPath);
  const items = await listFiles(paths);
  const whole = await imageNetwork(context, opened, "/", items);
  const { classifier, logits: count } = whole;
  const names = labelNames(opened.model, modelPath, args.text("labels") ?? args.text("classes"), count);
  const top = args.number("top", { integer: true, least: 1 }) ?? 5;
  const precision = precisionOf(args);
  using device = await context.openDevice();
  const network = fitBatch(context, device, opened.graph, whole);
  using session = new Session(device.gpu, opened.graph, { precision });
  const probable = endsInSoftmax(opened.graph, classifier);
  const progress = new Progress(out, "images", items.length);
  const rows: Row[] = [];
  for await (const images of imageBatches(context, network, { root: "/", items })) {
    const logits = await logitsOf(session, classifier, images, network.batch);
    images.items.forEach((item, n) => {
      const values = logits.subarray(n * count, (n + 1) * count);
      const image = shownPath(paths, items, item);
      checkFinite(values, image, classifier.logits, precision);
      rows.push({ image, top: best(probable ? values : softmax(values), top, names) });
    });
    progress.update(images.next);
  }
  await out.result(rows, rows.map(describe).join(""));
  return undefined;
}

/** Probabilities of logits that are not numbers would look like an answer. */
function checkFinite(logits: Float32Array, image: string, name: string, precision: Precision | undefined): void {
  const wrong = countNonFinite(logits);
  if (wrong === 0) return;
  const first = logits.findIndex((x) => !Number.isFinite(x));
  throw new UnbraidError(
    "model",
    "NOT_FINITE",
    `${image}: ${wrong} of the ${logits.length} logits ("${name}") are not finite; that of class ${first} is ${logits[first] ?? NaN}`,
    overflowRemedy(precision?.name),
  );
}

/** The path as it was given, where files were given one by one. */
const shownPath = (given: readonly string[], items: readonly { path: string }[], item: { path: string }): string =>
  given.length === items.length ? (given[items.indexOf(item)] ?? item.path) : item.path;

/** [n, T] of a batch, whose missing images are zeros: a network may be exported for one size of batch. */
async function logitsOf(session: Session, c: Classifier, images: Batch, batch: number): Promise<Float32Array> {
  const size = 3 * images.height * images.width;
  const data = new Float32Array(batch * size);
  data.set(images.tensor);
  const shape = [batch, 3, images.height, images.width];
  const got = await session.run(new Map([[c.input, { type: "float32", shape, data }]]), [c.logits]);
  return Float32Array.from(must(got.get(c.logits), "logits").data);
}

/** Some exports give probabilities already. */
const endsInSoftmax = (graph: Graph, { logits }: Classifier): boolean =>
  graph.nodes.some((n) => n.opType === "Softmax" && n.outputs.includes(logits));

/** In float64, the largest logit subtracted first: no overflow. */
export function softmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

function best(
  probabilities: Float32Array | Float64Array,
  top: number,
  names: readonly string[] | undefined,
): Row["top"] {
  // Stable: of equals the lower class comes first.
  const order = Array.from(probabilities, (probability, k) => ({ class: k, probability }));
  order.sort((a, b) => b.probability - a.probability);
  return order
    .slice(0, top)
    .map(({ class: k, probability }) => ({ class: k, label: names?.[k] ?? String(k), probability }));
}

const describe = ({ image, top }: Row): string =>
  `${image}\n${top.map((t) => `  ${(100 * t.probability).toFixed(2).padStart(6)} %  ${t.label}${t.label === String(t.class) ? "" : ` (${t.class})`}\n`).join("")}`;
