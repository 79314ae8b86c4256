/** Lowers the nodes of a graph, forward and backward, by asking each operator for its dispatches. */
import { UnbraidError, invariant, must } from "../errors.ts";
import { sizeOf, type GraphNode, type ShapedGraph } from "../graph/graph.ts";
import { neededNodes } from "../graph/prune.ts";
import { foursElements } from "../kernels/fours.ts";
import type { DeviceTensor, GradientLowering, Lowering, Slot } from "../kernels/operator.ts";
import { spread } from "../kernels/operator.ts";
import { operators } from "../kernels/table.ts";
import type { PlanBuilder } from "./builder.ts";
import { fuse, type Fused } from "./fuse.ts";
import { Stored } from "./stored.ts";

/**
 * @param fused what is done with the node's result as it is written
 * @param active whether a gradient will pass the node
 */
function lowering(builder: PlanBuilder, node: GraphNode, fused?: Fused, active = false): Lowering {
  const { graph } = builder;
  const nameOf = (k: number): string => node.inputs[k] ?? "";
  const outputOf = (k: number): string => fused?.output ?? must(node.outputs[k], `output ${k} of ${node.name}`);
  return {
    node,
    opset: graph.opset,
    subgroups: builder.subgroups,
    workgroupBytes: builder.workgroupBytes,
    tiles: builder.tiles,
    winograd: builder.winograd,
    input: (k) => (nameOf(k) === "" ? undefined : builder.value(nameOf(k))),
    info: (k) => (nameOf(k) === "" ? undefined : graph.values.get(nameOf(k))),
    output: (k) => builder.value(outputOf(k)),
    inputFours: (k) => builder.valueFours(nameOf(k)),
    standsInFours: (k) => builder.standsInFours(nameOf(k)),
    outputFours: (k) => builder.reserveFours(outputOf(k)),
    epilogue: {
      residual: fused?.residual === undefined ? undefined : builder.valueFours(fused.residual),
      clamp: fused?.clamp,
      sums: fused?.sums === true ? builder.reserveFours(must(node.outputs[0], `output of ${node.name}`)) : undefined,
    },
    alias: (k, from) => {
      builder.alias(outputOf(k), nameOf(from));
    },
    scratch: (elements) => builder.slot(elements),
    note: active ? (slot) => builder.notes.set(node, slot) : undefined,
    constant: (key, make, weights) => builder.constant(key, make, undefined, weights),
    dispatch: (call) => {
      builder.dispatch(call);
    },
  };
}

/**
 * Forward: every node that `wanted` needs. Nodes whose outputs are known only stand there for gradients.
 * @param active nodes that a gradient will pass
 * @param made told of every value when its dispatches stand, those that no node makes first
 */
export function lowerForward(
  builder: PlanBuilder,
  wanted: ReadonlySet<string>,
  active: ReadonlySet<GraphNode>,
  made: (name: string) => void = () => undefined,
): void {
  const known = (name: string): boolean => name === "" || builder.graph.values.get(name)?.value !== undefined;
  const nodes = neededNodes(builder.graph, wanted).filter((n) => !n.outputs.every(known));
  const hostOnly = nodes.filter((n) => operators.get(n.opType)?.forward === undefined);
  if (hostOnly.length > 0) {
    throw new UnbraidError(
      "unsupported",
      "OPERATOR_HOST_ONLY",
      `these operators are only supported where their inputs are constant, but depend on the network's input: ` +
        hostOnly.map((n) => `${n.opType} "${n.name}"`).join(", "),
      "Export the model with fixed shapes, or simplify it (constant folding).",
    );
  }
  const byNodes = new Set(nodes.flatMap((n) => n.outputs));
  for (const name of wanted) if (!byNodes.has(name)) made(name);
  const { byLast, before } = fuse(builder.graph, nodes, wanted, active, builder.winograd);
  for (const node of nodes) {
    if (before.has(node)) continue;
    const fused = byLast.get(node);
    const head = fused?.head ?? node;
    operators.get(head.opType)?.forward?.(lowering(builder, head, fused, active.has(head)));
    if (fused?.sums === true) head.outputs.forEach(made);
    node.outputs.forEach(made);
  }
}

