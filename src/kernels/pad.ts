/**
 * Pad (ONNX opset 2 to 21): amounts as an attribute before opset 11, as an input from there on; modes constant,
 * reflect, edge, wrap; negative amounts crop.
 */
import { invariant } from "../errors.ts";
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import {
  floatAttr,
  intsAttr,
  intsInput,
  modelError,
  requireInput,
  scalarInput,
  stringAttr,
  unsupported,
} from "./attributes.ts";
import type { Picking } from "./gather.ts";
import { pick, pickGradient, pickOnHost } from "./gather.ts";
import { known, newData, worthEvaluating } from "./host.ts";
import { deviceInput } from "./lowering.ts";
import type { Movement } from "./movement.ts";
import { infosOf, movementOperator } from "./movement.ts";
import type { Lowering, Operator, Slot } from "./operator.ts";
import { checkedShape, normaliseAxes, showShape, stridesOf } from "./shape.ts";

type Inputs = readonly (ValueInfo | undefined)[];

interface Amounts {
  readonly shape: readonly number[];
  readonly before: readonly number[];
  readonly out: readonly number[];
}

function amounts(node: GraphNode, inputs: Inputs): Amounts {
  const { shape } = requireInput(node, inputs, 0);
  const given = intsInput(node, inputs, 3, "axes");
  const axes = given === undefined ? shape.map((_, i) => i) : normaliseAxes(node, given, shape.length);
  const pads = intsAttr(node, "pads") ?? intsInput(node, inputs, 1, "pads");
  if (pads === undefined) throw modelError(node, "ATTRIBUTE", "pads are missing");
  if (pads.length !== 2 * axes.length) {
    throw modelError(
      node,
      "SHAPE",
      `pads must have ${2 * axes.length} entries, two for each padded axis of ${showShape(shape)}, but has ${pads.length}`,
    );
  }
  const before = shape.map(() => 0);
  const out = [...shape];
  axes.forEach((axis, i) => {
    const [first, last] = [pads[i] ?? 0, pads[i + axes.length] ?? 0];
    before[axis] = first;
    out[axis] = (shape[axis] ?? 0) + first + last;
  });
  return { shape, before, out: checkedShape(node, out) };
}

/** Mode constant: the box of the input that is left, within a fill of `value`. */
function constantPad(node: GraphNode, inputs: Inputs): Movement[] {
  const { shape, before, out } = amounts(node, inputs);
  const [from, to] = [stridesOf(shape), stridesOf(out)];
  let fromOffset = 0;
  let toOffset = 0;
  const dims = shape.map((size, i) => {
    const first = before[i] ?? 0;
    const start = Math.max(0, -first);
    fromOffset += start * (from[i] ?? 0);
    toOffset += Math.max(0, first) * (to[i] ?? 0);
    const end = Math.min(size, (out[i] ?? 0) - first);
    return { size: Math.max(0, end - start), strides: [from[i] ?? 0, to[i] ?? 0] };
  });
  const box = { input: 0, copy: { dims, fromOffset, toOffset } };
  const moved = dims.every((d, i) => d.size === (out[i] ?? 0));
  if (moved) return [{ shape: out, placements: [box] }];
  const dynamic = inputs[2] !== undefined && inputs[2].value === undefined;
  if (dynamic) {
    // The value is computed on the device: it is spread over the output before the box is copied in.
    if (sizeOf(inputs[2]?.shape ?? []) !== 1) throw modelError(node, "SHAPE", "input 2 (value) must be one number");
    const spreading = {
      input: 2,
      copy: { dims: [{ size: sizeOf(out), strides: [0, 1] }], fromOffset: 0, toOffset: 0 },
    };
    return [{ shape: out, placements: [spreading, box] }];
  }
  const fill = scalarInput(node, inputs, 2, "value") ?? floatAttr(node, "value", 0);
  return [{ shape: out, fill, placements: [box] }];
}

const modulo = (x: number, n: number): number => ((x % n) + n) % n;

