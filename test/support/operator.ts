/** Runs one operator through a real plan on a real device, for tests of kernels. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Executable } from "../../src/engine/executable.ts";
import { gradientName, makePlan, seedName } from "../../src/engine/plan.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import { WeightStore } from "../../src/engine/weights.ts";
import type { AttributeValue, Graph, HostTensor } from "../../src/graph/graph.ts";

export interface OperatorCase {
  readonly opType: string;
  readonly opset: number;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** undefined: an optional input left out. */
  readonly inputs: readonly (HostTensor | undefined)[];
  /** Inputs that the graph holds as constants (weights, axes, shapes); the others are graph inputs. */
  readonly constants?: readonly number[];
  /** Number of outputs; 1 unless told. */
  readonly outputs?: number;
  /** For gradients: of sum(seed * output 0) with regard to these inputs. */
  readonly gradient?: { readonly seed: Float32Array; readonly wrt: readonly number[] };
  /** As if the adapter's narrowest subgroup had so many lanes: 0 makes kernels do without. The adapter's own unless told. */
  readonly subgroups?: number;
}

export interface OperatorResult {
  readonly outputs: readonly HostTensor[];
  /** By input index. */
  readonly gradients: ReadonlyMap<number, HostTensor>;
  /** Labels of the dispatches, in order. */
  readonly calls: readonly string[];
  /** Shaders that ran, each once: so that a test of one variant cannot pass by running another. */
  readonly shaders: ReadonlySet<string>;
  /** Those with entry points of their own, as "shader: entry". */
  readonly entries: ReadonlySet<string>;
}

/** What buffers are filled with before the run: an element that a kernel leaves out stands out. */
const SENTINEL = -987654321;

export async function runOperator(gpu: Gpu, c: OperatorCase): Promise<OperatorResult> {
  const held = new Set(c.constants ?? []);
  const name = (k: number) => `in${k}`;
  const outputs = Array.from({ length: c.outputs ?? 1 }, (_, k) => `out${k}`);
  const present = c.inputs.flatMap((t, k) => (t === undefined ? [] : [{ t, k }]));
  const free = present.filter(({ k }) => !held.has(k));
  const graph: Graph = {
    opset: c.opset,
    nodes: [
      {
        name: "node",
        opType: c.opType,
        inputs: c.inputs.map((t, k) => (t === undefined ? "" : name(k))),
        outputs,
        attributes: new Map(Object.entries(c.attributes ?? {})),
      },
    ],
    constants: new Map(present.filter(({ k }) => held.has(k)).map(({ t, k }) => [name(k), t])),
    inputs: free.map(({ t, k }) => ({ name: name(k), type: t.type, shape: t.shape })),
    outputs,
  };
  const request = {
    inputs: new Map(free.map(({ t, k }) => [name(k), t.shape])),
    outputs,
    ...(c.gradient === undefined ? {} : { gradient: { of: "out0", wrt: c.gradient.wrt.map(name) } }),
  };
  const weights = new WeightStore(gpu);
  const { subgroups = gpu.subgroups } = c;
  const plan = makePlan(graph, request, { subgroups, workgroupBytes: gpu.workgroupBytes });
  const executable = await Executable.make(gpu, plan, weights);
  try {
    executable.fill(SENTINEL);
    const feeds = new Map<string, Float32Array>(free.map(({ t, k }) => [name(k), Float32Array.from(t.data)]));
    if (c.gradient) feeds.set(seedName("out0"), c.gradient.seed);
    executable.run(feeds);
    const wrt = c.gradient?.wrt ?? [];
    const names = [...outputs, ...wrt.map((k) => gradientName(name(k)))];
    const got = await executable.read(names);
    const tensor = (n: string): HostTensor => {
      const data = got.get(n) ?? new Float32Array(0);
      if (data.includes(SENTINEL)) throw new Error(`${c.opType}: ${n} has elements that no kernel wrote`);
      return { type: "float32", shape: plan.results.get(n)?.shape ?? [], data };
    };
    return {
      outputs: outputs.map(tensor),
      gradients: new Map(wrt.map((k) => [k, tensor(gradientName(name(k)))])),
      calls: plan.calls.map((call) => call.label),
      shaders: new Set(plan.calls.map((call) => nameOf(call.shader))),
      entries: new Set(plan.calls.flatMap((c) => (c.entry === undefined ? [] : [`${nameOf(c.shader)}: ${c.entry}`]))),
    };
  } finally {
    executable[Symbol.dispose]();
    weights[Symbol.dispose]();
  }
}
