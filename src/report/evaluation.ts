/** What `evaluate` measured of a channel, as the report's tables. Numbers that JSON could not hold are null there. */
import type { Effect } from "../channels/evaluate/ablation.ts";
import type { ChannelEvaluation, Evaluation } from "../channels/evaluate/evaluation.ts";
import type { Contrast, NullComparison } from "../channels/evaluate/separation.ts";
import type { Similarity } from "../channels/evaluate/similarity.ts";
import type { Cell, Table } from "./data.ts";
import { measureOf } from "./evidence.ts";
import { showMeasure, showNumber } from "./numbers.ts";

/** The JSON document of `unbraid evaluate`, as far as it is read here. */
export interface EvaluationDocument extends Pick<Evaluation, "channels"> {
  readonly layer: string;
  readonly similarity?: Similarity | null;
}

export function evaluationTables(e: ChannelEvaluation): Table[] {
  const tables = [separationTable(e), fractionsTable(e)];
  if (e.ablation !== null) tables.push(ablationTable(e, e.ablation));
  if (e.reproducibility !== null) tables.push(reproducibilityTable(e, e.reproducibility));
  return tables;
}

const parts = ({ concepts }: ChannelEvaluation, of: (name: string, k: number) => string): string[] => concepts.map(of);

function separationTable(e: ChannelEvaluation): Table {
  const rows = e.separation.flatMap(({ concept, from_concepts, from_all }, k): Cell[][] => {
    const row = (what: string, c: Contrast): Cell[] => [
      `part ${k + 1}: ${concept} from ${what}`,
      measureOf(c.auroc),
      measureOf(c.whole),
      beside(c.random_partition),
      c.random_filter === null ? "not known" : beside(c.random_filter),
      beside(c.permuted_labels),
    ];
    return [row("the other concepts", from_concepts), ...(from_all === null ? [] : [row("all classes", from_all)])];
  });
  return {
    caption: "How well each part tells its concept, beside the nulls (AUROC)",
    columns: [
      "what",
      "part",
      "whole channel",
      "less a random partition",
      "less a random filter",
      "less permuted labels",
    ],
    rows,
    note:
      "Any division separates something: what counts is the difference to each null. Random partitions give as many inputs to each " +
      "part, drawn at random; random filters are noise of the channel's size, split by the same rule. Their own mean stands behind each difference.",
  };
}

/** The difference first, then the null's own mean. */
const beside = ({ difference, null: n }: NullComparison): string =>
  `${showMeasure(withoutCount(difference))}; null ${showNumber(measureOf(n).value)}`;

const withoutCount = (f: Parameters<typeof measureOf>[0]) => {
  const { value, low, high } = measureOf(f);
  return low === undefined || high === undefined ? { value } : { value, low, high };
};

function fractionsTable(e: ChannelEvaluation): Table {
  return {
    caption: "What share of the channel's activation each part takes",
    columns: ["on images of", ...parts(e, (_, k) => `part ${k + 1}`), "counted twice (residual)", "images that count"],
    rows: e.fractions.map((f): Cell[] => [
      f.concept,
      ...f.parts.map((part) => measureOf(part.ratio_of_sums)),
      measureOf(f.residual.ratio_of_sums),
      `${f.counted} of ${f.images}`,
    ]),
    note:
      "Sums over images where the channel has its share tau of the relevance, part over whole; intervals by bootstrap over images. " +
      "With unrelated parts of equal size each would take a half of both rows.",
  };
}

function ablationTable(e: ChannelEvaluation, a: NonNullable<ChannelEvaluation["ablation"]>): Table {
  const cell = ({ change, random, difference }: Effect): string =>
    `${showMeasure(withoutCount(change))}; random part ${showNumber(measureOf(random).value)}, difference ${showMeasure(withoutCount(difference))}`;
  return {
    caption: "What the network loses without a part",
    columns: ["without", ...parts(e, (name) => `logit of ${name}, on its images`), "accuracy on other classes"],
    rows: [
      ...a.parts.map((part, k): Cell[] => [
        `part ${k + 1} (${e.concepts[k] ?? ""})`,
        ...part.logits.map(cell),
        cell(part.accuracy_elsewhere),
      ]),
      ["the whole channel", ...a.whole_channel.logits.map(measureOf), measureOf(a.whole_channel.accuracy_elsewhere)],
    ],
    note: `Beside each change that of ${a.draws} random part${a.draws === 1 ? "" : "s"} of the same size.`,
  };
}

function reproducibilityTable(e: ChannelEvaluation, r: NonNullable<ChannelEvaluation["reproducibility"]>): Table {
  return {
    caption: "Do two halves of the images give the same sources?",
    columns: ["part", "Jaccard index of the two halves' sources", "of random sets of these sizes", "difference"],
    rows: r.concepts.map(({ jaccard, random, difference }, k): Cell[] => [
      `part ${k + 1} (${e.concepts[k] ?? ""})`,
      measureOf(jaccard),
      measureOf(random),
      measureOf(difference),
    ]),
    note: `${r.from === "study" ? "Halves of the study's images" : "Halves of the images given"}, ${r.rule} rule at rho ${showNumber(r.rho)}.`,
  };
}

/** Each part's AUROC, and how far above its nulls. */
export function headline(e: ChannelEvaluation): string {
  const said = e.separation.map(({ concept, from_all, from_concepts }, k) => {
    const c = from_all ?? from_concepts;
    const nulls: [string, NullComparison | null][] = [["random parts", c.random_partition], ["random filters", c.random_filter]]; // prettier-ignore
    const above = nulls.flatMap(([name, n]) => (n === null ? [] : [`${differs(n)} ${name}`]));
    return `part ${k + 1} tells ${concept} from ${from_all === null ? "the other concepts" : "all classes"} with an AUROC of ${showNumber(measureOf(c.auroc).value)}, ${above.join(" and ")}`;
  });
  return said.join("; ");
}

/** The same in few words, against random parts only. */
export function shortHeadline(e: ChannelEvaluation): string {
  const of = e.separation.map(({ from_all, from_concepts }) => (from_all ?? from_concepts).random_partition);
  const sure = of.filter(({ difference }) => (measureOf(difference).low ?? 0) > 0);
  const by = of.map(({ difference }) => showNumber(Number(measureOf(difference).value.toPrecision(2)))).join(" and ");
  return `its parts' AUROCs stand ${by} above random parts${sure.length === of.length ? "" : sure.length === 0 ? ", none surely" : ", not all surely"}`;
}

/** "0.16 (0.11 to 0.21) above", "not surely above". */
function differs({ difference }: NullComparison): string {
  const { value, low, high } = measureOf(difference);
  if (low === undefined || high === undefined || !(low > 0)) return "not surely above";
  const short = (x: number): string => showNumber(Number(x.toPrecision(2)));
  return `${short(value)} (${short(low)} to ${short(high)}) above`;
}
