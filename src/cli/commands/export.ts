/** `unbraid export`: studies and evaluations for NumPy, pandas and spreadsheets. */
import { zipSync } from "fflate";
import { csvField } from "../../channels/pairs-csv.ts";
import { UnbraidError } from "../../errors.ts";
import { AverageRelevance } from "../../relevance/arv.ts";
import type { VARIANTS } from "../../relevance/importance.ts";
import { countsOf, imagesOf, tapsOf, tapSumsOf, type Study } from "../../relevance/study.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { measuresOf, numbersOf } from "../measures.ts";
import { encodeNpy, encodeNpyFloat64, encodeNpyText } from "../npy.ts";
import { readRegularFile } from "../read-file.ts";
import { readWholeStudy } from "../studies.ts";

export const exportCommand: Command = {
  name: "export",
  summary: "a study or an evaluation as .npz or CSV, for NumPy, pandas and spreadsheets",
  usage: ["export STUDY --npz FILE [--channel C ...] | --csv FILE", "export EVALUATION.json --npz FILE | --csv FILE"],
  positionals: [1, 1],
  options: {
    npz: { type: "string", value: "FILE", help: "NumPy arrays" },
    csv: {
      type: "string",
      value: "FILE",
      help: "a table: of a study how often each channel was important for each class; else every measure",
    },
    layer: { type: "string", value: "NAME", help: "which layer of a study that has several" },
    channel: {
      type: "string",
      multiple: true,
      value: "C,...",
      help: "with --npz: the average relevance vectors of these channels too",
    },
    partial: { type: "boolean", help: "take a study that is not complete" },
  },
  details:
    "Arrays of --npz, with T classes, C channels, I input channels, K kernel taps, F folds: classes, images [T, F], taus,\n" +
    "important [taus, T, C] and important_half (the original's float16 steps), tap_sums [T, F, I, K] as sums over images, weights\n" +
    "[C, I/groups, K], sign [C]; with --channel: channels and arvs [channels, T, I/groups], oriented, NaN for a class without images.\n" +
    "Of an evaluation: every list of numbers under its path in the JSON, and every measure as value, low, high and n.",
  example: "unbraid export layer4.study --npz layer4.npz --channel 91,262",
  run,
};

async function run(context: Context): Promise<undefined> {
  const { args, out } = context;
  const npz = args.text("npz");
  const csv = args.text("csv");
  if (npz === undefined && csv === undefined)
    throw usageError("OPTION_MISSING", "nothing says what to write", "Pass --npz FILE, or --csv FILE, or both.");
  for (const path of [npz, csv]) if (path !== undefined) context.checkWritable(path);
  const path = args.positional(0);
  const evaluation = path.toLowerCase().endsWith(".json");
  const study = evaluation ? undefined : readWholeStudy(context, path, args.text("layer"));
  const channels = args.numbers("channel", { integer: true, least: 0 });
  const files: { file: string; bytes: number }[] = [];
  const write = (file: string, bytes: Uint8Array | string): void => {
    context.writeFile(file, bytes);
    files.push({ file, bytes: bytes.length });
  };
  const json = study === undefined ? readJson(path) : undefined;
  if (npz !== undefined)
    write(npz, zip(study === undefined ? evaluationArrays(json, path) : studyArrays(study, channels)));
  if (csv !== undefined) write(csv, study === undefined ? measuresCsv(json, path) : studyCsv(study));
  await out.result({ files }, files.map(({ file, bytes }) => `${file}: ${bytes} bytes\n`).join(""));
  return undefined;
}

