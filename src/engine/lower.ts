/** Lowers the nodes of a graph, forward and backward, by asking each operator for its dispatches. */
import { UnbraidError, invariant, must } from "../errors.ts";
import { sizeOf, type GraphNode, type ShapedGraph } from "../graph/graph.ts";
import { neededNodes } from "../graph/prune.ts";
import type { DeviceTensor, GradientLowering, Lowering } from "../kernels/operator.ts";
import { spread } from "../kernels/operator.ts";
import { operators } from "../kernels/table.ts";
import type { PlanBuilder } from "./builder.ts";

function lowering(builder: PlanBuilder, node: GraphNode): Lowering {
  const { graph } = builder;
  const nameOf = (k: number): string => node.inputs[k] ?? "";
  return {
    node,
    opset: graph.opset,
    subgroups: builder.subgroups,
    input: (k) => (nameOf(k) === "" ? undefined : builder.value(nameOf(k))),
    info: (k) => (nameOf(k) === "" ? undefined : graph.values.get(nameOf(k))),
    output: (k) => builder.value(must(node.outputs[k], `output ${k} of ${node.name}`)),
    alias: (k, from) => {
      builder.bind(must(node.outputs[k], `output ${k} of ${node.name}`), builder.value(nameOf(from)));
    },
    scratch: (elements) => builder.slot(elements),
    constant: (key, make) => builder.constant(key, make),
    dispatch: (call) => {
      builder.dispatch(call);
    },
  };
}

/**
 * Forward: every node that `wanted` needs. Nodes whose outputs are known only stand there for gradients.
 * @param made told of every value when its dispatches stand, those that no node makes first
 */
export function lowerForward(
  builder: PlanBuilder,
  wanted: ReadonlySet<string>,
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
  for (const node of nodes) {
    operators.get(node.opType)?.forward?.(lowering(builder, node));
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
  made: (name: string, gradient: DeviceTensor) => void = () => undefined,
): Map<string, DeviceTensor> {
  const { graph } = builder;
  const carries = dependents(graph, wrt);
  const path = neededNodes(graph, [of]).filter((n) => n.outputs.some((o) => carries.has(o)));
  const active = path.filter((n) => n.inputs.some((i) => carries.has(i)));
  const lacking = active.filter((n) => operators.get(n.opType)?.gradient === undefined);
  if (lacking.length > 0) {
    throw new UnbraidError(
      "unsupported",
      "GRADIENT_UNSUPPORTED",
      `no gradient through ${lacking.map((n) => `${n.opType} "${n.name}"`).join(", ")}`,
      "Choose a layer after these nodes.",
    );
  }

  const contributions = new Map<string, DeviceTensor[]>([[of, [seed]]]);
  const total = (name: string): DeviceTensor | undefined => {
    const parts = contributions.get(name);
    if (parts === undefined) return undefined;
    const sum = parts.reduce((a, b) => add(builder, a, b, name));
    contributions.set(name, [sum]);
    return sum;
  };
  const found = new Map<string, DeviceTensor>();
  const wanted = new Set(wrt);
  for (const node of active.toReversed()) {
    const gradients = node.outputs.map((o) => (o === "" ? undefined : total(o)));
    node.outputs.forEach((o, k) => {
      const g = gradients[k];
      if (g === undefined || !wanted.has(o)) return;
      found.set(o, g);
      made(o, g);
    });
    if (gradients.every((g) => g === undefined)) continue;
    const given = new Map<number, DeviceTensor>();
    const l: GradientLowering = {
      ...lowering(builder, node),
      outputGradient: (k) => gradients[k],
      wants: (k) => carries.has(node.inputs[k] ?? ""),
      inputGradient: (k) => {
        let g = given.get(k);
        if (g === undefined) {
          g = builder.tensor(must(graph.values.get(node.inputs[k] ?? ""), "input").shape);
          given.set(k, g);
        }
        return g;
      },
      passGradient: (k, from) => {
        const shape = must(graph.values.get(node.inputs[k] ?? ""), "input").shape;
        const g = must(gradients[from], `gradient of output ${from} of ${node.name}`);
        invariant(sizeOf(shape) === sizeOf(g.shape), `${node.name} passes a gradient of another size`);
        given.set(k, { slot: g.slot, shape });
      },
    };
    operators.get(node.opType)?.gradient?.(l);
    for (const [k, g] of given) {
      const name = node.inputs[k] ?? "";
      const list = contributions.get(name);
      if (list === undefined) contributions.set(name, [g]);
      else list.push(g);
    }
  }
  for (const name of wrt) {
    if (found.has(name)) continue;
    const g = total(name);
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

function add(builder: PlanBuilder, a: DeviceTensor, b: DeviceTensor, name: string): DeviceTensor {
  const sum = builder.tensor(a.shape);
  const fours = Math.ceil(sizeOf(a.shape) / 4);
  builder.dispatch({
    shader: "accumulate",
    params: [fours],
    reads: [a.slot, b.slot],
    writes: [sum.slot],
    workgroups: spread(Math.ceil(fours / 64)),
    label: `${name}: sum of gradients`,
  });
  return sum;
}
