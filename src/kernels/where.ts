/** Where (ONNX opset 9 to 16): one of two tensors, element by element, by a third, all broadcast together. */
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { modelError, requireInput } from "./attributes.ts";
import { sumToInput } from "./binary.ts";
import { allValues, known, newData, worthEvaluating } from "./host.ts";
import { deviceInput } from "./lowering.ts";
import type { DeviceTensor, GradientLowering, Lowering, Operator } from "./operator.ts";
import { spread } from "./operator.ts";
import { broadcastShapes } from "./shape.ts";
import { boxParams, broadcastBox, walk } from "./strided.ts";

function dispatchWhere(
  l: Lowering,
  [condition, yes, no]: readonly [DeviceTensor, DeviceTensor, DeviceTensor],
  out: DeviceTensor,
  step: string,
): void {
  const count = sizeOf(out.shape);
  if (count === 0) return;
  const box = broadcastBox(out.shape, [condition.shape, yes.shape, no.shape]);
  l.dispatch({
    shader: "where",
    params: [count, box.length, 0, 0, ...boxParams(l, box)],
    reads: [condition.slot, yes.slot, no.slot],
    writes: [out.slot],
    workgroups: spread(Math.ceil(count / 64)),
    label: `${l.node.name}: ${step}`,
  });
}

function infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]): ValueInfo[] {
  const [condition, yes, no] = [0, 1, 2].map((k) => requireInput(node, inputs, k));
  if (condition === undefined || yes === undefined || no === undefined) return [];
  if (yes.type !== no.type)
    throw modelError(node, "INPUT_TYPE", `choices of types ${yes.type} and ${no.type} do not mix`);
  const { type } = yes;
  const shape = broadcastShapes(node, [condition.shape, yes.shape, no.shape]);
  const [c, a, b] = allValues(inputs) ?? [];
  if (c === undefined || a === undefined || b === undefined || !worthEvaluating(sizeOf(shape), inputs)) {
    return [{ type, shape }];
  }
  const data = newData(type, sizeOf(shape));
  const choose = (from: HostTensor, wanted: boolean): void => {
    let i = 0;
    walk({ dims: broadcastBox(shape, [c.shape, from.shape]), fromOffset: 0, toOffset: 0 }, (p, q) => {
      if ((c.data[p] !== 0) === wanted) data[i] = from.data[q] ?? 0;
      i++;
    });
  };
  choose(a, true);
  choose(b, false);
  return [known(type, shape, data)];
}

/** Each choice gets the output's gradient where it was taken, zero elsewhere; the condition gets none. */
function gradient(l: GradientLowering): void {
  const g = l.outputGradient(0);
  if (g === undefined) return;
  const condition = deviceInput(l, 0);
  const zero = l.constant("where: zero", () => ({ type: "float32", shape: [], data: Float32Array.of(0) }));
  for (const k of [1, 2]) {
    if (!l.wants(k)) continue;
    const whole = sizeOf(deviceInput(l, k).shape) === sizeOf(g.shape);
    const part = whole
      ? { slot: l.inputGradient(k).slot, shape: g.shape }
      : { slot: l.scratch(sizeOf(g.shape)), shape: g.shape };
    dispatchWhere(l, k === 1 ? [condition, g, zero] : [condition, zero, g], part, `gradient of input ${k}`);
    if (!whole) sumToInput(l, part, k);
  }
}

export const selection: Record<string, Operator> = {
  Where: {
    infer,
    forward: (l) => {
      dispatchWhere(l, [deviceInput(l, 0), deviceInput(l, 1), deviceInput(l, 2)], l.output(0), "choose");
    },
    gradient,
  },
};
