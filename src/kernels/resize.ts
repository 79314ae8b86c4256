/**
 * Resize (ONNX opsets 10 to 19) and Upsample (7 and 9), over any axes of a tensor of any rank, one axis after another:
 * all of ONNX's interpolations are separable. Gradients are the transposed passes in reverse order.
 *
 * Where ONNX's reference and onnxruntime differ (align_corners with a fractional scale), this follows ONNX.
 */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import {
  constantInput,
  floatAttr,
  floatsAttr,
  intAttr,
  intsAttr,
  modelError,
  requireInput,
  required,
  stringAttr,
  unsupported,
} from "./attributes.ts";
import { dataGradient, deviceInput, dispatchElements } from "./lowering.ts";
import type { Lowering, Operator, Slot } from "./operator.ts";
import { f32 } from "./operator.ts";
import type { Axis, Method, Taps } from "./resample.ts";
import { COORDINATES, isIdentity, MODES, NEAREST, packTable, resampling, transposed } from "./resample.ts";
import { checkedShape, normaliseAxes } from "./shape.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** Table entries are numbered in float32. */
const MOST_ENTRIES = 2 ** 24;
const POLICIES = ["stretch", "not_larger", "not_smaller"] as const;

interface Resizing {
  readonly method: Method;
  readonly extrapolation: number;
  /** One for each axis of the input. */
  readonly axes: readonly Axis[];
}

/** Numbers of input `k`; undefined where it is left out or empty, which ONNX uses for the same. */
function list(node: GraphNode, inputs: Inputs, k: number, what: string): number[] | undefined {
  const tensor = constantInput(node, inputs, k, what);
  return tensor === undefined || tensor.data.length === 0 ? undefined : Array.from(tensor.data);
}

function checkCount(node: GraphNode, what: string, numbers: readonly number[], count: number): readonly number[] {
  if (numbers.length !== count) {
    throw modelError(node, "SHAPE", `${what} has ${numbers.length} entries for ${count} axes`);
  }
  return numbers;
}

/** An axis scaled by `scale`: floor(input * scale), in float32 as ONNX and onnxruntime compute it. */
function byScale(node: GraphNode, input: number, scale: number, roi: readonly [number, number]): Axis {
  if (!(scale > 0)) throw modelError(node, "SHAPE", `scale ${scale} is not positive`);
  return { input, output: Math.floor(Math.fround(input * scale)), scale, roi };
}

function bySize(
  node: GraphNode,
  sizes: readonly number[],
  extents: readonly number[],
  rois: readonly [number, number][],
) {
  const policy = stringAttr(node, "keep_aspect_ratio_policy", "stretch", POLICIES);
  const ratios = sizes.map((size, i) => size / (extents[i] ?? 1));
  const common = policy === "not_larger" ? Math.min(...ratios) : Math.max(...ratios);
  return sizes.map((size, i): Axis => {
    const input = extents[i] ?? 1;
    const scale = policy === "stretch" ? (ratios[i] ?? 1) : common;
    const output = policy === "stretch" ? size : Math.floor(common * input + 0.5);
    return { input, output, scale, roi: rois[i] ?? [0, 1] };
  });
}

/** Opsets below 11 map asymmetrically, and take the floor of a position, or its ceiling where they shrink. */
const simple = (node: GraphNode): Method => ({
  mode:
    stringAttr(node, "mode", "nearest", ["nearest", "linear", "bilinear"] as const) === "nearest"
      ? "nearest"
      : "linear",
  coordinates: "asymmetric",
  nearest: "floor",
  antialias: false,
  excludeOutside: false,
  cubicA: -0.75,
});

function methodOf(node: GraphNode): Method {
  const method: Method = {
    mode: stringAttr(node, "mode", "nearest", MODES),
    coordinates: stringAttr(node, "coordinate_transformation_mode", "half_pixel", COORDINATES),
    nearest: stringAttr(node, "nearest_mode", "round_prefer_floor", NEAREST),
    antialias: intAttr(node, "antialias", 0) !== 0,
    excludeOutside: intAttr(node, "exclude_outside", 0) !== 0,
    cubicA: floatAttr(node, "cubic_coeff_a", -0.75),
  };
  if (method.antialias && method.mode === "nearest") {
    throw modelError(node, "ATTRIBUTE", 'antialias needs mode "linear" or "cubic", but mode is "nearest"');
  }
  return method;
}

function checkSizes(node: GraphNode, axes: readonly Axis[]): void {
  axes.forEach(({ input, output }, i) => {
    if (input !== output && (input < 1 || output < 1)) {
      throw modelError(node, "SHAPE", `axis ${i} cannot be resized from ${input} to ${output}`);
    }
    if (4 * (input + output) > MOST_ENTRIES) {
      throw unsupported(node, `axis ${i} is resized from ${input} to ${output}, beyond ${MOST_ENTRIES / 4} positions`);
    }
  });
}

const WHOLE = [0, 1] as const;

/** Resize of opset 10, and Upsample: scales only, for every axis. */
function simpleResizing(node: GraphNode, inputs: Inputs, opset: number): Resizing {
  const { shape } = requireInput(node, inputs, 0);
  const fromAttribute = node.opType === "Upsample" && opset < 9;
  const scales = fromAttribute ? floatsAttr(node, "scales") : list(node, inputs, 1, "scales");
  const all = checkCount(node, "scales", required(node, "scales", scales), shape.length);
  const axes = shape.map((d, i) => byScale(node, d, all[i] ?? 1, WHOLE));
  return { method: simple(node), extrapolation: 0, axes };
}

