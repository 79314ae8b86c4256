/** A plan: the dispatches of one graph for fixed input shapes, and the memory they need. No device is involved yet. */
import { UnbraidError } from "../errors.ts";
import { inlineBranches } from "../graph/branches.ts";
import { foldBatchNorm } from "../graph/fold-batchnorm.ts";
import type { Graph, GraphInput, GraphNode, HostTensor, ShapedGraph } from "../graph/graph.ts";
import { mergeSwish } from "../graph/merge-swish.ts";
import { inferShapes } from "../graph/infer.ts";
import { nearest } from "../graph/names.ts";
import type { FoursTensor } from "../kernels/fours.ts";
import type { Capabilities, DeviceTensor, KernelCall, Slot } from "../kernels/operator.ts";
import { inferRule } from "../kernels/table.ts";
import { PlanBuilder, type SlotKind } from "./builder.ts";
import { activeNodes, lowerForward, lowerGradient } from "./lower.ts";
import type { Precision } from "./precision.ts";
import type { Stored } from "./stored.ts";
import { assignBuffers, largestLiveSet, type Lifetime } from "./memory.ts";

/** What a caller may add to a plan: its own dispatches, run in the same submission. */
export interface Extension {
  /** As in Lowering. */
  readonly subgroups: number;
  readonly workgroupBytes: number;
  /**
   * A value of the graph, among the request's `outputs` or `visible`.
   * @throws UnbraidError VALUE_NOT_VISIBLE where it is not
   */
  value(name: string): DeviceTensor;
  /** The gradient with regard to a value among `wrt`, once it is made. */
  gradient(name: string): DeviceTensor;
  /** `value` in fours (kernels/fours.ts), for images. */
  valueFours(name: string): FoursTensor;
  /** `gradient` in fours. */
  gradientFours(name: string): FoursTensor;
  /** A buffer that the host fills before each run. */
  input(name: string, shape: readonly number[]): DeviceTensor;
  constant(key: string, make: () => HostTensor): DeviceTensor;
  scratch(elements: number): Slot;
  /** A new buffer that can be read back after the run under `name`. */
  result(name: string, shape: readonly number[]): DeviceTensor;
  dispatch(call: KernelCall): void;
}

/** Nodes that a plan runs beside the network's own, on any of its values: the network itself stays as it is. */
export interface Beside {
  /** In topological order; outputs are new names. */
  readonly nodes: readonly GraphNode[];
  /** What the host gives them, also under new names; shapes stand among the request's `inputs`. */
  readonly inputs: readonly GraphInput[];
}

export interface PlanRequest {
  /** Shape of every graph input. */
  readonly inputs: ReadonlyMap<string, readonly number[]>;
  /** Values to be read back, by name: any value of the graph. */
  readonly outputs: readonly string[];
  /** Values that `extend` uses: they stay visible to it, but are not kept for reading back. */
  readonly visible?: readonly string[];
  /** Gradients of sum(seed * of); `seed` is an input named by `seedName(of)`. Read back under `gradientName(value)`. */
  readonly gradient?: { readonly of: string; readonly wrt: readonly string[]; readonly read?: boolean };
  readonly beside?: Beside;
  /** No Winograd: every convolution then adds products up in the plain order, as the error bound of a split supposes. */
  readonly plainSums?: boolean;
  /**
   * How weights, and values that are not to be seen, are stored: float32 unless told. Gradients, and all that `outputs`,
   * `visible` and `gradient.of` name, are float32.
   */
  readonly precision?: Precision | undefined;
  /** Adds dispatches after the network's: all that they read keeps its memory to the end. */
  readonly extend?: (extension: Extension) => void;
  /**
   * Adds dispatches right behind those that make a value, or a gradient of `gradient.wrt`: what is consumed as it is made
   * gives its memory back. Called for each value that is visible (`outputs`, `visible`), then for each gradient.
   */
  readonly follow?: {
    readonly value?: (name: string, extension: Extension) => void;
    readonly gradient?: (name: string, extension: Extension) => void;
  };
}

export const seedName = (of: string): string => `seed of ${of}`;
export const gradientName = (value: string): string => `gradient of ${value}`;

export interface PlannedSlot {
  readonly kind: SlotKind;
  readonly bytes: number;
  /** Index into Plan.bufferBytes; -1 for constants, which live in the session's weight store, and for slots never used. */
  readonly buffer: number;
  /** Of its elements; float32 unless told. */
  readonly precision?: Precision | undefined;
  readonly key?: string;
  readonly make?: () => HostTensor;
}

