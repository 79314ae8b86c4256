/** `unbraid split`: the split model, and a manifest beside it. */
import { basename, dirname, resolve } from "node:path";
import { planSplits, type PlannedSplit } from "../../channels/split-run.ts";
import { setsToText, type SetRule } from "../../channels/sets.ts";
import { UnbraidError } from "../../errors.ts";
import { sha256 } from "../../files.ts";
import { nodeNames } from "../../graph/build.ts";
import { splitLayer, type ChannelSplit, type LayerSplit } from "../../graph/surgery.ts";
import { sidecarPaths } from "../../images/sidecar.ts";
import { externalLocations } from "../../onnx/decode.ts";
import { assertStudyMatches } from "../../relevance/merge.ts";
import type { Study } from "../../relevance/study.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { FOLDER_OPTIONS, PREPROCESS_OPTIONS } from "../images.ts";
import { labelPaths } from "../labels.ts";
import { openModel, type OpenModel } from "../model.ts";
import { Progress } from "../progress.ts";
import { readRegularFile } from "../read-file.ts";
import { openSecondPass } from "../second-pass.ts";
import { splitRecords, SPLITS_KEY, type SplitPartRecord, type SplitRecord } from "../split-record.ts";
import { compatOption, readWholeStudy } from "../studies.ts";
import { table } from "../table.ts";
import { splitTargets } from "../targets.ts";

