/**
 * Transposed convolutions with strides (the gradient of a strided Conv, and ConvTranspose) as plain ones. Output positions
 * o = r + s j of one phase r meet only the taps k with s | (o + pad - d k), and then the input element j + (r + pad - d k)/s: for
 * each phase this is a plain convolution of stride 1 with some of the taps. All phases together multiply just what there
 * is to multiply, and each takes the fast kernel.
 */
import { elementsOf, type HostTensor } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { lazyTensor } from "../graph/lazy.ts";
import {
  convolveFours,
  foursProduct,
  foursWeights,
  foursWeightsShape,
  suitsFours,
  type FoursOperands,
} from "./conv-fours.ts";
import type { ConvGeometry, ConvTarget } from "./conv-geometry.ts";
import { tileFor } from "./conv-tiles.ts";
import { foursElements } from "./fours.ts";
import { f32, spread, type Lowering } from "./operator.ts";

/** Each phase is two dispatches: beyond so many they cost more than they save. */
const MOST_PHASES = 16;

/** One phase along one axis. */
interface AxisPhase {
  /** r, and how many outputs it has. */
  readonly first: number;
  readonly outputs: number;
  /** Taps of the whole kernel, in the order in which the plain convolution meets them. */
  readonly taps: readonly number[];
  /** Of the plain convolution; pads may be negative. */
  readonly dilation: number;
  readonly pad: number;
}

function axisPhases(g: ConvGeometry, axis: 0 | 1): AxisPhase[] {
  const stride = g.strides[axis];
  const phases: AxisPhase[] = [];
  for (let first = 0; first < Math.min(stride, g.output[axis]); first++) {
    const shiftOf = (tap: number): number => (first + g.pads[axis] - g.dilations[axis] * tap) / stride;
    const all = Array.from({ length: g.kernel[axis] }, (_, tap) => tap);
    // Shifts fall as taps rise: the last tap meets the first element.
    const taps = all.filter((tap) => Number.isInteger(shiftOf(tap))).reverse();
    const [start = 0, second] = taps.map(shiftOf);
    phases.push({
      first,
      outputs: Math.ceil((g.output[axis] - first) / stride),
      taps,
      dilation: second === undefined ? 1 : second - start,
      pad: -start,
    });
  }
  return phases;
}

/** Whether there are outputs that no tap reaches: they get neither bias nor anything else that is added to a sum. */
export const phasesLeaveOut = (g: ConvGeometry): boolean =>
  ([0, 1] as const).some((axis) => axisPhases(g, axis).some(({ taps }) => taps.length === 0));

/** Whether phases can do it, and gain by it. */
export function suitsPhases(g: ConvGeometry, bias: boolean): boolean {
  const strided = g.transposed && (g.strides[0] > 1 || g.strides[1] > 1);
  if (!strided || !suitsFours({ ...g, strides: [1, 1] })) return false;
  if (g.strides[0] * g.strides[1] > MOST_PHASES) return false;
  return !(bias && phasesLeaveOut(g));
}

/** The taps of a phase, of weights as ONNX stores them transposed: [group][channel][output][tap]. */
function subKernel(w: ArrayLike<number>, g: ConvGeometry, rows: AxisPhase, columns: AxisPhase): Float32Array {
  const taps = rows.taps.flatMap((ky) => columns.taps.map((kx) => ky * g.kernel[1] + kx));
  const { groups, channels, outputs } = g;
  const all = g.kernel[0] * g.kernel[1];
  const data = new Float32Array(groups * outputs * channels * taps.length);
  let at = 0;
  for (let group = 0; group < groups; group++)
    for (let o = 0; o < outputs; o++)
      for (let c = 0; c < channels; c++)
        for (const tap of taps) data[at++] = w[((group * channels + c) * outputs + o) * all + tap] ?? 0;
  return data;
}

/** @param weight the whole kernel's */
export function convolvePhases(
  l: ConvTarget & Pick<Lowering, "constant" | "tiles">,
  g: ConvGeometry,
  o: FoursOperands,
  weight: HostTensor,
): void {
  const [down, along] = [axisPhases(g, 0), axisPhases(g, 1)];
  const phases = down.flatMap((rows) => along.map((columns) => ({ rows, columns })));
  const full = phases.filter(({ rows, columns }) => rows.taps.length > 0 && columns.taps.length > 0);
  if (full.length < phases.length) {
    const elements = foursElements(o.output.shape);
    l.dispatch({
      shader: "fill",
      params: [elements, f32(0)],
      reads: [],
      writes: [o.output.slot],
      workgroups: spread(Math.ceil(elements / 256)),
      label: `${o.label}: zeros`,
    });
  }
  for (const { rows, columns } of full) {
    const phase: ConvGeometry = {
      ...g,
      output: [rows.outputs, columns.outputs],
      kernel: [rows.taps.length, columns.taps.length],
      strides: [1, 1],
      dilations: [rows.dilation, columns.dilation],
      pads: [rows.pad, columns.pad],
      transposed: false,
    };
    const product = foursProduct(phase, {
      column: g.strides[1],
      row: g.strides[0] * g.output[1],
      plane: g.output[0] * g.output[1],
      first: rows.first * g.output[1] + columns.first,
    });
    const tile = tileFor(l, product);
    const taps = `rows ${rows.taps.join()}, columns ${columns.taps.join()}, tiles of ${tile.outputs}`;
    const key = `conv: ${tensorKey(weight)}, ${taps} in ${g.groups} groups, transposed`;
    const make = (): HostTensor =>
      lazyTensor("float32", foursWeightsShape(phase, tile.outputs), () => {
        return foursWeights(subKernel(elementsOf(weight), g, rows, columns), phase, tile.outputs).data;
      });
    const weights = l.constant(key, make, true);
    const label = `${o.label}, phase ${rows.first},${columns.first}`;
    convolveFours(l, { ...product, tile }, { ...o, label }, weights);
  }
}
