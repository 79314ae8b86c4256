/** Pairs as a table for other programs. */
import type { Study } from "../relevance/study.ts";
import type { Findings, Pair } from "./find.ts";

/** What a layer's study gave. */
export interface LayerFindings {
  readonly study: Study;
  readonly findings: Findings;
  /** Those to write out: the pairs found, or every candidate. */
  readonly listed: readonly Pair[];
}

const HEADER =
  "channel,class1,class2,cosine_similarity,class1_name,class2_name,important1,images1,important2,images2," +
  "cosine_low,cosine_high,random_place,p_same_class,p_threshold,p_value,q_value,significant,near_threshold";

/**
 * The listed pairs as CSV (RFC 4180, line feeds): the original's columns, then names, counts and images, then how sure each
 * is (empty where nothing can be said). With several layers a last column names the layer.
 */
export function pairsCsv(layers: readonly LayerFindings[]): string {
  const named = layers.length > 1;
  const rows = layers.flatMap(({ study, listed }) =>
    listed.map((pair) => {
      const row = [...cells(study, pair), ...certainty(pair)];
      return (named ? [...row, csvField(study.meta.layer.name)] : row).join(",");
    }),
  );
  return [named ? `${HEADER},layer` : HEADER, ...rows, ""].join("\n");
}

function cells(study: Study, q: Pair): (string | number)[] {
  const name = (t: number): string => csvField(study.meta.classes[t] ?? "");
  return [
    ...[q.channel, q.class1, q.class2, q.cosine, name(q.class1), name(q.class2)],
    ...[q.count1, q.images1, q.count2, q.images2],
  ];
}

function certainty({ randomPlace, significance }: Pair): (string | number | boolean)[] {
  const place = Number.isFinite(randomPlace) ? randomPlace : "";
  if (significance === null) return ["", "", place, "", "", "", "", "", ""];
  const { cosine, pSameClass, pThreshold, p, q, significant, nearThreshold } = significance;
  return [cosine.low, cosine.high, place, pSameClass, pThreshold, p, q, significant, nearThreshold];
}

/** A field of a CSV file, quoted where it needs to be (RFC 4180). */
export const csvField = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
