/** `unbraid evaluate`: whether the parts of a split model mean anything. */
import { basename } from "node:path";
import { evaluateSplit } from "../../channels/evaluate/evaluate.ts";
import type { Evaluation } from "../../channels/evaluate/evaluation.ts";
import { randomDraw, type Draw } from "../../channels/evaluate/nulls.ts";
import { observe, planAblations, type Observations } from "../../channels/evaluate/observe.ts";
import { EvaluationPass } from "../../channels/evaluate/pass.ts";
import { candidatePairs, classSimilarity, type Similarity } from "../../channels/evaluate/similarity.ts";
import { Random } from "../../channels/random.ts";
import { UnbraidError } from "../../errors.ts";
import type { ImageItem } from "../../images/folder.ts";
import type { Study } from "../../relevance/study.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { chooseImages, MOST_OF_A_CLASS, type ChosenImages } from "../evaluate-images.ts";
import { partsToEvaluate } from "../evaluate-concepts.ts";
import { openSplit, recordToEvaluate, type OpenSplit } from "../evaluate-split.ts";
import { describeChannel, describePooled, describeSimilarity } from "../evaluate-text.ts";
import { imagenetHierarchy, readHierarchy } from "../hierarchies.ts";
import { fitEvaluation } from "../fit-batch.ts";
import {
  checkClassCount,
  FOLDER_OPTIONS,
  imageBatches,
  imageNetwork,
  imagesOption,
  PREPROCESS_OPTIONS,
  type ImageNetwork,
} from "../images.ts";
import { openModel, type OpenModel } from "../model.ts";
import { Progress } from "../progress.ts";
import type { SplitRecord } from "../../channels/split-record.ts";
import { compatOption, DEFAULT_TAU, readWholeStudy, tauOption } from "../studies.ts";

