/** Receptive fields against what changes: a pixel is in a position's field if, and only if, the position can see it. */
import { describe, expect, it } from "vitest";
import { inferShapes } from "../../src/graph/infer.ts";
import type { Graph, GraphNode, HostTensor } from "../../src/graph/graph.ts";
import { must } from "../../src/errors.ts";
import { inferRule } from "../../src/kernels/table.ts";
import { receptiveField } from "../../src/report/receptive-field.ts";
import { interpret } from "../reference/interpret.ts";

const node = (
  opType: string,
  inputs: string[],
  output: string,
  attributes: Record<string, number | number[]> = {},
): GraphNode => ({ name: output, opType, inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });

const ones = (shape: number[]): HostTensor => ({
  type: "float32",
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1),
});

const [HEIGHT, WIDTH] = [25, 23];

/** Strides, pads on one side only, dilation, a residual of two depths, pooling: all weights 1, so that nothing cancels. */
const graph: Graph = {
  opset: 17,
  nodes: [
    node("Conv", ["x", "w3"], "a", { strides: [2, 1], pads: [1, 0, 0, 2] }),
    node("Relu", ["a"], "b"),
    node("AveragePool", ["b"], "c", { kernel_shape: [2, 3], strides: [1, 2] }),
    node("Conv", ["c", "v3"], "d", { pads: [2, 2, 2, 2], dilations: [2, 2] }),
    node("Add", ["c", "d"], "e"),
    node("GlobalAveragePool", ["e"], "f"),
    node("Mul", ["e", "f"], "g"),
  ],
  constants: new Map([
    ["w3", ones([1, 1, 3, 3])],
    ["v3", ones([1, 1, 3, 3])],
  ]),
  inputs: [{ name: "x", type: "float32", shape: [1, 1, HEIGHT, WIDTH] }],
  outputs: ["g"],
};

const shaped = inferShapes(graph, new Map([["x", [1, 1, HEIGHT, WIDTH]]]), inferRule);

describe("receptive fields", () => {
  it.each(["a", "c", "d", "e"])(
    "of %s: every pixel that is seen, and no row or column more but at the edges",
    (value) => {
      const field = receptiveField(shaped, value, "x");
      const run = (pixel: number): Float64Array => {
        const data = new Float64Array(HEIGHT * WIDTH);
        if (pixel >= 0) data[pixel] = 1;
        const got = interpret(graph, new Map([["x", { shape: [1, 1, HEIGHT, WIDTH], data }]])).get(value);
        return Float64Array.from(got?.data ?? []);
      };
      const seen = Array.from({ length: HEIGHT * WIDTH }, (_, pixel) => run(pixel));
      const positions = seen[0]?.length ?? 0;
      expect(positions).toBeGreaterThan(4);
      const columns = shaped.values.get(value)?.shape[3] ?? 1;
      const rows = positions / columns;
      const middle = Math.floor(rows / 2) * columns + Math.floor(columns / 2);
      for (let p = 0; p < positions; p++) {
        const pixels = seen.flatMap((response, pixel) => ((response[p] ?? 0) !== 0 ? [pixel] : []));
        const ys = pixels.map((q) => Math.floor(q / WIDTH));
        const xs = pixels.map((q) => q % WIDTH);
        const [x, y] = [Math.min(...xs), Math.min(...ys)];
        const own = { x, y, width: Math.max(...xs) - x + 1, height: Math.max(...ys) - y + 1 };
        const got = must(field?.(p), "field");
        // At an edge a tap may fall on padding, and the pixels that it would have seen next to it are not seen.
        if (p === middle || value === "a") expect(got).toEqual(own);
        expect([got.x <= own.x, got.y <= own.y]).toEqual([true, true]);
        expect(got.x + got.width).toBeGreaterThanOrEqual(own.x + own.width);
        expect(got.y + got.height).toBeGreaterThanOrEqual(own.y + own.height);
      }
    },
  );

  it("behind a mean over positions is the whole image", () => {
    expect(receptiveField(shaped, "f", "x")).toBeUndefined();
    expect(receptiveField(shaped, "g", "x")).toBeUndefined();
  });
});
