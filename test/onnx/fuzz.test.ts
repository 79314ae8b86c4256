import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UnbraidError } from "../../src/errors.ts";
import { buildGraph } from "../../src/graph/build.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { onnx } from "../../src/onnx/schema.ts";
import { sharedDir } from "../support/shared.ts";
import { floats, modelBytes, noise, node, TYPE, valueInfo } from "./make.ts";

const branch = { name: "b", node: [node("Identity", ["w"], ["inner"])], output: [valueInfo("inner", [])] };
const small = modelBytes({
  node: [
    node("Identity", ["w"], ["w2"]),
    node("Conv", ["x", "w2", "b"], ["h"], { kernel_shape: [1, 1], group: 2 }, "conv"),
    {
      ...node("If", ["c"], ["q"]),
      attribute: [{ name: "then_branch", g: branch, type: onnx.AttributeProto.AttributeType.GRAPH }],
    },
    node("Constant", [], ["k"], { value: { dims: [2], dataType: TYPE.int64, int64Data: [-1, 7] } }),
    node("Reshape", ["h", "k"], ["y"]),
  ],
  input: [valueInfo("x", ["n", 4, 3, 3]), valueInfo("c", [], TYPE.bool)],
  output: [valueInfo("y", ["n", 4])],
  initializer: [
    floats("w", [4, 2, 1, 1], noise(1, 8)),
    { name: "b", dims: [4], dataType: TYPE.float32, floatData: [1, 2, 3, 4] },
  ],
});

/** Everything that reads the file; a damaged one may only end in an UnbraidError, soon. */
function readAll(bytes: Uint8Array): string {
  const start = performance.now();
  let outcome = "read";
  try {
    const model = decodeModel(bytes);
    buildGraph(model);
    const conv = model.nodes.findIndex((n) => n.opType === "Conv");
    const groupInputs = model.initializers.get("w")?.dims[1] ?? 2;
    const sets = Uint8Array.from({ length: Math.min(groupInputs, 4096) }, (_, i) => i % 3);
    decodeModel(splitLayer(model, { nodeIndex: conv, channels: [{ channel: 1, concepts: 2, sets }] }).bytes);
  } catch (error) {
    if (!(error instanceof UnbraidError)) throw error;
    outcome = error.code;
  }
  expect(performance.now() - start).toBeLessThan(1000);
  return outcome;
}

describe("damaged files", () => {
  it("the undamaged one is read (control)", () => {
    expect(readAll(small)).toBe("read");
  });

  it("cut short anywhere: an error", () => {
    for (let n = 0; n < small.length; n++) {
      // Cut right before opset_import (the last 4 bytes) or inside it, the graph is whole but its version is missing.
      expect(["NOT_ONNX", "ONNX_TRUNCATED", "ONNX_NO_GRAPH", "OPSET_UNSUPPORTED"], `${n} bytes`).toContain(
        readAll(small.subarray(0, n)),
      );
    }
  });

  it("with bytes changed, dropped or doubled: an error or a model, never a crash (4000 mutants, seeded)", () => {
    const seen = new Map<string, number>();
    const change = fc.record({
      at: fc.nat(small.length - 1),
      kind: fc.constantFrom("set", "drop", "double", "varint"),
      value: fc.nat(255),
    });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        let bytes = [...small];
        for (const { at, kind, value } of changes) {
          const k = at % bytes.length;
          if (kind === "set") bytes[k] = value;
          else if (kind === "drop") bytes.splice(k, 1 + (value % 4));
          else if (kind === "double") bytes = [...bytes.slice(0, k), ...bytes.slice(k, k + value), ...bytes.slice(k)];
          else bytes.splice(k, 1, 0xff, 0xff, 0xff, 0xff, value & 0x7f);
        }
        const outcome = readAll(Uint8Array.from(bytes));
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      }),
      { seed: 6, numRuns: 4000 },
    );
    // The mutants reach beyond the outermost checks.
    expect(seen.size).toBeGreaterThan(8);
    expect(seen.get("read")).toBeGreaterThan(50);
  });

  it.skipIf(sharedDir === undefined)("mutants of a real file (100, seeded; skipped where ../shared is absent)", () => {
    const real = new Uint8Array(readFileSync(`${sharedDir ?? ""}/models/cifar10-resnet20.onnx`));
    fc.assert(
      fc.property(fc.nat(20_000), fc.nat(255), (at, value) => {
        const bytes = real.slice();
        bytes[at] = value;
        readAll(bytes);
      }),
      { seed: 7, numRuns: 100 },
    );
  });
});
