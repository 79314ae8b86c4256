/** `unbraid run`: any network once, on arrays from .npy files. */
import { overflowRemedy } from "../../engine/finite.ts";
import { UnbraidError } from "../../errors.ts";
import { everyNode } from "../../graph/branches.ts";
import type { GraphInput, HostTensor } from "../../graph/graph.ts";
import { nearest } from "../../graph/names.ts";
import { usageError } from "../arguments.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import { evaluate } from "../evaluate.ts";
import { openModel, type OpenModel } from "../model.ts";
import { encodeNpy, readNpy, type NpyTensor } from "../npy.ts";
import { PRECISION_OPTION, precisionOf } from "../precision.ts";
import { table } from "../table.ts";

export const run: Command = {
  name: "run",
  summary: "runs a network once on .npy files; any intermediate value can be asked for by name",
  usage: ["run MODEL --input [NAME=]FILE.npy ... [--output [NAME=]FILE.npy ...]"],
  positionals: [1, 1],
  options: {
    input: {
      type: "string",
      multiple: true,
      value: "[NAME=]FILE.npy",
      help: "an input; the name may be left out if there is one only",
    },
    output: {
      type: "string",
      multiple: true,
      value: "[NAME=]FILE.npy",
      help: "writes a value, as float32, int64 or bool; without a name the network's output",
    },
    ...PRECISION_OPTION,
  },
  details:
    "Prints shape, least, greatest and mean of each value asked for; of the network's outputs where none is. NaN and\n" +
    "infinities are left out of these, counted, and warned of.",
  example:
    "unbraid run resnet50.onnx --input image=x.npy --output logits=y.npy --output /avgpool/GlobalAveragePool_output_0=features.npy",
  run: runOnce,
};

interface Wanted {
  readonly name: string;
  readonly file: string | undefined;
}

async function runOnce(context: Context): Promise<undefined> {
  const { args, out } = context;
  const opened = openModel(context, args.positional(0), "as stored");
  const inputs = readInputs(opened, args.texts("input"));
  const precision = precisionOf(args);
  const wanted = outputsOf(opened, args.texts("output"));
  for (const { file } of wanted) if (file !== undefined) context.checkWritable(file);
  using device = await context.openDevice();
  const values = await evaluate(device.gpu, opened.graph, inputs, [...new Set(wanted.map((w) => w.name))], precision);
  context.signal.throwIfAborted();
  const results = wanted.map(({ name, file }) => {
    const tensor = values.get(name);
    if (tensor === undefined) throw new Error(`internal error: no value for ${name}`);
    if (file !== undefined) context.writeFile(file, encodeNpy(tensor));
    return { name, file: file ?? null, type: tensor.type, shape: tensor.shape, ...statistics(tensor) };
  });
  const notFinite = Object.fromEntries(
    results.flatMap((r): [string, number][] => (r.not_finite === 0 ? [] : [[r.name, r.not_finite]])),
  );
  for (const [name, count] of Object.entries(notFinite))
    out.warn(
      `"${name}": ${count} of ${values.get(name)?.data.length ?? 0} elements are NaN or infinite. ${overflowRemedy(precision?.name)}`,
      { name, count },
    );
  await out.result(
    { outputs: results, non_finite: notFinite },
    table(
      ["value", "type", "shape", "least", "greatest", "mean", "file"],
      results.map((r) => [r.name, r.type, r.shape.join("x"), show(r.min), show(r.max), show(r.mean), r.file ?? ""]),
    ),
  );
  return undefined;
}

const show = (x: number | null): string => (x === null ? "" : String(Number(x.toPrecision(6))));

function statistics({ data }: HostTensor): {
  min: number | null;
  max: number | null;
  mean: number | null;
  not_finite: number;
} {
  let [min, max, sum, finite] = [Infinity, -Infinity, 0, 0];
  for (const x of data) {
    if (!Number.isFinite(x)) continue;
    min = Math.min(min, x);
    max = Math.max(max, x);
    sum += x;
    finite++;
  }
  const none = finite === 0;
  return {
    min: none ? null : min,
    max: none ? null : max,
    mean: none ? null : sum / finite,
    not_finite: data.length - finite,
  };
}

/** `NAME=FILE` where what stands before a `=` is in `names` (a path may hold one too), else a file alone. */
function named(text: string, names: (name: string) => boolean): { name: string | undefined; file: string } {
  for (let at = text.indexOf("="); at >= 0; at = text.indexOf("=", at + 1)) {
    const name = text.slice(0, at);
    if (names(name)) return { name, file: text.slice(at + 1) };
  }
  return { name: undefined, file: text };
}

function readInputs({ graph }: OpenModel, given: readonly string[]): Map<string, HostTensor> {
  const names = graph.inputs.map((i) => i.name);
  const tensors = new Map<string, HostTensor>();
  for (const text of given) {
    const { name, file } = named(text, (n) => names.includes(n));
    const target = name ?? (names.length === 1 && !/^[^/.]*=/.test(text) ? names[0] : undefined);
    if (target === undefined) {
      const wanted = text.split("=")[0] ?? "";
      throw usageError(
        "INPUT_NAME",
        text.includes("=")
          ? `the network has no input "${wanted}"`
          : `--input ${text} names none of the network's ${names.length} inputs`,
        `Write --input NAME=FILE.npy; the inputs are ${nearest(wanted, names, 10).join(", ")}.`,
      );
    }
    if (tensors.has(target)) throw usageError("INPUT_NAME", `--input gives "${target}" twice`, "Give each input once.");
    const input = graph.inputs.find((i) => i.name === target);
    if (input === undefined) throw new Error(`internal error: no input ${target}`);
    tensors.set(target, fitting(input, readNpy(file), file));
  }
  const missing = names.filter((name) => !tensors.has(name));
  if (missing.length > 0)
    throw usageError(
      "INPUT_MISSING",
      `no --input for ${missing.map((n) => `"${n}"`).join(", ")}`,
      `Add --input ${missing[0] ?? ""}=FILE.npy.`,
    );
  return tensors;
}

/** @throws UnbraidError INPUT_TYPE; shapes are checked when they are inferred */
function fitting(input: GraphInput, tensor: NpyTensor, file: string): HostTensor {
  if (tensor.type === input.type) return tensor;
  throw new UnbraidError(
    "input",
    "INPUT_TYPE",
    `input "${input.name}" is ${input.type}, ${file} holds ${tensor.dtype}`,
    `Save it as ${input.type} (numpy: x.astype("${input.type}")).`,
  );
}

function outputsOf({ graph }: OpenModel, given: readonly string[]): Wanted[] {
  if (given.length === 0) return graph.outputs.map((name) => ({ name, file: undefined }));
  const values = new Set([
    ...everyNode(graph.nodes).flatMap((n) => n.outputs),
    ...graph.inputs.map((i) => i.name),
    ...graph.constants.keys(),
  ]);
  return given.map((text) => {
    const { name, file } = named(text, (n) => values.has(n));
    if (name !== undefined) return { name, file };
    const [only, second] = graph.outputs;
    if (!text.includes("=") && only !== undefined && second === undefined) return { name: only, file };
    const wanted = text.slice(0, Math.max(0, text.lastIndexOf("="))) || text;
    throw new UnbraidError(
      "input",
      "VALUE_UNKNOWN",
      text.includes("=")
        ? `the network has no value "${wanted}"`
        : `--output ${text} names none of the network's ${graph.outputs.length} outputs`,
      `Write --output NAME=FILE.npy. Nearest names: ${nearest(wanted, [...values]).join(", ")}.`,
    );
  });
}
