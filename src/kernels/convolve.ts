/**
 * Convolution dispatches, shared by Conv and ConvTranspose and by the gradient of each: one is the other's gradient with
 * regard to its input. Which variant runs depends on the layer and the adapter, not on the batch.
 */
import { elementsOf, sizeOf, type HostTensor } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { lazyTensor } from "../graph/lazy.ts";
import { convolveDepthwise, depthwiseShape, depthwiseWeights, suitsDepthwise } from "./conv-depthwise.ts";
import {
  convolveFours,
  foursProduct,
  foursWeights,
  foursWeightsShape,
  suitsFours,
  type FoursOperands,
  type Product,
} from "./conv-fours.ts";
import {
  TILE,
  PIXELS,
  WORKGROUP,
  paddedOutputs,
  type ConvGeometry,
  type ConvOperands,
  type ConvTarget,
} from "./conv-geometry.ts";
import { tileFor } from "./conv-tiles.ts";
import { convolveWinograd, winogradProduct, winogradShape, winogradTile, winogradWeights } from "./conv-winograd.ts";
import { convolvePhases, suitsPhases } from "./convolve-phases.ts";
import { foursElements, packFours, unpackFours, type FoursTensor } from "./fours.ts";
import { spread, type DeviceTensor, type Lowering } from "./operator.ts";

/**
 * Variants in fours: winograd, depthwise, fours, phases. In rows: tiled for groups that do not begin at whole fours,
 * direct for weights that are not constant and groups of few outputs.
 */
export type ConvVariant = "winograd" | "depthwise" | "fours" | "phases" | "tiled" | "direct";

/** @param constant whether the weights are known when planning */
export function convVariant(g: ConvGeometry, constant: boolean, bias: boolean, winograd: boolean): ConvVariant {
  if (!constant) return "direct";
  if (suitsDepthwise(g)) return "depthwise";
  if (winograd && winogradTile(g) !== undefined) return "winograd";
  if (suitsFours(g)) return "fours";
  if (suitsPhases(g, bias)) return "phases";
  return g.outputs < TILE / 2 ? "direct" : "tiled";
}

export const runsInFours = (v: ConvVariant): boolean => v !== "tiled" && v !== "direct";

const productOf = (adapter: Pick<Lowering, "subgroups" | "tiles">, g: ConvGeometry): Product => {
  const shape = foursProduct(g);
  return { ...shape, tile: tileFor(adapter, shape) };
};

/** A constant of laid-out weights, made when the device takes them. */
function laidOut(
  l: Pick<Lowering, "constant">,
  weight: HostTensor,
  g: ConvGeometry,
  layout: string,
  shape: readonly number[],
  make: (w: ArrayLike<number>) => HostTensor,
): DeviceTensor {
  const key = `conv: ${tensorKey(weight)}, ${layout} in ${g.groups} groups${g.transposed ? ", transposed" : ""}`;
  return l.constant(key, () => lazyTensor("float32", shape, () => make(elementsOf(weight)).data), true);
}

/** One convolution by a variant in fours. @param weight as ONNX stores it */
export function convolveInFours(
  l: ConvTarget & Pick<Lowering, "constant" | "tiles">,
  variant: ConvVariant,
  g: ConvGeometry,
  o: FoursOperands,
  weight: HostTensor,
): void {
  const m = winogradTile(g);
  if (variant === "phases") convolvePhases(l, g, o, weight);
  else if (variant === "depthwise") {
    const weights = laidOut(l, weight, g, "depthwise", depthwiseShape(g), (w) => depthwiseWeights(w, g));
    convolveDepthwise(l, g, o, weights);
  } else if (variant === "winograd" && m !== undefined) {
    const product = winogradProduct(l, g, m);
    const shape = winogradShape(g, m, product.tile);
    const layout = `winograd ${m}, ${shape.join("x")}`;
    const weights = laidOut(l, weight, g, layout, shape, (w) => winogradWeights(w, g, m, product.tile));
    convolveWinograd(l, g, m, product, o, weights);
  } else {
    const product = productOf(l, g);
    const { outputs } = product.tile;
    const shape = foursWeightsShape(g, outputs);
    const weights = laidOut(l, weight, g, `fours, ${shape.join("x")}`, shape, (w) => foursWeights(w, g, outputs));
    convolveFours(l, product, o, weights);
  }
}

/**
 * One convolution of tensors in rows by a variant in rows.
 * @param weight as ONNX stores it: [group][output][channel][tap], transposed [group][channel][output][tap]
 * @param constant its elements where they are known when planning; they are packed once then
 */