export interface Plan {
  readonly calls: readonly KernelCall[];
  readonly slots: readonly PlannedSlot[];
  readonly bufferBytes: readonly number[];
  /** Most bytes alive at once, weights apart: the floor of what any plan needs. */
  readonly liveBytes: number;
  readonly inputs: ReadonlyMap<string, DeviceTensor>;
  readonly results: ReadonlyMap<string, DeviceTensor>;
}

/** What any adapter has: no subgroups, and the workgroup memory that WebGPU guarantees. */
const PLAIN: Capabilities = { subgroups: 0, workgroupBytes: 16384 };

/** The graph with the nodes of `beside` behind its own: their inputs are then all known before them. */
function joined(graph: Graph, beside: Beside | undefined): Graph {
  if (beside === undefined) return graph;
  return { ...graph, nodes: [...graph.nodes, ...beside.nodes], inputs: [...graph.inputs, ...beside.inputs] };
}

/**
 * Inference drops nodes that make constants of constants, an Identity between a stored weight and its reader for one.
 * Where the gradient with regard to such a constant is wanted they are its path, and return; their outputs stay known,
 * so that the forward pass is what it was.
 */
function withConstantPaths(
  shaped: ShapedGraph,
  whole: Graph,
  wrt: readonly string[],
): { graph: ShapedGraph; onPath: ReadonlySet<string> } {
  const onPath = new Set(wrt.filter((name) => shaped.constants.has(name)));
  if (onPath.size === 0) return { graph: shaped, onPath };
  const kept = new Set(shaped.nodes);
  const nodes = whole.nodes.filter((node) => {
    if (kept.has(node)) return true;
    // Sizes and comparisons pass no gradient on.
    const real = node.outputs.some((name) => shaped.values.get(name)?.type === "float32");
    if (!real || !node.inputs.some((name) => onPath.has(name))) return false;
    for (const name of node.outputs) if (name !== "") onPath.add(name);
    return true;
  });
  return { graph: { ...shaped, nodes }, onPath };
}

/**
 * @param adapter what kernels can count on; an open Gpu says it
 * @throws UnbraidError VALUE_UNKNOWN where a name is not a value of the graph (the nearest ones are suggested),
 * GRADIENT_TYPE where a gradient of or with regard to integers or booleans is asked for, PRECISION_PROOF for plain sums in
 * another precision, and whatever inference and lowering throw
 */
export function makePlan(graph: Graph, request: PlanRequest, adapter: Capabilities = PLAIN): Plan {
  request.precision?.checkPlan(request);
  const wrt = request.gradient?.wrt ?? [];
  const visible = new Set([...request.outputs, ...(request.visible ?? [])]);
  if (request.gradient) visible.add(request.gradient.of);
  // A gradient does not need the value that it is with regard to: that may be fused away.
  const named = new Set([...visible, ...wrt]);
  const whole = inlineBranches(joined(graph, request.beside), request.inputs, inferRule);
  const shaped = inferShapes(whole, request.inputs, inferRule);
  for (const name of named) {
    if (!shaped.values.has(name)) throw unknownValue(name, [...shaped.values.keys()]);
  }
  if (request.gradient) checkTypes(shaped, [request.gradient.of, ...wrt]);
  const paths = withConstantPaths(shaped, whole, wrt);
  const kept = new Set([...named, ...paths.onPath]);
  const folded = mergeSwish(foldBatchNorm(paths.graph, kept), kept);
  const builder = new PlanBuilder(folded, adapter, request.plainSums !== true);
  const active = request.gradient === undefined ? [] : activeNodes(folded, request.gradient.of, wrt);
  const gradients = new Map<string, Stored>();
  const extension = extensionOf(builder, visible, gradients);
  const { follow } = request;
  lowerForward(builder, visible, new Set(active), (name) => {
    if (visible.has(name)) follow?.value?.(name, extension);
  });
  for (const name of request.outputs) builder.keep(name, builder.value(name));

  if (request.gradient) {
    const { of, read } = request.gradient;
    const seed = builder.input(seedName(of), builder.value(of).shape);
    lowerGradient(builder, of, seed, wrt, (name, g) => {
      gradients.set(name, g);
      follow?.gradient?.(name, extension);
    });
    if (read !== false) {
      for (const [name, g] of gradients) builder.keep(gradientName(name), g.rows(builder, gradientName(name)));
    }
  }
  request.extend?.(extension);
  return finish(builder, visible, request.precision);
}

