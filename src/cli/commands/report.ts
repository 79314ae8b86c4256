/** `unbraid report`: one HTML file that shows a split and what speaks for it. */
import { basename } from "node:path";
import { findPairs } from "../../channels/find.ts";
import { candidatePairs, classSimilarity, type Similarity } from "../../channels/evaluate/similarity.ts";
import { Random } from "../../channels/random.ts";
import type { SplitRecord } from "../../channels/split-record.ts";
import { UnbraidError } from "../../errors.ts";
import { sha256 } from "../../files.ts";
import { imageFilesDigest } from "../../images/digest.ts";
import { readSidecar } from "../../images/sidecar.ts";
import type { Study } from "../../relevance/study.ts";
import { isComplete } from "../../relevance/study.ts";
import { assembleReport } from "../../report/assemble.ts";
import { scanRows } from "../../report/scan.ts";
import type { ClassSimilarity, LayerMap, ReportData } from "../../report/data.ts";
import { reportHtml } from "../../report/html.ts";
import { layerEntry } from "../../report/layer-map.ts";
import { usageError } from "../arguments.ts";
import { readClusters } from "../clusters.ts";
import { commandLine } from "../command-line.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { partsToEvaluate } from "../evaluate-concepts.ts";
import { chooseImages } from "../evaluate-images.ts";
import { openSplit, recordToEvaluate } from "../evaluate-split.ts";
import { imagenetHierarchy, readHierarchy } from "../hierarchies.ts";
import { fitEvaluation } from "../fit-batch.ts";
import {
  checkClassCount,
  FOLDER_OPTIONS,
  imageBatches,
  imageNetwork,
  imagesOption,
  PREPROCESS_OPTIONS,
} from "../images.ts";
import { openModel, type OpenModel } from "../model.ts";
import { Progress } from "../progress.ts";
import { readRegularFile } from "../read-file.ts";
import { readEvaluation, readFindings, readManifest, readVerification } from "../report-documents.ts";
import { pictureSource } from "../report-pictures.ts";
import { readVisualisation } from "../report-visualised.ts";
import { DEFAULT_TAU, readStudy, readWholeStudy, tauOption } from "../studies.ts";
import { showBytes } from "../table.ts";
import { packageVersion } from "../version.ts";

/** More images show no stronger ones, on the whole, and take their time. */
const SAMPLE = 1000;
/** More channels make the page long, and each one's share of the room small. */
const CHANNELS = 6;