export function convolveInRows(
  l: ConvTarget & Pick<Lowering, "constant">,
  variant: ConvVariant,
  g: ConvGeometry,
  operands: ConvOperands,
  weight: () => DeviceTensor,
  constant: HostTensor | undefined,
): void {
  if (variant === "direct" || constant === undefined) convolveDirect(l, g, operands, weight());
  else
    convolveTiled(
      l,
      g,
      operands,
      laidOut(l, constant, g, "tiled", tiledShape(g), (w) => tileWeights(w, g)),
    );
}

/**
 * Shape of weights in the layout that `convolveLaidOut` takes on an adapter with such subgroups: whatever was measured, for
 * callers lay weights out after other plans have been made.
 */
export const laidOutShape = (g: ConvGeometry, subgroups: number): number[] =>
  foursWeightsShape(g, productOf({ subgroups }, g).tile.outputs);

/** Weights of one group, as ONNX stores them, in that layout. */
export const layoutWeights = (w: ArrayLike<number>, g: ConvGeometry, subgroups: number): HostTensor =>
  foursWeights(w, g, productOf({ subgroups }, g).tile.outputs);

/** A plain convolution of tensors in rows with weights in that layout, whatever their number. */
export function convolveLaidOut(l: ConvTarget, g: ConvGeometry, o: ConvOperands, weights: DeviceTensor): void {
  const inFours = (t: DeviceTensor): FoursTensor => ({
    slot: l.scratch(foursElements(t.shape)),
    shape: t.shape,
    inFours: true,
  });
  const [input, output] = [inFours(o.input), inFours(o.output)];
  packFours(l, o.input, input, o.label);
  convolveFours(l, productOf({ subgroups: l.subgroups }, g), { ...o, input, output }, weights);
  unpackFours(l, output, o.output, o.label);
}

const paramsOf = (g: ConvGeometry, bias: boolean): number[] => [
  ...[g.batch, g.channels, g.outputs, g.groups],
  ...[...g.input, ...g.output],
  ...[...g.kernel, ...g.strides],
  ...[...g.dilations, ...g.pads],
  ...[paddedOutputs(g), bias ? 1 : 0],
];

function convolveDirect(l: ConvTarget, g: ConvGeometry, o: ConvOperands, weight: DeviceTensor): void {
  l.dispatch({
    shader: "conv_direct",
    constants: { TRANSPOSED: g.transposed ? 1 : 0 },
    params: paramsOf(g, o.bias !== undefined),
    reads: [o.input.slot, weight.slot, (o.bias ?? weight).slot],
    writes: [o.output.slot],
    workgroups: spread(Math.ceil(sizeOf(o.output.shape) / 64)),
    label: o.label,
  });
}

/** With weights from `tileWeights`. */
function convolveTiled(l: ConvTarget, g: ConvGeometry, o: ConvOperands, packed: DeviceTensor): void {
  const pixels = g.batch * g.output[0] * g.output[1];
  const [x, z] = spread(Math.ceil(pixels / (WORKGROUP * PIXELS)));
  l.dispatch({
    shader: "conv",
    constants: { TRANSPOSED: g.transposed ? 1 : 0, WORKGROUP },
    params: paramsOf(g, o.bias !== undefined),
    reads: [o.input.slot, packed.slot, (o.bias ?? packed).slot],
    writes: [o.output.slot],
    workgroups: [x, (paddedOutputs(g) / TILE) * g.groups, z],
    label: o.label,
  });
}

/** Shape of what `tileWeights` makes: [group][tap][channel][output, padded to a multiple of the tile]. */
const tiledShape = (g: ConvGeometry): number[] => [g.groups, g.kernel[0] * g.kernel[1], g.channels, paddedOutputs(g)];

/** Weights as ONNX stores them to `tiledShape`, padded with zeros. */
function tileWeights(w: ArrayLike<number>, g: ConvGeometry): HostTensor {
  const taps = g.kernel[0] * g.kernel[1];
  const shape = tiledShape(g);
  const width = paddedOutputs(g);
  const data = new Float32Array(sizeOf(shape));
  const { groups, outputs, channels, transposed } = g;
  const outputStep = (transposed ? 1 : channels) * taps;
  const channelStep = (transposed ? outputs : 1) * taps;
  for (let group = 0; group < groups; group++) {
    const from = group * outputs * channels * taps;
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        const source = from + o * outputStep + c * channelStep;
        let target = (group * taps * channels + c) * width + o;
        for (let tap = 0; tap < taps; tap++) {
          data[target] = w[source + tap] ?? 0;
          target += channels * width;
        }
      }
    }
  }
  return { type: "float32", shape, data };
}
