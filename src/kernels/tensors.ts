/** Shape, Size, ConstantOfShape, Range, Cast, CastLike, Dropout: tensors made of what is known of others. */
import type { ElementType, GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import {
  intAttr,
  intsInput,
  modelError,
  requireInput,
  required,
  scalarInput,
  tensorAttr,
  unsupported,
} from "./attributes.ts";
import { known, knownInts, newData, reshaped, worthEvaluating } from "./host.ts";
import { hasOutput } from "./lowering.ts";
import { infosOf, memory } from "./movement.ts";
import type { Operator } from "./operator.ts";
import { checkedShape } from "./shape.ts";
import { dispatchFill } from "./strided.ts";
import { dispatchUnary } from "./unary.ts";

type Inputs = readonly (ValueInfo | undefined)[];

/** Shape, with start and end from opset 15 on: clamped, counted from the end where negative. */
function shapeOf(node: GraphNode, inputs: Inputs): ValueInfo {
  const { shape } = requireInput(node, inputs, 0);
  return knownInts(shape.slice(intAttr(node, "start", 0), intAttr(node, "end", shape.length)));
}

const fillOf = (node: GraphNode): number => tensorAttr(node, "value")?.data[0] ?? 0;

function constantOfShape(node: GraphNode, inputs: Inputs): ValueInfo {
  const dims = intsInput(node, inputs, 0, "shape");
  const shape = checkedShape(node, required(node, "input 0", dims));
  const type: ElementType = tensorAttr(node, "value")?.type ?? "float32";
  if (!worthEvaluating(sizeOf(shape), inputs)) return { type, shape };
  return known(type, shape, newData(type, sizeOf(shape)).fill(fillOf(node)));
}

function range(node: GraphNode, inputs: Inputs): ValueInfo {
  const { type } = requireInput(node, inputs, 0);
  const [start, limit, delta] = ["start", "limit", "delta"].map((what, k) => {
    requireInput(node, inputs, k);
    return required(node, what, scalarInput(node, inputs, k, what));
  });
  if (start === undefined || limit === undefined || delta === undefined) return { type, shape: [0] };
  const count = Math.max(0, Math.ceil((limit - start) / delta));
  if (delta === 0 || !Number.isFinite(count)) {
    throw modelError(node, "SHAPE", `from ${start} to ${limit} in steps of ${delta} there is no end`);
  }
  if (!worthEvaluating(count, inputs)) throw unsupported(node, `a range of ${count} numbers is too long`);
  const data = newData(type, count);
  for (let i = 0; i < count; i++) data[i] = start + i * delta;
  return known(type, [count], data);
}

/** TensorProto.DataType by number: what a Cast to it gives here, and the range that integers wrap around in. */
const castTypes = new Map<number, { type: ElementType; bits?: number; signed?: boolean }>([
  ...[1, 10, 11, 16].map((code) => [code, { type: "float32" }] as const),
  [2, { type: "int64", bits: 8, signed: false }],
  [3, { type: "int64", bits: 8, signed: true }],
  [4, { type: "int64", bits: 16, signed: false }],
  [5, { type: "int64", bits: 16, signed: true }],
  [6, { type: "int64", bits: 32, signed: true }],
  [7, { type: "int64" }],
  [9, { type: "bool" }],
  [12, { type: "int64", bits: 32, signed: false }],
  [13, { type: "int64" }],
]);

function castTarget(node: GraphNode, inputs: Inputs): { type: ElementType; bits?: number; signed?: boolean } {
  if (node.opType === "CastLike") return { type: requireInput(node, inputs, 1).type };
  const code = required(node, "to", intAttr(node, "to"));
  const target = castTypes.get(code);
  if (target === undefined) throw unsupported(node, `no cast to ONNX element type ${code}`);
  return target;
}

function convert(x: number, { type, bits, signed }: { type: ElementType; bits?: number; signed?: boolean }): number {
  if (type === "float32") return x;
  if (type === "bool") return x === 0 ? 0 : 1;
  // No integer is like NaN; numpy's choice for it depends on the processor.
  const whole = Number.isNaN(x) ? 0 : Math.trunc(x);
  if (bits === undefined || !Number.isSafeInteger(whole)) return whole;
  const low = BigInt(whole);
  return Number(signed === true ? BigInt.asIntN(bits, low) : BigInt.asUintN(bits, low));
}

/**
 * Tensors are float32 on the device, whatever their type: a cast to float changes nothing there, one to an integer
 * type cuts off the fraction (and does not wrap around), one to bool gives 0 or 1. Casts on the host wrap around as C's do.
 */
const cast: Operator = {
  infer: (node, inputs) => {
    const { shape, value } = requireInput(node, inputs, 0);
    const target = castTarget(node, inputs);
    if (value === undefined) return [{ type: target.type, shape }];
    const data = newData(target.type, value.data.length);
    value.data.forEach((x, i) => {
      data[i] = convert(x, target);
    });
    return [known(target.type, shape, data)];
  },
  forward: (l) => {
    const from = l.info(0)?.type;
    const { type } = castTarget(l.node, infosOf(l));
    if (type === "float32" || type === from || from === "bool") l.alias(0, 0);
    else dispatchUnary(l, type === "bool" ? "Nonzero" : "Truncate");
  },
  // Integers have no gradient: what goes through them contributes nothing, as in PyTorch.
  gradient: (l) => {
    const { type } = castTarget(l.node, infosOf(l));
    if (l.wants(0) && type === "float32" && l.info(0)?.type === "float32") l.passGradient(0, 0);
  },
};

/** Inference: the data goes through, the mask is all true. */
const dropout: Operator = {
  infer: (node, inputs) => {
    const { type, shape, value } = requireInput(node, inputs, 0);
    const training = inputs[2] === undefined ? 0 : scalarInput(node, inputs, 2, "training_mode");
    const ratio = inputs[1]?.value?.data[0];
    if (training !== 0 && ratio !== 0) {
      throw unsupported(node, "training mode draws random numbers", "Export the model in evaluation mode.");
    }
    if (value === undefined)
      return [
        { type, shape },
        { type: "bool", shape },
      ];
    return [reshaped(value, shape), known("bool", shape, newData("bool", sizeOf(shape)).fill(1))];
  },
  forward: (l) => {
    l.alias(0, 0);
    if (hasOutput(l, 1)) dispatchFill(l, memory(l.output(1)), 1, "mask");
  },
  gradient: (l) => {
    if (l.wants(0) && l.outputGradient(0) !== undefined) l.passGradient(0, 0);
  },
};

export const tensors: Record<string, Operator> = {
  Shape: { infer: (node, inputs) => [shapeOf(node, inputs)] },
  Size: { infer: (node, inputs) => [known("int64", [], Float64Array.of(sizeOf(requireInput(node, inputs, 0).shape)))] },
  ConstantOfShape: {
    infer: (node, inputs) => [constantOfShape(node, inputs)],
    forward: (l) => {
      dispatchFill(l, memory(l.output(0)), fillOf(l.node), "fill");
    },
  },
  Range: { infer: (node, inputs) => [range(node, inputs)] },
  Cast: cast,
  CastLike: cast,
  Dropout: dropout,
};
