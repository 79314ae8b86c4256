/** One run of any network, not only of a classifier. */
import { makePlan } from "../engine/plan.ts";
import type { Precision } from "../engine/precision.ts";
import { Session } from "../engine/session.ts";
import { UnbraidError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { Graph, HostTensor } from "../graph/graph.ts";
import { inferShapes } from "../graph/infer.ts";
import { inferRule } from "../kernels/table.ts";

type Tensors = ReadonlyMap<string, HostTensor>;

/**
 * Runs a network once. Inputs that shapes depend on (the target of a Reshape, the bounds of a Slice) become constants of
 * the graph, since their values are known here; so does nothing else if it need not.
 * @param inputs every graph input
 * @param outputs any values, by name
 * @returns each with its ONNX type as far as it is kept here: values that never reach the GPU are exact integers
 */
export async function evaluate(
  gpu: Gpu,
  graph: Graph,
  inputs: Tensors,
  outputs: readonly string[],
  precision?: Precision,
): Promise<Map<string, HostTensor>> {
  const { graph: bound, fed } = bind(gpu, graph, inputs, outputs);
  const shaped = inferShapes(bound, shapesOf(fed), inferRule);
  const known = new Map<string, HostTensor>();
  for (const name of outputs) {
    const value = shaped.values.get(name)?.value;
    if (value !== undefined) known.set(name, value);
  }
  const wanted = outputs.filter((name) => !known.has(name));
  using session = new Session(gpu, bound, { precision });
  const computed = wanted.length === 0 ? new Map<string, HostTensor>() : await session.run(fed, wanted);
  return new Map(
    outputs.map((name) => {
      const value = known.get(name) ?? computed.get(name);
      if (value === undefined) throw new Error(`internal error: no value for ${name}`);
      const type = shaped.values.get(name)?.type ?? "float32";
      return [name, known.has(name) ? value : typed(value, type)];
    }),
  );
}

/** The fewest inputs as constants with which the network can be planned: none, else the integers, else all but one. */
function bind(gpu: Gpu, graph: Graph, inputs: Tensors, outputs: readonly string[]): { graph: Graph; fed: Tensors } {
  const integers = graph.inputs.filter((i) => i.type !== "float32");
  const attempts = [[], integers, graph.inputs.slice(1), graph.inputs];
  let refusal: unknown;
  for (const constants of attempts) {
    const names = new Set(constants.map((i) => i.name));
    const fed = new Map([...inputs].filter(([name]) => !names.has(name)));
    const bound: Graph = {
      ...graph,
      inputs: graph.inputs.filter((i) => !names.has(i.name)),
      constants: new Map([...graph.constants, ...[...inputs].filter(([name]) => names.has(name))]),
    };
    try {
      makePlan(bound, { inputs: shapesOf(fed), outputs }, gpu);
      return { graph: bound, fed };
    } catch (error) {
      const again = error instanceof UnbraidError && ["UNSUPPORTED_NODE", "OPERATOR_HOST_ONLY"].includes(error.code);
      if (!again) throw error;
      refusal = error; // the last, with everything known, says what is lacking whatever the inputs
    }
  }
  throw refusal;
}

const shapesOf = (tensors: Tensors): Map<string, readonly number[]> =>
  new Map([...tensors].map(([name, t]) => [name, t.shape]));

/** The GPU computes in float32 whatever the type; integers and booleans come back as what they stand for. */
function typed(value: HostTensor, type: HostTensor["type"]): HostTensor {
  return type === "float32" ? value : { type, shape: value.shape, data: Float64Array.from(value.data) };
}
