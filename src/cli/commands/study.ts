/** `unbraid study`: one pass over a folder of images, to relevance, importance and average relevance vectors of layers. */
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { Session } from "../../engine/session.ts";
import { UnbraidError } from "../../errors.ts";
import { imageListDigest } from "../../images/digest.ts";
import type { ImageList } from "../../images/folder.ts";
import type { SkippedImage } from "../../images/loader.ts";
import { listDigest } from "../../relevance/digest.ts";
import { assertSameSet } from "../../relevance/merge.ts";
import { RelevancePass } from "../../relevance/pass.ts";
import { MAX_TAUS } from "../../relevance/relevance.ts";
import { runStudy } from "../../relevance/run-study.ts";
import { encodeStudy } from "../../relevance/study-file.ts";
import { DEFAULT_FOLDS, foldsOf, MAX_FOLDS } from "../../relevance/folds.ts";
import { createSet, expectedBytes, firstOf, type CommonMeta, type StudySet } from "../../relevance/study-set.ts";
import { studyLayer } from "../../relevance/study-layer.ts";
import { accumulatorBytes, imagesOf, isComplete, type Study } from "../../relevance/study.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { fitRelevance } from "../fit-batch.ts";
import {
  checkClassCount,
  FOLDER_OPTIONS,
  imageBatches,
  imageNetwork,
  imagesOption,
  PREPROCESS_OPTIONS,
  showPreprocess,
  type ImageNetwork,
} from "../images.ts";
import { openModel, type OpenModel } from "../model.ts";
import { PRECISION_OPTION, precisionOf } from "../precision.ts";
import { Progress, showSeconds } from "../progress.ts";
import { DEFAULT_TAU, layerSummary, readStudy, showLayers } from "../studies.ts";
import { chooseLayers } from "../study-layers.ts";
import { showBytes } from "../table.ts";

export const study: Command = {
  name: "study",
  summary: "one pass over the images: relevance, importance and average relevance vectors of layers",
  usage: ["study MODEL --images DIR --layer L[,...]|all --out FILE [--tau X,...] [--folds F] [--shard I/N] [--resume]"],
  positionals: [1, 1],
  options: {
    images: FOLDER_OPTIONS.images,
    layer: {
      type: "string",
      value: "NAME,...",
      help: "Conv layers by any name that `inspect` lists, `last`, or `all` that can be split: one pass does for all",
    },
    out: { type: "string", value: "FILE", help: "the study" },
    tau: {
      type: "string",
      multiple: true,
      value: "X,...",
      help: `share of an image's relevance that makes a channel important (${DEFAULT_TAU})`,
    },
    folds: {
      type: "string",
      value: "F",
      help: `disjoint parts of each class's images that are kept apart, for evidence on held-out images (${DEFAULT_FOLDS})`,
    },
    classes: FOLDER_OPTIONS.classes,
    limit: FOLDER_OPTIONS.limit,
    shard: {
      type: "string",
      value: "I/N",
      help: "only the I-th of N parts of the list, I from 1 to N: `merge` adds the parts",
    },
    resume: { type: "boolean", help: "go on with an unfinished study in --out" },
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    ...PREPROCESS_OPTIONS,
    ...PRECISION_OPTION,
  },
  details: "Ctrl-C leaves a study that --resume continues to the very same result; it is also saved once a minute.",
  example: "unbraid study resnet50.onnx --preset imagenet --images train --layer layer4.2.conv3 --out layer4.study",
  run,
};

/** Bytes of a study from which on they are said beforehand. */
const MUCH = 2 ** 30;

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  const layerText = args.required("layer", "the layers to study; `unbraid inspect` lists them");
  context.checkWritable(path);
  const opened = openModel(context, args.positional(0));
  const { root, list } = await imagesOption(context);
  const whole = await imageNetwork(context, opened, root, list.items);
  checkClassCount(context, list, whole.logits);
  const { layers, name } = chooseLayers(out, whole.shaped, whole.classifier.logits, layerText);
  const common = await commonMeta(context, opened, whole, root, list);
  const empty = createSet(common, layers.map(studyLayer));
  const expected = empty.studies.reduce((bytes, { meta }) => bytes + expectedBytes(meta), 0);
  if (expected > MUCH) out.note(`the study will take up to ${showBytes(expected)} of memory and disk`);
  const part = shardOf(args.text("shard"), list.items.length);
  const { result, start } = begin(context, path, empty, part);
  const save = (set: StudySet): void => {
    context.writeFile(path, encodeStudy(set));
  };

  let done = { seconds: 0, images: 0 };
  let [gpuBytes, batch] = [0, 0];
  if (start < part.end) {
    using device = await context.openDevice();
    const { network, options } = fitRelevance(context, device, opened.graph, whole, {
      layers: layers.map((layer) => ({ layer, geometry: studyLayer(layer) })),
      taus: firstOf(result).meta.taus,
    });
    batch = network.batch;
    using session = new Session(device.gpu, opened.graph, { precision: precisionOf(args) });
    using pass = await RelevancePass.open(session, options);
    const progress = new Progress(out, "images", part.end - start);
    const skipped: SkippedImage[] = [];
    const items = list.items.slice(0, part.end);
    done = await runStudy({
      set: result,
      pass,
      paths: items.map((item) => item.path),
      folds: foldsOf(
        list.items.map((item) => item.label),
        common.folds,
      ),
      batches: imageBatches(context, network, { root, items, start, onSkip: (s) => skipped.push(s) }),
      start,
      end: part.end,
      save,
      signal: context.signal,
      allSkipped: () => skipped,
      onProgress: (p) => {
        progress.update(p.done);
      },
    });
    gpuBytes = device.gpu.peakBytes;
    save(result);
  }
  await summarise(context, result, name, { ...done, gpuBytes, batch, path });
  return undefined;
}

