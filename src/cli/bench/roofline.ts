/** A roofline (Williams, Waterman and Patterson 2009) as SVG: layers under the adapter's measured roofs. For light and dark. */
import type { Ceiling } from "./document.ts";
import type { LayerTime } from "./layers.ts";

const SIZE = { width: 760, height: 460, left: 64, right: 176, top: 48, bottom: 52 } as const;
const CLASSES = ["1x1", "3x3", "7x7 and other", "depthwise and grouped", "Gemm and MatMul"] as const;
type Class = (typeof CLASSES)[number];
type Shape = (x: number, y: number, r: number) => string;

const n = (x: number): string => x.toFixed(1);
const polygon = (points: readonly (readonly [number, number])[]): string =>
  `<polygon points="${points.map(([x, y]) => `${n(x)},${n(y)}`).join(" ")}"/>`;

/** Told apart without colours too. */
const SHAPES: Readonly<Record<Class, Shape>> = {
  "1x1": (x, y, r) => `<circle cx="${n(x)}" cy="${n(y)}" r="${n(r)}"/>`,
  "3x3": (x, y, r) => `<rect x="${n(x - r)}" y="${n(y - r)}" width="${n(2 * r)}" height="${n(2 * r)}"/>`,
  "7x7 and other": (x, y, r) =>
    polygon([
      [x, y - 1.3 * r],
      [x + 1.3 * r, y + r],
      [x - 1.3 * r, y + r],
    ]),
  "depthwise and grouped": (x, y, r) =>
    polygon([
      [x, y - 1.4 * r],
      [x + 1.4 * r, y],
      [x, y + 1.4 * r],
      [x - 1.4 * r, y],
    ]),
  "Gemm and MatMul": (x, y, r) =>
    polygon([
      [x - 1.3 * r, y - r],
      [x + 1.3 * r, y - r],
      [x, y + 1.3 * r],
    ]),
};

function classOf({ what }: LayerTime): Class {
  if (/^(depthwise|grouped)/.test(what)) return "depthwise and grouped";
  if (/^(Gemm|MatMul)/.test(what)) return "Gemm and MatMul";
  if (what.startsWith("1x1")) return "1x1";
  return what.startsWith("3x3") ? "3x3" : "7x7 and other";
}

const STYLE = `
    svg { color-scheme: light dark; --ink: #1c2430; --faint: #c9d0da; --paper: #ffffff; }
    text { font: 12px system-ui, sans-serif; fill: var(--ink); } .title { font-size: 15px; font-weight: 600; } .small { font-size: 11px; }
    .grid { stroke: var(--faint); stroke-width: 1; } .roof { stroke: var(--ink); stroke-width: 2; fill: none; }
    .c0 { --c: #0b62c4; } .c1 { --c: #b3420a; } .c2 { --c: #6b3fa0; } .c3 { --c: #0a7a52; } .c4 { --c: #8a6d00; }
    .mark { fill: var(--c); fill-opacity: 0.75; stroke: var(--paper); stroke-width: 1; }
    @media (prefers-color-scheme: dark) {
      svg { --ink: #e6eaf0; --faint: #3a4350; --paper: #14181f; }
      .c0 { --c: #6fb1ff; } .c1 { --c: #ff9a5c; } .c2 { --c: #c9a0ff; } .c3 { --c: #55d6a0; } .c4 { --c: #e8c84a; }
    }`;

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** Powers of ten from at most the least to at least the greatest. */
function decades(values: readonly number[]): readonly [number, number] {
  const low = Math.floor(Math.log10(Math.min(...values)));
  return [low, Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))];
}

interface Scale {
  (value: number): number;
  readonly decades: readonly [number, number];
}

function logScale(range: readonly [number, number], from: number, to: number): Scale {
  const [low, high] = range;
  const at = (value: number): number => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
  return Object.assign(at, { decades: range });
}

function* ticks([low, high]: readonly [number, number]): Generator<number> {
  for (let k = low; k <= high; k++) yield 10 ** k;
}

/** Text along the line between two points, above it. */
function slopeLabel(text: string, [x0, y0]: readonly [number, number], [x1, y1]: readonly [number, number]): string {
  const [x, y] = [x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0)];
  const degrees = (Math.atan2(y1 - y0, x1 - x0) * 180) / Math.PI;
  return `<text class="small" transform="translate(${n(x)} ${n(y)}) rotate(${n(degrees)})" y="-6">${text}</text>`;
}

