/** `unbraid find`: the polysemantic channels of a study. */
import { LEAST_FOLDS } from "../../channels/calibrate.ts";
import { findPairs, type FindOptions } from "../../channels/find.ts";
import { pairsCsv, type LayerFindings } from "../../channels/pairs-csv.ts";
import { firstOf } from "../../relevance/study-set.ts";
import { imagesOf, isComplete, type Study } from "../../relevance/study.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { describeLayers, describePairs, layerJson, pairJson, summarise } from "../find-report.ts";
import { FOLDER_OPTIONS, PREPROCESS_OPTIONS } from "../images.ts";
import { compatOption, readStudy, readWholeStudy, tauOption } from "../studies.ts";

export const find: Command = {
  name: "find",
  summary: "polysemantic channels of a study: relevant for two classes through different inputs",
  usage: [
    "find STUDY [--layer L] [--tau X] [--p X] [--gamma X | --fdr X] [--compat official] [--csv FILE|-]",
    "find STUDY --concepts cluster --model MODEL --images DIR [--channel C ...] [--top N] [--out FILE.json]",
  ],
  positionals: [1, 1],
  options: {
    layer: { type: "string", value: "NAME", help: "one layer of a study of several; all of them if not given" },
    tau: {
      type: "string",
      value: "X",
      help: "share of an image's relevance that makes a channel important (0.03); one of the study's",
    },
    p: { type: "string", value: "X", help: "share of a class's images on which it must be important (0.75)" },
    gamma: {
      type: "string",
      value: "X",
      help: "pairs have a cosine from 0 to below this, significant or not; if not given, the study's nulls decide",
    },
    fdr: { type: "string", value: "X", help: "share of false ones among significant pairs (0.05)" },
    compat: { type: "string", value: "official", help: "as the authors' code does it, in float16, with gamma 0.5" },
    all: { type: "boolean", help: "lists every pair of classes that share a relevant channel" },
    partial: { type: "boolean", help: "take a study that is not complete" },
    csv: { type: "string", value: "FILE", help: "writes the pairs in the official column order; - is stdout" },
    concepts: {
      type: "string",
      value: "WHAT",
      help: "classes (the default), or cluster: groups of a channel's most relevant images, without labels",
    },
    model: { type: "string", value: "MODEL", help: "with cluster: the model of the study" },
    images: { ...FOLDER_OPTIONS.images, help: "with cluster: the study's images" },
    channel: {
      type: "string",
      multiple: true,
      value: "C,...",
      help: "with cluster: these channels; those relevant for a class if not given",
    },
    top: { type: "string", value: "N", help: "with cluster: images of each channel (a tenth of them, 50 to 500)" },
    clusters: { type: "string", value: "K", help: "with cluster: the most that are tried (5)" },
    out: { type: "string", value: "FILE", help: "with cluster: writes them for `split --clusters`" },
    limit: FOLDER_OPTIONS.limit,
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Reads no images, but for clusters. A pair is found when its cosine is significantly below the median of random pairs of classes, and lower\n" +
    "than noise makes it between halves of one class; Benjamini and Hochberg's q is at most --fdr (docs/find.md).",
  example: "unbraid find layer4.study --gamma 0.4 --csv pairs.csv",
  run,
};

/** What means something for one kind of concepts only. */
const ONLY = {
  classes: ["gamma", "fdr", "compat", "all", "csv"],
  cluster: [
    "model",
    "images",
    "channel",
    "top",
    "clusters",
    "out",
    "limit",
    "skip-bad",
    ...Object.keys(PREPROCESS_OPTIONS),
  ],
} as const;

async function run(context: Context): Promise<undefined> {
  const { args } = context;
  const concepts = args.text("concepts") ?? "classes";
  if (concepts !== "classes" && concepts !== "cluster")
    throw usageError("OPTION_VALUE", `--concepts must be classes or cluster, not "${concepts}"`, "Correct --concepts.");
  const other = concepts === "classes" ? "cluster" : "classes";
  const stray = ONLY[other].find((name) => args.flag(name));
  if (stray !== undefined)
    throw usageError("OPTION_CONFLICT", `--${stray} goes with --concepts ${other}`, `Leave --${stray} out.`);
  // The engine is loaded only where images are read.
  return concepts === "cluster" ? (await import("../find-clusters.ts")).findClusters(context) : findClasses(context);
}

async function findClasses(context: Context): Promise<undefined> {
  const { args, out } = context;
  const csv = args.text("csv");
  if (csv === "-" && out.json)
    throw usageError("OPTION_CONFLICT", "--csv - and --json both want stdout", "Give --csv a file, or leave one out.");
  if (csv !== undefined && csv !== "-") context.checkWritable(csv);
  const studies = wholeStudies(context, args.positional(0));
  const layers = studies.map((study): LayerFindings => {
    const findings = findPairs(study, optionsOf(context, study));
    context.signal.throwIfAborted();
    return { study, findings, listed: args.flag("all") ? findings.candidatePairs : findings.pairs };
  });
  for (const { study } of layers.slice(0, 1)) noteMissingNull(context, study);
  if (csv !== undefined && csv !== "-") context.writeFile(csv, pairsCsv(layers));
  if (csv === "-") await out.data(pairsCsv(layers));
  else await out.result(toJson(context, layers), describe(layers));
  return undefined;
}

/** The layer of --layer, or all of the file. */
function wholeStudies(context: Context, path: string): readonly Study[] {
  const layer = context.args.text("layer");
  if (layer !== undefined) return [readWholeStudy(context, path, layer)];
  const set = readStudy(path);
  // All layers have seen the same images. Of an incomplete study readWholeStudy says so, or refuses it.
  const first = firstOf(set);
  if (!isComplete(first)) readWholeStudy(context, path, first.meta.layer.nodeName);
  return set.studies;
}

function optionsOf({ args }: Context, study: Study): FindOptions {
  const [p, gamma, fdr] = [args.number("p"), args.number("gamma"), args.number("fdr")];
  return {
    tau: tauOption(args, study),
    ...(p === undefined ? {} : { p }),
    ...(gamma === undefined ? {} : { gamma }),
    ...(fdr === undefined ? {} : { fdr }),
    ...(compatOption(args) ? { compat: "official" } : {}),
  };
}

/** Where the images do not make a null, gamma alone decides, or pairs cannot be judged: never silently. */
function noteMissingNull({ out }: Context, study: Study): void {
  const { folds, classes } = study.meta;
  if (folds < LEAST_FOLDS) {
    out.note(
      `the study has ${folds} fold${folds === 1 ? "" : "s"}, and a null of its noise takes ${LEAST_FOLDS}: gamma alone decides, and no pair has a significance`,
    );
    return;
  }
  const few = classes.filter((_, t) =>
    Array.from({ length: folds }, (__, f) => f).some((f) => imagesOf(study, t) > 0 && imagesOf(study, t, [f]) === 0),
  );
  if (few.length > 0)
    out.note(
      `${few.length} classes have a fold without images, so their pairs have no significance: ${few.slice(0, 5).join(", ")}${few.length > 5 ? ", ..." : ""}`,
    );
  const none = classes.filter((_, t) => imagesOf(study, t) === 0);
  if (none.length > 0)
    out.note(
      `${none.length} classes have no image in the study: ${none.slice(0, 5).join(", ")}${none.length > 5 ? ", ..." : ""}`,
    );
}

function toJson(context: Context, layers: readonly LayerFindings[]): unknown {
  const [first] = layers;
  if (first === undefined) throw new Error("internal error: a study without a layer");
  const options = optionsOf(context, first.study);
  const { decision } = first.findings;
  const summaries = layers.map(summarise);
  const total = (of: (s: (typeof summaries)[number]) => number): number => summaries.reduce((n, s) => n + of(s), 0);
  const rows = (of: (l: LayerFindings) => LayerFindings["listed"]): unknown[] =>
    layers.flatMap((layer) => of(layer).map((q) => pairJson(layer.study, q)));
  return {
    layer: layers.length === 1 ? first.study.meta.layer.name : null,
    ...options,
    p: options.p ?? 0.75,
    gamma: decision.rule === "gamma" ? decision.threshold : null,
    fdr: decision.fdr,
    complete: isComplete(first.study),
    channels: total((s) => s.polysemantic),
    candidates: total((s) => s.candidates),
    relevant_channels: total((s) => s.relevant),
    layers: layers.map(layerJson),
    pairs: rows(({ listed }) => listed),
    undefined_pairs: rows(({ findings }) => findings.undefinedPairs),
  };
}

function describe(layers: readonly LayerFindings[]): string {
  const [only, second] = layers;
  if (only !== undefined && second === undefined) return describePairs(only);
  return `${describeLayers(layers)}--layer NAME lists the pairs of one layer, --csv and --json those of all\n`;
}
