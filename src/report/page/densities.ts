/** The paper's Figure 2: how often the channel and each part respond how strongly, on images of each concept. */
import { density, type Density } from "../../channels/evaluate/density.ts";
import { showNumber } from "../numbers.ts";
import type { ChannelModel, PartResponses } from "./model.ts";
import { svg } from "./svg.ts";

const [WIDTH, HEIGHT, BOTTOM, TOP] = [300, 150, 24, 6];

/** One chart a row of weights: the whole channel, then its parts. All share one scale of responses. */
export function densityCharts(
  model: ChannelModel,
  { whole, parts }: PartResponses,
): { title: string; chart: SVGSVGElement }[] {
  const rows = [
    { title: "the channel before the split", values: whole },
    ...parts.map((values, k) => ({ title: `part ${k + 1}: ${model.data.concepts[k] ?? ""}`, values })),
  ];
  const curves = rows.map(({ values }) =>
    model.data.concepts.map((_, k) => density(model.imagesOf(k).map((n) => values[n] ?? 0))),
  );
  const points = curves.flat().flatMap((c) => Array.from(c.x));
  const [low, high] = [Math.min(0, ...points), Math.max(0, ...points)];
  return rows.map(({ title }, r) => ({ title, chart: chart(title, curves[r] ?? [], low, high) }));
}

function chart(title: string, curves: readonly Density[], low: number, high: number): SVGSVGElement {
  const peak = Math.max(1e-30, ...curves.flatMap((c) => Array.from(c.y)));
  const x = (v: number): number => ((v - low) / (high - low || 1)) * WIDTH;
  const y = (d: number): number => HEIGHT - BOTTOM - (d / peak) * (HEIGHT - BOTTOM - TOP);
  const figure = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: "chart",
    role: "img",
    "aria-label": `Density of the response of ${title}, by concept; means are in the table`,
  });
  const axis = svg("g", { class: "axis" }, svg("path", { d: `M0 ${HEIGHT - BOTTOM}H${WIDTH}` }));
  for (const [v, anchor] of [
    [low, "start"],
    [high, "end"],
  ] as const)
    axis.append(svg("text", { x: x(v), y: HEIGHT - 8, "text-anchor": anchor }, showNumber(v)));
  if (low < 0 && high > 0) {
    axis.append(svg("path", { d: `M${x(0).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}`, "stroke-dasharray": "2 3" }));
    axis.append(svg("text", { x: x(0), y: HEIGHT - 8, "text-anchor": "middle" }, "0"));
  }
  figure.append(axis);
  curves.forEach((curve, k) => {
    if (curve.x.length === 0) return;
    const path = Array.from(curve.x, (v, j) => `${x(v).toFixed(1)} ${y(curve.y[j] ?? 0).toFixed(1)}`).join("L");
    figure.append(svg("path", { class: `curve concept-${k}`, d: `M${path}` }));
  });
  return figure;
}
