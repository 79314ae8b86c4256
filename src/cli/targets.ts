/** Which channels are to be split between which classes: from options, a CSV file, or all that `find` lists. */
import { findPairs } from "../channels/find.ts";
import type { SplitTarget } from "../channels/concepts.ts";
import { TEXT_CONCEPTS } from "../channels/sets.ts";
import { UnbraidError } from "../errors.ts";
import { whyUnreadable } from "../files.ts";
import { nearest } from "../graph/names.ts";
import type { Study } from "../relevance/study.ts";
import { usageError } from "./arguments.ts";
import { readClusters } from "./clusters.ts";
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
 * PAIRS_INVALID, PAIRS_NONE, CLUSTERS_INVALID
 */
export function splitTargets(context: Context, study: Study): SplitTarget[] {
  const { args } = context;
  const ways = ["channel", "all", "pairs", "clusters"].filter((name) => args.flag(name));
  if (ways.length !== 1)
    throw usageError(
      ways.length === 0 ? "OPTION_MISSING" : "OPTION_CONFLICT",
      ways.length === 0
        ? "nothing says which channels to split"
        : `${ways.map((name) => `--${name}`).join(" and ")} exclude each other`,
      "Give --channel C --classes A,B, or --all, or --pairs FILE.csv, or --clusters FILE.json.",
    );
  if (args.flag("channel")) return fromOptions(context, study);
  const clusters = args.text("clusters");
  if (clusters !== undefined) return readClusters(clusters, study);
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
  const targets = channels.map((channel, k) => ({ channel, classes: conceptClasses(classes[k] ?? "", study) }));
  const twice = channels.find((c, k) => channels.indexOf(c) !== k);
  if (twice === undefined) return targets;
  throw usageError("CHANNEL_TWICE", `channel ${twice} is asked to be split twice`, "Give each channel once.");
}

function conceptClasses(text: string, study: Study): number[] {
  const classes = classList(text, study);
  const different = new Set(classes).size;
  if (different === classes.length && different >= 2 && different <= TEXT_CONCEPTS) return classes;
  throw usageError(
    "SPLIT_CONCEPTS",
    `a channel is split between 2 to ${TEXT_CONCEPTS} different classes, --classes ${text} names ${different}`,
    "Give the classes by name or index: --classes 3,17.",
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
    throw invalid(`it cannot be read: ${whyUnreadable(cause)}`, cause);
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

/**
 * A channel is split once. Between two classes: the pair that its inputs tell apart best, the least cosine. Between more: that
 * pair, then, as long as there is one, the class that is listed in a pair with each of those taken already and whose largest
 * cosine with them is the least.
 */
function onePerChannel({ args, out }: Context, listed: readonly Listed[]): SplitTarget[] {
  const concepts = args.number("concepts", { integer: true, least: 2, most: TEXT_CONCEPTS }) ?? 2;
  const byChannel = new Map<number, Listed[]>();
  for (const pair of listed) byChannel.set(pair.channel, [...(byChannel.get(pair.channel) ?? []), pair]);
  const targets = [...byChannel.values()].map((pairs) => grown(pairs, concepts));
  const used = targets.reduce((n, { classes }) => n + (classes.length * (classes.length - 1)) / 2, 0);
  if (listed.length > used)
    out.note(
      `${listed.length - used} more pairs share a channel with one of lower cosine: each channel is split once, between ${concepts === 2 ? "that pair" : `up to ${concepts} classes`}`,
    );
  return targets.sort((a, b) => a.channel - b.channel);
}

function grown(pairs: readonly Listed[], concepts: number): SplitTarget {
  const best = pairs.reduce((least, pair) => (pair.cosine < least.cosine ? pair : least));
  const classes = [...best.classes];
  const cosine = (a: number, b: number): number | undefined =>
    pairs.find((pair) => pair.classes.includes(a) && pair.classes.includes(b))?.cosine;
  const candidates = [...new Set(pairs.flatMap((pair) => pair.classes))].sort((a, b) => a - b);
  while (classes.length < concepts) {
    let next: { readonly t: number; readonly worst: number } | undefined;
    for (const t of candidates) {
      if (classes.includes(t)) continue;
      const cosines = classes.map((u) => cosine(t, u));
      if (cosines.includes(undefined)) continue;
      const worst = Math.max(...cosines.map((c) => c ?? 1));
      if (next === undefined || worst < next.worst) next = { t, worst };
    }
    if (next === undefined) break;
    classes.push(next.t);
  }
  return { channel: best.channel, classes };
}