export const report: Command = {
  name: "report",
  summary:
    "one HTML file that shows a split: the network before and after, densities, galleries, the evidence, the proof",
  usage: [
    "report SPLIT --study FILE --images DIR --out FILE.html [--evaluation FILE.json] [--verification FILE.json] [--channel C ...]",
  ],
  positionals: [1, 1],
  options: {
    study: { type: "string", value: "FILE", help: "the study that the split was made with" },
    images: { ...FOLDER_OPTIONS.images, help: "images to show, best such as the split was not made of" },
    out: { type: "string", value: "FILE.html", help: "the report" },
    channel: {
      type: "string",
      multiple: true,
      value: "C,...",
      help: `these channels (the first ${CHANNELS} of the split)`,
    },
    evaluation: { type: "string", value: "FILE.json", help: "what `evaluate --out` wrote of this split" },
    verification: { type: "string", value: "FILE.json", help: "what `verify --json` printed of this split" },
    visualisation: {
      type: "string",
      value: "FILE.json",
      help: "the visualisation.json that `visualize` wrote of this split",
    },
    findings: { type: "string", value: "FILE.json", help: "what `find --json` printed: for the map of layers" },
    "study-all": { type: "string", value: "FILE", help: "a study of several layers: for the map of layers" },
    hierarchy: {
      type: "string",
      value: "FILE",
      help: "classes in a tree, as for `evaluate`, where the evaluation has no similarity of classes",
    },
    clusters: {
      type: "string",
      value: "FILE.json",
      help: "the clusters that the split was made by, as for `evaluate`",
    },
    split: { type: "string", value: "N", help: "which split of the model, from 1 (the last)" },
    sample: { type: "string", value: "N", help: `images of all classes that galleries are chosen from (${SAMPLE})` },
    tau: { type: "string", value: "X", help: `as in \`find\` (${DEFAULT_TAU})` },
    title: { type: "string", value: "TEXT", help: "of the page" },
    remark: { type: "string", multiple: true, value: "C=TEXT", help: "a remark beside channel C" },
    credits: { type: "string", value: "FILE", help: "a text file whose lines are shown as credits for the images" },
    classes: FOLDER_OPTIONS.classes,
    limit: FOLDER_OPTIONS.limit,
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    partial: { type: "boolean", help: "take a study that is not complete" },
    ...PREPROCESS_OPTIONS,
  },
  details:
    "The file asks nothing of any server and carries its numbers and pictures (docs/report.md says how many). Everything shown\n" +
    "beside a null keeps that null; what was not given (an evaluation, a verification) is left out.",
  example:
    "unbraid report split.onnx --preset imagenet --study layer4.study --images val --evaluation evaluation.json --out report.html",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  const studyPath = args.required("study", "the study that the split was made with");
  context.checkWritable(path);
  const opened = openModel(context, args.positional(0));
  const record = recordToEvaluate(context, opened);
  const study = studyOf(context, studyPath, opened, record);
  const documents = readDocuments(context, record, study);
  const evaluated = partsToEvaluate(context, record, study);
  const parts = evaluated.parts.slice(0, args.flag("channel") ? undefined : CHANNELS);
  if (parts.length < evaluated.parts.length)
    out.note(
      `${evaluated.parts.length} channels were split: the first ${parts.length} are shown; --channel chooses others`,
    );
  const { root, list } = await imagesOption(context);
  const credits = creditsOf(context);
  const sample = args.number("sample", { integer: true, least: 1, most: 1_000_000 }) ?? SAMPLE;
  const chosen = chooseImages(list, { parts, clusters: evaluated.clusters }, root, { sample, seed: 1 });
  const wanted = new Set([...chosen.concepts, ...chosen.sample]);
  const items = list.items.filter((item) => wanted.has(item));
  const whole = await imageNetwork(context, opened, root, items);
  checkClassCount(context, list, whole.logits);
  const split = openSplit(record, parts, whole);
  const manifest = readManifest(opened.path, opened.digest());
  const pictures = pictureSource(root, whole.spec);
  const visualised =
    documents.visualisation === undefined
      ? undefined
      : await readVisualisation(documents.visualisation, record, pictures.encode);

  using device = await context.openDevice();
  const { network } = fitEvaluation(context, device, opened.graph, whole, {
    ...{ node: split.layer.node, geometry: split.geometry, output: record.output, rows: scanRows(split.channels) },
  });
  const progress = new Progress(out, "images", items.length);
  const data = await assembleReport({
    gpu: device.gpu,
    network: {
      graph: opened.graph,
      ...{ shaped: network.shaped, imageShape: network.imageShape, batch: network.batch, preprocess: network.spec },
      ...{ input: network.classifier.input, logits: network.classifier.logits },
    },
    split: { record, ...split },
    study,
    tau: tauOption(args, study),
    images: imageBatches(context, network, { root, items }),
    idsOf: (file, label) => [label, ...[...evaluated.clusters].flatMap(([id, files]) => (files.has(file) ? [id] : []))],
    classOf: (label) => list.classes[label] ?? String(label),
    pictures,
    vectors: clusterVectors(context, study),
    remarks: remarksOf(context),
    ...(manifest === undefined ? {} : { manifest }),
    ...(documents.evaluation === undefined ? {} : { evaluation: documents.evaluation }),
    ...(documents.verification === undefined ? {} : { verification: documents.verification }),
    ...(documents.similarity === undefined ? {} : { similarity: documents.similarity }),
    ...(documents.map === undefined ? {} : { map: documents.map }),
    ...(visualised === undefined ? {} : { visualised }),
    about: {
      title: args.text("title") ?? `What the channels of ${record.source.file} answer to`,
      command: commandLine(report, args),
      unbraid: packageVersion(),
      adapter: device.adapter.name,
      inputs: await inputsOf(context, opened, record, { root, items }),
      credits,
    },
    onProgress: (images) => {
      progress.update(images);
    },
    signal: context.signal,
  });
  device.gpu.check();
  context.signal.throwIfAborted();
  const html = reportHtml(data);
  context.writeFile(path, html);
  await out.result(summary(path, html, data), describe(path, html, data));
  return undefined;
}

