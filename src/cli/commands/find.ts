/** `unbraid find`: the polysemantic channels of a study. */
import { findPairs, pairsCsv, type Findings, type FindOptions } from "../../channels/find.ts";
import { isComplete, type Study } from "../../relevance/study.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { compatOption, readWholeStudy, tauOption } from "../studies.ts";
import { table } from "../table.ts";

export const find: Command = {
  name: "find",
  summary: "polysemantic channels of a study: relevant for two classes through different inputs",
  usage: ["find STUDY [--tau X] [--p X] [--gamma X] [--compat official] [--csv FILE|-]"],
  positionals: [1, 1],
  options: {
    tau: {
      type: "string",
      value: "X",
      help: "share of an image's relevance that makes a channel important (0.03); one of the study's",
    },
    p: { type: "string", value: "X", help: "share of a class's images on which it must be important (0.75)" },
    gamma: { type: "string", value: "X", help: "pairs have a cosine from 0 to below this (0.5)" },
    compat: { type: "string", value: "official", help: "as the authors' code does it, in float16" },
    partial: { type: "boolean", help: "take a study that is not complete" },
    csv: { type: "string", value: "FILE", help: "writes the pairs in the official column order; - is stdout" },
  },
  details: "Reads no images.",
  example: "unbraid find layer4.study --gamma 0.4 --csv pairs.csv",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const csv = args.text("csv");
  if (csv === "-" && out.json)
    throw usageError("OPTION_CONFLICT", "--csv - and --json both want stdout", "Give --csv a file, or leave one out.");
  if (csv !== undefined && csv !== "-") context.checkWritable(csv);
  const study = readWholeStudy(context, args.positional(0));
  const options = optionsOf(context, study);
  const found = findPairs(study, options);
  if (csv !== undefined && csv !== "-") context.writeFile(csv, pairsCsv(study, found.pairs));
  if (csv === "-") await out.data(pairsCsv(study, found.pairs));
  else await out.result(toJson(study, options, found), describe(study, found));
  return undefined;
}

function optionsOf({ args }: Context, study: Study): FindOptions {
  const p = args.number("p");
  const gamma = args.number("gamma");
  return {
    tau: tauOption(args, study),
    ...(p === undefined ? {} : { p }),
    ...(gamma === undefined ? {} : { gamma }),
    ...(compatOption(args) ? { compat: "official" } : {}),
  };
}

function toJson(study: Study, options: FindOptions, found: Findings): unknown {
  const name = (t: number): string => study.meta.classes[t] ?? "";
  const rows = (pairs: Findings["pairs"]): unknown[] =>
    pairs.map((q) => ({
      channel: q.channel,
      class1: q.class1,
      class2: q.class2,
      cosine_similarity: Number.isFinite(q.cosine) ? q.cosine : null,
      class1_name: name(q.class1),
      class2_name: name(q.class2),
      important1: q.count1,
      images1: q.images1,
      important2: q.count2,
      images2: q.images2,
      overflow: q.overflow,
    }));
  return {
    layer: study.meta.layer.name,
    ...options,
    p: options.p ?? 0.75,
    gamma: options.gamma ?? 0.5,
    complete: isComplete(study),
    channels: new Set(found.pairs.map((q) => q.channel)).size,
    candidates: found.candidates,
    relevant_channels: found.relevant.filter((classes) => classes.length > 0).length,
    pairs: rows(found.pairs),
    undefined_pairs: rows(found.undefinedPairs),
  };
}

function describe(study: Study, found: Findings): string {
  const name = (t: number): string => `${study.meta.classes[t] ?? ""} (${t})`;
  const channels = new Set(found.pairs.map((q) => q.channel)).size;
  const summary =
    `${found.pairs.length} pairs in ${channels} channels of ${study.meta.layer.name}, ` +
    `of ${found.candidates} pairs of classes that share a relevant channel\n`;
  const lost =
    found.undefinedPairs.length === 0 ? "" : `${found.undefinedPairs.length} pairs have no cosine: an ARV is zero\n`;
  if (found.pairs.length === 0) return summary + lost;
  return (
    table(
      ["channel", "class 1", "class 2", "cosine", "important 1", "important 2"],
      found.pairs.map((q) => [
        q.channel,
        name(q.class1),
        name(q.class2),
        q.cosine.toFixed(4),
        `${q.count1}/${q.images1}`,
        `${q.count2}/${q.images2}`,
      ]),
    ) +
    summary +
    lost
  );
}
