/** Conv and ConvTranspose, one or two spatial axes. Source: ONNX Conv (1, 11, 22), ConvTranspose (1, 11, 22). */
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { intAttr, intsAttr, modelError, requireInput, stringAttr, unsupported } from "./attributes.ts";
import type { ConvGeometry } from "./conv-geometry.ts";
import { convolveInFours, convolveInRows, convVariant, runsInFours, type ConvVariant } from "./convolve.ts";
import { phasesLeaveOut } from "./convolve-phases.ts";
import { weightGradient } from "./conv-weight-gradient.ts";
import { deviceInput } from "./lowering.ts";
import type { FusionQuestion, GradientLowering, Operator } from "./operator.ts";
import { checkedShape, showShape } from "./shape.ts";
import { AUTO_PADS, extent, pair, resolveSpatial } from "./spatial.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** What kernels can count: they compute positions in 32-bit integers with a sign. */
const MOST = 2 ** 31 - 1;

interface Resolved {
  readonly geometry: ConvGeometry;
  readonly shape: readonly number[];
}

function checkRanks(node: GraphNode, x: readonly number[], w: readonly number[], b?: readonly number[]): void {
  if (x.length !== w.length || x.length < 3) {
    throw modelError(node, "SHAPE", `input ${showShape(x)} and weight ${showShape(w)} must have one rank, 3 or more`);
  }
  if (x.length > 4) throw unsupported(node, `${x.length - 2} spatial axes; one and two are supported`);
  const declared = intsAttr(node, "kernel_shape");
  if (declared !== undefined && declared.join() !== w.slice(2).join()) {
    throw modelError(node, "SHAPE", `kernel_shape ${showShape(declared)} contradicts the weight ${showShape(w)}`);
  }
  if (b !== undefined && b.length !== 1) throw modelError(node, "SHAPE", `bias ${showShape(b)} must have rank 1`);
}

const tooLarge = (node: GraphNode, what: string) => modelError(node, "ATTRIBUTE", `${what} exceed ${MOST}`);

function resolveConv(node: GraphNode, inputs: Inputs): Resolved {
  const x = requireInput(node, inputs, 0).shape;
  const w = requireInput(node, inputs, 1).shape;
  checkRanks(node, x, w, inputs[2]?.shape);
  const groups = intAttr(node, "group", 1);
  const [batch = 0, inChannels = 0] = x;
  const [outChannels = 0, channels = 0] = w;
  const bias = inputs[2]?.shape[0] ?? outChannels;
  if (groups < 1 || channels * groups !== inChannels || outChannels % groups !== 0 || bias !== outChannels) {
    throw modelError(
      node,
      "SHAPE",
      `input ${showShape(x)}, weight ${showShape(w)}, group ${groups} and bias of ${bias} do not fit together`,
    );
  }
  const s = resolveSpatial(node, x.slice(2), w.slice(2));
  const geometry: ConvGeometry = {
    batch,
    groups,
    channels,
    outputs: outChannels / groups,
    input: pair(x.slice(2), 1),
    output: pair(s.output, 1),
    kernel: pair(s.kernel, 1),
    strides: pair(s.strides, 1),
    dilations: pair(s.dilations, 1),
    pads: pair(s.padsBegin, 0),
    transposed: false,
  };
  // With one output position a stride of any size passes the checks above, but not the conversion to 32 bits.
  if (s.strides.some((d) => d > MOST)) throw tooLarge(node, `strides ${showShape(s.strides)}`);
  return { geometry, shape: checkedShape(node, [batch, outChannels, ...s.output]) };
}