/** @throws UnbraidError STUDY_MODEL */
function studyOf(context: Context, path: string, opened: OpenModel, record: SplitRecord): Study {
  const study = readWholeStudy(context, path, record.layer);
  const { model, classes } = study.meta;
  const refuse = (what: string): UnbraidError =>
    new UnbraidError("input", "STUDY_MODEL", `${path} ${what}`, "Pass the study that the split was made with.");
  if (![record.source.sha256, opened.digest()].includes(model.sha256))
    throw refuse(
      `is a study of ${model.file} with SHA-256 ${model.sha256.slice(0, 12)}..., and the split was made of ${record.source.file} with ${record.source.sha256.slice(0, 12)}...`,
    );
  for (const part of record.parts)
    part.classes.forEach((t, k) => {
      if (classes[t] !== part.concepts[k])
        throw refuse(`calls class ${t} "${classes[t] ?? ""}", and the split says "${part.concepts[k] ?? ""}"`);
    });
  if (sha256(readRegularFile(path)) !== record.study.sha256)
    context.out.note(
      `${path} is another study of the model than the split was made with: source sets may differ from the file's`,
    );
  return study;
}

interface Documents {
  readonly evaluation?: ReturnType<typeof readEvaluation>;
  readonly verification?: ReturnType<typeof readVerification>;
  readonly visualisation?: string;
  readonly map?: LayerMap[];
  readonly similarity?: ClassSimilarity;
}

/** Whatever can be wrong with them shows before any image is read. */
function readDocuments(context: Context, record: SplitRecord, study: Study): Documents {
  const { args } = context;
  const [evaluationPath, verificationPath] = [args.text("evaluation"), args.text("verification")];
  const visualisation = args.text("visualisation");
  const evaluation = evaluationPath === undefined ? undefined : readEvaluation(evaluationPath, record);
  const verification = verificationPath === undefined ? undefined : readVerification(verificationPath, record);
  const similarity = similarityOf(context, study, evaluation?.similarity ?? undefined);
  const map = mapOf(context);
  return {
    ...(evaluation === undefined ? {} : { evaluation }),
    ...(verification === undefined ? {} : { verification }),
    ...(visualisation === undefined ? {} : { visualisation }),
    ...(similarity === undefined ? {} : { similarity }),
    ...(map === undefined ? {} : { map }),
  };
}

function mapOf({ args, out }: Context): LayerMap[] | undefined {
  const [findings, all] = [args.text("findings"), args.text("study-all")];
  if (findings !== undefined && all !== undefined)
    throw usageError("OPTION_CONFLICT", "--findings and --study-all both give the map of layers", "Leave one out.");
  if (findings !== undefined) return readFindings(findings);
  if (all === undefined) return undefined;
  return readStudy(all).studies.map((study) => {
    const { layer } = study.meta;
    if (!isComplete(study)) out.warn(`${all} has not seen all its images at ${layer.name}`);
    return layerEntry(layer.name, layer.outChannels, findPairs(study, { tau: tauOption(args, study) }));
  });
}

function similarityOf(
  { args, out }: Context,
  study: Study,
  measured: Similarity | undefined,
): ClassSimilarity | undefined {
  const path = args.text("hierarchy");
  const shown = (name: string, s: Similarity): ClassSimilarity => ({
    hierarchy: `path similarity in ${name}`,
    ...{ points: s.points, spearman: s.spearman, p: s.p, nullMean: s.null_mean },
  });
  if (measured !== undefined) return shown(path === undefined ? "the hierarchy" : basename(path), measured);
  const hierarchy = path === undefined ? imagenetHierarchy(study.meta.classes) : readHierarchy(path);
  if (hierarchy === undefined) return undefined;
  const found = classSimilarity(candidatePairs(study, tauOption(args, study), 0.75), study.meta.classes, hierarchy, {
    ...{ random: new Random(1), gamma: 0.5, partial: true },
  });
  if (found.missing.length > 0)
    out.warn(`the hierarchy lacks ${found.missing.length} classes: ${found.missing.join(", ")}`);
  return found.pairs === 0 ? undefined : shown(path === undefined ? "WordNet" : basename(path), found);
}

