/**
 * The paper's Figure 1: source channels at the left, the channel at the right, before and after the split. Two images at
 * once: each node has a bar for either. Edges have the colour of the concept that they carry.
 */
import type { SourceSets } from "../../channels/sets.ts";
import type { Picture } from "../data.ts";
import { showNumber } from "../numbers.ts";
import type { ChannelModel, PartResponses, Source } from "./model.ts";
import { svg } from "./svg.ts";

const [WIDTH, ROW, NODE, BAR] = [520, 46, 38, 62];
const [SOURCE_X, PART_X, MERGED_X] = [0, 228, 398];
/** Of a channel or a part: a picture, two bars. */
const TARGET = NODE + BAR + 16;

interface View {
  readonly model: ChannelModel;
  readonly pictures: readonly Picture[];
  readonly channel: number;
  readonly sets: SourceSets;
  readonly responses: PartResponses;
  /** Positions of the two images. */
  readonly images: readonly [number, number];
}

interface Target {
  readonly label: string;
  readonly kind: string;
  /** Of all images. */
  readonly responses: Float64Array;
  readonly y: number;
  /** What an input adds to it on an image; undefined where it does not take the input. */
  readonly flow: (source: Source, image: number) => number | undefined;
}

const classOf = (serves: Source["serves"]): string => `concept-${serves}`;

/** The concept that an image belongs to gives its bars their colour. */
const imageClass = ({ model }: View, image: number): string => `concept-${model.data.concept[image] ?? 0}`;

