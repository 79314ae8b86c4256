/** ONNX's backend test cases: finding them, running one, comparing as ONNX's own runner does. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { UnbraidError } from "../errors.ts";
import { readModelFile } from "../files.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { buildGraph, hostTensor } from "../graph/build.ts";
import type { Graph, HostTensor } from "../graph/graph.ts";
import type { OnnxModel, OnnxTensor } from "../onnx/model.ts";
import { readTensor } from "../onnx/tensor.ts";
import { evaluate } from "./evaluate.ts";

/** ONNX's runner (onnx/backend/test/runner): numpy.testing.assert_allclose(output, reference, rtol, atol). */
const RTOL = 1e-3;
const ATOL = 1e-7;
/** The same runner, for bfloat16: two units in the last place. */
const RTOL_BFLOAT16 = 2 ** -6;

export interface CaseResult {
  readonly name: string;
  readonly status: "pass" | "fail" | "unsupported";
  /** "" for a pass. */
  readonly reason: string;
  /** Over all outputs and data sets; null where nothing could be compared. */
  readonly max_abs_diff: number | null;
}

/** Folders with a model.onnx at or below `dir`, as paths relative to it, sorted. */
export function findCases(dir: string): string[] {
  if (!(statSync(dir, { throwIfNoEntry: false })?.isDirectory() ?? false))
    throw new UnbraidError("input", "CONFORMANCE_NONE", `${dir} is not a folder`, "Check the path.");
  const found: string[] = [];
  const visit = (folder: string): void => {
    if (existsSync(join(folder, "model.onnx"))) found.push(relative(dir, folder));
    for (const entry of readdirSync(folder, { withFileTypes: true }))
      if (entry.isDirectory()) visit(join(folder, entry.name));
  };
  visit(dir);
  if (found.length > 0) return found.sort();
  throw new UnbraidError(
    "input",
    "CONFORMANCE_NONE",
    `no folder below ${dir} holds a model.onnx`,
    "Give a folder of test cases, such as onnx/backend/test/data of ONNX's repository.",
  );
}

/** Runs all data sets of one case. Errors of the device are thrown, all others are its result. */
export async function runCase(gpu: Gpu, dir: string, name: string): Promise<CaseResult> {
  let worst: number | null = null;
  try {
    const folder = join(dir, name);
    const model = readModelFile(join(folder, "model.onnx"));
    const graph = buildGraph(model);
    refuseOtherOutputs(model);
    const sets = readdirSync(folder).filter((entry) => entry.startsWith("test_data_set_"));
    if (sets.length === 0) return { name, status: "fail", reason: "it has no test_data_set_*", max_abs_diff: null };
    for (const set of sets.sort()) {
      const { inputs, expected } = readDataSet(graph, join(folder, set));
      const values = await evaluate(gpu, graph, inputs, [...expected.keys()]);
      for (const [output, reference] of expected) {
        const value = values.get(output);
        if (value === undefined) throw new Error(`internal error: no value for ${output}`);
        const { difference, problem } = compare(value, reference);
        if (difference !== null) worst = Math.max(worst ?? 0, difference);
        if (problem !== "")
          return { name, status: "fail", reason: `${set}: output "${output}": ${problem}`, max_abs_diff: worst };
      }
    }
    return { name, status: "pass", reason: "", max_abs_diff: worst };
  } catch (error) {
    if (!(error instanceof UnbraidError)) {
      const text = error instanceof Error ? error.message : String(error);
      return { name, status: "fail", reason: text, max_abs_diff: worst };
    }
    if (error.kind === "device") throw error;
    const declared = error.kind === "unsupported" || ["OPSET_UNSUPPORTED", "IR_UNSUPPORTED"].includes(error.code);
    const [reason = ""] = error.message.split("\n");
    return { name, status: declared ? "unsupported" : "fail", reason: `${error.code}: ${reason}`, max_abs_diff: worst };
  }
}

/** Inputs are checked when the graph is built. */
function refuseOtherOutputs(model: OnnxModel): void {
  const other = model.outputs.find((output) => output.dataType === "none");
  if (other === undefined) return;
  throw new UnbraidError(
    "unsupported",
    "TYPE_UNSUPPORTED",
    `the graph's output "${other.name}" is a sequence, map or optional, which is not supported`,
    "Export the model with tensors as outputs.",
  );
}

interface DataSet {
  readonly inputs: ReadonlyMap<string, HostTensor>;
  readonly expected: ReadonlyMap<string, OnnxTensor>;
}

/** input_0.pb, input_1.pb ... are the graph's inputs in their order, output_*.pb its outputs. */
function readDataSet(graph: Graph, folder: string): DataSet {
  const tensor = (kind: "input" | "output", k: number): OnnxTensor | undefined => {
    const path = join(folder, `${kind}_${k}.pb`);
    if (!existsSync(path)) return undefined;
    const bytes = new Uint8Array(readFileSync(path));
    return readTensor(bytes, 0, bytes.length, undefined);
  };
  const inputs = new Map<string, HostTensor>();
  graph.inputs.forEach(({ name }, k) => {
    const given = tensor("input", k);
    if (given !== undefined) inputs.set(name, hostTensor(given, `the test's input ${k}`));
  });
  const expected = new Map<string, OnnxTensor>();
  graph.outputs.forEach((name, k) => {
    const given = tensor("output", k);
    if (given !== undefined) expected.set(name, given);
  });
  return { inputs, expected };
}

/** Types that are computed with as one here count as equal: float16, bfloat16, float32, float64; all integers. */
function compare(value: HostTensor, reference: OnnxTensor): { difference: number | null; problem: string } {
  const wanted = hostTensor(reference, "the test's output");
  if (wanted.type !== value.type) return { difference: null, problem: `type ${value.type}, not ${reference.dataType}` };
  if (value.shape.length !== wanted.shape.length || value.shape.some((d, k) => d !== wanted.shape[k]))
    return { difference: null, problem: `shape ${shown(value.shape)}, not ${shown(wanted.shape)}` };
  const rtol = reference.dataType === "bfloat16" ? RTOL_BFLOAT16 : RTOL;
  return closeness(value.data, wanted.data, rtol);
}

const shown = (shape: readonly number[]): string => `[${shape.join(",")}]`;

function closeness(
  values: ArrayLike<number>,
  wanted: ArrayLike<number>,
  rtol: number,
): { difference: number; problem: string } {
  let difference = 0;
  let [wrong, first] = [0, -1];
  for (let k = 0; k < wanted.length; k++) {
    const [x, y] = [values[k] ?? NaN, wanted[k] ?? NaN];
    if (Object.is(x, y) || x === y) continue; // equal infinities and NaNs are as they should be
    const d = Math.abs(x - y);
    if (Number.isFinite(d)) difference = Math.max(difference, d);
    if (d <= ATOL + rtol * Math.abs(y)) continue;
    if (first < 0) first = k;
    wrong++;
  }
  if (wrong === 0) return { difference, problem: "" };
  const problem = `${wrong} of ${wanted.length} elements differ; element ${first} is ${values[first] ?? "missing"}, not ${wanted[first] ?? ""}`;
  return { difference, problem };
}
