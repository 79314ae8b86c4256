/** Which channels are to be split between which classes: from options, a CSV file, or all that `find` lists. */
import { findPairs } from "../channels/find.ts";
import type { SplitTarget } from "../channels/split-run.ts";
import { UnbraidError } from "../errors.ts";
import { nearest } from "../graph/names.ts";
import type { Study } from "../relevance/study.ts";
import { usageError } from "./arguments.ts";
import type { Context } from "./context.ts";
import { readRegularFile } from "./read-file.ts";
import { compatOption, tauOption } from "./studies.ts";

interface Listed extends SplitTarget {
  /** NaN where it is not known. */
  readonly cosine: number;
}

/**
 * The splits that the options ask for.
 * @throws UnbraidError OPTION_CONFLICT, OPTION_MISSING, OPTION_VALUE, CLASS_UNKNOWN, SPLIT_CONCEPTS, CHANNEL_TWICE,
 * PAIRS_INVALID, PAIRS_NONE
 */
export function splitTargets(context: Context, study: Study): SplitTarget[] {
  const { args } = context;
  const ways = ["channel", "all", "pairs"].filter((name) => args.flag(name));
  if (ways.length !== 1)
    throw usageError(
      ways.length === 0 ? "OPTION_MISSING" : "OPTION_CONFLICT",
      ways.length === 0
        ? "nothing says which channels to split"
        : `${ways.map((name) => `--${name}`).join(" and ")} exclude each other`,
      "Give --channel C --classes A,B, or --all, or --pairs FILE.csv.",
    );
  if (args.flag("channel")) return fromOptions(context, study);
  const file = args.text("pairs");
  return onePerChannel(context, file === undefined ? found(context, study) : readPairs(file, study));
}

function fromOptions({ args }: Context, study: Study): SplitTarget[] {
  const channels = args.numbers("channel", { integer: true, least: 0 });
  const classes = args.texts("classes");
  if (channels.length !== classes.length)
    throw usageError(
      "OPTION_MISSING",
      `${channels.length} times --channel and ${classes.length} times --classes`,
      "Give each --channel its own --classes A,B.",
    );
  const targets = channels.map((channel, k) => ({ channel, classes: pairOf(classes[k] ?? "", study) }));
  const twice = channels.find((c, k) => channels.indexOf(c) !== k);
  if (twice === undefined) return targets;
  throw usageError("CHANNEL_TWICE", `channel ${twice} is asked to be split twice`, "Give each channel once.");
}

function pairOf(text: string, study: Study): [number, number] {
  const classes = classList(text, study);
  const [a, b, third] = classes;
  if (a !== undefined && b !== undefined && third === undefined && a !== b) return [a, b];
  throw usageError(
    "SPLIT_CONCEPTS",
    `a channel is split between two different classes, --classes ${text} names ${new Set(classes).size}`,
    "Give two classes, by name or index: --classes 3,17.",
  );
}

/** Indices or names with commas between; a name may hold commas itself ("tench, Tinca tinca"). */
function classList(text: string, study: Study): number[] {
  const parts = text.split(",");
  const found: number[] = [];
  for (let k = 0; k < parts.length;) {
    let taken = 0;
    for (let n = parts.length - k; n > 0 && taken === 0; n--) {
      const index = classIndex(
        parts
          .slice(k, k + n)
          .join(",")
          .trim(),
        study,
      );
      if (index === undefined) continue;
      found.push(index);
      taken = n;
    }
    if (taken === 0) throw unknownClass((parts[k] ?? "").trim(), study);
    k += taken;
  }
  return found;
}

/** Names come first: a folder may be called "7". */
function classIndex(name: string, { meta }: Study): number | undefined {
  const named = meta.classes.indexOf(name);
  if (named >= 0) return named;
  return /^\d{1,9}$/.test(name) ? Number(name) : undefined; // its range is checked with the study's
}

