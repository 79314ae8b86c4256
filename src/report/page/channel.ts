/** One channel's live figures: two images and a rho chosen by the reader, everything else recomputed. */
import { auroc } from "../../channels/statistics.ts";
import type { Picture } from "../data.ts";
import { showNumber } from "../numbers.ts";
import { densityCharts } from "./densities.ts";
import { ChannelModel, type PartResponses } from "./model.ts";
import { networkFigure, networkRows, type View } from "./network.ts";
import { el } from "./svg.ts";
import type { SourceSets } from "../../channels/sets.ts";
import type { Interactive } from "../data.ts";

const RHO_STEP = 0.05;
/** Random partitions that the parts stand beside. */
const PARTITIONS = 100;

export function channelView(channel: number, data: Interactive, pictures: readonly Picture[]): HTMLElement {
  const model = new ChannelModel(data);
  const shown = data.concepts.map((_, k) => model.imagesOf(k).filter((n) => (data.picture[n] ?? -1) >= 0));
  const first = (k: number): number => shown[k]?.[0] ?? shown.flat()[0] ?? 0;
  const images: [number, number] = [first(0), first(1)];
  const selects = ([0, 1] as const).map((k) =>
    imageSelect(model, pictures, shown, images[k], `image ${k === 0 ? "A" : "B"}`, (n) => {
      images[k] = n;
      redraw();
    }),
  );
  const own = data.rho ?? 1;
  const rho = el("input", { type: "range", min: 0, max: 1, step: RHO_STEP, value: own });
  const readout = el("output", { "aria-live": "polite" });
  const reset = el("button", { type: "button" }, `as in the file (${showNumber(own)})`);
  const [thumbs, graphs, charts] = [
    el("div", { class: "pair thumbs" }),
    el("div", { class: "pair" }),
    el("div", { class: "small" }),
  ];
  const numbers = el("div");
  const facts = el("div");
  rho.addEventListener("input", () => {
    redraw();
  });
  reset.addEventListener("click", () => {
    rho.value = String(own);
    redraw();
  });

  function redraw(): void {
    const value = model.movable ? Number(rho.value) : undefined;
    const sets = model.sets(value);
    const responses = model.responses(sets);
    const view: View = { model, pictures, channel, sets, responses, images };
    readout.textContent = `${value === undefined ? `rule ${data.rule}` : `rho ${showNumber(value)}`}: ${counts(model, sets)}`;
    thumbs.replaceChildren(...images.map((n, k) => thumbnail(model, pictures, n, k)));
    graphs.replaceChildren(networkFigure(view, false), networkFigure(view, true));
    charts.replaceChildren(
      ...densityCharts(model, responses).map(({ title, chart }) =>
        el("figure", {}, el("figcaption", {}, title), chart),
      ),
    );
    facts.replaceChildren(factsTable(model, channel, sets, responses));
    numbers.replaceChildren(
      table(
        "The numbers of this figure",
        [
          "",
          "concept",
          `image A: ${nameOf(model, pictures, images[0])}`,
          `image B: ${nameOf(model, pictures, images[1])}`,
        ],
        networkRows(view),
        `The numbers of the network figure (channel ${channel})`,
      ),
    );
  }
  redraw();
  return el(
    "div",
    {},
    el("h3", {}, "The network before and after"),
    el(
      "div",
      { class: "controls" },
      ...selects,
      ...(model.movable
        ? [el("label", {}, "rho: how unlike an input's contributions must be to serve one concept only", rho), reset]
        : []),
    ),
    el("p", {}, readout),
    legend(model, {
      shared: true,
      note: "Dashed edges and hollow bars are negative. Bars: upper for image A, lower for image B. The picture in a node is the one that it answers to most.",
    }),
    thumbs,
    graphs,
    el("details", {}, el("summary", {}, "The same as numbers"), numbers),
    el("h3", {}, "How strongly each part responds to each concept"),
    legend(model, { shared: false, note: "How often a response is how strong, on images of each concept." }),
    charts,
    facts,
  );
}

/** The class and the file: options of one class alone would all look the same. */
function nameOf(model: ChannelModel, pictures: readonly Picture[], n: number): string {
  const concept = model.data.concepts[model.data.concept[n] ?? 0] ?? "";
  const file = pictures[model.data.picture[n] ?? -1]?.name.split("/").at(-1);
  return file === undefined ? concept : `${concept}, ${file}`;
}

