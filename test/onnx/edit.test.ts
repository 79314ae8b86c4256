import { readFileSync, readdirSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeModel } from "../../src/onnx/decode.ts";
import { attributeBytes, editModel, freshName } from "../../src/onnx/edit.ts";
import { varint } from "../../src/onnx/fields.ts";
import { concatBytes, holds, wireFields } from "../../src/onnx/wire.ts";
import { onnx } from "../support/onnx-proto.ts";
import { sharedDir } from "../support/shared.ts";
import { floats, makeModel, modelBytes, node, valueInfo } from "./make.ts";
import type { ModelParts } from "./make.ts";
import { occurrences, unknownFields, withUnknown } from "./unknown.ts";

const parts: ModelParts = {
  node: [node("Mul", ["x", "w"], ["h"], { axis: 1, group: 2 }, "first"), node("Add", ["h", "v"], ["y"], {}, "second")],
  input: [valueInfo("x", [2])],
  output: [valueInfo("y", [2])],
  initializer: [floats("w", [2], Float32Array.of(1, 2)), floats("v", [2], Float32Array.of(3, 4))],
  valueInfo: [valueInfo("h", [2])],
};

/** graph, graph.node, graph.node.attribute, graph.initializer, graph.input, graph.value_info.type, the opset, the model. */
const EVERYWHERE = [[], [7], [7, 1], [7, 1, 5], [7, 5], [7, 11], [7, 13, 2], [8]];

describe("editModel", () => {
  it("without edits gives the same bytes", () => {
    const { bytes } = withUnknown(modelBytes(parts), EVERYWHERE);
    expect(editModel(decodeModel(bytes), {})).toEqual(bytes);
  });

  it.skipIf(sharedDir === undefined)(
    "without edits gives the same bytes, for each model of ../shared (skipped where it is absent)",
    () => {
      const folder = `${sharedDir ?? ""}/models`;
      const files = readdirSync(folder).filter((file) => file.endsWith(".onnx"));
      expect(files.length).toBeGreaterThan(0);
      for (const file of files) {
        const bytes = new Uint8Array(readFileSync(`${folder}/${file}`));
        expect(Buffer.compare(editModel(decodeModel(bytes), {}), bytes), file).toBe(0);
      }
    },
  );

  it("keeps lengths written with more bytes than they need", () => {
    // graph (field 7) of 0 bytes, its length as the two-byte varint 80 00.
    const bytes = Uint8Array.of(0x08, 8, 0x3a, 0x80, 0x00, 0x42, 2, 0x10, 17);
    expect(editModel(decodeModel(bytes), {})).toEqual(bytes);
  });

  it("keeps unknown fields of every message that it edits", () => {
    const { bytes, marks } = withUnknown(modelBytes(parts), EVERYWHERE);
    const model = decodeModel(bytes);
    const edited = editModel(model, {
      renames: [{ index: 0, inputs: new Map([[1, "w2"]]), outputs: new Map([[0, "a much longer name"]]) }],
      insertions: [
        { after: 0, nodes: [{ name: "n", opType: "Identity", inputs: ["a much longer name"], outputs: ["h"] }] },
      ],
      initializers: [{ name: "w2", dataType: "float32", dims: [2], raw: new Uint8Array(8) }],
      metadata: { key: "value" },
    });
    expect(marks.length).toBeGreaterThan(15);
    for (const mark of marks) expect(occurrences(edited, unknownFields(mark)), `mark ${mark}`).toBe(1);
    const back = decodeModel(edited);
    expect(back.nodes.map((n) => [n.name, n.inputs, n.outputs])).toEqual([
      ["first", ["x", "w2"], ["a much longer name"]],
      ["n", ["a much longer name"], ["h"]],
      ["second", ["h", "v"], ["y"]],
    ]);
    expect([...back.initializers.keys()]).toEqual(["w", "v", "w2"]);
    expect(back.metadata.get("key")).toBe("value");
  });

  it("removes an initialiser, with its input and value_info, only when nothing uses it", () => {
    const model = makeModel({
      ...parts,
      ir: 3,
      opset: 7,
      input: [valueInfo("x", [2]), valueInfo("w", [2]), valueInfo("v", [2])],
      valueInfo: [valueInfo("w", [2]), valueInfo("h", [2])],
    });
    const kept = editModel(model, { unneeded: ["w", "v"] });
    expect(kept).toEqual(model.bytes);
    const edited = editModel(model, { renames: [{ index: 0, inputs: new Map([[1, "x"]]) }], unneeded: ["w", "v"] });
    const raw = onnx.ModelProto.decode(edited);
    expect(raw.graph?.initializer?.map((t) => t.name)).toEqual(["v"]);
    expect(raw.graph?.input?.map((v) => v.name)).toEqual(["x", "v"]);
    expect(raw.graph?.valueInfo?.map((v) => v.name)).toEqual(["h"]);
  });

  it("keeps an initialiser that a subgraph or an output uses", () => {
    const inner = { name: "b", node: [node("Identity", ["w"], ["inner"])], output: [valueInfo("inner", [])] };
    const branching = {
      ...node("If", ["x"], ["q"]),
      attribute: [{ name: "then_branch", g: inner, type: onnx.AttributeProto.AttributeType.GRAPH }],
    };
    const model = makeModel({
      ...parts,
      node: [...(parts.node ?? []), branching],
      output: [valueInfo("y", []), valueInfo("v", [])],
    });
    const renames = [
      { index: 0, inputs: new Map([[1, "x"]]) },
      { index: 1, inputs: new Map([[1, "x"]]) },
    ];
    expect([...decodeModel(editModel(model, { renames, unneeded: ["w", "v"] })).initializers.keys()]).toEqual([
      "w",
      "v",
    ]);
  });

  it("lists new initialisers in graph.input where IR version 3 wants that", () => {
    const tensor = { name: "new", dataType: "int64" as const, dims: [1], raw: new Uint8Array(8) };
    const edited = editModel(makeModel({ ...parts, ir: 3, opset: 9 }), { initializers: [tensor] });
    expect(onnx.ModelProto.decode(edited).graph?.input?.map((v) => v.name)).toEqual(["x", "new"]);
    expect(decodeModel(edited).inputs.map((v) => v.name)).toEqual(["x"]);
  });

  it("replaces metadata that is there and appends what is not", () => {
    const model = decodeModel(editModel(makeModel(parts), { metadata: { a: "1", b: "2" } }));
    const edited = decodeModel(editModel(model, { metadata: { c: "{}", a: "é".repeat(200) } }));
    expect([...edited.metadata]).toEqual([
      ["a", "é".repeat(200)],
      ["b", "2"],
      ["c", "{}"],
    ]);
    expect(editModel(edited, { metadata: { b: "2" } })).toEqual(edited.bytes);
  });

  it("copies attributes as they stand, without the one named", () => {
    const model = makeModel(parts);
    const names = attributeBytes(model, 0, "group").map((bytes) => onnx.AttributeProto.decode(bytes).name);
    expect(names).toEqual(["axis"]);
  });

  it("renames to any length and changes nothing else (100 cases, seeded)", () => {
    const { bytes } = withUnknown(modelBytes(parts), EVERYWHERE);
    const model = decodeModel(bytes);
    const name = fc.string({ minLength: 1, maxLength: 20_000, size: "max", unit: "binary" });
    fc.assert(
      fc.property(name, fc.integer({ min: 0, max: 1 }), (to, index) => {
        const there = decodeModel(editModel(model, { renames: [{ index, outputs: new Map([[0, to]]) }] }));
        expect(there.nodes[index]?.outputs).toEqual([to]);
        const from = model.nodes[index]?.outputs[0] ?? "";
        expect(editModel(there, { renames: [{ index, outputs: new Map([[0, from]]) }] })).toEqual(bytes);
      }),
      { seed: 4, numRuns: 100 },
    );
  });
});

