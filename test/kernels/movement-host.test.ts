/** Operators that move elements, on the host: of constants, exact; and what is refused. */
import { describe, expect, test } from "vitest";
import type { AttributeValue, GraphNode, HostTensor, ValueInfo } from "../../src/graph/graph.ts";
import { lazyTensor } from "../../src/graph/lazy.ts";
import { operators } from "../../src/kernels/table.ts";
import { ints, randomTensor, tensor } from "../support/numbers.ts";
import { cases, expected, inputsOf } from "./movement-cases.ts";

const node = (
  op: string,
  inputs: readonly unknown[],
  outputs: number,
  attributes: Readonly<Record<string, AttributeValue>> = {},
): GraphNode => ({
  name: "node",
  opType: op,
  inputs: inputs.map((t, k) => (t === undefined ? "" : `in${k}`)),
  outputs: Array.from({ length: outputs }, (_, k) => `out${k}`),
  attributes: new Map(Object.entries(attributes)),
});
const constant = (t: HostTensor | undefined): ValueInfo | undefined => t && { type: t.type, shape: t.shape, value: t };
const infer = (
  op: string,
  inputs: readonly (HostTensor | undefined)[],
  attributes: Record<string, AttributeValue> = {},
  opset = 13,
  outputs = 1,
) => operators.get(op)?.infer(node(op, inputs, outputs, attributes), inputs.map(constant), opset) ?? [];

describe("the same of constants, on the host", () => {
  test.each(cases)("$op: $title", (c) => {
    const data = inputsOf(c);
    const inputs = [...data, ...(c.more ?? [])];
    const found = operators
      .get(c.op)
      ?.infer(node(c.op, inputs, c.outputs.length, c.attributes), inputs.map(constant), c.opset ?? 13);
    c.outputs.forEach(([shape], k) => {
      expect(found?.[k]?.shape).toEqual(shape);
      expect(Array.from(found?.[k]?.value?.data ?? [])).toEqual(expected(c, k, data));
    });
  });

  test("Shape, Size, Range, ConstantOfShape", () => {
    const values = (found: ValueInfo[]) => [found[0]?.type, found[0]?.shape, Array.from(found[0]?.value?.data ?? [])];
    const x = randomTensor([2, 3, 4], 1);
    expect(values(infer("Shape", [x]))).toEqual(["int64", [3], [2, 3, 4]]);
    expect(values(infer("Shape", [x], { start: 1 }, 15))).toEqual(["int64", [2], [3, 4]]);
    expect(values(infer("Shape", [x], { start: -2, end: -1 }, 15))).toEqual(["int64", [1], [3]]);
    expect(values(infer("Shape", [x], { start: 5 }, 15))).toEqual(["int64", [0], []]);
    expect(values(infer("Size", [x]))).toEqual(["int64", [], [24]]);
    const n = (v: number): HostTensor => ({ type: "int64", shape: [], data: Float64Array.of(v) });
    expect(values(infer("Range", [n(2), n(9), n(3)]))).toEqual(["int64", [3], [2, 5, 8]]);
    expect(values(infer("Range", [n(4), n(0), n(-2)]))).toEqual(["int64", [2], [4, 2]]);
    expect(values(infer("Range", [tensor([], [0]), tensor([], [1]), tensor([], [0.25])]))).toEqual(["float32", [4], [0, 0.25, 0.5, 0.75]]); // prettier-ignore
    expect(values(infer("ConstantOfShape", [ints([2, 2])]))).toEqual(["float32", [2, 2], [0, 0, 0, 0]]);
    expect(values(infer("ConstantOfShape", [ints([3])], { value: ints([7]) }))).toEqual(["int64", [3], [7, 7, 7]]);
  });

  test("Cast wraps integers around and cuts fractions off", () => {
    const cast = (x: HostTensor, to: number) => infer("Cast", [x], { to })[0]?.value;
    expect(cast(tensor([3], [2.9, -2.9, 0]), 7)?.data.map((v) => v + 0)).toEqual(Float64Array.of(2, -2, 0));
    expect(cast(ints([300, -1]), 2)?.data).toEqual(Float64Array.of(44, 255));
    expect(cast(ints([200, -129]), 3)?.data).toEqual(Float64Array.of(-56, 127));
    expect(cast(tensor([3], [0, 0.5, NaN]), 9)).toMatchObject({ type: "bool", data: Float64Array.of(0, 1, 1) });
    expect(cast(ints([3]), 1)).toMatchObject({ type: "float32", data: Float32Array.of(3) });
    expect(() => cast(ints([3]), 8)).toThrow(/Cast "node".*type 8/);
  });
});