export const split: Command = {
  name: "split",
  summary: "splits channels by rewiring their weights: the split model, and a manifest beside it",
  usage: [
    "split MODEL --study FILE --channel C --classes A,B --out FILE.onnx [--rho X | --images DIR]",
    "split MODEL --study FILE --all | --pairs FILE.csv --out FILE.onnx [--rho X | --images DIR]",
  ],
  positionals: [1, 1],
  options: {
    study: { type: "string", value: "FILE", help: "a study of this model" },
    channel: { type: "string", multiple: true, value: "C", help: "an output channel of the layer, with its --classes" },
    classes: { type: "string", multiple: true, value: "A,B", help: "two classes, by name or index" },
    all: { type: "boolean", help: "every channel that `find` lists" },
    pairs: { type: "string", value: "FILE.csv", help: "channels and classes as `find --csv` writes them" },
    out: { type: "string", value: "FILE.onnx", help: "the split model" },
    rho: {
      type: "string",
      value: "X",
      help: "from 0 (shared unless opposed) to 1 (nothing shared); chosen on images if not given",
    },
    rule: { type: "string", value: "RULE", help: "symmetric (the default) or official" },
    compat: { type: "string", value: "official", help: "rule, rho and `find` as the authors' code has them" },
    layer: { type: "string", value: "NAME", help: "checks that the study is of this layer" },
    tau: { type: "string", value: "X", help: "with --all, as in `find`" },
    p: { type: "string", value: "X", help: "with --all, as in `find`" },
    gamma: { type: "string", value: "X", help: "with --all, as in `find`" },
    partial: { type: "boolean", help: "take a study that is not complete" },
    images: {
      ...FOLDER_OPTIONS.images,
      help: "the study's images, to choose rho with; only those of the classes are read",
    },
    limit: FOLDER_OPTIONS.limit,
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Reads images, and needs an adapter, only to choose rho. The manifest is FILE.split.json; a preprocessing and labels\n" +
    "beside MODEL are copied beside the split model.",
  example:
    "unbraid split resnet50.onnx --study layer4.study --channel 1081 --classes 'gown,tench' --images imagenet/train --out split.onnx",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  const studyPath = args.required("study", "a study of the model");
  const rho = args.number("rho", { least: 0, most: 1 });
  const compat = compatOption(args);
  const rule = ruleOf(args.text("rule"), compat);
  context.checkWritable(path);
  const study = readWholeStudy(context, studyPath);
  const opened = openModel(context, args.positional(0));
  const layer = args.text("layer");
  assertStudyMatches(study, { modelDigest: opened.digest(), ...(layer === undefined ? {} : { layer }) });
  checkExternalData(opened, path);
  const targets = splitTargets(context, study);

  const progress = new Progress(out, "channels", targets.length);
  const common = { study, targets, rule, compat, signal: context.signal };
  let planned: PlannedSplit[];
  if (rho !== undefined) planned = await planSplits({ ...common, rho });
  else if (!args.flag("images")) planned = await planSplits(common);
  else {
    using second = await openSecondPass(context, opened, study, targets, compat);
    planned = await planSplits({
      ...common,
      secondPass: second,
      onProgress: ({ done }) => {
        progress.update(done);
      },
    });
    second.gpu.check();
  }
  context.signal.throwIfAborted();
  noteUndivided(context, planned);

  const record = { opened, study, studyPath, path };
  const { bytes, manifest } = rewire(record, planned);
  context.writeFile(path, bytes);
  context.writeFile(manifestPath(path), `${JSON.stringify(manifest, undefined, 1)}\n`);
  copyBeside(context, opened.path, path);
  await out.result(manifest, describe(manifest, path));
  return undefined;
}

/** A split that divides nothing is a valid one, and says nothing about concepts. */
function noteUndivided({ out }: Context, planned: readonly PlannedSplit[]): void {
  for (const { channel, rho, sets } of planned) {
    if (sets.some((set) => set !== 3)) continue;
    out.note(`channel ${channel}: at rho ${rho} both concepts share every input, so each part is the whole channel`);
  }
}

function ruleOf(text: string | undefined, compat: boolean): SetRule {
  if (text === undefined) return compat ? "official" : "symmetric";
  if (text === "symmetric" || text === "official") return text;
  throw usageError("OPTION_VALUE", `--rule must be symmetric or official, not "${text}"`, "Correct --rule.");
}

export const manifestPath = (modelPath: string): string => `${modelPath.replace(/\.onnx$/i, "")}.split.json`;

/** External data is named relative to the model: the split model must stand in the same folder. */
function checkExternalData({ path, model }: OpenModel, target: string): void {
  const files = externalLocations(model);
  if (files.length === 0 || dirname(resolve(path)) === dirname(resolve(target))) return;
  throw new UnbraidError(
    "output",
    "SPLIT_EXTERNAL",
    `${path} keeps weights in ${files.join(", ")} beside it, where ${target} would not find them`,
    `Write the split model into ${dirname(resolve(path))}.`,
  );
}

interface Manifest extends SplitRecord {
  readonly model: { readonly file: string; readonly sha256: string };
  readonly parts: readonly (SplitPartRecord & Pick<PlannedSplit, "choice" | "heldOut">)[];
}

function rewire(
  r: { opened: OpenModel; study: Study; studyPath: string; path: string },
  planned: readonly PlannedSplit[],
): { bytes: Uint8Array; manifest: Manifest } {
  const { opened, study, studyPath, path } = r;
  const { layer, classes: names } = study.meta;
  const nodeIndex = nodeNames(opened.model).indexOf(layer.nodeName);
  const channels = planned.map((p): ChannelSplit => ({ channel: p.channel, concepts: 2, sets: p.sets }));
  // The rows' places are known only after the split, and the metadata is part of it: a dry run gives them.
  const dry = splitLayer(opened.model, { nodeIndex, channels });
  const record: SplitRecord = {
    version: 1,
    layer: layer.name,
    node: layer.nodeName,
    grown: dry.grown,
    output: dry.output,
    source: { file: basename(opened.path), sha256: opened.digest() },
    study: { file: basename(studyPath), sha256: sha256(readRegularFile(studyPath)) },
    parts: planned.map((p) => ({
      channel: p.channel,
      concepts: p.classes.map((t) => names[t] ?? String(t)),
      classes: p.classes,
      rho: p.rho,
      rule: p.rule,
      sets: setsToText(p.sets, 2),
      rows: rowsOf(dry, p.channel),
    })),
  };
  const records = [...splitRecords(opened.model, opened.path), record];
  const { bytes } = splitLayer(opened.model, {
    nodeIndex,
    channels,
    metadata: { [SPLITS_KEY]: JSON.stringify(records) },
  });
  const parts = record.parts.map((part, k) => {
    const { choice, heldOut } = planned[k] ?? {};
    return { ...part, ...(choice === undefined ? {} : { choice }), ...(heldOut === undefined ? {} : { heldOut }) };
  });
  return { bytes, manifest: { ...record, model: { file: basename(path), sha256: sha256(bytes) }, parts } };
}

const rowsOf = (dry: LayerSplit, channel: number): number[] =>
  dry.parts.filter((part) => part.channel === channel).map((part) => part.row);

/** The split model is prepared for and labelled as its source was. */
function copyBeside(context: Context, from: string, to: string): void {
  const stem = to.replace(/\.onnx$/i, "");
  const pairs = [
    { from: sidecarPaths(from), to: `${stem}.preprocess.json` },
    { from: labelPaths(from), to: `${stem}.labels.json` },
  ];
  if (resolve(from) === resolve(to)) return;
  for (const pair of pairs) {
    for (const path of pair.from) {
      let text: Uint8Array;
      try {
        text = readRegularFile(path);
      } catch {
        continue;
      }
      if (resolve(path) !== resolve(pair.to)) context.writeFile(pair.to, text);
      break;
    }
  }
}

function describe({ layer, parts }: Manifest, path: string): string {
  const share = (sets: string, digit: string): number => sets.split(digit).length - 1;
  return (
    table(
      ["channel", "concept 1", "concept 2", "rho", "inputs of 1", "of 2", "shared", "held-out score"],
      parts.map((p) => [
        p.channel,
        p.concepts[0] ?? "",
        p.concepts[1] ?? "",
        p.rho,
        share(p.sets, "1"),
        share(p.sets, "2"),
        share(p.sets, "0"),
        p.heldOut === undefined ? "" : p.heldOut.score.toFixed(2),
      ]),
    ) +
    `${path}: ${parts.length} channel${parts.length === 1 ? "" : "s"} of ${layer} split; manifest ${manifestPath(path)}\n`
  );
}
