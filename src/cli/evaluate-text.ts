/** What `unbraid evaluate` prints for people. */
import type { Effect } from "../channels/evaluate/ablation.ts";
import type { ChannelEvaluation, PooledFractions } from "../channels/evaluate/evaluation.ts";
import type { Similarity } from "../channels/evaluate/similarity.ts";
import { show, showFigure } from "../channels/evaluate/summary.ts";
import { table } from "./table.ts";

const percent = (x: number): string => (Number.isFinite(x) ? `${(100 * x).toFixed(0)} %` : "?");

export function describeChannel(c: ChannelEvaluation): string {
  const rho = c.rho === null ? "" : `, rho ${c.rho}`;
  const heading = `channel ${c.channel}: ${c.concepts.join(" | ")} (rule ${c.rule}${rho})\n`;
  return heading + fractionsTable(c) + separationTable(c) + ablationTable(c) + reproducible(c) + sentences(c);
}

function fractionsTable({ fractions: list, concepts }: ChannelEvaluation): string {
  return table(
    ["share of the channel on", ...concepts.map((_, k) => `part ${k + 1}`), "residual", "near zero", "images"],
    list.map((f) => [
      f.concept,
      ...f.parts.map((part) => showFigure(part.ratio_of_sums)),
      showFigure(f.residual.ratio_of_sums),
      percent(f.near_zero.value),
      `${f.counted} of ${f.images}`,
    ]),
  );
}

function separationTable({ separation: parts }: ChannelEvaluation): string {
  const rows = parts.flatMap(({ concept, from_concepts, from_all }, k) =>
    [
      { what: "the other concepts", c: from_concepts },
      { what: "all classes", c: from_all },
    ].flatMap(({ what, c }) =>
      c === null
        ? []
        : [
            [
              `part ${k + 1}: ${concept} from ${what}`,
              showFigure(c.auroc),
              showFigure(c.whole),
              showFigure(c.random_partition.difference),
              c.random_filter === null ? "" : showFigure(c.random_filter.difference),
              showFigure(c.permuted_labels.difference),
            ],
          ],
    ),
  );
  return table(
    ["AUROC", "part", "whole channel", "less random partition", "less random filter", "less permuted"],
    rows,
  );
}

function ablationTable({ ablation, concepts }: ChannelEvaluation): string {
  if (ablation === null) return "";
  const both = ({ change, random }: Effect): string => `${showFigure(change)} (${show(random.value, 2)})`;
  const header = ["without (a random part)", ...concepts.map((name) => `own logit on ${name}`), "accuracy elsewhere"];
  const whole = ablation.whole_channel;
  return table(header, [
    ...ablation.parts.map((part, k) => [`part ${k + 1}`, ...part.logits.map(both), both(part.accuracy_elsewhere)]),
    ["the channel", ...whole.logits.map((f) => showFigure(f)), showFigure(whole.accuracy_elsewhere)],
  ]);
}

function reproducible({ reproducibility: r }: ChannelEvaluation): string {
  if (r === null) return "sources of two halves of the images: too few images to halve\n";
  const each = r.concepts.map(
    ({ jaccard, random }, k) => `part ${k + 1} ${showFigure(jaccard)}, at random ${show(random.value, 2)}`,
  );
  return `sources of two halves of the ${r.from === "study" ? "study's " : ""}images (Jaccard, ${r.rule} rule at rho ${r.rho}): ${each.join("; ")}\n`;
}

const sentences = ({ summary }: ChannelEvaluation): string => summary.map((line) => `${line}\n`).join("");

export function describePooled(pooled: readonly PooledFractions[], official: boolean): string {
  return pooled
    .map(({ concept, counted, parts, residual }) => {
      const figure = (f: (typeof parts)[number]) => (official ? f.mean_of_ratios : f.ratio_of_sums);
      const each = parts.map((f, k) => `part ${k + 1} ${showFigure(figure(f))}`);
      return `all channels, images of concept ${concept} (${counted}), ${official ? "mean of ratios" : "ratio of sums"}: ${each.join(", ")}, residual ${showFigure(figure(residual))}\n`;
    })
    .join("");
}

export function describeSimilarity(s: Similarity): string {
  return (
    `path similarity of classes against cosine, ${s.pairs} pairs of ${s.classes} classes in ${s.channels} channels: ` +
    `Spearman ${showFigure(s.spearman)}, Mantel p ${s.p.toPrecision(2)}\n`
  );
}
