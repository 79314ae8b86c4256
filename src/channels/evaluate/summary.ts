/** What the figures of a channel say, in words: which parts stand above their nulls, and which do not. */
import type { Figure } from "../statistics.ts";
import type { ChannelEvaluation } from "./evaluate.ts";
import type { Contrast } from "./separation.ts";

/** 0.12 [0.05, 0.19] */
export const showFigure = ({ value, low, high }: Figure, digits = 2): string =>
  `${show(value, digits)} [${show(low, digits)}, ${show(high, digits)}]`;

const show = (x: number, digits: number): string => (Number.isFinite(x) ? x.toFixed(digits) : "?");

type Figures = Omit<ChannelEvaluation, "summary">;

export function summarise(figures: Figures): string[] {
  return [separation(figures), ...ablation(figures)];
}

/** The nulls above which a contrast does not surely stand. */
function notAbove(contrast: Contrast): string[] {
  const nulls = {
    "random partitions": contrast.random_partition,
    "random filters": contrast.random_filter,
    "permuted labels": contrast.permuted_labels,
  };
  return Object.entries(nulls).flatMap(([name, n]) =>
    n === null || n.difference.low > 0 ? [] : [`${name} (${showFigure(n.difference)})`],
  );
}

function separation({ separation: parts }: Figures): string {
  const failed = parts.flatMap(({ concept, from_concepts }, k) => {
    const which = notAbove(from_concepts);
    return which.length === 0 ? [] : [`part ${k + 1} (${concept}) does not surely exceed ${which.join(", ")}`];
  });
  if (failed.length === 0) {
    const least = parts.map(({ from_concepts: c }, k) => {
      const over = Math.min(c.random_partition.difference.value, c.random_filter?.difference.value ?? Infinity);
      return `part ${k + 1} by ${show(over, 2)}`;
    });
    return `Every part tells its class from the other concepts better than each of its nulls does (AUROC: ${least.join(", ")} or more).`;
  }
  const good = parts.length - failed.length;
  return `${good === 0 ? "No part is" : `Only ${good} of ${parts.length} parts ${good === 1 ? "is" : "are"}`} above its nulls: ${failed.join("; ")}.`;
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
