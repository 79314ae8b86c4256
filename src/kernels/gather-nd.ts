/**
 * GatherND (ONNX opset 11 to 13): slices of a tensor picked by a list of index tuples. PyTorch's newer exporter writes
 * x[:, :, indices] so, and interpolation of signals with it. Each tuple is turned into one position in the axes that it
 * goes through, and the rest is Gather.
 */
import type { GraphNode, HostTensor, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import { intAttr, modelError, requireInput } from "./attributes.ts";
import { checkCounts, pick, pickGradient, pickOnHost, type Picking } from "./gather.ts";
import { allValues, known, newData, worthEvaluating } from "./host.ts";
import { deviceInput, dispatchElements } from "./lowering.ts";
import { infosOf } from "./movement.ts";
import type { GradientLowering, Lowering, Operator, Slot } from "./operator.ts";
import { checkedShape, showShape } from "./shape.ts";

/** Data [batch..., sizes..., inner...] and tuples [batch..., tuples..., sizes.length], seen as one list of positions. */
interface Tuples {
  readonly picking: Picking;
  readonly shape: readonly number[];
  /** Sizes of the axes that a tuple goes through. */
  readonly sizes: readonly number[];
  /** Tuples for each element of the batch. */
  readonly each: number;
}

function tuplesOf(node: GraphNode, inputs: readonly (ValueInfo | undefined)[]): Tuples {
  const data = requireInput(node, inputs, 0).shape;
  const indices = requireInput(node, inputs, 1);
  const batchDims = intAttr(node, "batch_dims", 0);
  const length = indices.shape.at(-1) ?? 0;
  const both = `data ${showShape(data)} and indices ${showShape(indices.shape)}`;
  if (batchDims < 0 || batchDims >= Math.min(data.length, indices.shape.length)) {
    throw modelError(node, "ATTRIBUTE", `batch_dims ${batchDims} does not fit ${both}`);
  }
  if (length < 1 || length > data.length - batchDims) {
    throw modelError(node, "SHAPE", `tuples of ${length} do not fit ${both} with batch_dims ${batchDims}`);
  }
  const batch = data.slice(0, batchDims);
  if (batch.some((d, k) => d !== indices.shape[k])) {
    throw modelError(node, "SHAPE", `${both} differ in the first ${batchDims} sizes`);
  }
  const sizes = data.slice(batchDims, batchDims + length);
  const inner = data.slice(batchDims + length);
  const between = indices.shape.slice(batchDims, -1);
  const shape = checkedShape(node, [...batch, ...between, ...inner]);
  const each = sizeOf(between);
  const picking = {
    ...{ outer: 1, size: sizeOf(batch) * sizeOf(sizes), picked: sizeOf(batch) * each },
    inner: sizeOf(inner),
  };
  checkCounts(node, picking);
  return { picking, shape, sizes, each };
}

/** The position that each known tuple stands for. @throws UnbraidError INDEX */
function positions(node: GraphNode, { sizes, each, picking }: Tuples, tuples: HostTensor): Float64Array {
  const list = new Float64Array(picking.picked);
  for (let n = 0; n < list.length; n++) {
    let at = Math.floor(n / each);
    sizes.forEach((size, j) => {
      const i = tuples.data[n * sizes.length + j] ?? NaN;
      if (!Number.isInteger(i) || i < -size || i >= size) {
        throw modelError(node, "INDEX", `index ${i} of tuple ${n} is outside an axis of ${size}`);
      }
      at = at * size + (i < 0 ? i + size : i);
    });
    list[n] = at;
  }
  return list;
}

const keyOf = ({ sizes, each }: Tuples, tuples: HostTensor): string =>
  `gathernd: ${tensorKey(tuples)} in ${sizes.join("x")}, ${each} each`;

/** The positions on the device: uploaded where the tuples are known, else computed there. */
function positionsOnDevice(l: Lowering, t: Tuples): Slot {
  const tuples = l.info(1)?.value;
  if (tuples !== undefined) {
    return l.constant(keyOf(t, tuples), () => {
      return { type: "int64", shape: [t.picking.picked], data: positions(l.node, t, tuples) };
    }).slot;
  }
  const sizes = l.constant(`gathernd: sizes ${t.sizes.join("x")}`, () => {
    return { type: "int64", shape: [t.sizes.length], data: Float64Array.from(t.sizes) };
  }).slot;
  const to = l.scratch(t.picking.picked);
  dispatchElements(l, t.picking.picked, {
    ...{ shader: "gather", entry: "positions", params: [t.picking.picked, t.sizes.length, t.each, 0] },
    ...{ reads: [deviceInput(l, 1).slot, sizes], writes: [to] },
  });
  return to;
}

function gradient(l: GradientLowering): void {
  const g = l.outputGradient(0);
  if (g === undefined || !l.wants(0)) return;
  const t = tuplesOf(l.node, infosOf(l));
  const tuples = l.info(1)?.value;
  const indices =
    tuples === undefined
      ? { slot: positionsOnDevice(l, t) }
      : { list: positions(l.node, t, tuples), key: `${keyOf(t, tuples)}, inverted` };
  pickGradient(l, t.picking, g.slot, indices, l.inputGradient(0).slot);
}

export const gatheringTuples: Record<string, Operator> = {
  GatherND: {
    infer: (node, inputs) => {
      const t = tuplesOf(node, inputs);
      const { type } = requireInput(node, inputs, 0);
      const tuples = inputs[1]?.value;
      const list = tuples === undefined ? undefined : positions(node, t, tuples);
      const [data] = allValues(inputs) ?? [];
      if (data === undefined || list === undefined || !worthEvaluating(sizeOf(t.shape), inputs))
        return [{ type, shape: t.shape }];
      const out = newData(type, sizeOf(t.shape));
      pickOnHost(data.data, t.picking, list, out);
      return [known(type, t.shape, out)];
    },
    forward: (l) => {
      const t = tuplesOf(l.node, infosOf(l));
      if (t.picking.picked * t.picking.inner === 0) return;
      pick(l, t.picking, deviceInput(l, 0).slot, positionsOnDevice(l, t), l.output(0).slot);
    },
    gradient,
  },
};