async function commonMeta(
  context: Context,
  opened: OpenModel,
  { spec }: ImageNetwork,
  root: string,
  list: ImageList,
): Promise<CommonMeta> {
  const taus = context.args.numbers("tau", { least: 0, most: 1 });
  if (taus.length > MAX_TAUS)
    throw usageError(
      "OPTION_TAU",
      `a study takes at most ${MAX_TAUS} values of tau, given ${taus.length}`,
      "Give fewer.",
    );
  const precision = precisionOf(context.args);
  const perClass = list.classes.map(() => 0);
  for (const { label } of list.items) perClass[label] = (perClass[label] ?? 0) + 1;
  return {
    model: { file: basename(opened.path), sha256: opened.digest() },
    classes: list.classes,
    // A class is the logit of the same number: the folders' order, or what --classes says.
    labels: list.classes.map((_, t) => t),
    images: {
      digest: listDigest(list.items.map((item) => ({ path: item.path, class: item.label }))),
      length: list.items.length,
      perClass,
    },
    preprocess: showPreprocess(spec),
    taus: taus.length === 0 ? [DEFAULT_TAU] : [...new Set(taus)].sort((a, b) => a - b),
    folds: context.args.number("folds", { integer: true, least: 1, most: MAX_FOLDS }) ?? DEFAULT_FOLDS,
    settings: {
      // With the files' sizes, so that a study is not continued on other images of the same names.
      files: await imageListDigest(list.items, root),
      // Absent for float32, as in studies of earlier versions.
      ...(precision === undefined ? {} : { precision: precision.name }),
    },
  };
}

interface Part {
  readonly start: number;
  readonly end: number;
}

/** @throws UnbraidError OPTION_VALUE */
function shardOf(text: string | undefined, length: number): Part {
  if (text === undefined) return { start: 0, end: length };
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(text);
  const [shard, shards] = [Number(match?.[1]), Number(match?.[2])];
  if (!(shard >= 1 && shard <= shards))
    throw usageError(
      "OPTION_VALUE",
      `--shard must be I/N with I from 1 to N, not "${text}"`,
      "Write --shard 1/4 for the first of four parts.",
    );
  const at = (k: number): number => Math.floor((length * k) / shards);
  return { start: at(shard - 1), end: at(shard) };
}

/** The new study, or the one in `path` and where it goes on. */
function begin({ args, out }: Context, path: string, empty: StudySet, part: Part): { result: StudySet; start: number } {
  const there = existsSync(path);
  if (args.flag("resume")) {
    if (there) {
      const old = readStudy(path);
      assertSameSet(old, empty);
      return { result: old, start: goesOnAt(firstOf(old), part, path) };
    }
    out.note(`${path} is not there yet: the study begins at its first image`);
  } else if (there) {
    refuseToOverwrite(path);
  }
  return { result: empty, start: part.start };
}

/** What a study has done must be the beginning of this part. */
function goesOnAt(old: Study, { start, end }: Part, path: string): number {
  const [first, second] = old.done;
  if (first === undefined) return start;
  if (first[0] === start && first[1] <= end && second === undefined) return first[1];
  throw new UnbraidError(
    "input",
    "STUDY_OVERLAP",
    `${path} holds images ${old.done.map(([a, b]) => `${a}-${b - 1}`).join(", ")} of the list, this run is for ${start}-${end - 1}`,
    "Resume with the --shard that the study was begun with.",
  );
}

/** An hour's work is not lost to a forgotten --resume. */
function refuseToOverwrite(path: string): void {
  let old: Study;
  try {
    old = firstOf(readStudy(path));
  } catch {
    return; // not a study: replaced like any other output
  }
  if (isComplete(old) || old.done.length === 0) return;
  throw new UnbraidError(
    "output",
    "STUDY_EXISTS",
    `${path} holds an unfinished study`,
    "Pass --resume to go on with it, or remove it.",
  );
}

interface Done {
  readonly seconds: number;
  readonly images: number;
  readonly gpuBytes: number;
  /** Images at a time; 0 where none was left to do. */
  readonly batch: number;
  readonly path: string;
}

async function summarise(
  { out }: Context,
  result: StudySet,
  name: string,
  { seconds, images, gpuBytes, batch, path }: Done,
): Promise<void> {
  const first = firstOf(result);
  const { meta } = first;
  const total = meta.classes.reduce((n, _, t) => n + imagesOf(first, t), 0);
  const rate = seconds > 0 ? images / seconds : 0;
  const json = {
    images: total,
    classes: meta.classes.length,
    layer: name,
    seconds,
    images_per_second: rate,
    accumulator_bytes: result.studies.reduce((bytes, s) => bytes + accumulatorBytes(s), 0),
    file: path,
    images_this_run: images,
    skipped: first.skipped.map(({ name, reason }) => ({ image: name, reason })),
    complete: isComplete(first),
    taus: meta.taus,
    folds: meta.folds,
    layers: result.studies.map(layerSummary),
    gpu_bytes: gpuBytes,
    batch,
  };
  const skipped = first.skipped.length === 0 ? "" : `, ${first.skipped.length} skipped`;
  const part = json.complete ? "" : ` (of ${meta.images.length}: a part)`;
  await out.result(
    json,
    `${path}: ${total} images${part} of ${json.classes} classes at ${showLayers(result)}${skipped}; ` +
      `${images} in ${showSeconds(seconds)} (${rate.toPrecision(3)} a second), ${showBytes(json.accumulator_bytes)} of accumulators\n`,
  );
}