describe("wireFields", () => {
  const field = fc.oneof(
    fc
      .tuple(fc.integer({ min: 1, max: 2 ** 29 - 1 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }))
      .map(([n, v]) => concatBytes([varint((n << 3) >>> 0), varint(v)])),
    fc
      .tuple(fc.integer({ min: 1, max: 3000 }), fc.uint8Array({ maxLength: 300 }))
      .map(([n, b]) => concatBytes([varint((n << 3) | 2), varint(b.length), b])),
    fc
      .tuple(fc.integer({ min: 1, max: 30 }), fc.uint8Array({ minLength: 4, maxLength: 4 }))
      .map(([n, b]) => concatBytes([varint((n << 3) | 5), b])),
    fc
      .tuple(fc.integer({ min: 1, max: 30 }), fc.uint8Array({ minLength: 8, maxLength: 8 }))
      .map(([n, b]) => concatBytes([varint((n << 3) | 1), b])),
  );

  it("finds each field where it was written, with nothing between them (seeded)", () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 20 }), fc.integer({ min: 0, max: 9 }), (written, offset) => {
        const bytes = concatBytes([new Uint8Array(offset), ...written]);
        const found = [...wireFields(bytes, offset)];
        expect(found.map((f) => bytes.subarray(f.start, f.end))).toEqual(written);
        for (const f of found) if (holds(f, f.number)) expect(f.end - f.value).toBeLessThanOrEqual(300);
      }),
      { seed: 5, numRuns: 300 },
    );
  });
});

describe("freshName", () => {
  it("gives the base, or the first free number", () => {
    expect(freshName(new Set(["b"]), "a")).toBe("a");
    expect(freshName(new Set(["a", "a_2"]), "a")).toBe("a_3");
  });
});