function clusterVectors({ args }: Context, study: Study): Map<number, readonly Float64Array[]> {
  const file = args.text("clusters");
  const targets = file === undefined ? [] : readClusters(file, study);
  return new Map(targets.map(({ channel, clusters = [] }) => [channel, clusters.map((c) => c.vector)]));
}

function remarksOf({ args }: Context): Map<number, string> {
  return new Map(
    args.texts("remark").map((text): [number, string] => {
      const [, channel, remark] = /^(\d{1,9})=(.+)$/s.exec(text) ?? [];
      if (channel === undefined || remark === undefined)
        throw usageError("OPTION_VALUE", `--remark must be C=TEXT, not "${text}"`, "Write --remark 7=chosen by hand.");
      return [Number(channel), remark];
    }),
  );
}

function creditsOf({ args }: Context): string[] {
  const path = args.text("credits");
  if (path === undefined) return [];
  try {
    // A paragraph a line: text files are wrapped.
    return readRegularFile(path)
      .toString()
      .split(/\n\s*\n|\n(?=\S)/)
      .map((line) => line.replace(/\s+/g, " ").trim())
      .filter((line) => line !== "");
  } catch (cause) {
    throw new UnbraidError(
      "input",
      "REPORT_DOCUMENT",
      `the credits ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      "Check the path.",
      { cause },
    );
  }
}

async function inputsOf(
  { args }: Context,
  opened: OpenModel,
  record: SplitRecord,
  images: { readonly root: string; readonly items: Parameters<typeof imageFilesDigest>[0] },
): Promise<ReportData["inputs"]> {
  const files = [
    "study",
    "evaluation",
    "verification",
    "visualisation",
    "findings",
    "study-all",
    "hierarchy",
    "clusters",
    "classes",
    "credits",
  ];
  const preprocessing = (await readSidecar(opened.path))?.path;
  return [
    { what: "model", file: record.source.file, sha256: record.source.sha256 },
    { what: "split model", file: basename(opened.path), sha256: opened.digest() },
    ...(preprocessing === undefined
      ? []
      : [
          {
            what: "preprocessing",
            file: basename(preprocessing),
            sha256: sha256(readRegularFile(preprocessing)),
          },
        ]),
    ...files.flatMap((name) => {
      const path = args.text(name);
      return path === undefined ? [] : [{ what: name, file: basename(path), sha256: sha256(readRegularFile(path)) }];
    }),
    {
      what: `${images.items.length} images (names, classes, contents)`,
      file: basename(images.root),
      sha256: await imageFilesDigest(images.items, images.root),
    },
  ];
}

const summary = (path: string, html: string, data: ReportData) => ({
  file: path,
  bytes: Buffer.byteLength(html),
  layer: data.layer,
  findings: data.findings,
  channels: data.channels.map(({ channel, concepts, rule, galleries, interactive }) => ({
    ...{ channel, concepts, rule },
    rho: interactive?.rho ?? null,
    images: interactive?.concept.length ?? 0,
    galleries: galleries.length,
  })),
  pictures: data.pictures.length,
  left_out: data.leftOut ?? 0,
  images: data.images ?? 0,
});

const describe = (path: string, html: string, data: ReportData): string =>
  `${data.findings.map((line) => `${line}\n`).join("")}${path}: ${data.channels.length} channel${data.channels.length === 1 ? "" : "s"}, ${data.pictures.length} pictures, ${showBytes(Buffer.byteLength(html))}\n` +
  ((data.leftOut ?? 0) > 0
    ? `${data.leftOut ?? 0} pictures found no room in the file; fewer channels leave more of it\n`
    : "");