/** @throws UnbraidError CHANNEL_RANGE */
function studyArrays(study: Study, channels: readonly number[]): Record<string, Uint8Array> {
  const { layer, classes, taus, folds } = study.meta;
  const { inChannels, outChannels, groups } = layer;
  const taps = tapsOf(layer);
  const outside = channels.find((c) => c >= outChannels);
  if (outside !== undefined)
    throw new UnbraidError(
      "usage",
      "CHANNEL_RANGE",
      `there is no channel ${outside}: layer ${layer.name} has ${outChannels}`,
      `Pass channels from 0 to ${outChannels - 1}.`,
    );
  const sums = new Float64Array(classes.length * folds * inChannels * taps);
  classes.forEach((_, t) => {
    for (let f = 0; f < folds; f++) {
      const of = tapSumsOf(study, t, [f]);
      if (of !== undefined) sums.set(of.toFloat64(), (t * folds + f) * inChannels * taps);
    }
  });
  const counts = (variant: (typeof VARIANTS)[number]): Uint8Array => {
    const data = Float64Array.from(
      taus.flatMap((_, k) => classes.flatMap((__, t) => [...countsOf(study, variant, k, t)])),
    );
    return encodeNpy({ type: "int64", shape: [taus.length, classes.length, outChannels], data });
  };
  const images = Float64Array.from(
    classes.flatMap((_, t) => Array.from({ length: folds }, (__, f) => imagesOf(study, t, [f]))),
  );
  const arrays: Record<string, Uint8Array> = {
    classes: encodeNpyText(classes),
    images: encodeNpy({ type: "int64", shape: [classes.length, folds], data: images }),
    taus: encodeNpyFloat64([taus.length], taus),
    important: counts("exact"),
    important_half: counts("half"),
    tap_sums: encodeNpyFloat64([classes.length, folds, inChannels, taps], sums),
    weights: encodeNpy({ type: "float32", shape: [outChannels, inChannels / groups, taps], data: layer.weights }),
    sign: encodeNpy({ type: "int64", shape: [outChannels], data: Float64Array.from(layer.sign) }),
  };
  if (channels.length > 0) {
    const arvs = new AverageRelevance(study);
    const each = inChannels / groups;
    const data = channels.flatMap((c) =>
      classes.flatMap((_, t) => [...(arvs.vector(c, t, "oriented") ?? new Float64Array(each).fill(NaN))]),
    );
    arrays.channels = encodeNpy({ type: "int64", shape: [channels.length], data: Float64Array.from(channels) });
    arrays.arvs = encodeNpyFloat64([channels.length, classes.length, each], data);
  }
  return arrays;
}

/** Without a date, so that equal studies make equal files. */
const zip = (arrays: Readonly<Record<string, Uint8Array>>): Uint8Array =>
  zipSync(Object.fromEntries(Object.entries(arrays).map(([name, bytes]) => [`${name}.npy`, bytes])), {
    mtime: "1980-01-01",
  });

function studyCsv(study: Study): string {
  const { classes, taus } = study.meta;
  const lines = ["channel,class,class_name,tau,important,images"];
  taus.forEach((tau, k) => {
    classes.forEach((name, t) => {
      countsOf(study, "exact", k, t).forEach((count, c) => {
        if (count > 0) lines.push([c, t, csvField(name), tau, count, imagesOf(study, t)].join(","));
      });
    });
  });
  return `${lines.join("\n")}\n`;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readRegularFile(path).toString());
  } catch (cause) {
    throw notEvaluation(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

const notEvaluation = (path: string, why: string, cause?: unknown): UnbraidError =>
  new UnbraidError(
    "input",
    "EVALUATION_FORMAT",
    `${path} cannot be exported: ${why}`,
    "Pass what `unbraid evaluate --json` or `unbraid score --json` wrote.",
    { cause },
  );

/** Every list of numbers, and every measure as a list of its value, low, high and n. */
function evaluationArrays(json: unknown, path: string): Record<string, Uint8Array> {
  const lists = numbersOf(json).map(
    ({ name, numbers }) => [name, encodeNpyFloat64([numbers.length], numbers)] as const,
  );
  const measures = measuresOf(json).map(({ name, value, low, high, n }) => {
    const four = [value === "" ? NaN : value, low ?? NaN, high ?? NaN, n ?? NaN];
    return [name, encodeNpyFloat64([4], four)] as const;
  });
  if (lists.length + measures.length === 0) throw notEvaluation(path, "it holds no numbers");
  return Object.fromEntries([...lists, ...measures]);
}

function measuresCsv(json: unknown, path: string): string {
  const measures = measuresOf(json);
  if (measures.length === 0) throw notEvaluation(path, "it holds no measure");
  const rows = measures.map(({ name, value: v, low, high, n }) =>
    [csvField(name), v, low ?? "", high ?? "", n ?? ""].join(","),
  );
  return ["name,value,low,high,n", ...rows, ""].join("\n");
}
