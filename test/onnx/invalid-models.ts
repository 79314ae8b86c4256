/** Small models for files with one fault, and what is asked of each. */
import type { onnx as Onnx } from "onnx-proto";
import { expect } from "vitest";
import type { ExternalReader } from "../../src/onnx/model.ts";
import { watchAllocations } from "../support/allocations.ts";
import { onnx } from "../support/onnx-proto.ts";
import { attempt } from "./fuzz/attempt.ts";
import { bytesOf, floats, modelBytes, node, TYPE, valueInfo, type ModelParts } from "./make.ts";

const LIMIT_MS = 500;
/** Twice the largest result that is computed on the host (2^20 float64). */
const LIMIT_BYTES = 16 * 2 ** 20;

export const T = onnx.AttributeProto.AttributeType;
export const ends = { input: [valueInfo("x", [1, 3, 8, 8])], output: [valueInfo("y", [])] };
export const weight = floats("w", [4, 3, 3, 3], new Float32Array(108));
export const ints = (name: string, values: (number | bigint)[], dims = [values.length]): Onnx.ITensorProto => ({
  name,
  dims,
  dataType: TYPE.int64,
  rawData: bytesOf(BigInt64Array.from(values, BigInt)),
});
/** x -Conv "conv"-> y with a weight, and attributes. */
export const conv = (attributes: Parameters<typeof node>[3], w: Onnx.ITensorProto = weight): ModelParts => ({
  ...ends,
  node: [node("Conv", ["x", "w"], ["y"], attributes, "conv")],
  initializer: [w],
});
/** x -op "op"-> y, with constants behind x. */
export const one = (
  opType: string,
  attributes: Parameters<typeof node>[3],
  constants: Onnx.ITensorProto[] = [],
  opset = 17,
): ModelParts => ({
  ...ends,
  opset,
  node: [node(opType, ["x", ...constants.map((t) => t.name ?? "")], ["y"], attributes, "op")],
  initializer: constants,
});
export const external = (entries: Record<string, string>): ModelParts =>
  conv(
    {},
    {
      name: "w",
      dims: [4, 3, 3, 3],
      dataType: TYPE.float32,
      dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
    },
  );
export const relu = (...names: [string, string, string][]): ModelParts => ({
  ...ends,
  node: names.map(([from, to, name]) => node("Relu", [from], [to], {}, name)),
});
export const plain = relu(["x", "y", "a"]);

/** Reads, plans and runs a file with one fault: the error, its words, its time and its memory. */
export function check(parts: ModelParts, code: string, words: readonly string[], external?: ExternalReader): void {
  const bytes = modelBytes(parts);
  using watch = watchAllocations();
  const before = process.cpuUsage();
  const { outcome, message } = attempt(bytes, false, external);
  const { user, system } = process.cpuUsage(before);
  expect(`${outcome}: ${message}`).toContain(`${code}: `);
  for (const word of words) expect(message).toContain(word);
  expect((user + system) / 1000).toBeLessThan(LIMIT_MS);
  expect(watch.largest()).toBeLessThan(LIMIT_BYTES);
}
