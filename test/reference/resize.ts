/** Resize in float64 from ONNX's text: every output element is a sum over the product of its axes' neighbours. */
import { stridesOf } from "../../src/kernels/shape.ts";
import { indices } from "./pool.ts";

export interface ResizeAxis {
  readonly input: number;
  readonly output: number;
  readonly scale: number;
  readonly start?: number;
  readonly end?: number;
}

export interface ResizeMethod {
  readonly mode: "nearest" | "linear" | "cubic";
  readonly coordinates: string;
  readonly nearest?: string;
  readonly excludeOutside?: boolean;
  readonly cubicA?: number;
  readonly extrapolation?: number;
}

/**
 * To six decimals: scales such as 0.6 are no binary fractions, and their rounding must not decide ties. Linear weights
 * change by 2^-20 at most.
 */
const original = (x: number, a: ResizeAxis, coordinates: string): number =>
  Math.round(1e6 * exactly(x, a, coordinates)) / 1e6;

function exactly(x: number, a: ResizeAxis, coordinates: string): number {
  const width = a.scale * a.input;
  if (coordinates === "half_pixel") return (x + 0.5) / a.scale - 0.5;
  if (coordinates === "pytorch_half_pixel") return a.output > 1 ? (x + 0.5) / a.scale - 0.5 : 0;
  if (coordinates === "half_pixel_symmetric") {
    return (a.input / 2) * (1 - a.output / width) + (x + 0.5) / a.scale - 0.5;
  }
  if (coordinates === "align_corners") return width === 1 ? 0 : (x * (a.input - 1)) / (width - 1);
  if (coordinates === "asymmetric") return x / a.scale;
  if (coordinates === "tf_half_pixel_for_nn") return (x + 0.5) / a.scale;
  const [start, end] = [a.start ?? 0, a.end ?? 1];
  if (a.output === 1) return 0.5 * (start + end) * (a.input - 1);
  return start * (a.input - 1) + (x * (end - start) * (a.input - 1)) / (a.output - 1);
}

function nearest(x: number, kind: string): number {
  if (kind === "floor") return Math.floor(x);
  if (kind === "ceil") return Math.ceil(x);
  const fraction = x - Math.floor(x);
  const up = kind === "round_prefer_ceil" ? fraction >= 0.5 : fraction > 0.5;
  return Math.floor(x) + (up ? 1 : 0);
}

/** Neighbours and weights; undefined outside the region of tf_crop_and_resize. */
function neighbours(x: number, a: ResizeAxis, m: ResizeMethod): [number, number][] | undefined {
  const at = original(x, a, m.coordinates);
  if (m.coordinates === "tf_crop_and_resize" && (at < 0 || at > a.input - 1)) return undefined;
  const floor = Math.floor(at);
  const t = at - floor;
  let list: [number, number][];
  if (m.mode === "nearest") list = [[nearest(at, m.nearest ?? "round_prefer_floor"), 1]];
  else if (m.mode === "linear") {
    list = [
      [floor, 1 - t],
      [floor + 1, t],
    ];
  } else {
    const A = m.cubicA ?? -0.75;
    const outer = (d: number) => A * d ** 3 - 5 * A * d ** 2 + 8 * A * d - 4 * A;
    const inner = (d: number) => (A + 2) * d ** 3 - (A + 3) * d ** 2 + 1;
    list = [
      [floor - 1, outer(1 + t)],
      [floor, inner(t)],
      [floor + 1, inner(1 - t)],
      [floor + 2, outer(2 - t)],
    ];
  }
  if (m.excludeOutside === true) {
    list = list.filter(([i]) => i >= 0 && i < a.input);
    const all = list.reduce((s, [, w]) => s + w, 0);
    list = list.map(([i, w]) => [i, w / all]);
  }
  return list.map(([i, w]) => [Math.min(Math.max(i, 0), a.input - 1), w]);
}

/** The input offsets and weights of every output element, row-major; undefined where it is extrapolated. */
export function resizeTaps(axes: readonly ResizeAxis[], m: ResizeMethod): ([number, number][] | undefined)[] {
  const strides = stridesOf(axes.map((a) => a.input));
  const lists = axes.map((a) =>
    Array.from({ length: a.output }, (_, x): [number, number][] | undefined =>
      a.input === a.output && a.scale === 1 && a.start === undefined ? [[x, 1]] : neighbours(x, a, m),
    ),
  );
  return indices(axes.map((a) => a.output)).map((index) => {
    let taps: [number, number][] | undefined = [[0, 1]];
    index.forEach((x, k) => {
      const own = lists[k]?.[x];
      taps =
        own && taps?.flatMap(([at, w]) => own.map(([i, v]): [number, number] => [at + i * (strides[k] ?? 1), w * v]));
    });
    return taps;
  });
}