const unknownClass = (name: string, { meta }: Study): UnbraidError =>
  new UnbraidError(
    "usage",
    "CLASS_UNKNOWN",
    `the study has no class "${name}"`,
    `Nearest: ${nearest(name, meta.classes).join(", ")}; or give indices from 0 to ${meta.classes.length - 1}.`,
  );

function found(context: Context, study: Study): Listed[] {
  const { args } = context;
  const p = args.number("p");
  const gamma = args.number("gamma");
  const { pairs } = findPairs(study, {
    tau: tauOption(args, study),
    ...(p === undefined ? {} : { p }),
    ...(gamma === undefined ? {} : { gamma }),
    ...(compatOption(args) ? { compat: "official" } : {}),
  });
  if (pairs.length === 0)
    throw new UnbraidError(
      "input",
      "PAIRS_NONE",
      "the study has no polysemantic channel with these settings",
      "`unbraid find` with another --gamma, --p or --tau shows what there is.",
    );
  return pairs.map(({ channel, class1, class2, cosine }) => ({ channel, classes: [class1, class2], cosine }));
}

/** The columns channel, class1, class2 and maybe cosine_similarity of a CSV as `find --csv` writes it. */
function readPairs(path: string, study: Study): Listed[] {
  const invalid = (why: string, cause?: unknown): UnbraidError =>
    new UnbraidError(
      "input",
      "PAIRS_INVALID",
      `${path}: ${why}`,
      "Give a CSV with the columns channel, class1, class2, as `unbraid find --csv` writes it.",
      { cause },
    );
  let text: string;
  try {
    text = readRegularFile(path).toString();
  } catch (cause) {
    throw invalid(`it cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  }
  const [header = [], ...rows] = parseCsv(text.replace(/^\uFEFF/, ""));
  const column = (name: string): number => header.findIndex((cell) => cell.trim() === name);
  const [channel, class1, class2, cosine] = ["channel", "class1", "class2", "cosine_similarity"].map(column);
  if (channel === undefined || class1 === undefined || class2 === undefined || Math.min(channel, class1, class2) < 0)
    throw invalid("its first line lacks one of channel, class1, class2");
  if (rows.length === 0) throw invalid("it lists no pair");
  return rows.map((row, k) => {
    const cell = (at: number): string => (row[at] ?? "").trim();
    const [a, b] = [classIndex(cell(class1), study), classIndex(cell(class2), study)];
    if (!/^\d{1,9}$/.test(cell(channel)) || a === undefined || b === undefined || a === b)
      throw invalid(`line ${k + 2} names no channel and two classes of the study: ${row.join(",")}`);
    const value = cosine === undefined || cosine < 0 || cell(cosine) === "" ? NaN : Number(cell(cosine));
    return { channel: Number(cell(channel)), classes: [a, b], cosine: value };
  });
}

/** RFC 4180; empty lines are left out. */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  const cell = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|\r|$)/y;
  while (cell.lastIndex < text.length) {
    const match = cell.exec(text);
    if (match === null) break; // a stray quote: what follows is no table
    const [, raw = "", end] = match;
    row.push(raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : raw);
    if (end === ",") {
      if (cell.lastIndex >= text.length) row.push("");
      else continue;
    }
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

/** A channel is split once: between the pair of classes that its inputs tell apart best, the least cosine. */
function onePerChannel({ out }: Context, listed: readonly Listed[]): SplitTarget[] {
  const best = new Map<number, Listed>();
  for (const pair of listed) {
    const before = best.get(pair.channel);
    if (before === undefined || pair.cosine < before.cosine) best.set(pair.channel, pair);
  }
  const left = listed.length - best.size;
  if (left > 0)
    out.note(
      `${left} more pairs share a channel with one of lower cosine: each channel is split once, between that pair`,
    );
  return [...best.values()].sort((a, b) => a.channel - b.channel).map(({ channel, classes }) => ({ channel, classes }));
}
