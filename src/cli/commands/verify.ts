/** `unbraid verify`: whether a split model still computes the same function. */
import { splitLayers } from "../../channels/split-layers.ts";
import { splitRecords, type SplitRecord } from "../../channels/split-record.ts";
import { verify as compare, type Verification } from "../../channels/verify.ts";
import { Session } from "../../engine/session.ts";
import { UnbraidError } from "../../errors.ts";
import { CHECK_FAILED, type Command } from "../command.ts";
import type { Context } from "../context.ts";
import { fitBatch, inputsOf, plansOf } from "../fit-batch.ts";
import {
  checkClassCount,
  FOLDER_OPTIONS,
  imageBatches,
  imageNetwork,
  imagesOption,
  PREPROCESS_OPTIONS,
} from "../images.ts";
import { openModel, shapedFor, type OpenModel } from "../model.ts";
import { onnxruntimeOpinion } from "../onnxruntime.ts";
import { Progress } from "../progress.ts";

export const verify: Command = {
  name: "verify",
  summary: "whether a split model still computes the same function, with a rigorous bound",
  usage: ["verify MODEL SPLIT --images DIR"],
  positionals: [2, 2],
  options: {
    ...FOLDER_OPTIONS,
    "no-onnxruntime": { type: "boolean", help: "no second opinion" },
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Adds up the stored parts, then runs both models on the images. At the layer each element's difference is held against the bound that its rounding\n" +
    "errors cannot exceed: the ratio of the two is at most 1, or the split is wrong, and the exit code then\n" +
    `${CHECK_FAILED}. onnxruntime-node compares both files too, where it is installed.`,
  example: "unbraid verify resnet50.onnx split.onnx --images val --preset imagenet",
  run,
};

async function run(context: Context): Promise<number> {
  const { args, out } = context;
  const before = openModel(context, args.positional(0));
  const after = openModel(context, args.positional(1));
  const records = recordsSince(before, after);
  const { root, list } = await imagesOption(context);
  const whole = await imageNetwork(context, before, root, list.items);
  checkClassCount(context, list, whole.logits);
  const { classifier } = whole;
  using device = await context.openDevice();
  // Both networks are open at once; the bounds' own memory comes on top, a few layers' outputs.
  const network = fitBatch(context, device, before.graph, whole, (n) =>
    [before, after].map(({ graph }) =>
      plansOf(device.gpu, graph, { inputs: inputsOf(n), outputs: [classifier.logits], plainSums: true }),
    ),
  );
  const shaped = shapedFor(after.graph, classifier, network.batch, network.imageShape);
  const layers = splitLayers({ model: before.model, shaped: network.shaped }, shaped, records);
  const opinion = args.flag("no-onnxruntime")
    ? undefined
    : await onnxruntimeOpinion(context, [before, after], classifier);
  using first = new Session(device.gpu, before.graph);
  using second = new Session(device.gpu, after.graph);
  const progress = new Progress(out, "images", list.items.length);
  const found = await compare({
    before: first,
    after: second,
    layers,
    input: classifier.input,
    logits: classifier.logits,
    imageShape: network.imageShape,
    batch: network.batch,
    batches: imageBatches(context, network, { root, items: list.items }),
    ...(opinion === undefined ? {} : { secondOpinion: opinion }),
    onProgress: (images) => {
      progress.update(images);
    },
    signal: context.signal,
  });
  device.gpu.check();
  const holds = found.ratio <= 1 && found.other_channels === 0 && found.weights.holds;
  const names = layers.map((l) => l.layer.name);
  if (found.flips > 0) out.warn(`the top class of ${found.flips} images changed`);
  const channels = layers.reduce((n, l) => n + l.channels.size, 0);
  await out.result(
    { ...found, holds, layer: names.at(-1), layers: names, channels, splits: records.length },
    describe(found, names, channels, holds),
  );
  return holds ? 0 : CHECK_FAILED;
}

/**
 * The splits that were made of the first model on the way to the second, the oldest first.
 * @throws UnbraidError SPLIT_RECORD where SPLIT says nothing of a split, SPLIT_MODEL where it was made of another model
 */
function recordsSince(before: OpenModel, after: OpenModel): readonly SplitRecord[] {
  const records = splitRecords(after.model, after.path);
  const last = records.at(-1);
  if (last === undefined)
    throw new UnbraidError(
      "input",
      "SPLIT_RECORD",
      `${after.path} does not say what was split in it`,
      "Pass a model that `unbraid split` wrote, after the model that it was made of.",
    );
  const first = records.findIndex((record) => record.source.sha256 === before.digest());
  if (first >= 0) return records.slice(first);
  const sources = records.map(({ source }) => `${source.file} with SHA-256 ${source.sha256.slice(0, 12)}...`);
  throw new UnbraidError(
    "input",
    "SPLIT_MODEL",
    `${after.path} was made of ${sources.toReversed().join(", that of ")}, not of ${before.path} with ${before.digest().slice(0, 12)}...`,
    "Pass a model that the split was made of.",
  );
}

function describe(v: Verification, layers: readonly string[], channels: number, holds: boolean): string {
  const percent = (x: number): string => `${(100 * x).toFixed(2)} %`;
  const ort =
    v.onnxruntime === null
      ? ""
      : `onnxruntime: largest difference of a logit ${v.onnxruntime.max_abs_diff.toExponential(2)}, ${v.onnxruntime.flips} flips\n`;
  return (
    `${v.images} images, ${channels} split channel${channels === 1 ? "" : "s"} of ${layers.join(" and ")}\n` +
    `weights: the parts add up to the channels' weights within ${v.weights.max_abs_diff.toExponential(2)}${v.weights.holds ? "" : ", which is too far, or other rows have changed"}\n` +
    `layer: largest difference ${v.max_abs_diff.toExponential(2)} under a bound of ${v.bound.toExponential(2)}; ` +
    `at worst ${v.ratio.toPrecision(3)} of the bound; other channels ${v.other_channels.toExponential(2)}\n` +
    `logits: largest difference ${v.logits.toExponential(2)}, ${v.flips} flips of the top class\n` +
    `accuracy: ${percent(v.accuracy.before)} before, ${percent(v.accuracy.after)} after\n` +
    ort +
    (holds ? "the split computes the same function\n" : "THE SPLIT DOES NOT COMPUTE THE SAME FUNCTION\n")
  );
}