function resizing(node: GraphNode, inputs: Inputs, opset: number): Resizing {
  if (opset < 11 || node.opType === "Upsample") return simpleResizing(node, inputs, opset);
  const { shape } = requireInput(node, inputs, 0);
  const rank = shape.length;
  const given = opset >= 18 ? intsAttr(node, "axes") : undefined;
  const chosen = given === undefined ? shape.map((_, i) => i) : normaliseAxes(node, given, rank);
  const extents = chosen.map((a) => shape[a] ?? 1);
  const method = methodOf(node);
  const roi = method.coordinates === "tf_crop_and_resize" ? list(node, inputs, 1, "roi") : undefined;
  if (method.coordinates === "tf_crop_and_resize") {
    checkCount(node, "roi", roi ?? [], 2 * chosen.length);
  }
  const rois = chosen.map((_, i): [number, number] => [roi?.[i] ?? 0, roi?.[chosen.length + i] ?? 1]);
  const scales = list(node, inputs, 2, "scales");
  const sizes = list(node, inputs, 3, "sizes");
  if ((scales === undefined) === (sizes === undefined)) {
    throw modelError(node, "INPUT_MISSING", "exactly one of scales and sizes must be given");
  }
  const resized =
    sizes === undefined
      ? checkCount(node, "scales", scales ?? [], chosen.length).map((s, i) =>
          byScale(node, extents[i] ?? 1, s, rois[i] ?? WHOLE),
        )
      : bySize(node, checkCount(node, "sizes", sizes, chosen.length), extents, rois);
  const axes = shape.map((d, a) => resized[chosen.indexOf(a)] ?? { input: d, output: d, scale: 1, roi: WHOLE });
  return { method, extrapolation: floatAttr(node, "extrapolation_value", 0), axes };
}

/** One pass: axis `axis` of a tensor of `before`'s shape. */
interface Pass {
  readonly axis: number;
  readonly from: number;
  readonly to: number;
  readonly taps: readonly Taps[];
  readonly key: string;
}

/** Batch and channels, mostly. By tf_half_pixel_for_nn even a scale of 1 would shift; it does not in onnxruntime either. */
const isUntouched = ({ input, output, scale, roi }: Axis): boolean =>
  input === output && scale === 1 && roi[0] === 0 && roi[1] === 1;

/** The passes that change anything, those that shrink most first: they leave the least to do for the others. */
function passesOf({ method, axes }: Resizing, opset: number): Pass[] {
  const ceiling = opset < 11;
  return axes
    .flatMap((axis, k): Pass[] => {
      if (isUntouched(axis)) return [];
      const own = ceiling && axis.scale < 1 ? { ...method, nearest: "ceil" as const } : method;
      const key = `resize ${JSON.stringify([axis, own])}`;
      return [{ axis: k, from: axis.input, to: axis.output, taps: resampling(axis, own), key }];
    })
    .filter((p) => !isIdentity(p.taps, p.from))
    .sort((a, b) => a.to / a.from - b.to / b.from || a.axis - b.axis);
}

/** Runs `passes` one after another from `source`, of `shape`, into `target`. */
function runPasses(
  l: Lowering,
  passes: readonly Pass[],
  shape: readonly number[],
  source: Slot,
  target: Slot,
  empty: number,
) {
  let current = [...shape];
  let slot = source;
  passes.forEach((pass, k) => {
    const next = current.with(pass.axis, pass.to);
    const count = sizeOf(next);
    const write = k === passes.length - 1 ? target : l.scratch(count);
    const table = l.constant(pass.key, () => {
      const data = packTable(pass.taps);
      return { type: "float32", shape: [data.length], data };
    });
    const entries = pass.taps.reduce((n, t) => n + t.length, 0);
    dispatchElements(l, count, {
      shader: "resample",
      params: [count, pass.from, pass.to, sizeOf(next.slice(pass.axis + 1)), entries, f32(empty)],
      reads: [slot, table.slot],
      writes: [write],
    });
    current = next;
    slot = write;
  });
}

const infosOf = (l: Lowering): Inputs => l.node.inputs.map((_, k) => l.info(k));

const resize: Operator = {
  infer(node, inputs, opset) {
    const x = requireInput(node, inputs, 0);
    const { axes } = resizing(node, inputs, opset);
    checkSizes(node, axes);
    return [
      {
        type: x.type,
        shape: checkedShape(
          node,
          axes.map((a) => a.output),
        ),
      },
    ];
  },
  forward(l) {
    const x = deviceInput(l, 0);
    const plan = resizing(l.node, infosOf(l), l.opset);
    const passes = passesOf(plan, l.opset);
    if (passes.length === 0) l.alias(0, 0);
    else runPasses(l, passes, x.shape, x.slot, l.output(0).slot, plan.extrapolation);
  },
  gradient(l) {
    const dy = dataGradient(l);
    if (dy === undefined) return;
    const passes = passesOf(resizing(l.node, infosOf(l), l.opset), l.opset);
    if (passes.length === 0) {
      l.passGradient(0, 0);
      return;
    }
    const back = passes.toReversed().map(({ axis, from, to, taps, key }): Pass => {
      return { axis, from: to, to: from, taps: transposed(taps, from), key: `${key} transposed` };
    });
    runPasses(l, back, dy.shape, dy.slot, l.inputGradient(0).slot, 0);
  },
};

export const resizes: Record<string, Operator> = { Resize: resize, Upsample: resize };