/** Values that depend on any of `sources`, these included. */
function dependents(graph: ShapedGraph, sources: Iterable<string>): Set<string> {
  const reached = new Set(sources);
  for (const node of graph.nodes) {
    if (!node.inputs.some((i) => reached.has(i))) continue;
    for (const o of node.outputs) if (o !== "") reached.add(o); // "" is an output left out
  }
  return reached;
}

/** Nodes that a gradient of `of` with regard to `wrt` passes, in order. */
export function activeNodes(graph: ShapedGraph, of: string, wrt: readonly string[]): readonly GraphNode[] {
  const carries = dependents(graph, wrt);
  const path = neededNodes(graph, [of]).filter((n) => n.outputs.some((o) => carries.has(o)));
  return path.filter((n) => n.inputs.some((i) => carries.has(i)));
}

/** Gradients as they are made, by value: the contributions of the value's readers so far, added up when asked for. */
class Contributions {
  readonly #builder: PlanBuilder;
  readonly #lists = new Map<string, Stored[]>();
  /** How many nodes have yet to contribute. */
  readonly #missing = new Map<string, number>();

  constructor(builder: PlanBuilder, active: readonly GraphNode[], carries: ReadonlySet<string>) {
    this.#builder = builder;
    for (const node of active)
      for (const name of new Set(node.inputs))
        if (carries.has(name)) this.#missing.set(name, (this.#missing.get(name) ?? 0) + 1);
  }

  add(name: string, gradient: Stored): void {
    const list = this.#lists.get(name);
    if (list === undefined) this.#lists.set(name, [gradient]);
    else list.push(gradient);
  }

  /** A node has contributed to all of its inputs that it will. */
  passed(node: GraphNode): void {
    for (const name of new Set(node.inputs)) this.#missing.set(name, (this.#missing.get(name) ?? 1) - 1);
  }

  /** Whether one node alone has yet to contribute. */
  lastOne(name: string): boolean {
    return this.#missing.get(name) === 1;
  }

  total(name: string): Stored | undefined {
    const sum = this.#lists.get(name)?.reduce((a, b) => this.#sum(a, b, name));
    if (sum !== undefined) this.#lists.set(name, [sum]);
    return sum;
  }

  /** The total, which is then no longer counted here: its taker adds it to what it contributes. */
  take(name: string): Stored | undefined {
    const sum = this.total(name);
    this.#lists.delete(name);
    return sum;
  }

  #sum(a: Stored, b: Stored, name: string): Stored {
    const builder = this.#builder;
    const inFours = a.standsInFours && b.standsInFours;
    const label = `${name}: sum of gradients`;
    const sum = inFours ? Stored.reserveFours(builder, a.shape) : Stored.inRows(builder.tensor(a.shape));
    const slotOf = (t: Stored): Slot => (inFours ? t.fours(builder, label) : t.rows(builder, label)).slot;
    const fours = (inFours ? foursElements(a.shape) : 4 * Math.ceil(sizeOf(a.shape) / 4)) / 4;
    builder.dispatch({
      shader: "accumulate",
      params: [fours],
      reads: [slotOf(a), slotOf(b)],
      writes: [slotOf(sum)],
      workgroups: spread(Math.ceil(fours / 64)),
      label,
    });
    return sum;
  }
}

/**
 * Backward: d (sum of seed * of) / d each of `wrt`, no further back than needed.
 * @param seed device tensor shaped like `of`
 * @param made told of each gradient asked for, in the order in which they are made, when its dispatches stand
 * @throws UnbraidError GRADIENT_NONE where `of` does not depend on a value asked for; GRADIENT_UNSUPPORTED, listing all
 * nodes in between whose operator has no gradient
 */
