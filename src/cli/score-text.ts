/** What `unbraid score` prints for people. */
import type { Inserted } from "../channels/plants/inserted.ts";
import type { Detection } from "../channels/plants/detect.ts";
import { RULES } from "../channels/plants/rules.ts";
import type { Score } from "../channels/plants/score.ts";
import type { TierFigures } from "../channels/plants/summary.ts";
import type { Figure } from "../channels/statistics.ts";
import { table } from "./table.ts";

const HEADS: Readonly<Record<string, string>> = {
  P1: "P1, disjoint supports",
  P2: "P2, dense",
  P3: "P3, dense, one part half as large",
  P4: "P4, three concepts",
};

const show = (x: number): string => (Number.isFinite(x) ? x.toFixed(2) : "-");
const figure = (f: Figure | undefined): string =>
  f === undefined ? "" : `${show(f.value)} [${show(f.low)}, ${show(f.high)}]`;

export function describeScore(layer: string, { tiers, detection, inserted, images }: Score): string {
  const sections = Object.entries(tiers).map(([tier, figures]) => describeTier(HEADS[tier] ?? tier, figures));
  return (
    `${layer}: learned from ${images.evidence} images, marked on ${images.held_out}; medians over plants, intervals hold 95 %\n\n` +
    sections.map((s) => `${s}\n`).join("") +
    (detection === null ? "" : `${describeDetection(detection)}\n`) +
    (inserted === null ? "" : describeInserted(inserted))
  );
}

function describeTier(head: string, { plants, seeds, rules, oracle, random }: TierFigures): string {
  const withSets = Object.values(rules).some((r) => r.set_accuracy !== undefined);
  const header = ["rule", "correlation", "leakage", "corr - leak", "squared error", "recovery"];
  const rows = [
    ...Object.entries(rules).map(([name, r]) => [
      ...[name, figure(r.correlation), figure(r.leakage), figure(r.difference)],
      ...[figure(r.squared_error), figure(r.recovery)],
      ...(withSets ? [figure(r.set_accuracy)] : []),
      r.swap_invariant === undefined ? "" : `${Math.round(100 * r.swap_invariant.value)} %`,
    ]),
    ...(
      [
        ["(oracle)", oracle],
        ["(random)", random],
      ] as const
    ).map(([name, r]) => [
      ...[name, figure(r.correlation), figure(r.leakage), "", figure(r.squared_error), ""],
      ...(withSets ? [""] : []),
      "",
    ]),
  ];
  const legend = RULES.filter((r) => r.name in rules).map((r) => `  ${r.name}: ${r.about}\n`);
  return (
    `${head}: ${plants} plants, seeds ${seeds.join(", ")}\n` +
    table([...header, ...(withSets ? ["sets"] : []), "swap"], rows) +
    legend.join("")
  );
}

function describeDetection(d: Detection): string {
  const rows: (readonly [string, Figure])[] = [
    ["AUROC, plants against channels, with the guard", d.auroc],
    ["  the original: 1 - cosine of ARVs", d.auroc_cosine],
    ["  the same, plants told their classes", d.auroc_cosine_told],
    ["  - skewness of responses alone", d.auroc_skewness],
    ["AUROC, plants against sums of one concept", d.auroc_one_concept],
    ["AUROC, plants against random filters", d.auroc_random_filters],
    ["plants detected at the default setting", d.detected],
    ["controls (P0) detected", d.false_positives],
    ["  channels as they are", d.false_positives_channels],
    ["  sums of one concept", d.false_positives_one_concept],
    ["random filters detected", d.false_positives_random_filters],
    ["random filters that pass the guard", d.guard_random_filters],
    ["channels that pass the guard", d.guard_channels],
  ];
  return `Detection\n${table(
    ["", "value", "n"],
    rows.map(([what, f]) => [what, figure(f), f.n]),
  )}`;
}

function describeInserted(p: Inserted): string {
  const rows: (readonly [string, Figure])[] = [
    ["plants relevant for the class of the channel replaced", p.relevant_first],
    ["for the other's class", p.relevant_second],
    ["for both", p.relevant_both],
    ["found polysemantic by the original's test", p.found],
    ["other channels found", p.found_others],
    ["channels of the network as it is found", p.found_before],
  ];
  const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
  return (
    `P5, plants in ${p.networks} networks (tau 0.03, p 0.75, gamma 0.5); accuracy on the evidence ` +
    `${percent(p.accuracy.before)} before, ${percent(p.accuracy.after)} with them\n` +
    table(
      ["", "share", "n"],
      rows.map(([what, f]) => [what, figure(f), f.n]),
    )
  );
}
