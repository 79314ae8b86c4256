/** What `explain` prints and writes: numbers for programs, for people, and for spreadsheets. */
import { sizeOf, type HostTensor } from "../graph/graph.ts";
import type { HeatMap } from "../images/heat-figure.ts";
import type { Context } from "./context.ts";
import type { ExplainedPart } from "./explain-parts.ts";
import type { Explained } from "./explain-run.ts";
import { table } from "./table.ts";

/** Height 1 for maps of one axis, or of none. */
function sizeOfMap({ shape }: HostTensor): { height: number; width: number } {
  const [width = 1, height = 1] = shape.slice(1).reverse();
  return { height, width };
}

const largest = (x: ArrayLike<number>): number => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const total = (x: ArrayLike<number>): number => Array.from(x).reduce((s, v) => s + v, 0);

export function describePart({ part, map, attribution, inputs }: Explained) {
  const top = Array.from(inputs ?? [], (relevance, channel) => ({ channel, relevance }))
    .filter((r) => r.relevance !== 0)
    .sort((a, b) => Math.abs(b.relevance) - Math.abs(a.relevance));
  return {
    part: part.name,
    concept: part.concept ?? null,
    value: part.value,
    channel: part.channel,
    factor: part.factor,
    response: attribution.responses[0] ?? NaN,
    sum: total(map.data),
    largest: largest(map.data),
    completeness: attribution.completeness?.[0] ?? null,
    inputs: inputs === undefined ? null : top.length,
    top_inputs: top.slice(0, 5),
  };
}

/** How far the parts, times their factors in the merge layer, are from the whole; null unless all are there. */
export function identityOf(explained: readonly Explained[]): { max_abs: number; largest: number } | null {
  const [whole, ...parts] = explained;
  if (whole === undefined || parts.length === 0) return null;
  const gaps = Array.from(whole.map.data, (v, i) => {
    return parts.reduce((s, { part, map }) => s + part.factor * (map.data[i] ?? NaN), 0) - v;
  });
  return { max_abs: largest(gaps), largest: Math.max(...explained.map(({ map }) => largest(map.data))) };
}

const captionOf = ({ name, concept }: ExplainedPart): string =>
  name === "whole" ? "whole" : concept === undefined ? name : `part ${name} ${concept}`;

export const stacked = (explained: readonly Explained[]): HostTensor => {
  const shape = explained[0]?.map.shape.slice(1) ?? [];
  const size = sizeOf(shape);
  const data = new Float32Array(explained.length * size);
  explained.forEach(({ map }, k) => {
    data.set(map.data, k * size);
  });
  return { type: "float32", shape: explained.length === 1 ? shape : [explained.length, ...shape], data };
};

function* csvLines(explained: readonly Explained[]): Generator<string> {
  yield "part,y,x,value\n";
  for (const { part, map } of explained) {
    const { width } = sizeOfMap(map);
    for (const [i, v] of map.data.entries()) yield `${part.name},${Math.floor(i / width)},${i % width},${v}\n`;
  }
}

export const csvOf = (explained: readonly Explained[]): string => [...csvLines(explained)].join("");

/** A path in too few steps. */
export function warnIncomplete({ out }: Context, explained: readonly Explained[]): void {
  for (const { part, attribution } of explained) {
    const c = attribution.completeness?.[0];
    if (c === undefined || Math.abs(c.gap) <= 0.05 * Math.abs(c.response - c.baseline)) continue;
    out.note(
      `${captionOf(part)}: the map sums to ${c.sum.toPrecision(4)}, not ${(c.response - c.baseline).toPrecision(4)}; more --steps come nearer`,
    );
  }
}

interface Shown {
  readonly of: string;
  readonly label: string | null;
  readonly layer: string | null;
  readonly channel: number | null;
  readonly scale: number;
  readonly blur: number;
  readonly maps: readonly ReturnType<typeof describePart>[];
  readonly identity: { readonly max_abs: number; readonly largest: number } | null;
  readonly files: Readonly<Record<string, string | null>>;
}

export function explainText({ of, label, layer, channel, scale, blur, maps, identity, files }: Shown): string {
  const number = (x: number | undefined): string => (x === undefined ? "" : x.toPrecision(5));
  const what = layer === null ? `the logit of ${label ?? ""}` : `channel ${channel ?? ""} of ${layer}`;
  const goal = of === "logit" && layer !== null ? `, its share in the logit of ${label ?? ""}` : "";
  const rows = maps.map((m) => [
    m.part,
    m.concept ?? "",
    number(m.response),
    number(m.sum),
    number(m.completeness?.gap),
    m.top_inputs.map((i) => i.channel).join(" "),
  ]);
  const head = ["part", "concept", of === "logit" && layer !== null ? "relevance" : "response", "sum of the map", "gap", "strongest inputs"]; // prettier-ignore
  const empty = head.map((_, k) => rows.every((row) => row[k] === ""));
  const keep = <T>(row: readonly T[]): T[] => row.filter((_, k) => empty[k] === false);
  return [
    `${what}${goal}\n`,
    table(keep(head), rows.map(keep)),
    identity === null ? "" : `parts against the whole: largest difference ${number(identity.max_abs)} of ${number(identity.largest)}\n`, // prettier-ignore
    `full colour: ${number(scale)}${blur > 0 ? `, of numbers smoothed over ${Number(blur.toPrecision(3))} pixels` : ""}\n`,
    ...Object.values(files).flatMap((path) => (path === null ? [] : [`${path}\n`])),
  ].join("");
}

/** For the figure. */
export const heatMapOf = ({ part, map }: Explained): HeatMap => ({
  caption: captionOf(part),
  ...sizeOfMap(map),
  data: Float32Array.from(map.data),
});