export const evaluate: Command = {
  name: "evaluate",
  summary: "whether the parts of a split model mean anything: each figure beside its null, with an interval",
  usage: ["evaluate SPLIT --images DIR [--study FILE] [--hierarchy FILE] [--out FILE.json]"],
  positionals: [1, 1],
  options: {
    ...FOLDER_OPTIONS,
    study: {
      type: "string",
      value: "FILE",
      help: "the study that the split was made with: for random filters' ARVs, reproducibility, similarity of classes",
    },
    hierarchy: {
      type: "string",
      value: "FILE",
      help: "classes in a tree, JSON or CSV (child,parent); ImageNet's classes are known without",
    },
    "partial-hierarchy": { type: "boolean", help: "go on without the classes that the hierarchy does not have" },
    split: { type: "string", value: "N", help: "which split of the model, from 1 (the last)" },
    channel: { type: "string", multiple: true, value: "C", help: "only these channels" },
    sample: { type: "string", value: "N", help: "images of all classes that parts are told from (200)" },
    draws: { type: "string", value: "N", help: "random partitions and random filters a channel (100)" },
    ablations: { type: "string", value: "N", help: "random parts that each part's ablation is held against (3)" },
    "no-ablation": { type: "boolean", help: "no run of the network without parts" },
    seed: { type: "string", value: "N", help: "of all that is drawn at random (1)" },
    tau: {
      type: "string",
      value: "X",
      help: `share of relevance from which an image counts for fractions (${DEFAULT_TAU})`,
    },
    p: { type: "string", value: "X", help: "as in `find`, for the pairs of classes (0.75)" },
    gamma: { type: "string", value: "X", help: "as in `find`, for the pairs of classes (0.5)" },
    compat: { type: "string", value: "official", help: "fractions as the authors' code averages them" },
    clusters: {
      type: "string",
      value: "FILE.json",
      help: "the clusters that the split was made by; --images is then the folder that they are of",
    },
    partial: { type: "boolean", help: "take a study that is not complete" },
    out: { type: "string", value: "FILE", help: "writes the JSON document, densities included" },
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Give images that the split was not made of. Every figure has an interval (95 %, bootstrap over images) and n; what each\n" +
    "means, with formulas, is in docs/evaluate.md.",
  example: "unbraid evaluate split.onnx --images val --preset imagenet --study layer4.study --out evaluation.json",
  run,
};

/** More than these a side, and pairs of images get many. */
const DEFAULTS = { sample: 200, draws: 100, ablations: 3, seed: 1, p: 0.75, gamma: 0.5 };

interface Settings {
  readonly sample: number;
  readonly draws: number;
  /** Random parts of each size that are ablated; undefined where nothing is. */
  readonly ablations: number | undefined;
  readonly seed: number;
  readonly tau: number;
  readonly official: boolean;
}

async function run(context: Context): Promise<undefined> {
  const began = performance.now();
  const { args, out } = context;
  const path = args.text("out");
  if (path !== undefined) context.checkWritable(path);
  const opened = openModel(context, args.positional(0));
  const record = recordToEvaluate(context, opened);
  const study = studyOf(context, opened, record);
  const settings = settingsOf(context, study);
  const similarity = similarityOf(context, study, settings);
  const { parts, clusters } = partsToEvaluate(context, record, study);
  const { root, list } = await imagesOption(context);
  const chosen = chooseImages(list, { parts, clusters }, root, settings);
  const sized = chosen.concepts.length > 32 ? chosen.concepts : list.items.slice(0, 32);
  const network = await imageNetwork(context, opened, root, sized);
  checkClassCount(context, list, network.logits);
  const split = openSplit(record, parts, network);
  if (chosen.thinned > 0)
    out.note(`${chosen.thinned} concepts have more than ${MOST_OF_A_CLASS} images: so many are taken, evenly`);
  const random = new Random(settings.seed);
  const draws = split.channels.map((channel) =>
    Array.from({ length: settings.draws }, () => randomDraw(channel, random)),
  );
  const observed = await observeImages(context, opened, record, {
    ...{ root, chosen, clusters, network, split, draws, settings },
  });
  const progress = new Progress(out, "channels", split.channels.length);
  const found = await evaluateSplit(split.channels, draws, observed, {
    ...{ random, tau: settings.tau, official: settings.official, filters: settings.draws },
    ...(study === undefined ? {} : { study }),
    onProgress: (done) => {
      progress.update(done);
    },
    signal: context.signal,
  });
  const json = {
    layer: record.layer,
    images: { concepts: observed.concepts.length, sample: observed.sample.length },
    settings: { ...settings, ablations: settings.ablations ?? 0 },
    channels: found.channels,
    pooled: found.pooled,
    similarity: similarity ?? null,
    seconds: (performance.now() - began) / 1000,
  };
  if (path !== undefined) context.writeFile(path, `${JSON.stringify(json)}\n`);
  await out.result(json, describe(record, found, similarity, settings.official));
  return undefined;
}

function settingsOf({ args }: Context, study: Study | undefined): Settings {
  const whole = (name: "sample" | "draws" | "ablations", least: number, most: number): number =>
    args.number(name, { integer: true, least, most }) ?? DEFAULTS[name];
  const draws = whole("draws", 1, 10_000);
  const ablations = whole("ablations", 1, 100);
  if (args.flag("ablations") && args.flag("no-ablation"))
    throw usageError("OPTION_CONFLICT", "--ablations and --no-ablation exclude each other", "Leave one out.");
  return {
    ...{ sample: whole("sample", 1, 100_000), draws: Math.max(draws, ablations) },
    ablations: args.flag("no-ablation") ? undefined : ablations,
    seed: args.number("seed", { integer: true, least: 0, most: 2 ** 32 }) ?? DEFAULTS.seed,
    tau: study === undefined ? (args.number("tau", { least: 0, most: 1 }) ?? DEFAULT_TAU) : tauOption(args, study),
    official: compatOption(args),
  };
}

/** @throws UnbraidError STUDY_MODEL where the study is of another model than the split was made of */
function studyOf(context: Context, opened: OpenModel, record: SplitRecord): Study | undefined {
  const path = context.args.text("study");
  if (path === undefined) return undefined;
  const study = readWholeStudy(context, path, record.layer);
  if ([record.source.sha256, opened.digest()].includes(study.meta.model.sha256)) return study;
  throw new UnbraidError(
    "input",
    "STUDY_MODEL",
    `${path} is a study of ${study.meta.model.file} with SHA-256 ${study.meta.model.sha256.slice(0, 12)}..., and the split was made of ${record.source.file} with ${record.source.sha256.slice(0, 12)}...`,
    "Pass the study that the split was made with, or none.",
  );
}

function similarityOf(
  { args, out }: Context,
  study: Study | undefined,
  { seed, tau }: Settings,
): (Similarity & { readonly hierarchy: string }) | undefined {
  const path = args.text("hierarchy");
  if (study === undefined) {
    if (path === undefined) return undefined;
    throw usageError(
      "OPTION_MISSING",
      "--study is missing: the hierarchy is held against the cosines of a study's ARVs",
      "Add --study FILE.",
    );
  }
  const { classes } = study.meta;
  const hierarchy = path === undefined ? imagenetHierarchy(classes) : readHierarchy(path);
  if (hierarchy === undefined) {
    out.note("these are not ImageNet's classes, and no --hierarchy is given: their similarity is left out");
    return undefined;
  }
  const p = args.number("p", { least: 0, most: 1 }) ?? DEFAULTS.p;
  const found = classSimilarity(candidatePairs(study, tau, p), classes, hierarchy, {
    random: new Random(seed),
    gamma: args.number("gamma", { least: 0 }) ?? DEFAULTS.gamma,
    partial: path === undefined || args.flag("partial-hierarchy"),
  });
  if (found.missing.length > 0)
    out.warn(
      `the hierarchy lacks ${found.missing.length} classes, and ${found.left_out} pairs are left out: ${found.missing.join(", ")}`,
    );
  return { hierarchy: path === undefined ? "WordNet" : basename(path), ...found };
}

interface Work {
  readonly root: string;
  readonly chosen: ChosenImages;
  readonly clusters: ReadonlyMap<number, ReadonlySet<string>>;
  /** With the most images at a time that there are. */
  readonly network: ImageNetwork;
  readonly split: OpenSplit;
  /** [split channels][draws] */
  readonly draws: readonly (readonly Draw[])[];
  readonly settings: Settings;
}

async function observeImages(context: Context, opened: OpenModel, record: SplitRecord, w: Work): Promise<Observations> {
  const { split, settings, chosen, root } = w;
  const { ablations } = settings;
  const plan =
    ablations === undefined
      ? { rows: [], tallies: [] }
      : planAblations(
          split.channels,
          w.draws.map((of) => of.slice(0, ablations)),
        );
  using device = await context.openDevice();
  const { network, options } = fitEvaluation(context, device, opened.graph, w.network, {
    ...{ node: split.layer.node, geometry: split.geometry, output: record.output, rows: plan.rows },
  });
  using pass = await EvaluationPass.open(device.gpu, options);
  const progress = new Progress(context.out, "images", chosen.concepts.length + chosen.sample.length);
  const batches = (items: readonly ImageItem[]) => imageBatches(context, network, { root, items });
  const observed = await observe({
    ...{ pass, batch: network.batch, channels: split.channels, bias: split.bias, ablations: plan.tallies },
    concepts: batches(chosen.concepts),
    sample: batches(chosen.sample),
    clustersOf: (path) => [...w.clusters].flatMap(([id, paths]) => (paths.has(path) ? [id] : [])),
    onProgress: (images) => {
      progress.update(images);
    },
    signal: context.signal,
  });
  device.gpu.check();
  return observed;
}

function describe(
  record: SplitRecord,
  { channels, pooled }: Evaluation,
  similarity: Similarity | undefined,
  official: boolean,
): string {
  return (
    channels.map((channel) => `${describeChannel(channel)}\n`).join("") +
    (channels.length > 1 || official ? describePooled(pooled, official) : "") +
    (similarity === undefined ? "" : describeSimilarity(similarity)) +
    `${channels.length} split channel${channels.length === 1 ? "" : "s"} of ${record.layer}; intervals hold 95 %\n`
  );
}