describe("what is refused, with the numbers", () => {
  const x = randomTensor([2, 3, 4], 1);
  const refused: readonly (readonly [string, string, () => unknown, RegExp])[] = [
    [
      "Reshape",
      "another number of elements",
      () => infer("Reshape", [x, ints([5, 5])]),
      /\[2,3,4\] to \[5,5\].*24.*25/,
    ],
    ["Reshape", "two -1", () => infer("Reshape", [x, ints([-1, -1])]), /two sizes/],
    ["Reshape", "an indivisible rest", () => infer("Reshape", [x, ints([-1, 7])]), /24 elements do not divide by 7/],
    ["Reshape", "no dimension to keep", () => infer("Reshape", [x, ints([2, 3, 4, 0])]), /no dimension 3/],
    ["Flatten", "an axis outside", () => infer("Flatten", [x], { axis: 4 }), /axis 4 is outside -3 \.\. 3/],
    ["Squeeze", "an axis that is not 1", () => infer("Squeeze", [x, ints([1])]), /axis 1 of \[2,3,4\] has size 3/],
    ["Unsqueeze", "one axis twice", () => infer("Unsqueeze", [x, ints([0, 0])]), /twice/],
    ["Transpose", "a short perm", () => infer("Transpose", [x], { perm: [0, 1] }), /perm \[0,1\].*\[2,3,4\]/],
    ["Concat", "other sizes", () => infer("Concat", [x, randomTensor([2, 2, 4], 1)], { axis: 2 }), /\[2,3,4\], \[2,2,4\] differ beside axis 2/], // prettier-ignore
    ["Concat", "no axis", () => infer("Concat", [x]), /attribute axis is missing/],
    [
      "Split",
      "sizes that do not add up",
      () => infer("Split", [x, ints([1, 1])], { axis: 2 }, 13, 2),
      /\[1,1\].*axis of 4/,
    ],
    ["Split", "unequal parts", () => infer("Split", [x], { axis: 1 }, 13, 2), /axis of 3 cannot be cut into 2/],
    ["Slice", "step 0", () => infer("Slice", [x, ints([0]), ints([1]), ints([0]), ints([0])]), /step of axis 0 is 0/],
    ["Gather", "an index outside", () => infer("Gather", [x, ints([3])], { axis: 1 }), /index 3 is outside axis 1 of \[2,3,4\]/], // prettier-ignore
    ["GatherND", "an index outside", () => infer("GatherND", [x, tensor([1, 2], [1, 3])]), /index 3 of tuple 0 is outside an axis of 3/], // prettier-ignore
    ["GatherND", "tuples that are too long", () => infer("GatherND", [x, tensor([1, 4], [0, 0, 0, 0])]), /tuples of 4.*\[2,3,4\]/], // prettier-ignore
    ["GatherND", "another batch", () => infer("GatherND", [x, tensor([1, 1], [0])], { batch_dims: 1 }), /differ in the first 1 sizes/], // prettier-ignore
    ["Pad", "too few pads", () => infer("Pad", [x, ints([1, 1])]), /must have 6 entries.*has 2/],
    ["Pad", "cropped below nothing", () => infer("Pad", [x, ints([-3, 0, 0, 0, 0, 0])]), /-1/],
    [
      "Pad",
      "an unknown mode",
      () => infer("Pad", [x, ints([0, 0, 0, 0, 0, 0])], { mode: "mirror" }),
      /mode.*"reflect"/,
    ],
    ["Expand", "what does not fit", () => infer("Expand", [x, ints([5, 4])]), /\[2,3,4\] and \[5,4\]/],
    [
      "Expand",
      "too many elements",
      () => infer("Expand", [tensor([1], [1]), ints([70000, 70000])]),
      /4900000000 elements/,
    ],
    ["Tile", "repeats for another rank", () => infer("Tile", [x, ints([2, 2])]), /3 entries, but has 2/],
    ["DepthToSpace", "channels", () => infer("DepthToSpace", [randomTensor([1, 6, 2, 2], 1)], { blocksize: 2 }), /6 channels/], // prettier-ignore
    ["Dropout", "training", () => infer("Dropout", [x, tensor([], [0.5]), { type: "bool", shape: [], data: Float64Array.of(1) }]), /training/], // prettier-ignore
    ["Range", "no end", () => infer("Range", [ints([0]), ints([4]), ints([0])]), /steps of 0/],
  ];
  test.each(refused)("%s: %s", (_, __, act, message) => {
    expect(act).toThrow(message);
  });

  test("shapes that depend on the network's input", () => {
    const dynamic: ValueInfo = { type: "int64", shape: [2] };
    expect(() => operators.get("Reshape")?.infer(node("Reshape", [1, 1], 1), [constant(x), dynamic], 13)).toThrow(/depends on the network's inputs/); // prettier-ignore
  });

  test("another shape, or name, of a stored tensor that is not in memory does not read it", () => {
    const load = (): never => {
      throw new Error("read");
    };
    const part = (start: number, count: number) => new Float32Array(count).fill(start);
    const stored = lazyTensor("float32", [4, 6], load, part);
    for (const [op, more, shape] of [
      ["Identity", [], [4, 6]],
      ["Reshape", [ints([2, -1])], [2, 12]],
      ["Flatten", [], [4, 6]],
      ["Dropout", [], [4, 6]],
    ] as const) {
      const [y] = infer(op, [stored, ...more]);
      expect([y?.shape, y?.value?.part?.(7, 2)], op).toEqual([shape, Float32Array.of(7, 7)]);
    }
  });

  test("a huge declared constant allocates nothing", () => {
    expect(infer("ConstantOfShape", [ints([60000, 60000])])).toEqual([{ type: "float32", shape: [60000, 60000] }]);
    expect(() => infer("ConstantOfShape", [ints([2 ** 40])])).toThrow(/1099511627776/);
  });
});