export function networkFigure(view: View, after: boolean): SVGSVGElement {
  const sources = view.model.sources(view.sets);
  const targets = after ? partTargets(view, sources) : [wholeTarget(view, sources.length)];
  const rows = Math.max(sources.length, targets.length * 2);
  const height = rows * ROW + 26;
  const label = after ? "After the split" : "Before the split";
  const figure = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${height}`,
    class: "graph",
    role: "img",
    "aria-label": `${label}: ${sources.length} strongest source channels of channel ${view.channel}; the numbers are in the table below`,
  });
  figure.append(svg("text", { x: 0, y: 14, class: "quiet" }, label));
  const sourceY = (k: number): number => 26 + (k + (rows - sources.length) / 2) * ROW;
  const widest = largest(view, sources);
  sources.forEach((source, k) => {
    for (const target of targets) {
      const line = edge(view, source, sourceY(k), target, widest);
      if (line !== undefined) figure.append(line);
    }
  });
  sources.forEach((source, k) => {
    figure.append(sourceNode(view, source, sourceY(k), widest));
  });
  const strongest = Math.max(1e-30, ...targets.flatMap((t) => two(view, t.responses).map(Math.abs)));
  for (const target of targets) figure.append(targetNode(view, target, strongest));
  if (after) figure.append(...merged(view, targets, height));
  return figure;
}

const largest = (view: View, sources: readonly Source[]): number =>
  Math.max(
    1e-30,
    ...sources.flatMap(({ input }) => view.images.map((n) => Math.abs(view.model.contributions(n)[input] ?? 0))),
  );

const two = (view: View, values: Float64Array): readonly [number, number] => [
  values[view.images[0]] ?? 0,
  values[view.images[1]] ?? 0,
];

const wholeTarget = (view: View, sources: number): Target => ({
  label: `channel ${view.channel}`,
  kind: "concept-shared",
  responses: view.responses.whole,
  y: 26 + ((Math.max(sources, 2) - 1) / 2) * ROW,
  flow: ({ input }, image) => view.model.contributions(image)[input] ?? 0,
});

function partTargets(view: View, sources: readonly Source[]): Target[] {
  const { concepts } = view.model.data;
  // Parts of any weights may share every input, and nothing is counted twice.
  const byWeights = view.model.data.parts !== undefined;
  const shared = !byWeights && sources.some((s) => s.serves === "shared");
  const count = concepts.length + (shared ? 1 : 0);
  const rows = Math.max(sources.length, count * 2);
  const y = (k: number): number => 26 + ((k + 0.5) * rows * ROW) / count - ROW / 2;
  const parts = concepts.map((name, k): Target => ({
    label: `part ${k + 1}: ${name}`,
    kind: classOf(k),
    responses: view.responses.parts[k] ?? new Float64Array(0),
    y: y(k),
    flow: ({ input, serves }, image) =>
      byWeights || serves === k || serves === "shared" ? view.model.flow(view.sets, k, image, input) : undefined,
  }));
  const residual: Target = {
    label: "shared, counted once too often",
    kind: "concept-shared",
    responses: view.responses.residual,
    y: y(concepts.length),
    flow: ({ input, serves }, image) =>
      serves === "shared" ? (view.model.contributions(image)[input] ?? 0) : undefined,
  };
  return shared ? [...parts, residual] : parts;
}

function edge(view: View, source: Source, y: number, target: Target, widest: number): SVGElement | undefined {
  const flows = view.images.flatMap((n) => target.flow(source, n) ?? []);
  if (flows.length === 0) return undefined;
  const flow = flows.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
  const [x0, x1] = [SOURCE_X + NODE + BAR + 56, PART_X];
  const [y0, y1] = [y + NODE / 2, target.y + NODE / 2];
  const middle = (x0 + x1) / 2;
  return svg("path", {
    class: `edge ${classOf(source.serves)}${flow < 0 ? " falling" : ""}`,
    d: `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`,
    "stroke-width": (0.8 + (5 * Math.abs(flow)) / widest).toFixed(2),
  });
}

function sourceNode(view: View, { input, serves }: Source, y: number, widest: number): SVGElement {
  const node = svg("g", { transform: `translate(${SOURCE_X} ${y})` });
  node.append(svg("rect", { class: "node", width: NODE, height: NODE, rx: 5 }));
  node.append(
    ...pictureIn(view, view.model.pictureOf(input), 2),
    svg("rect", { class: `activity ${classOf(serves)}`, x: NODE + 3, y: 2, width: 3, height: NODE - 4, rx: 1 }),
    svg("text", { x: NODE + 10, y: 24 }, `${view.model.data.firstInput + input}`),
  );
  view.images.forEach((n, k) => {
    node.append(bar(view, n, k, view.model.contributions(n)[input] ?? 0, widest, NODE + 44));
  });
  return node;
}

function pictureIn(view: View, index: number, x: number): SVGElement[] {
  const picture = view.pictures[index];
  return picture === undefined ? [] : [svg("image", { href: picture.src, x, y: 2, width: NODE - 4, height: NODE - 4 })];
}

/** Left-aligned; hollow where the value is negative. */
function bar(view: View, image: number, k: number, value: number, widest: number, x: number): SVGElement {
  const width = Math.max(1, (BAR * Math.abs(value)) / widest);
  return svg("rect", {
    class: `activity ${imageClass(view, image)}`,
    x,
    y: 8 + k * 13,
    width: width.toFixed(1),
    height: 9,
    rx: 2,
    ...(value < 0 ? { "fill-opacity": 0.15, stroke: "var(--hue)" } : {}),
  });
}

function targetNode(view: View, target: Target, strongest: number): SVGElement {
  const node = responseNode(view, target.label, target.responses, strongest);
  node.setAttribute("transform", `translate(${PART_X} ${target.y})`);
  node.append(svg("rect", { class: `activity ${target.kind}`, x: 2, y: 2, width: 3, height: NODE - 4, rx: 1 }));
  return node;
}

/** A channel or a part: the picture of the image that excites it most, and two bars. */
function responseNode(view: View, label: string, responses: Float64Array, strongest: number): SVGElement {
  const node = svg("g");
  node.append(
    svg("text", { x: 0, y: -4, class: "quiet" }, clip(label)),
    svg("rect", { class: "node", width: TARGET, height: NODE, rx: 5 }),
    ...pictureIn(
      view,
      view.model.strongest((n) => responses[n] ?? 0),
      7,
    ),
  );
  view.images.forEach((n, k) => {
    node.append(bar(view, n, k, two(view, responses)[k] ?? 0, strongest, NODE + 9));
  });
  return node;
}

/** The merge layer: the parts less what they share are the channel again. */
function merged(view: View, targets: readonly Target[], height: number): SVGElement[] {
  const y = (height - 26) / 2 + 26 - NODE / 2;
  const lines = targets.map((t) => {
    const [x0, y0, y1] = [PART_X + TARGET, t.y + NODE / 2, y + NODE / 2];
    return svg("path", {
      class: `edge ${t.kind}${t.label.startsWith("shared") ? " falling" : ""}`,
      d: `M${x0} ${y0}C${(x0 + MERGED_X) / 2} ${y0} ${(x0 + MERGED_X) / 2} ${y1} ${MERGED_X} ${y1}`,
      "stroke-width": 2,
    });
  });
  const { whole } = view.responses;
  const strongest = Math.max(1e-30, ...two(view, whole).map(Math.abs));
  const node = responseNode(view, `sum: channel ${view.channel}`, whole, strongest);
  node.setAttribute("transform", `translate(${MERGED_X} ${y})`);
  // At the right edge a long name grows to the left.
  const name = node.querySelector("text");
  name?.setAttribute("x", String(TARGET));
  name?.setAttribute("text-anchor", "end");
  return [...lines, node];
}

const clip = (text: string): string => (text.length > 30 ? `${text.slice(0, 29)}…` : text);

/** The same numbers for those who read and do not look. */
export function networkRows(view: View): string[][] {
  const names = view.model.data.concepts;
  const sources = view.model
    .sources(view.sets)
    .map(({ input, serves }) => [
      `source channel ${view.model.data.firstInput + input}`,
      serves === "shared" ? "shared" : (names[serves] ?? ""),
      ...view.images.map((n) => showNumber(view.model.contributions(n)[input] ?? 0)),
    ]);
  const parts = view.responses.parts.map((values, k) => [
    `part ${k + 1}`,
    names[k] ?? "",
    ...two(view, values).map(showNumber),
  ]);
  return [
    ...sources,
    ...parts,
    ["residual", "shared", ...two(view, view.responses.residual).map(showNumber)],
    [`channel ${view.channel}`, "", ...two(view, view.responses.whole).map(showNumber)],
  ];
}

export type { View };
