import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { must } from "../../src/errors.ts";
import { readModelFile } from "../../src/files.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { declaredName, layoutOf } from "../../src/onnx/layout.ts";
import { GRAPH } from "../../src/onnx/schema.ts";
import type { OnnxModel } from "../../src/onnx/model.ts";
import { sharedDir } from "../support/shared.ts";
import { noise } from "../onnx/make.ts";
import { sets } from "./surgery-case.ts";
import { conv64, runOrt, splitBound, withOutputs } from "./surgery-reference.ts";
import type { Result } from "./surgery-reference.ts";

const U = 2 ** -24;
const folder = `${sharedDir ?? ""}/models`;
const files = sharedDir === undefined ? [] : readdirSync(folder).filter((file) => file.endsWith(".onnx"));

/** The fields of the model and of its graph as they stand in the file. */
function fieldsOf(model: OnnxModel): string[] {
  const { model: outer, graph, inGraph } = layoutOf(model.bytes);
  const text = (at: { start: number; end: number }): string =>
    Buffer.from(model.bytes.subarray(at.start, at.end)).toString("latin1");
  return [...outer.filter((field) => field !== graph), ...inGraph].map(text);
}

const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

function argmax(result: Result, image: number): number {
  const n = must(result.dims[1], "classes");
  const row = result.data.subarray(image * n, (image + 1) * n);
  return row.indexOf(row.reduce((m, v) => Math.max(m, v)));
}

describe.skipIf(sharedDir === undefined)(
  "splits of the models of ../shared, in onnxruntime (skipped where it is absent)",
  () => {
    it("finds models (control)", () => {
      expect(files.length).toBeGreaterThan(0);
    });

    it.each(files.flatMap((file) => [-1, -2, 6].map((at): [string, number] => [file, at])))(
      "%s, Conv number %i",
      async (file, at) => {
        const model = readModelFile(`${folder}/${file}`);
        const conv = must(model.nodes.filter((n) => n.opType === "Conv").at(at), "Conv");
        const numbers = (input: number): Float32Array | Float64Array | undefined => {
          const name = conv.inputs[input] ?? "";
          const identity = model.nodes.find((n) => n.opType === "Identity" && n.outputs[0] === name);
          return model.initializers.get(identity?.inputs[0] ?? name)?.numbers();
        };
        const ints = (name: string, otherwise: number[]): readonly number[] => {
          const a = conv.attributes.get(name);
          return a?.type === "ints" ? a.value : otherwise;
        };
        const kernel = ints("kernel_shape", []);
        const geometry = {
          kernel,
          strides: ints("strides", [1, 1]),
          dilations: [1, 1],
          pads: ints("pads", [0, 0, 0, 0]),
          groups: 1,
        };
        const weights = must(numbers(1), "weights");

        const xDims = [4, 3, 32, 32];
        const x = noise(21, 4 * 3 * 1024).map((v) => 2 * v);
        const [input, z] = [must(conv.inputs[0], "input"), must(conv.outputs[0], "output")];
        const before = await runOrt(withOutputs(model, [input, z]), "input", x, xDims);
        const layerInput = must(before[input], "layer input");
        const inputs = must(layerInput.dims[1], "input channels");
        const channels = must(before[z]?.dims[1], "channels");

        const request = [7, 2, channels - 1].map((channel, k) => ({
          channel,
          concepts: k === 1 ? 3 : 2,
          sets: sets(inputs, k === 1 ? 3 : 2, 30 + k),
        }));
        const result = splitLayer(model, {
          nodeIndex: conv.index,
          channels: request,
          metadata: { "unbraid.test": "{}" },
        });
        const split = decodeModel(result.bytes);
        const after = await runOrt(withOutputs(split, [z]), "input", x, xDims);

        // Every field of the file is still there, as it was and in its order, but for the Conv and its old weights.
        const gone = new Set(fieldsOf(split));
        const changed = fieldsOf(model).filter((field) => !gone.has(field));
        const dropped = [1, 2]
          .map((k) => conv.inputs[k] ?? "")
          .filter((name) => model.initializers.has(name) && !split.initializers.has(name));
        const described = layoutOf(model.bytes).inGraph.filter(
          (f) => f.number === GRAPH.valueInfo && dropped.includes(declaredName(model.bytes, f) ?? ""),
        );
        expect(changed.length).toBe(1 + dropped.length + described.length);
        const kept = fieldsOf(model).filter((field) => gone.has(field));
        const was = new Set(kept);
        expect(fieldsOf(split).filter((field) => was.has(field))).toEqual(kept);

        // The layer's output, within the rigorous bound.
        const bias = numbers(2);
        const sums = conv64(
          layerInput.data.map(Math.abs),
          layerInput.dims,
          weights.map(Math.abs),
          channels,
          bias?.map(Math.abs),
          geometry,
        );
        const n = weights.length / channels;
        const [old, now] = [must(before[z], "z").data, must(after[z], "z").data];
        expect(old.length).toBe(sums.length);
        let worst = 0;
        sums.forEach(
          (sum, k) =>
            (worst = Math.max(
              worst,
              Math.abs((old[k] ?? NaN) - (now[k] ?? NaN)) / splitBound(n, 3, U, sum + Number.MIN_VALUE),
            )),
        );
        expect(worst).toBeLessThanOrEqual(1);

        // The logits. Worst-case bounds through 28 layers say nothing; rounding errors of sums of length m in L layers add up
        // like a random walk, to about u sqrt(m L) of the largest logit. (Here m <= 864 and L <= 28: 1e-5 of it.)
        const logits = must(model.outputs[0]?.name, "logits");
        const [a, b] = [must(before[logits], "logits"), must(after[logits], "logits")];
        const difference = largest(a.data.map((value, k) => value - (b.data[k] ?? NaN)));
        expect(difference).toBeLessThanOrEqual(U * Math.sqrt(864 * 28) * largest(a.data));
        for (let image = 0; image < 4; image++) expect(argmax(b, image)).toBe(argmax(a, image));
      },
    );
  },
);
