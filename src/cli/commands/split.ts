/** `unbraid split`: the split model, and a manifest beside it. */
import { basename, dirname, resolve } from "node:path";
import { conceptName, targetConcepts } from "../../channels/concepts.ts";
import { DEFAULT_SCALE } from "../../channels/additive-run.ts";
import { DEFAULT_RULE, planSplits, SPLIT_RULES, type PlannedSplit, type SplitRule } from "../../channels/split-run.ts";
import { guardSplits, writeSplit, type SplitManifest } from "../../channels/write-split.ts";
import { isByWeights } from "../../channels/split-record.ts";
import { UnbraidError } from "../../errors.ts";
import { sha256 } from "../../files.ts";
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
import { openPass } from "../second-pass.ts";
import { compatOption, readWholeStudy } from "../studies.ts";
import { table } from "../table.ts";
import { splitTargets } from "../targets.ts";

export const split: Command = {
  name: "split",
  summary: "splits channels by rewiring their weights: the split model, and a manifest beside it",
  usage: [
    "split MODEL --study FILE --channel C --classes A,B[,...] --out FILE.onnx [--rho X] [--images DIR]",
    "split MODEL --study FILE --all | --pairs FILE.csv | --clusters FILE.json --out FILE.onnx [--rho X] [--images DIR]",
  ],
  positionals: [1, 1],
  options: {
    study: { type: "string", value: "FILE", help: "a study of this model" },
    channel: { type: "string", multiple: true, value: "C", help: "an output channel of the layer, with its --classes" },
    classes: { type: "string", multiple: true, value: "A,B", help: "two to five classes, by name or index" },
    all: { type: "boolean", help: "every channel that `find` lists" },
    pairs: { type: "string", value: "FILE.csv", help: "channels and classes as `find --csv` writes them" },
    clusters: {
      type: "string",
      value: "FILE.json",
      help: "channels and clusters as `find --concepts cluster` writes them",
    },
    concepts: {
      type: "string",
      value: "N",
      help: "with --all or --pairs, up to N classes a channel, listed pairwise; 2",
    },
    out: { type: "string", value: "FILE.onnx", help: "the split model" },
    rho: {
      type: "string",
      value: "X",
      help: "from 0 (shared unless opposed) to 1 (nothing shared), or chosen, on images; unless given chosen, and 1 for the _sets rules",
    },
    rule: { type: "string", value: "RULE", help: `${SPLIT_RULES.join(", ")}; ${DEFAULT_RULE} unless given` },
    scale: {
      type: "string",
      value: "X",
      help: `how far the additive rule moves the parts apart, ${DEFAULT_SCALE}; the tuned rule fits it unless given`,
    },
    over: {
      type: "string",
      value: "patches",
      help: "with scale 1, parts uncorrelated over patches: the least leakage",
    },
    force: { type: "boolean", help: "split although no second concept is to be seen; the manifest says so" },
    compat: { type: "string", value: "official", help: "rule, rho and `find` as the authors' code has them" },
    layer: { type: "string", value: "NAME", help: "which of the study's layers" },
    tau: { type: "string", value: "X", help: "with --all, as in `find`" },
    p: { type: "string", value: "X", help: "with --all, as in `find`" },
    gamma: { type: "string", value: "X", help: "with --all, as in `find`" },
    partial: { type: "boolean", help: "take a study that is not complete" },
    images: {
      ...FOLDER_OPTIONS.images,
      help: "the study's images: for rho, for guards (only those of the classes are read), for the rules additive, tuned and their _sets (all)",
    },
    limit: FOLDER_OPTIONS.limit,
    "skip-bad": FOLDER_OPTIONS["skip-bad"],
    ...PREPROCESS_OPTIONS,
  },
  details:
    "Reads images, and needs an adapter, only with --images. Then each split is held against random filters on images that took\n" +
    "no part in it, and refused where no second concept is to be seen: with --channel as an error, with lists of channels by\n" +
    "leaving it out. symmetric, official, sign and the rules _sets give whole inputs to parts, additive and tuned parts of their\n" +
    "weights; official, tuned and tuned_sets take two concepts, the others two to five. The manifest is FILE.split.json; a preprocessing and labels beside MODEL are copied beside the split model.",
  example:
    "unbraid split resnet50.onnx --study layer4.study --channel 91 --classes n01498041,n01749939 --preset imagenet --images train --out split.onnx",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const path = args.required("out", "the file to write");
  const studyPath = args.required("study", "a study of the model");
  const rho = args.text("rho") === "chosen" ? ("chosen" as const) : args.number("rho", { least: 0, most: 1 });
  const compat = compatOption(args);
  const rule = ruleOf(args.text("rule"), compat);
  const scale = args.number("scale", { least: 0 });
  const over = overOption(args.text("over"));
  const given = scale !== undefined ? "--scale" : "--over";
  if ((scale !== undefined || over !== undefined) && !isByWeights(rule))
    throw usageError(
      "OPTION_CONFLICT",
      `${given} is of the rules additive and tuned`,
      `Pass --rule additive, or leave ${given} out.`,
    );
  if (rho !== undefined && (isByWeights(rule) || rule === "sign"))
    throw usageError("OPTION_CONFLICT", `the ${rule} rule knows no rho`, "Leave --rho out, or take another --rule.");
  context.checkWritable(path);
  const layer = args.text("layer");
  const study = readWholeStudy(context, studyPath, layer);
  const opened = openModel(context, args.positional(0));
  assertStudyMatches(study, { modelDigest: opened.digest(), ...(layer === undefined ? {} : { layer }) });
  checkExternalData(opened, path);
  const targets = splitTargets(context, study);

  const progress = new Progress(out, "channels", targets.length);
  const common = {
    ...{ study, targets, rule, compat, signal: context.signal },
    ...(rho === undefined ? {} : { rho }),
    ...(scale === undefined ? {} : { scale }),
    ...(over === undefined ? {} : { over }),
  };
  let planned: PlannedSplit[];
  if (!args.flag("images") || (compat && typeof rho === "number")) planned = await planSplits(common);
  else {
    using second = await openPass(context, opened, study, targets, compat);
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
  if (!compat && planned.every((p) => p.guards === null))
    out.note("without --images nobody has looked whether there is a second concept: the manifest's guards are null");
  const splits = guardSplits(study, planned, { force: args.flag("force"), some: !args.flag("channel") });
  for (const p of splits.refused) noteRefused(context, study, p);

  const { bytes, manifest } = writeSplit(opened.model, study, splits, {
    source: { file: basename(opened.path), sha256: opened.digest() },
    study: { file: basename(studyPath), sha256: sha256(readRegularFile(studyPath)) },
    file: basename(path),
    digest: sha256,
  });
  context.writeFile(path, bytes);
  context.writeFile(manifestPath(path), `${JSON.stringify(manifest, undefined, 1)}\n`);
  copyBeside(context, opened.path, path);
  await out.result(manifest, describe(manifest, path));
  return undefined;
}

/** A split that divides nothing is a valid one, and says nothing about concepts. */
function noteUndivided({ out }: Context, planned: readonly PlannedSplit[]): void {
  for (const { channel, rho, sets, parts, classes, clusters } of planned) {
    const all = 2 ** (clusters ?? classes).length - 1;
    if (parts !== undefined || sets.some((set) => set !== all)) continue;
    const at = rho === null ? "" : `at rho ${rho} `;
    out.note(`channel ${channel}: ${at}all concepts share every input, so each part is the whole channel`);
  }
}

function noteRefused({ out }: Context, study: Study, split: PlannedSplit): void {
  const names = targetConcepts(split).map((c) => conceptName(study, c));
  const why = split.guards?.why.join("; ") ?? "";
  out.warn(
    `channel ${split.channel} is left out, since no second concept is to be seen between ${names.join(" and ")}: ${why}`,
  );
}

function ruleOf(text: string | undefined, compat: boolean): SplitRule {
  if (text === undefined) return compat ? "official" : DEFAULT_RULE;
  const rule = SPLIT_RULES.find((r) => r === text);
  if (rule === undefined)
    throw usageError(
      "OPTION_VALUE",
      `--rule must be one of ${SPLIT_RULES.join(", ")}, not "${text}"`,
      "Correct --rule.",
    );
  if (!compat || rule === "official" || rule === "symmetric") return rule;
  throw usageError("OPTION_CONFLICT", `--compat official has no rule ${rule}`, "Leave one of the two out.");
}

function overOption(text: string | undefined): "patches" | undefined {
  if (text === undefined || text === "images") return undefined;
  if (text === "patches") return text;
  throw usageError("OPTION_VALUE", `--over must be images or patches, not "${text}"`, "Correct --over.");
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

function describe({ layer, parts, refused = [] }: SplitManifest, path: string): string {
  const share = (sets: string, digit: string): number => sets.split(digit).length - 1;
  const most = Math.max(...parts.map((p) => p.concepts.length));
  const each = Array.from({ length: most }, (_, k) => k);
  return (
    table(
      [
        "channel",
        ...each.map((k) => `concept ${k + 1}`),
        "rho",
        ...each.map((k) => `inputs of ${k + 1}`),
        "shared",
        "held-out score",
        "standing",
      ],
      parts.map((p) => [
        p.channel,
        ...each.map((k) => p.concepts[k] ?? ""),
        p.rho ?? p.rule,
        ...each.map((k) => (k < p.concepts.length ? share(p.sets, String(k + 1)) : "")),
        share(p.sets, "0"),
        p.heldOut === undefined ? "" : p.heldOut.score.toFixed(2),
        standingOf(p),
      ]),
    ) +
    (parts.some((p) => p.guards?.second)
      ? "standing: of the weakest concept on held-out images, and what 90 % of random filters do not exceed\n"
      : "") +
    (refused.length > 0
      ? `${refused.length} left out: no second concept to be seen (--force splits all the same)\n`
      : "") +
    `${path}: ${parts.length} channel${parts.length === 1 ? "" : "s"} of ${layer} split; manifest ${manifestPath(path)}\n`
  );
}

function standingOf({ guards, forced }: SplitManifest["parts"][number]): string {
  const second = guards?.second;
  if (second === null || second === undefined) return "";
  return `${second.value.toFixed(2)} (${second.threshold.toFixed(2)})${forced === true ? " forced" : ""}`;
}