/** Which input index an output index shows, in each mode; `i` counts from the input's first element. */
const sources: Record<"reflect" | "edge" | "wrap", (i: number, size: number) => number> = {
  // 0 1 2 1 0 1 2 ...: the edge is not repeated.
  reflect: (i, size) => {
    const period = Math.max(1, 2 * (size - 1));
    const k = modulo(i, period);
    return Math.min(k, period - k);
  },
  edge: (i, size) => Math.min(Math.max(i, 0), size - 1),
  wrap: modulo,
};

interface Step extends Picking {
  readonly axis: number;
  readonly indices: readonly number[];
}

/** The other modes: along each padded axis in turn, slices are picked by a list of indices. */
function steps(node: GraphNode, inputs: Inputs, mode: keyof typeof sources): { out: readonly number[]; list: Step[] } {
  const { shape, before, out } = amounts(node, inputs);
  const now = [...shape];
  const list: Step[] = [];
  shape.forEach((size, axis) => {
    const [first = 0, picked = 0] = [before[axis], out[axis]];
    if (first === 0 && picked === size) return;
    if (size === 0) throw modelError(node, "SHAPE", `axis ${axis} of ${showShape(shape)} is empty: nothing to ${mode}`);
    const indices = Array.from({ length: picked }, (_, i) => sources[mode](i - first, size));
    const [outer, inner] = [sizeOf(now.slice(0, axis)), sizeOf(now.slice(axis + 1))];
    list.push({ axis, outer, size, picked, inner, indices });
    now[axis] = picked;
  });
  return { out, list };
}

const key = (s: Step): string => `pad: axis ${s.axis} of ${s.size}, ${s.indices.join()}`;

function pickingOperator(mode: keyof typeof sources): Operator {
  const stepsOf = (l: Lowering): Step[] => steps(l.node, infosOf(l), mode).list;
  return {
    infer: (node, inputs) => {
      const { type, value } = requireInput(node, inputs, 0);
      const { out, list } = steps(node, inputs, mode);
      if (value === undefined || !worthEvaluating(sizeOf(out), inputs)) return [{ type, shape: out }];
      const data = list.reduce((from, step) => {
        const to = newData(type, step.outer * step.picked * step.inner);
        pickOnHost(from, step, step.indices, to);
        return to;
      }, value.data);
      return [known(type, out, data)];
    },
    forward: (l) => {
      const list = stepsOf(l);
      if (list.length === 0) {
        l.alias(0, 0);
        return;
      }
      let from = deviceInput(l, 0).slot;
      list.forEach((step, i) => {
        const to = i === list.length - 1 ? l.output(0).slot : l.scratch(step.outer * step.picked * step.inner);
        const indices = l.constant(key(step), (): HostTensor => {
          return { type: "int64", shape: [step.picked], data: Float64Array.from(step.indices) };
        });
        pick(l, step, from, indices.slot, to);
        from = to;
      });
    },
    gradient: (l) => {
      const g = l.outputGradient(0);
      if (g === undefined || !l.wants(0)) return;
      const list = stepsOf(l).reverse();
      if (list.length === 0) {
        l.passGradient(0, 0);
        return;
      }
      let from: Slot = g.slot;
      list.forEach((step, i) => {
        const to = i === list.length - 1 ? l.inputGradient(0).slot : l.scratch(step.outer * step.size * step.inner);
        pickGradient(l, step, from, { list: step.indices, key: `${key(step)}, inverted` }, to);
        from = to;
      });
    },
  };
}

const byMode: Record<string, Operator> = {
  constant: movementOperator(constantPad),
  reflect: pickingOperator("reflect"),
  edge: pickingOperator("edge"),
  wrap: pickingOperator("wrap"),
};

function operatorOf(node: GraphNode): Operator {
  const operator = byMode[stringAttr(node, "mode", "constant", Object.keys(byMode))];
  invariant(operator !== undefined, "pad mode");
  return operator;
}

export const padding: Record<string, Operator> = {
  Pad: {
    infer: (node, inputs, opset) => operatorOf(node).infer(node, inputs, opset),
    forward: (l) => operatorOf(l.node).forward?.(l),
    gradient: (l) => {
      if ((l.node.inputs[2] ?? "") !== "" && l.wants(2))
        throw unsupported(l.node, "no gradient with regard to the value");
      operatorOf(l.node).gradient?.(l);
    },
  },
};
