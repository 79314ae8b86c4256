/**
 * Operators that only move elements. Each says, once, where the elements of its outputs come from; host evaluation,
 * forward and gradient follow from that.
 */
import { invariant } from "../errors.ts";
import type { GraphNode, ValueInfo } from "../graph/graph.ts";
import { sizeOf } from "../graph/graph.ts";
import { requireInput } from "./attributes.ts";
import { known, newData, reshaped, worthEvaluating } from "./host.ts";
import type { DeviceTensor, GradientLowering, Lowering, Operator } from "./operator.ts";
import { checkedShape, sameShape, stridesOf } from "./shape.ts";
import type { Memory, StridedCopy } from "./strided.ts";
import { boxSize, collapse, dispatchCopy, dispatchFill, reversed, walk } from "./strided.ts";
import { sumOver } from "./sum-to.ts";

/** One box of an output, and the input that it comes from. */
export interface Placement {
  readonly input: number;
  readonly copy: StridedCopy;
}

/** How one output is made: of `fill` where given, then of boxes. */
export interface Movement {
  readonly shape: readonly number[];
  readonly fill?: number;
  readonly placements: readonly Placement[];
}

/** The movements of a node's outputs, from what is known of its inputs. */
export type MovementRule = (
  node: GraphNode,
  inputs: readonly (ValueInfo | undefined)[],
  opset: number,
) => readonly Movement[];

export const memory = (t: DeviceTensor): Memory => ({ slot: t.slot, elements: sizeOf(t.shape) });

export const infosOf = (l: Pick<Lowering, "node" | "info">): (ValueInfo | undefined)[] =>
  l.node.inputs.map((_, k) => l.info(k));

/** Whether the output is the input's memory, element for element. */
function isAlias(movement: Movement, l: Lowering): number | undefined {
  const [only, ...more] = movement.placements;
  if (only === undefined || more.length > 0 || movement.fill !== undefined) return undefined;
  const size = sizeOf(movement.shape);
  const source = l.info(only.input);
  const dims = collapse(only.copy.dims);
  const straight = dims.length <= 1 && dims.every((d) => d.strides.every((s) => s === 1));
  const whole = source !== undefined && sizeOf(source.shape) === size && boxSize(dims) === size;
  return straight && whole && only.copy.fromOffset === 0 && only.copy.toOffset === 0 ? only.input : undefined;
}

function forward(l: Lowering, rule: MovementRule): void {
  rule(l.node, infosOf(l), l.opset).forEach((movement, o) => {
    if ((l.node.outputs[o] ?? "") === "") return;
    const same = isAlias(movement, l);
    if (same !== undefined) {
      l.alias(o, same);
      return;
    }
    const output = memory(l.output(o));
    if (movement.fill !== undefined) dispatchFill(l, output, movement.fill, "fill");
    for (const { input, copy } of movement.placements) {
      const from = l.input(input);
      invariant(from !== undefined, `input ${input} of ${l.node.name}`);
      dispatchCopy(l, copy, memory(from), output, `copy input ${input}`);
    }
  });
}

/** The gradient of one input: every box goes back to where it came from, and what was read repeatedly is summed. */
function inputGradient(l: GradientLowering, k: number, movements: readonly Movement[]): void {
  const found = movements.flatMap((movement, o) => {
    const gradient = (l.node.outputs[o] ?? "") === "" ? undefined : l.outputGradient(o);
    if (gradient === undefined) return [];
    return movement.placements.flatMap((p) => (p.input === k ? [{ o, movement, gradient, copy: p.copy }] : []));
  });
  const [first] = found;
  if (first === undefined) return;
  if (found.length === 1 && isAlias(first.movement, l) === k) {
    l.passGradient(k, first.o);
    return;
  }
  const target = memory(l.inputGradient(k));
  if (target.elements === 0) return;
  const repeated = first.copy.dims.some((d) => d.size > 1 && d.strides[0] === 0);
  if (repeated) {
    invariant(found.length === 1 && first.copy.fromOffset === 0, "a repeated input is read by one box");
    const place = first.copy.dims
      .filter((d) => d.size !== 1)
      .map(({ size, strides: [from = 0, to = 0] }) => ({ from, dim: { size, strides: [to] } }));
    const kept = place.filter((d) => d.from !== 0);
    const inOrder = sameShape(
      kept.map((d) => d.from),
      stridesOf(kept.map((d) => d.dim.size)),
    );
    invariant(first.copy.toOffset === 0 && inOrder, "a repeated input is read in order, into the whole output");
    const summed = place.filter((d) => d.from === 0);
    sumOver(
      l,
      first.gradient.slot,
      kept.map((d) => d.dim),
      summed.map((d) => d.dim),
      target.slot,
      1,
      "gradient",
    );
    return;
  }
  // Every element of an input is read at most once: the boxes are disjoint in it.
  const covered = found.reduce((n, { copy }) => n + boxSize(copy.dims), 0);
  if (covered < target.elements) dispatchFill(l, target, 0, "gradient, elements not used");
  for (const { gradient, copy } of found) dispatchCopy(l, reversed(copy), memory(gradient), target, "gradient");
}

/** An operator whose outputs are of the type of input 0, and made of boxes of its inputs. */
export function movementOperator(rule: MovementRule): Operator {
  return {
    infer: (node, inputs, opset) => {
      const { type } = requireInput(node, inputs, 0);
      return rule(node, inputs, opset).map((movement) => {
        const shape = checkedShape(node, movement.shape);
        const size = sizeOf(shape);
        const sources = movement.placements.map((p) => inputs[p.input]?.value);
        if (!worthEvaluating(size, inputs) || sources.includes(undefined)) return { type, shape };
        const data = newData(type, size).fill(movement.fill ?? 0);
        movement.placements.forEach((p, i) => {
          const source = sources[i];
          if (source === undefined) return;
          walk(p.copy, (from, to) => {
            data[to] = source.data[from] ?? 0;
          });
        });
        return known(type, shape, data);
      });
    },
    forward: (l) => {
      forward(l, rule);
    },
    gradient: (l) => {
      const movements = rule(l.node, infosOf(l), l.opset);
      l.node.inputs.forEach((_, k) => {
        if (l.wants(k)) inputGradient(l, k, movements);
      });
    },
  };
}

/** An operator that gives input 0 another shape. */
export function reshapeOperator(
  rule: (node: GraphNode, inputs: readonly (ValueInfo | undefined)[], opset: number) => readonly number[],
): Operator {
  return {
    infer: (node, inputs, opset) => {
      const { type, value } = requireInput(node, inputs, 0);
      const shape = checkedShape(node, rule(node, inputs, opset));
      return [value === undefined ? { type, shape } : reshaped(value, shape)];
    },
    forward: (l) => {
      l.alias(0, 0);
    },
    gradient: (l) => {
      if (l.wants(0)) l.passGradient(0, 0);
    },
  };
}
