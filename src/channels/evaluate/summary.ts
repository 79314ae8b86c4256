/** What the figures of a channel say, in words: which parts stand above their nulls, and which do not. */
import type { Figure } from "../statistics.ts";
import type { ChannelEvaluation } from "./evaluation.ts";
import type { Contrast, NullComparison } from "./separation.ts";

/** 0.12 [0.05, 0.19] */
export const showFigure = ({ value, low, high }: Figure, digits = 2): string =>
  `${show(value, digits)} [${show(low, digits)}, ${show(high, digits)}]`;

/** Never -0.00. */
export const show = (x: number, digits: number): string =>
  Number.isFinite(x) ? x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1") : "?";

type Figures = Omit<ChannelEvaluation, "summary">;

/** With fewer images of a concept a bootstrap interval is rough, and at an AUROC of 1 it has no width at all. */
const FEW = 20;

export function summarise(figures: Figures): string[] {
  const { separation: parts } = figures;
  const all = parts.flatMap(({ concept, from_all }) => (from_all === null ? [] : [{ concept, contrast: from_all }]));
  return [
    ...(all.length === 0 ? [] : [separation("all classes", all)]),
    separation(
      "the other concepts",
      parts.map(({ concept, from_concepts }) => ({ concept, contrast: from_concepts })),
    ),
    ...ablation(figures),
    ...few(figures),
  ];
}

/** The nulls above which a contrast does not surely stand. */
function notAbove(contrast: Contrast): string[] {
  return Object.entries(nullsOf(contrast)).flatMap(([name, n]) =>
    n === null || n.difference.low > 0
      ? []
      : [`${name} (AUROC ${show(n.null.value, 2)}, difference ${showFigure(n.difference)})`],
  );
}

const nullsOf = (contrast: Contrast): Record<string, NullComparison | null> => ({
  "random partitions": contrast.random_partition,
  "random filters": contrast.random_filter,
  "permuted labels": contrast.permuted_labels,
});

function separation(what: string, parts: readonly { concept: string; contrast: Contrast }[]): string {
  const said = parts.map(({ concept, contrast }, k) => {
    const failed = notAbove(contrast);
    const differences = Object.values(nullsOf(contrast)).flatMap((n) => (n === null ? [] : [n.difference.value]));
    const least = show(Math.min(...differences), 2);
    const verdict =
      failed.length === 0 ? `above every null by ${least} or more` : `not surely above ${failed.join(", ")}`;
    return `part ${k + 1} (${concept}) ${verdict}`;
  });
  return `Telling its images from ${what}: ${said.join("; ")}.`;
}

function few({ fractions }: Figures): string[] {
  const scarce = fractions.filter(({ images }) => images < FEW).map(({ concept, images }) => `${images} of ${concept}`);
  return scarce.length === 0 ? [] : [`Few images, so the intervals are rough: ${scarce.join(", ")}.`];
}

function ablation({ ablation: found, concepts }: Figures): string[] {
  if (found === null) return [];
  const said = found.parts.map(({ logits }, k) => {
    const own = logits[k];
    const others = logits.filter((_, j) => j !== k);
    if (own === undefined) return "";
    const costs = own.difference.high < 0;
    const spares = others.every((o) => o.difference.low > 0);
    const what = `${showFigure(own.difference)} for ${concepts[k] ?? ""}`;
    if (costs && spares) return `part ${k + 1} serves its own class and spares the others (${what})`;
    if (costs) return `part ${k + 1} serves its own class, but does not surely spare the others (${what})`;
    return `part ${k + 1} serves its own class no more surely than a random part does (${what})`;
  });
  return [`Ablated, in logits beyond a random part of its size: ${said.join("; ")}.`];
}
