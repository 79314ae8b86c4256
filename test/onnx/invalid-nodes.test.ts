/** Files as in invalid.test.ts, with the fault in the attributes, shapes and sizes of their nodes. */
import { it } from "vitest";
import { floats, node, valueInfo, type ModelParts } from "./make.ts";

import { T, ends, weight, ints, conv, one, relu, check } from "./invalid-models.ts";

/** Model, code, and what the message must hold. */
const cases: Readonly<Record<string, readonly [ModelParts, string, ...string[]]>> = {
  // Attributes.
  "an attribute of another type": [conv({ group: [1] }), "ATTRIBUTE", 'Conv "conv"', "group", "a list"],
  "text where a list belongs": [conv({ pads: "1" }), "ATTRIBUTE", 'Conv "conv"', "pads"],
  "a list of another length": [conv({ strides: [1] }), "ATTRIBUTE", "strides", "2 entries", "has 1"],
  "a stride of zero": [conv({ strides: [0, 1] }), "ATTRIBUTE", "[0,1]"],
  "negative pads": [conv({ pads: [-1, 0, 0, 0] }), "ATTRIBUTE", "[-1,0,0,0]"],
  "pads beyond 32 bits": [conv({ pads: [2 ** 32, 0, 0, 0] }), "ATTRIBUTE", 'Conv "conv"', "4294967296"],
  "a dilation beyond 32 bits": [conv({ dilations: [2 ** 40, 1] }), "SHAPE", 'Conv "conv"', "2199023255553"],
  "strides of 2^62, saturated at 2^53": [conv({ strides: [2 ** 62, 1] }), "ATTRIBUTE", "9007199254740992"],
  "no groups": [conv({ group: 0 }), "SHAPE", "group 0"],
  "groups that do not divide": [conv({ group: 2 }), "SHAPE", "group 2", "[1,3,8,8]", "[4,3,3,3]"],
  "a kernel that contradicts its weight": [conv({ kernel_shape: [5, 5] }), "SHAPE", "[5,5]", "[4,3,3,3]"],
  "an unknown mode": [
    one("Resize", { mode: "spline" }, [
      floats("r", [0], new Float32Array()),
      floats("s", [4], Float32Array.of(1, 1, 2, 2)),
    ]),
    "ATTRIBUTE",
    'Resize "op"',
    "spline",
  ],
  "a tensor attribute without a tensor": [
    {
      ...ends,
      node: [
        { opType: "Constant", name: "c", output: ["k"], attribute: [{ name: "value", type: T.TENSOR }] },
        node("Add", ["x", "k"], ["y"]),
      ],
    },
    "ATTRIBUTE_EMPTY",
    '"c"',
    "value",
  ],
  // Ranks and shapes.
  "a weight of another rank": [conv({}, { ...weight, dims: [4, 27] }), "SHAPE", 'Conv "conv"', "[4,27]"],
  "channels that do not fit": [
    conv({}, floats("w", [4, 5, 1, 1], new Float32Array(20))),
    "SHAPE",
    "[1,3,8,8]",
    "[4,5,1,1]",
  ],
  "a window larger than the image": [
    conv({}, floats("w", [1, 3, 1000, 1], new Float32Array(3000))),
    "SHAPE",
    'Conv "conv"',
    "1000",
    "8 elements",
  ],
  "an axis out of range": [one("Softmax", { axis: 4 }), "SHAPE", 'Softmax "op"', "4", "rank 4"],
  "a reshape that does not fit": [one("Reshape", {}, [ints("s", [5, -1])]), "SHAPE", 'Reshape "op"', "192", "5"],
  "a reshape with two open sizes": [one("Reshape", {}, [ints("s", [-1, -1])]), "SHAPE", 'Reshape "op"', "-1"],
  "shapes that cannot be broadcast": [
    one("Add", {}, [floats("k", [5], new Float32Array(5))]),
    "SHAPE",
    'Add "op"',
    "[1,3,8,8]",
    "[5]",
  ],
  "an index out of range": [one("Gather", { axis: 1 }, [ints("i", [3])]), "INDEX", 'Gather "op"', "3"],
  "a permutation that is none": [one("Transpose", { perm: [0, 0, 1, 2] }), "SHAPE", 'Transpose "op"', "0,0,1,2"],
  "sizes of a split that do not add up": [one("Split", { axis: 1 }, [ints("s", [1, 1])]), "SHAPE", 'Split "op"'],
  // Huge results of tiny files.
  "a constant of 2^40 numbers": [
    {
      ...ends,
      node: [node("ConstantOfShape", ["s"], ["k"], {}, "fill"), node("Add", ["x", "k"], ["y"])],
      initializer: [ints("s", [2 ** 20, 2 ** 20])],
    },
    "SHAPE",
    'ConstantOfShape "fill"',
    "1099511627776",
  ],
  "a range without end": [
    {
      ...ends,
      node: [node("Range", ["a", "b", "c"], ["k"], {}, "range"), node("Add", ["x", "k"], ["y"])],
      initializer: [
        floats("a", [], Float32Array.of(0)),
        floats("b", [], Float32Array.of(1)),
        floats("c", [], Float32Array.of(0)),
      ],
    },
    "SHAPE",
    'Range "range"',
  ],
  "a range of 2^40 numbers": [
    {
      ...ends,
      node: [node("Range", ["a", "b", "c"], ["k"], {}, "range"), node("Add", ["x", "k"], ["y"])],
      initializer: [ints("a", [0], []), ints("b", [2 ** 40], []), ints("c", [1], [])],
    },
    "UNSUPPORTED_NODE",
    'Range "range"',
    "1099511627776",
  ],
  "an expansion to 2^50 numbers": [
    one("Expand", {}, [ints("s", [2 ** 40, 1, 1, 1])]),
    "SHAPE",
    'Expand "op"',
    "1099511627776",
  ],
  "2^40 tiles": [one("Tile", {}, [ints("s", [2 ** 40, 1, 1, 1])]), "SHAPE", 'Tile "op"', "1099511627776"],
  "padding by 2^40": [one("Pad", {}, [ints("s", [0, 0, 2 ** 40, 0, 0, 0, 0, 0])]), "SHAPE", 'Pad "op"', "1099511627"],
  "a scale of 1e12": [
    one("Resize", {}, [floats("r", [0], new Float32Array()), floats("s", [4], Float32Array.of(1, 1, 1e12, 1))]),
    "UNSUPPORTED_NODE",
    'Resize "op"',
    "79999",
  ],
  "a transposed stride of 2^33": [
    {
      ...ends,
      node: [node("ConvTranspose", ["x", "w"], ["y"], { strides: [2 ** 33, 1] }, "up")],
      initializer: [floats("w", [3, 4, 3, 3], new Float32Array(108))],
    },
    "ATTRIBUTE",
    'ConvTranspose "up"',
    "601295421",
  ],
  "output padding as large as the stride": [
    {
      ...ends,
      node: [node("ConvTranspose", ["x", "w"], ["y"], { strides: [2, 2], output_padding: [2, 0] }, "up")],
      initializer: [floats("w", [3, 4, 3, 3], new Float32Array(108))],
    },
    "ATTRIBUTE",
    "[2,0]",
    "[2,2]",
  ],
  "an input of -5 rows": [
    { ...relu(["x", "y", "a"]), input: [valueInfo("x", [1, 3, -5, 8])] },
    "TENSOR_DIMS",
    '"x"',
    "[1, 3, -5, 8]",
  ],
  "an output of -7 rows": [
    { ...relu(["x", "y", "a"]), output: [valueInfo("y", [1, 3, -7, 8])] },
    "TENSOR_DIMS",
    '"y"',
    "[1, 3, -7, 8]",
  ],
  "a constant doubled 60 times": [
    {
      ...ends,
      node: [
        node("ConstantOfShape", ["s"], ["c0"]),
        ...Array.from({ length: 60 }, (_, k) =>
          node("Concat", [`c${k}`, `c${k}`], [`c${k + 1}`], { axis: 0 }, `double${k}`),
        ),
        node("ReduceMax", ["c60"], ["m"], { keepdims: 0 }),
        node("Add", ["x", "m"], ["y"]),
      ],
      initializer: [ints("s", [1024])],
    },
    "SHAPE",
    'Concat "double21"',
    "4294967296",
  ],
  "a thousand constants of a million numbers": [
    {
      ...ends,
      node: [
        ...Array.from({ length: 1000 }, (_, k) => node("ConstantOfShape", ["s"], [`c${k}`], {}, `fill${k}`)),
        node("Relu", ["x"], ["y"]),
      ],
      initializer: [ints("s", [2 ** 20])],
    },
    "UNSUPPORTED_NODE",
    'ConstantOfShape "fill8"',
    "9437184",
  ],
  "a thousand steps on a million numbers": [
    {
      ...ends,
      node: [
        node("ConstantOfShape", ["s"], ["c0"]),
        ...Array.from({ length: 1000 }, (_, k) => node("Neg", [`c${k}`], [`c${k + 1}`], {}, `step${k}`)),
        node("Add", ["x", "c1000"], ["y"]),
      ],
      initializer: [ints("s", [2 ** 20])],
    },
    "UNSUPPORTED_NODE",
    'Neg "step7"',
    "9437184",
  ],
  "a million numbers, put together 8192 times": [
    {
      ...ends,
      node: [
        node("ConstantOfShape", ["s"], ["c"]),
        node("Concat", new Array<string>(8192).fill("c"), ["d"], { axis: 0 }, "together"),
        node("Add", ["x", "d"], ["y"]),
      ],
      initializer: [ints("s", [2 ** 20])],
    },
    "SHAPE",
    'Concat "together"',
    "8589934592",
  ],
  "an input of 2^40 pixels": [
    { ...relu(["x", "y", "a"]), input: [valueInfo("x", [1, 1, 2 ** 20, 2 ** 20])] },
    "INPUT_SHAPE",
    '"x"',
    "1099511627776",
  ],
};

it.each(Object.entries(cases))("%s", (_, [parts, code, ...words]) => {
  check(parts, code, words);
});
