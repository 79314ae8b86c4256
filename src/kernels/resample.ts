/**
 * Resampling of one axis as a sparse matrix, in float64: which input positions make up an output position, and with what
 * weights. Source: ONNX operators Resize (opsets 10 to 19) and Upsample (7, 9); cubic weights by Keys, "Cubic convolution
 * interpolation for digital image processing", 1981, equation 4.
 */

export const COORDINATES = [
  "half_pixel",
  "half_pixel_symmetric",
  "pytorch_half_pixel",
  "align_corners",
  "asymmetric",
  "tf_half_pixel_for_nn",
  "tf_crop_and_resize",
] as const;
export const NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] as const;
export const MODES = ["nearest", "linear", "cubic"] as const;

/** What one axis is resampled by. */
export interface Axis {
  readonly input: number;
  readonly output: number;
  /** As the model gives it, or output / input. */
  readonly scale: number;
  /** Of tf_crop_and_resize: start and end, as parts of the input's extent. */
  readonly roi: readonly [number, number];
}

export interface Method {
  readonly mode: (typeof MODES)[number];
  readonly coordinates: (typeof COORDINATES)[number];
  readonly nearest: (typeof NEAREST)[number];
  /** Stretches the filter where the axis shrinks. */
  readonly antialias: boolean;
  /** Leaves positions outside the input out, rather than repeating the edge. */
  readonly excludeOutside: boolean;
  /** Keys's a. */
  readonly cubicA: number;
}

/** Entries of one output position; none where it lies outside the region of tf_crop_and_resize. */
export type Taps = readonly { readonly at: number; readonly weight: number }[];

/**
 * Where output position `x` lies in the input. The models' scales are float32, so that a coordinate which is a whole or a
 * half number in exact arithmetic comes out a little beside it: it is put right, for nearest and the region's edge turn
 * on it.
 */
function coordinate(x: number, axis: Axis, kind: Method["coordinates"]): number {
  const { input, output, scale, roi } = axis;
  // May be fractional where the scale is given.
  const extent = Math.fround(scale * input);
  const raw = (): number => {
    switch (kind) {
      case "half_pixel":
        return (x + 0.5) / scale - 0.5;
      case "half_pixel_symmetric":
        return (input / 2) * (1 - output / extent) + (x + 0.5) / scale - 0.5;
      case "pytorch_half_pixel":
        return output > 1 ? (x + 0.5) / scale - 0.5 : 0;
      case "align_corners":
        return extent === 1 ? 0 : (x * (input - 1)) / (extent - 1);
      case "asymmetric":
        return x / scale;
      case "tf_half_pixel_for_nn":
        return (x + 0.5) / scale;
      case "tf_crop_and_resize": {
        const [start, end] = roi;
        if (output === 1) return 0.5 * (start + end) * (input - 1);
        return start * (input - 1) + (x * (end - start) * (input - 1)) / (extent - 1);
      }
    }
  };
  const at = raw();
  const half = Math.round(2 * at) / 2;
  return Math.abs(at - half) <= 2 ** -20 * Math.max(1, Math.abs(at)) ? half : at;
}

function nearestTo(x: number, kind: Method["nearest"]): number {
  switch (kind) {
    case "round_prefer_floor":
      return Math.ceil(x - 0.5);
    case "round_prefer_ceil":
      return Math.floor(x + 0.5);
    case "floor":
      return Math.floor(x);
    case "ceil":
      return Math.ceil(x);
  }
}

/** The filter's weight at distance `x`, in input positions. */
function filterWeight(x: number, { mode, cubicA: a }: Method): number {
  const d = Math.abs(x);
  if (mode === "linear") return Math.max(0, 1 - d);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

function tapsAt(x: number, axis: Axis, method: Method): Taps {
  const at = coordinate(x, axis, method.coordinates);
  const last = axis.input - 1;
  const clamp = (i: number): number => Math.min(Math.max(i, 0), last);
  if (method.coordinates === "tf_crop_and_resize" && (at < 0 || at > last)) return [];
  if (method.mode === "nearest") return [{ at: clamp(nearestTo(at, method.nearest)), weight: 1 }];

  const stretch = method.antialias ? Math.min(axis.scale, 1) : 1;
  const reach = (method.mode === "linear" ? 1 : 2) / stretch;
  const weights = new Map<number, number>();
  let all = 0;
  for (let i = Math.floor(at - reach) + 1; i < at + reach; i++) {
    if (method.excludeOutside && (i < 0 || i > last)) continue;
    const weight = filterWeight((i - at) * stretch, method);
    if (weight === 0) continue;
    weights.set(clamp(i), (weights.get(clamp(i)) ?? 0) + weight);
    all += weight;
  }
  return [...weights].map(([i, weight]) => ({ at: i, weight: weight / all }));
}

/** Taps of every output position. */
export const resampling = (axis: Axis, method: Method): Taps[] =>
  Array.from({ length: axis.output }, (_, x) => tapsAt(x, axis, method));

/** The transposed matrix: for every input position the outputs that it enters, in their order. */
export function transposed(taps: readonly Taps[], inputs: number): Taps[] {
  const lists: { at: number; weight: number }[][] = Array.from({ length: inputs }, () => []);
  taps.forEach((list, output) => {
    for (const { at, weight } of list) lists[at]?.push({ at: output, weight });
  });
  return lists;
}

/** Whether every output position is the input position of the same number. */
export const isIdentity = (taps: readonly Taps[], inputs: number): boolean =>
  taps.length === inputs && taps.every((t, i) => t.length === 1 && t[0]?.at === i && t[0].weight === 1);

/** As resample.wgsl reads it: begin and end of each position's entries, then positions, then weights. */
export function packTable(taps: readonly Taps[]): Float32Array {
  const ends: number[] = [];
  let entries = 0;
  for (const list of taps) ends.push((entries += list.length));
  const flat = taps.flat();
  return Float32Array.from([0, ...ends, ...flat.map((t) => t.at), ...flat.map((t) => t.weight)]);
}