function extensionOf(
  builder: PlanBuilder,
  visible: ReadonlySet<string>,
  gradients: ReadonlyMap<string, Stored>,
): Extension {
  const seen = (name: string): string => {
    if (visible.has(name)) return name;
    throw new UnbraidError(
      "usage",
      "VALUE_NOT_VISIBLE",
      `an extension uses the value "${name}", which the plan need not store`,
      "Name it among the request's `visible`.",
    );
  };
  const made = (name: string): Stored => {
    const g = gradients.get(name);
    if (g === undefined) throw unknownValue(name, [...gradients.keys()]);
    return g;
  };
  return {
    subgroups: builder.subgroups,
    workgroupBytes: builder.workgroupBytes,
    value: (name) => builder.value(seen(name)),
    valueFours: (name) => builder.valueFours(seen(name)),
    gradient: (name) => made(name).rows(builder, gradientName(name)),
    gradientFours: (name) => made(name).fours(builder, gradientName(name)),
    input: (name, shape) => builder.input(name, shape),
    constant: (key, make) => builder.constant(key, make),
    scratch: (elements) => builder.slot(elements),
    result: (name, shape) => {
      const tensor = builder.tensor(shape, "result");
      builder.keep(name, tensor);
      return tensor;
    },
    dispatch: (call) => {
      builder.dispatch(call);
    },
  };
}

function checkTypes(shaped: ShapedGraph, names: readonly string[]): void {
  const wrong = names.find((name) => shaped.values.get(name)?.type !== "float32");
  if (wrong === undefined) return;
  throw new UnbraidError(
    "input",
    "GRADIENT_TYPE",
    `"${wrong}" holds ${shaped.values.get(wrong)?.type ?? "nothing known"} numbers; gradients are of and with regard to float32 values`,
    "Name a value of real numbers.",
  );
}

function unknownValue(name: string, known: readonly string[]): UnbraidError {
  return new UnbraidError(
    "input",
    "VALUE_UNKNOWN",
    `the network has no value "${name}"`,
    `Nearest names: ${nearest(name, known).join(", ")}.`,
  );
}

/** Lifetimes from the order of the dispatches, then memory. */
function finish(builder: PlanBuilder, visible: ReadonlySet<string>, precision: Precision | undefined): Plan {
  const stored = precision?.store(builder.calls, builder.roundable(visible));
  const calls = stored?.calls ?? builder.calls;
  const precisionOf = ({ id }: Slot): Precision | undefined =>
    stored?.halves.has(id) === true ? precision : undefined;
  const bytesOf = (slot: Slot): number => (precisionOf(slot) ? slot.bytes / 2 : slot.bytes);
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  builder.calls.forEach((call, i) => {
    for (const slot of [...call.reads, ...call.writes]) {
      if (!first.has(slot.id)) first.set(slot.id, i);
      last.set(slot.id, i);
    }
  });
  const placed: number[] = [];
  const lifetimes: Lifetime[] = [];
  builder.slots.forEach(({ slot, kind }) => {
    // Inputs are written before the first dispatch, results are read after the last one.
    const written = [...builder.inputs.values()].some((t) => t.slot.id === slot.id);
    const from = written ? -1 : first.get(slot.id);
    const to = kind === "result" ? builder.calls.length : (last.get(slot.id) ?? from);
    if (kind === "constant" || from === undefined || to === undefined) return;
    placed.push(slot.id);
    lifetimes.push({ bytes: bytesOf(slot), first: from, last: to });
  });
  const { bufferOf, bufferBytes } = assignBuffers(lifetimes);
  const bufferById = new Map(placed.map((id, i) => [id, bufferOf[i] ?? -1]));
  return {
    calls,
    slots: builder.slots.map(({ slot, kind, key, make }) => ({
      precision: precisionOf(slot),
      kind,
      bytes: bytesOf(slot),
      buffer: bufferById.get(slot.id) ?? -1,
      ...(key === undefined ? {} : { key: key + (precisionOf(slot)?.name ?? "") }),
      ...(make === undefined ? {} : { make }),
    })),
    bufferBytes,
    liveBytes: largestLiveSet(lifetimes),
    inputs: builder.inputs,
    results: builder.results,
  };
}

/** Constants that dispatches read, or that are read back: those that get memory. */
export function usedConstants({ calls, results, slots }: Plan): PlannedSlot[] {
  const ids = [
    ...calls.flatMap((call) => [...call.reads, ...call.writes].map((slot) => slot.id)),
    ...[...results.values()].map((t) => t.slot.id),
  ];
  return [...new Set(ids)].flatMap((id) => {
    const slot = slots[id];
    return slot?.kind === "constant" ? [slot] : [];
  });
}