/** Output size and begin pads as ONNX ConvTranspose defines them, with output_shape, output_padding and auto_pad. */
function resolveTranspose(node: GraphNode, inputs: Inputs): Resolved {
  const x = requireInput(node, inputs, 0).shape;
  const w = requireInput(node, inputs, 1).shape;
  checkRanks(node, x, w, inputs[2]?.shape);
  const groups = intAttr(node, "group", 1);
  const [batch = 0, inChannels = 0] = x;
  const outputs = w[1] ?? 0;
  const bias = inputs[2]?.shape[0] ?? outputs * groups;
  if (groups < 1 || w[0] !== inChannels || inChannels % groups !== 0 || bias !== outputs * groups) {
    throw modelError(
      node,
      "SHAPE",
      `input ${showShape(x)}, weight ${showShape(w)}, group ${groups} and bias of ${bias} do not fit together`,
    );
  }
  const rank = x.length - 2;
  const ones = new Array<number>(rank).fill(1);
  const zeros = new Array<number>(rank).fill(0);
  const strides = intsAttr(node, "strides", ones, rank);
  const dilations = intsAttr(node, "dilations", ones, rank);
  const outputPadding = intsAttr(node, "output_padding", zeros, rank);
  const explicit = intsAttr(node, "pads", new Array<number>(2 * rank).fill(0), 2 * rank);
  const outputShape = intsAttr(node, "output_shape")?.slice(-rank);
  const autoPad = stringAttr(node, "auto_pad", "NOTSET", AUTO_PADS);
  if (strides.some((s) => s < 1) || dilations.some((d) => d < 1)) {
    throw modelError(
      node,
      "ATTRIBUTE",
      `strides ${showShape(strides)} and dilations ${showShape(dilations)} must be positive`,
    );
  }
  if (explicit.some((p) => p < 0) || outputPadding.some((p) => p < 0)) {
    throw modelError(
      node,
      "ATTRIBUTE",
      `pads ${showShape(explicit)} and output_padding ${showShape(outputPadding)} must not be negative`,
    );
  }
  if (outputPadding.some((p, axis) => p > 0 && p >= Math.max(strides[axis] ?? 1, dilations[axis] ?? 1))) {
    throw modelError(
      node,
      "ATTRIBUTE",
      `output_padding ${showShape(outputPadding)} must be smaller than stride ${showShape(strides)} or dilation ${showShape(dilations)}`,
    );
  }
  if (outputShape !== undefined && outputShape.length !== rank) {
    throw modelError(
      node,
      "ATTRIBUTE",
      `attribute output_shape must have ${rank} entries, but has ${outputShape.length}`,
    );
  }
  const begins: number[] = [];
  const sizes = x.slice(2).map((size, axis) => {
    const stride = strides[axis] ?? 1;
    const full = (size - 1) * stride + (outputPadding[axis] ?? 0) + extent(w[axis + 2] ?? 1, dilations[axis] ?? 1);
    if (full > MOST) throw tooLarge(node, `spatial axis ${axis}: ${full} elements before padding is cut off`);
    const same = autoPad === "SAME_UPPER" || autoPad === "SAME_LOWER";
    const target = outputShape?.[axis] ?? (same ? size * stride : undefined);
    if (target === undefined) {
      const [begin, end] = autoPad === "VALID" ? [0, 0] : [explicit[axis] ?? 0, explicit[rank + axis] ?? 0];
      begins.push(begin);
      return full - begin - end;
    }
    const total = Math.max(0, full - target);
    // ONNX: an odd rest is cut off at the end with SAME_UPPER, else (explicit output_shape included) at the beginning.
    begins.push(autoPad === "SAME_UPPER" ? Math.floor(total / 2) : total - Math.floor(total / 2));
    return target;
  });
  if (sizes.some((s) => s < 1)) throw modelError(node, "SHAPE", `the output would be ${showShape(sizes)}`);
  if (sizes.some((s) => s > MOST)) throw tooLarge(node, `output sizes ${showShape(sizes)}`);
  const geometry: ConvGeometry = {
    batch,
    groups,
    channels: inChannels / groups,
    outputs,
    input: pair(x.slice(2), 1),
    output: pair(sizes, 1),
    kernel: pair(w.slice(2), 1),
    strides: pair(strides, 1),
    dilations: pair(dilations, 1),
    pads: pair(begins, 0),
    transposed: true,
  };
  return { geometry, shape: checkedShape(node, [batch, outputs * groups, ...sizes]) };
}

/** The geometry of the gradient with regard to the input: sizes and channels exchanged, the other way of gathering. */
const reversed = (g: ConvGeometry): ConvGeometry => ({
  ...g,
  channels: g.outputs,
  outputs: g.channels,
  input: g.output,
  output: g.input,
  transposed: !g.transposed,
});

function operator(resolve: (node: GraphNode, inputs: Inputs) => Resolved): Operator {
  const inputsOf = (l: FusionQuestion): Inputs => [l.info(0), l.info(1), l.info(2)];
  const variantOf = (l: FusionQuestion, g: ConvGeometry, bias: boolean): ConvVariant =>
    convVariant(g, l.info(1)?.value !== undefined, bias, l.winograd);
  return {
    infer: (node, inputs) => {
      inputs.forEach((info, k) => {
        if (info === undefined || info.type === "float32") return;
        throw modelError(node, "INPUT_TYPE", `input ${k} holds ${info.type} numbers, but must hold real ones`);
      });
      return [{ type: "float32", shape: resolve(node, inputs).shape }];
    },
    writesSums: true,
    fuses: (l) => {
      const { geometry } = resolve(l.node, inputsOf(l));
      const bias = l.info(2) !== undefined;
      return runsInFours(variantOf(l, geometry, bias)) && !(geometry.transposed && phasesLeaveOut(geometry));
    },
    forward: (l) => {
      const { geometry } = resolve(l.node, inputsOf(l));
      const [bias, label] = [l.input(2), l.node.name];
      const constant = l.info(1)?.value;
      const variant = variantOf(l, geometry, bias !== undefined);
      if (constant !== undefined && runsInFours(variant)) {
        const operands = { input: l.inputFours(0), bias, output: l.outputFours(0), label, ...l.epilogue };
        convolveInFours(l, variant, geometry, operands, constant);
      } else {
        const operands = { input: deviceInput(l, 0), bias, output: l.output(0), label };
        convolveInRows(l, variant, geometry, operands, () => deviceInput(l, 1), constant);
      }
    },
    gradient: (l: GradientLowering) => {
      if (!l.hasOutputGradient(0)) return;
      const { geometry } = resolve(l.node, inputsOf(l));
      if (l.wants(0)) inputGradient(l, reversed(geometry), l.info(1)?.value);
      if (l.wants(1) || l.wants(2)) {
        const dy = l.outputGradient(0);
        if (dy !== undefined) weightGradient(l, geometry, dy);
      }
    },
  };
}

/** @param g of the gradient with regard to the input */
function inputGradient(l: GradientLowering, g: ConvGeometry, constant: HostTensor | undefined): void {
  const label = `${l.node.name}: gradient of the input`;
  const variant = convVariant(g, constant !== undefined, false, l.winograd);
  if (constant !== undefined && runsInFours(variant)) {
    const input = l.outputGradientFours(0);
    if (input === undefined) return;
    const fused = variant !== "phases" || !phasesLeaveOut(g);
    const { output, epilogue } = fused ? l.inputGradientFused(0) : { output: l.inputGradientFours(0), epilogue: {} };
    convolveInFours(l, variant, g, { input, output, label, ...epilogue }, constant);
  } else {
    const input = l.outputGradient(0);
    if (input === undefined) return;
    convolveInRows(l, variant, g, { input, output: l.inputGradient(0), label }, () => deviceInput(l, 1), constant);
  }
}

export const convolution: Record<string, Operator> = {
  Conv: operator(resolveConv),
  ConvTranspose: operator(resolveTranspose),
};