function imageSelect(
  model: ChannelModel,
  pictures: readonly Picture[],
  shown: readonly (readonly number[])[],
  value: number,
  label: string,
  choose: (n: number) => void,
): HTMLElement {
  const select = el("select");
  shown.forEach((list, k) => {
    const group = el("optgroup", { label: model.data.concepts[k] ?? "" });
    for (const n of list)
      group.append(el("option", { value: n, ...(n === value ? { selected: "" } : {}) }, nameOf(model, pictures, n)));
    select.append(group);
  });
  select.addEventListener("change", () => {
    choose(Number(select.value));
  });
  return el("label", {}, label, select);
}

function thumbnail(model: ChannelModel, pictures: readonly Picture[], n: number, k: number): HTMLElement {
  const concept = model.data.concept[n] ?? 0;
  const picture = pictures[model.data.picture[n] ?? -1];
  const name = `image ${k === 0 ? "A" : "B"}: ${model.data.concepts[concept] ?? ""}`;
  return el(
    "p",
    {},
    picture === undefined
      ? undefined
      : el("img", { class: "thumb", src: picture.src, alt: `${name}, ${picture.name}` }),
    el("br"),
    el("span", { class: `key concept-${concept}` }),
    name,
  );
}

function legend(
  { data }: ChannelModel,
  { shared, note }: { readonly shared: boolean; readonly note: string },
): HTMLElement {
  const entry = (kind: string, text: string): HTMLElement =>
    el("span", { class: "entry" }, el("span", { class: `key ${kind}` }), text);
  return el(
    "p",
    {},
    ...data.concepts.map((name, k) => entry(`concept-${k}`, name)),
    ...(shared ? [entry("concept-shared", "shared")] : []),
    el("span", { class: "note" }, note),
  );
}

function counts({ data }: ChannelModel, sets: ArrayLike<number>): string {
  const list = Array.from(sets);
  const count = (n: number, one: string, more: string): string => `${n} ${n === 1 ? `input ${one}` : `inputs ${more}`}`;
  const own = data.concepts.map((name, k) =>
    data.parts === undefined
      ? count(list.filter((s) => s === 1 << k).length, `serves ${name} alone`, `serve ${name} alone`)
      : count(list.filter((s) => s === 1 << k).length, `adds most to ${name}`, `add most to ${name}`),
  );
  const shared = list.filter((s) => (s & (s - 1)) !== 0).length;
  return [...own, ...(data.parts === undefined ? [count(shared, "is shared", "are shared")] : [])].join(", ");
}

function factsTable(model: ChannelModel, channel: number, sets: SourceSets, responses: PartResponses): HTMLElement {
  const { concepts } = model.data;
  const nulls = model.randomPartitions(sets, PARTITIONS);
  const rows = [responses.whole, ...responses.parts].map((values, r) => {
    const part = r - 1;
    const by = concepts.map((_, k) => model.imagesOf(k).map((n) => values[n] ?? 0));
    return [
      r === 0 ? "channel" : `part ${r}: ${concepts[part] ?? ""}`,
      ...by.map((v) => showNumber(v.reduce((a, b) => a + b, 0) / Math.max(1, v.length))),
      showNumber(separation(model, values, Math.max(0, part))),
      r === 0 ? "" : showNumber(mean(nulls.map((parts) => separation(model, parts[part] ?? values, part)))),
    ];
  });
  const caption = "Mean responses of the parts as they are drawn";
  return table(
    caption,
    [
      "response of",
      ...concepts.map((name) => `on ${name}`),
      "AUROC, own concept against the others",
      `the same of random parts (mean of ${PARTITIONS})`,
    ],
    rows,
    `${caption} (channel ${channel})`,
  );
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

function separation(model: ChannelModel, values: Float64Array, own: number): number {
  const by = model.data.concepts.map((_, k) => model.imagesOf(k).map((n) => values[n] ?? 0));
  return auroc(
    by[own] ?? [],
    by.flatMap((v, k) => (k === own ? [] : v)),
  );
}

function table(
  caption: string,
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  label: string,
): HTMLElement {
  const body = rows.map(([first = "", ...rest]) =>
    el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", { class: "number" }, cell))),
  );
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...columns.map((c) => el("th", { scope: "col" }, c)))),
      el("tbody", {}, ...body),
    ),
  );
}