const label = (x: number): string => String(Number(x.toPrecision(3)));

/** Area of a mark by the layer's share of the time. */
const radius = (share: number): number => 3.5 + 11 * Math.sqrt(share);

export function roofline(title: string, layers: readonly LayerTime[], { gflops, gbytes_per_second }: Ceiling): string {
  const { width, height, left, right, top, bottom } = SIZE;
  const points = layers.flatMap((l) =>
    l.gflops === null ? [] : [{ ...l, gflops: l.gflops, x: l.operations / l.bytes }],
  );
  const total = layers.reduce((sum, l) => sum + l.ms, 0);
  const [peak, bandwidth] = [gflops.value, gbytes_per_second.value];
  const ridge = peak / bandwidth;
  const x = logScale(decades([...points.map((p) => p.x), ridge / 2, ridge * 2]), left, width - right);
  const y = logScale(decades([...points.map((p) => p.gflops), peak]), height - bottom, top);
  const [x0, x1] = [10 ** x.decades[0], 10 ** x.decades[1]];
  const y0 = 10 ** y.decades[0];
  const start = Math.max(x0, y0 / bandwidth);
  const grid = [
    ...[...ticks(x.decades)].map(
      (v) =>
        `<line class="grid" x1="${n(x(v))}" x2="${n(x(v))}" y1="${top}" y2="${height - bottom}"/><text class="small" text-anchor="middle" x="${n(x(v))}" y="${height - bottom + 16}">${label(v)}</text>`,
    ),
    ...[...ticks(y.decades)].map(
      (v) =>
        `<line class="grid" x1="${left}" x2="${width - right}" y1="${n(y(v))}" y2="${n(y(v))}"/><text class="small" text-anchor="end" x="${left - 6}" y="${n(y(v) + 4)}">${label(v)}</text>`,
    ),
  ];
  const roof = `<path class="roof" d="M${n(x(start))} ${n(y(start * bandwidth))}L${n(x(ridge))} ${n(y(peak))}L${n(x(x1))} ${n(y(peak))}"/>`;
  // The largest first, so that none hides a smaller one.
  const marks = [...points]
    .sort((a, b) => b.ms - a.ms)
    .map((p) => {
      const kind = classOf(p);
      const tip = `${p.node} (${p.what}): ${p.ms.toFixed(2)} ms, ${label(p.gflops)} GFLOP/s, ${label(p.x)} FLOP a byte`;
      return `<g class="mark c${CLASSES.indexOf(kind)}"><title>${escape(tip)}</title>${SHAPES[kind](x(p.x), y(p.gflops), radius(p.ms / total))}</g>`;
    });
  const used = CLASSES.filter((kind) => points.some((p) => classOf(p) === kind));
  const legend = used.map((kind, k) => {
    const at = top + 16 + 22 * k;
    return `<g class="mark c${CLASSES.indexOf(kind)}">${SHAPES[kind](width - right + 22, at, 6)}</g><text x="${width - right + 36}" y="${at + 4}">${kind}</text>`;
  });
  const below = top + 30 + 22 * used.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escape(title)}">`,
    `<style>${STYLE}\n  </style>`,
    `<rect width="${width}" height="${height}" fill="var(--paper)"/>`,
    `<text class="title" x="${left}" y="26">${escape(title)}</text>`,
    ...grid,
    roof,
    `<text class="small" text-anchor="end" x="${width - right - 4}" y="${n(y(peak) - 6)}">${label(peak)} GFLOP/s, measured</text>`,
    slopeLabel(`${label(bandwidth)} GB/s, measured`, [x(start), y(start * bandwidth)], [x(ridge), y(peak)]),
    ...marks,
    ...legend,
    `<text class="small" x="${width - right + 14}" y="${below}">area: share of time</text>`,
    ...(used.includes("3x3")
      ? [
          `<text class="small" x="${width - right + 14}" y="${below + 16}">Winograd's 3x3 counts</text>`,
          `<text class="small" x="${width - right + 14}" y="${below + 30}">as the direct way</text>`,
        ]
      : []),
    `<text text-anchor="middle" x="${n((left + width - right) / 2)}" y="${height - 14}">multiplications and additions a byte (inputs, weights, outputs once)</text>`,
    `<text text-anchor="middle" transform="rotate(-90 18 ${n((top + height - bottom) / 2)})" x="18" y="${n((top + height - bottom) / 2)}">GFLOP/s</text>`,
    "</svg>",
  ]
    .join("\n")
    .concat("\n");
}
