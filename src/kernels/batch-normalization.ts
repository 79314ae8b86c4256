/**
 * BatchNormalization at inference (ONNX opsets 7 to 15): input [N, C, ...], scale, bias, mean and variance [C]; with the
 * old attribute `spatial` = 0 (opsets 7 and 8) they are [C, ...], one set an activation. Where it follows a Conv it is
 * folded away before it comes here, except at a layer under study.
 */
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { floatAttr, intAttr, modelError, requireInput, unsupported } from "./attributes.ts";
import { deviceInput, dispatchElements } from "./lowering.ts";
import type { Lowering, Operator, Param } from "./operator.ts";
import { f32 } from "./operator.ts";
import { batchNormParameterGradients } from "./parameter-gradients.ts";
import { sameShape, showShape } from "./shape.ts";

const PARAMETERS = ["", "scale", "bias", "mean", "variance"];

/** Shape of each parameter. */
function parameterShape(node: GraphNode, shape: readonly number[], opset: number): readonly number[] {
  if (shape.length < 2) throw modelError(node, "SHAPE", `input ${showShape(shape)} is not [N,C,...]`);
  const each = opset < 9 && intAttr(node, "spatial", 1) === 0;
  return shape.slice(1, each ? undefined : 2);
}

function infer(node: GraphNode, inputs: readonly (ValueInfo | undefined)[], opset: number): ValueInfo[] {
  const x = requireInput(node, inputs, 0);
  const extra = node.outputs.slice(1).filter((o) => o !== "");
  if ((opset >= 14 && intAttr(node, "training_mode", 0) !== 0) || extra.length > 0) {
    throw unsupported(
      node,
      "is in training mode (statistics of the batch, or outputs beyond the first)",
      "Export the model in evaluation mode: model.eval() in PyTorch, training=False in Keras.",
    );
  }
  const wanted = parameterShape(node, x.shape, opset);
  for (let k = 1; k < PARAMETERS.length; k++) {
    const { shape } = requireInput(node, inputs, k);
    if (!sameShape(shape, wanted)) {
      throw modelError(
        node,
        "SHAPE",
        `${PARAMETERS[k] ?? ""} has shape ${showShape(shape)}, but an input of ${showShape(x.shape)} needs ${showShape(wanted)}`,
      );
    }
  }
  return [{ type: x.type, shape: x.shape }];
}

interface Parts {
  readonly count: number;
  readonly channels: number;
  readonly inner: number;
  readonly epsilon: number;
  readonly params: readonly Param[];
}

function partsOf(l: Lowering): Parts {
  const { shape } = deviceInput(l, 0);
  const count = sizeOf(shape);
  const channels = sizeOf(parameterShape(l.node, shape, l.opset));
  const inner = count === 0 ? 1 : count / (channels * (shape[0] ?? 1));
  const epsilon = floatAttr(l.node, "epsilon", 1e-5);
  return { count, channels, inner, epsilon, params: [count, channels, inner, f32(epsilon)] };
}

const BatchNormalization: Operator = {
  infer,
  forward(l) {
    const { count, params } = partsOf(l);
    dispatchElements(l, count, {
      shader: "batch_norm",
      entry: "forward",
      params,
      // x, scale, variance, mean, bias
      reads: [0, 1, 4, 3, 2].map((k) => deviceInput(l, k).slot),
      writes: [l.output(0).slot],
    });
  },
  gradient(l) {
    const dy = l.outputGradient(0);
    if (dy === undefined) return;
    const parts = partsOf(l);
    batchNormParameterGradients(l, parts, dy);
    if (!l.wants(0)) return;
    const { count, params } = parts;
    dispatchElements(l, count, {
      shader: "batch_norm",
      entry: "gradient",
      params,
      reads: [dy.slot, deviceInput(l, 1).slot, deviceInput(l, 4).slot],
      writes: [l.inputGradient(0).slot],
    });
  },
};

export const batchNormalization: Record<string, Operator> = { BatchNormalization };
