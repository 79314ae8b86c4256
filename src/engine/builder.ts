/** Collects the dispatches of a plan while operators are lowered, and the slots that they touch. */
import { invariant, must } from "../errors.ts";
import { sizeOf, type GraphNode, type HostTensor, type ShapedGraph } from "../graph/graph.ts";
import { tensorKey } from "../graph/identity.ts";
import type { FoursTensor } from "../kernels/fours.ts";
import type { Capabilities, DeviceTensor, KernelCall, Slot } from "../kernels/operator.ts";
import { Stored } from "./stored.ts";
import { checkParams } from "./uniforms.ts";

/** Where a slot's contents come from and how long they must last. */
export type SlotKind = "temporary" | "input" | "constant" | "result";

interface SlotState {
  readonly slot: Slot;
  kind: SlotKind;
  /** For constants: the key in the weight store, and how to make the data. */
  readonly key?: string;
  readonly make?: () => HostTensor;
}

export class PlanBuilder {
  readonly graph: ShapedGraph;
  readonly subgroups: number;
  readonly workgroupBytes: number;
  readonly tiles: Capabilities["tiles"];
  readonly calls: KernelCall[] = [];
  readonly slots: SlotState[] = [];
  readonly winograd: boolean;
  /** Slots that might stand in float16: values of the graph in fours, and weights. */
  readonly #roundable = new Set<number>();
  readonly #tensors = new Map<string, Stored>();
  readonly #constants = new Map<string, DeviceTensor>();
  /** Host-written buffers by name: the graph's inputs, gradient seeds, labels. */
  readonly inputs = new Map<string, DeviceTensor>();
  readonly results = new Map<string, DeviceTensor>();
  /** What the forward pass of a node noted for its gradient. */
  readonly notes = new Map<GraphNode, Slot>();

  constructor(graph: ShapedGraph, adapter: Capabilities, winograd: boolean) {
    this.graph = graph;
    this.subgroups = adapter.subgroups;
    this.workgroupBytes = adapter.workgroupBytes;
    this.tiles = adapter.tiles;
    this.winograd = winograd;
  }

  slot(elements: number, kind: SlotKind = "temporary", source?: { key: string; make: () => HostTensor }): Slot {
    const slot = { id: this.slots.length, bytes: Math.max(4, elements * 4) };
    this.slots.push({ slot, kind, ...source });
    return slot;
  }

  tensor(shape: readonly number[], kind: SlotKind = "temporary"): DeviceTensor {
    return { slot: this.slot(sizeOf(shape), kind), shape };
  }

  /** A buffer that the host fills before every run. */
  input(name: string, shape: readonly number[]): DeviceTensor {
    let tensor = this.inputs.get(name);
    if (tensor === undefined) {
      tensor = this.tensor(shape, "input");
      this.inputs.set(name, tensor);
    }
    return tensor;
  }

  /** A value of the graph in rows: its memory is reserved by the first call; constants and inputs come with theirs. */
  value(name: string): DeviceTensor {
    return this.#stored(name).rows(this, name);
  }

  /** The same in fours. */
  valueFours(name: string): FoursTensor {
    return this.#roundableFours(name);
  }

  #roundableFours(name: string): FoursTensor {
    const tensor = this.#stored(name).fours(this, name);
    this.#roundable.add(tensor.slot.id);
    return tensor;
  }

  /**
   * Slots that half precision may keep in float16: not those of `exact` values, of what the host writes as float32 or reads.
   */
  roundable(exact: Iterable<string>): ReadonlySet<number> {
    const kept = new Set([...this.results.values()].map(({ slot }) => slot.id));
    for (const name of exact) {
      const stored = this.#tensors.get(name);
      if (stored?.standsInFours === true) kept.add(stored.fours(this, name).slot.id);
    }
    const may = (id: number): boolean => {
      const kind = this.slots[id]?.kind;
      return !kept.has(id) && (kind === "temporary" || kind === "constant");
    };
    return new Set([...this.#roundable].filter(may));
  }

  /** Whether a value stands in fours by now. */
  standsInFours(name: string): boolean {
    return this.#tensors.get(name)?.standsInFours === true;
  }

  /** Reserves the memory of a value in fours. */
  reserveFours(name: string): FoursTensor {
    invariant(!this.#tensors.has(name), `${name} already has memory`);
    const stored = Stored.reserveFours(this, must(this.graph.values.get(name), name).shape);
    this.#tensors.set(name, stored);
    return this.#roundableFours(name);
  }

  #stored(name: string): Stored {
    let stored = this.#tensors.get(name);
    if (stored === undefined) {
      const info = must(this.graph.values.get(name), `value ${name}`);
      const constant = info.value;
      const rows =
        constant !== undefined
          ? this.constant(tensorKey(constant), () => constant, constant.shape)
          : this.graph.inputs.some((i) => i.name === name)
            ? this.input(name, info.shape)
            : this.tensor(info.shape);
      stored = Stored.inRows(rows);
      this.#tensors.set(name, stored);
    }
    return stored;
  }

  /** Makes value `name` the memory of value `from`, seen in the value's own shape. */
  alias(name: string, from: string): void {
    invariant(!this.#tensors.has(name), `${name} already has memory`);
    const stored = this.#stored(from);
    const { shape } = must(this.graph.values.get(name), name);
    const same = shape.join() === stored.shape.join();
    this.#tensors.set(name, same ? stored : Stored.inRows({ slot: stored.rows(this, name).slot, shape }));
  }

  /**
   * A constant of the session's weight store. The key must say all that the data depends on: it holds for every plan of
   * the session, whatever its shapes. `tensorKey` stands for a tensor of the graph.
   * @param weights as in Lowering
   */
  constant(key: string, make: () => HostTensor, shape?: readonly number[], weights = false): DeviceTensor {
    let tensor = this.#constants.get(key);
    if (tensor === undefined) {
      const made = shape === undefined ? make() : undefined;
      const known = shape ?? must(made, key).shape;
      tensor = { slot: this.slot(sizeOf(known), "constant", { key, make: made ? () => made : make }), shape: known };
      this.#constants.set(key, tensor);
      if (weights) this.#roundable.add(tensor.slot.id);
    }
    return tensor;
  }

  /** Keeps a tensor readable after the run under `name`. */
  keep(name: string, tensor: DeviceTensor): void {
    const state = must(this.slots[tensor.slot.id], "slot");
    if (state.kind === "temporary" || state.kind === "input") state.kind = "result";
    this.results.set(name, tensor);
  }

  dispatch(call: KernelCall): void {
    const written = new Set(call.writes.map((s) => s.id));
    invariant(!call.reads.some((s) => written.has(s.id)), `${call.label} reads and writes one slot`);
    for (const s of call.writes) {
      invariant(this.slots[s.id]?.kind !== "constant", `${call.label} writes a constant`);
    }
    checkParams(call);
    this.calls.push(call);
  }
}