export function lowerGradient(
  builder: PlanBuilder,
  of: string,
  seed: DeviceTensor,
  wrt: readonly string[],
  made: (name: string, gradient: Stored) => void = () => undefined,
): Map<string, Stored> {
  const { graph } = builder;
  const carries = dependents(graph, wrt);
  const active = activeNodes(graph, of, wrt);
  const lacking = active.filter((n) => operators.get(n.opType)?.gradient === undefined);
  if (lacking.length > 0) {
    throw new UnbraidError(
      "unsupported",
      "GRADIENT_UNSUPPORTED",
      `no gradient through ${lacking.map((n) => `${n.opType} "${n.name}"`).join(", ")}`,
      "Choose a layer after these nodes.",
    );
  }

  const contributions = new Contributions(builder, active, carries);
  contributions.add(of, Stored.inRows(seed));
  const found = new Map<string, Stored>();
  const wanted = new Set(wrt);
  const makerOf = new Map(active.flatMap((node) => node.outputs.map((name) => [name, node])));
  /** Relus whose step back was done by the reader of their result. */
  const done = new Set<GraphNode>();

  for (const node of active.toReversed()) {
    if (done.has(node)) continue;
    const gradients = node.outputs.map((o) => (o === "" ? undefined : contributions.total(o)));
    node.outputs.forEach((o, k) => {
      const g = gradients[k];
      if (g === undefined || !wanted.has(o)) return;
      found.set(o, g);
      made(o, g);
    });
    if (gradients.every((g) => g === undefined)) {
      contributions.passed(node);
      continue;
    }
    const given = new Map<number, Stored>();
    /** Input k's contribution is that of the value named so. */
    const renamed = new Map<number, string>();
    const nameOf = (k: number): string => node.inputs[k] ?? "";
    const shapeOf = (k: number): readonly number[] => must(graph.values.get(nameOf(k)), "input").shape;
    const l: GradientLowering = {
      ...lowering(builder, node),
      hasOutputGradient: (k) => gradients[k] !== undefined,
      outputGradient: (k) => gradients[k]?.rows(builder, `${node.outputs[k] ?? ""}: gradient`),
      outputGradientFours: (k) => gradients[k]?.fours(builder, `${node.outputs[k] ?? ""}: gradient`),
      noted: builder.notes.get(node),
      gradientStandsInFours: (k) => gradients[k]?.standsInFours === true,
      resultFours: (k) => builder.valueFours(must(node.outputs[k], `output ${k} of ${node.name}`)),
      wants: (k) => carries.has(nameOf(k)),
      inputGradient: (k) => {
        let g = given.get(k);
        if (g === undefined) {
          g = Stored.inRows(builder.tensor(shapeOf(k)));
          given.set(k, g);
        }
        return g.rows(builder, node.name);
      },
      inputGradientFours: (k) => {
        const g = Stored.reserveFours(builder, shapeOf(k));
        given.set(k, g);
        return g.fours(builder, node.name);
      },
      inputGradientFused: (k) => {
        const name = nameOf(k);
        const g = Stored.reserveFours(builder, shapeOf(k));
        given.set(k, g);
        const output = g.fours(builder, node.name);
        const once = node.inputs.filter((other) => other === name).length === 1;
        if (!once || !contributions.lastOne(name) || wanted.has(name)) return { output, epilogue: {} };
        const residual = contributions.take(name)?.fours(builder, `${name}: gradient`);
        const maker = makerOf.get(name);
        if (maker?.opType !== "Relu") return { output, epilogue: { residual } };
        done.add(maker);
        renamed.set(k, must(maker.inputs[0], "input of Relu"));
        return { output, epilogue: { residual, mask: builder.valueFours(name) } };
      },
      passGradient: (k, from) => {
        const g = must(gradients[from], `gradient of output ${from} of ${node.name}`);
        const shape = shapeOf(k);
        invariant(sizeOf(shape) === sizeOf(g.shape), `${node.name} passes a gradient of another size`);
        const same = shape.join() === g.shape.join();
        given.set(k, same ? g : Stored.inRows({ slot: g.rows(builder, node.name).slot, shape }));
      },
    };
    operators.get(node.opType)?.gradient?.(l);
    for (const [k, g] of given) contributions.add(renamed.get(k) ?? nameOf(k), g);
    contributions.passed(node);
    // The Relu that was stepped back over has contributed to its input.
    for (const k of renamed.keys()) {
      const maker = makerOf.get(nameOf(k));
      if (maker !== undefined) contributions.passed(maker);
    }
  }
  for (const name of wrt) {
    if (found.has(name)) continue;
    const g = contributions.total(name);
    if (g === undefined) {
      const how = dependents(graph, [name]).has(of) ? " but through integers, comparisons or sizes" : "";
      throw new UnbraidError(
        "input",
        "GRADIENT_NONE",
        `"${of}" does not depend on "${name}"${how}`,
        "Ask for the gradient with regard to a value that comes before it.",
      );
    }
    found.set(name, g);
    made(name, g);
  }
  return found;
}
