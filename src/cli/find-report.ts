/** What `find` prints of the pairs of one layer or several: as JSON, and as tables. */
import type { NullCosines } from "../channels/calibrate.ts";
import type { Pair } from "../channels/find.ts";
import type { LayerFindings } from "../channels/pairs-csv.ts";
import { proportion, type Figure } from "../channels/statistics.ts";
import type { Study } from "../relevance/study.ts";
import { table } from "./table.ts";

/** JSON has no NaN. */
export const numberOrNull = (value: number): number | null => (Number.isFinite(value) ? value : null);

const figure = ({ value, low, high, n }: Figure): unknown => ({
  value: numberOrNull(value),
  low: numberOrNull(low),
  high: numberOrNull(high),
  n,
});

/** How polysemantic a layer is; counts of channels and of pairs. */
interface LayerSummary {
  readonly layer: string;
  readonly channels: number;
  /** Channels that are relevant for one class or more, and for two or more. */
  readonly relevant: number;
  readonly shared: number;
  readonly candidates: number;
  readonly pairs: number;
  readonly polysemantic: number;
  /** Of the channels that are relevant for a class, those polysemantic. */
  readonly share: Figure;
  /** Of the candidates with a cosine, those from 0 to below the threshold. */
  readonly below: Figure;
}

export function summarise({ study, findings }: Pick<LayerFindings, "study" | "findings">): LayerSummary {
  const { pairs, candidatePairs, candidates, relevant, decision } = findings;
  const polysemantic = new Set(pairs.map((q) => q.channel)).size;
  const channels = relevant.filter((classes) => classes.length > 0).length;
  const below = candidatePairs.filter(({ cosine }) => cosine < decision.threshold).length;
  return {
    layer: study.meta.layer.name,
    channels: study.meta.layer.outChannels,
    relevant: channels,
    shared: relevant.filter((classes) => classes.length > 1).length,
    candidates,
    pairs: pairs.length,
    polysemantic,
    share: proportion(polysemantic, channels),
    below: proportion(below, candidatePairs.length),
  };
}

export function layerJson(layer: LayerFindings): unknown {
  const { decision, randomPairs, sameClass } = layer.findings;
  const summary = summarise(layer);
  const nullJson = ({ n, low, median, high, below }: NullCosines & { readonly below: number }): unknown => ({
    n,
    cosine_5: numberOrNull(low),
    cosine_50: numberOrNull(median),
    cosine_95: numberOrNull(high),
    below_threshold: numberOrNull(below),
  });
  return {
    ...summary,
    share: figure(summary.share),
    below: undefined,
    below_threshold: figure(summary.below),
    rule: decision.rule,
    threshold: decision.threshold,
    expected_false_pairs: decision.rule === "calibrated" ? decision.fdr * summary.pairs : null,
    null: { random_pairs: nullJson(randomPairs), same_class: sameClass === null ? null : nullJson(sameClass) },
  };
}

export function pairJson(study: Study, q: Pair): unknown {
  const name = (t: number): string => study.meta.classes[t] ?? "";
  const s = q.significance;
  return {
    layer: study.meta.layer.name,
    channel: q.channel,
    class1: q.class1,
    class2: q.class2,
    cosine_similarity: numberOrNull(q.cosine),
    class1_name: name(q.class1),
    class2_name: name(q.class2),
    important1: q.count1,
    images1: q.images1,
    important2: q.count2,
    images2: q.images2,
    overflow: q.overflow,
    random_place: numberOrNull(q.randomPlace),
    significant: s?.significant ?? null,
    near_threshold: s?.nearThreshold ?? null,
    significance:
      s === null
        ? null
        : {
            cosine: figure(s.cosine),
            p_same_class: s.pSameClass,
            p_threshold: s.pThreshold,
            p_value: s.p,
            q_value: s.q,
          },
  };
}

/** One layer: its pairs, and a line that says how many of how many. */
export function describePairs({ study, findings, listed }: LayerFindings): string {
  const { pairs, candidates, undefinedPairs, decision } = findings;
  const name = (t: number): string => `${study.meta.classes[t] ?? ""} (${t})`;
  const { polysemantic, relevant, channels } = summarise({ study, findings });
  const p = (value: number | undefined): string => (value === undefined ? "" : value.toPrecision(2));
  const rows = listed.map(({ significance: s, ...q }) => [
    q.channel,
    name(q.class1),
    name(q.class2),
    q.cosine.toFixed(4),
    s === null ? "" : `${s.cosine.low.toFixed(3)} to ${s.cosine.high.toFixed(3)}`,
    Number.isFinite(q.randomPlace) ? q.randomPlace.toFixed(3) : "",
    p(s?.p),
    s === null ? "" : `${p(s.q)}${s.significant ? "" : " not significant"}${s.nearThreshold ? " near threshold" : ""}`,
    `${q.count1}/${q.images1}`,
    `${q.count2}/${q.images2}`,
  ]);
  const header = [
    "channel",
    "class 1",
    "class 2",
    "cosine",
    "interval",
    "place",
    "p",
    "q",
    "important 1",
    "important 2",
  ];
  const how =
    decision.rule === "gamma"
      ? `cosine from 0 to below ${decision.threshold}`
      : `significantly below ${decision.threshold.toFixed(4)}, the median of random pairs; at most ${decision.fdr * 100} % of them falsely`;
  const undecided = findings.candidatePairs.filter((q) => q.significance?.nearThreshold === true).length;
  return [
    rows.length === 0 ? "" : table(header, rows),
    `${pairs.length} pairs in ${polysemantic} channels of ${study.meta.layer.name}, ` +
      `of ${candidates} pairs of classes that share a relevant channel: ${how}\n`,
    relevant < channels ? `${channels - relevant} of ${channels} channels are relevant for no class\n` : "",
    undecided === 0 ? "" : `${undecided} of the ${candidates} pairs are near the threshold: their interval holds it\n`,
    undefinedPairs.length === 0 ? "" : `${undefinedPairs.length} pairs have no cosine: an ARV is zero\n`,
  ].join("");
}

/** Several layers: how polysemantic each is, zeros included. */
export function describeLayers(layers: readonly LayerFindings[]): string {
  const percent = (share: number): string => (Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "-");
  const ranged = ({ value, low, high }: Figure): string =>
    Number.isFinite(value) ? `${percent(value)} (${percent(low)} to ${percent(high)})` : "-";
  return table(
    [
      "layer",
      "channels",
      "relevant",
      "candidates",
      "pairs",
      "polysemantic",
      "share of relevant",
      "threshold",
      "candidates below",
      "random below",
    ],
    layers.map((layer) => {
      const s = summarise(layer);
      const { decision, randomPairs } = layer.findings;
      return [
        ...[s.layer, s.channels, s.relevant, s.candidates, s.pairs, s.polysemantic],
        ...[ranged(s.share), decision.threshold.toFixed(3), ranged(s.below), percent(randomPairs.below)],
      ];
    }),
  );
}
