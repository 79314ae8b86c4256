/** Weights that lie beside the model: read in parts, once, and never held twice; tensors that no buffer can hold. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { UnbraidError } from "../../src/errors.ts";
import { externalReader, modelDigest, readModelFile } from "../../src/files.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { buildGraph } from "../../src/graph/build.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { splitLayer } from "../../src/graph/surgery.ts";
import { decodeModel } from "../../src/onnx/decode.ts";
import { floats, modelBytes, node, noise, TYPE, valueInfo } from "../onnx/make.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { watchAllocations } from "../support/allocations.ts";
import { onnx } from "../support/onnx-proto.ts";
import { graphOf, node as graphNode } from "./network.ts";

const folder = mkdtempSync(join(tmpdir(), "unbraid-large-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const WIDTH = 3072;
const LAYERS = 8;
const LAYER_BYTES = 4 * WIDTH * WIDTH;
/** Rows and columns of the few weights that are not zero: the file is sparse, and y = W x is known exactly. */
const PLACES = Array.from({ length: 64 }, (_, k) => ({
  row: (k * 997) % WIDTH,
  column: (k * 3001 + 1) % WIDTH,
  value: 1 + (k % 5),
}));

/** A Conv, then LAYERS dense layers of 36 MiB whose weights lie in one file beside: 288 MiB. */
function writeLarge(): string {
  const data = openSync(join(folder, "weights.bin"), "w");
  ftruncateSync(data, LAYERS * LAYER_BYTES);
  for (let layer = 0; layer < LAYERS; layer++)
    for (const { row, column, value } of PLACES)
      writeSync(data, Float32Array.of(value), 0, 4, layer * LAYER_BYTES + 4 * (row * WIDTH + column));
  closeSync(data);
  const names = Array.from({ length: LAYERS }, (_, k) => `w${k}`);
  const path = join(folder, "large.onnx");
  writeFileSync(
    path,
    modelBytes({
      node: [
        node("Conv", ["x", "c"], ["z"], {}, "conv"),
        node("Flatten", ["z"], ["h0"]),
        ...names.map((name, k) => node("Gemm", [`h${k}`, name], [`h${k + 1}`], { transB: 1 }, `dense${k}`)),
      ],
      input: [valueInfo("x", ["n", 3, 16, 16])],
      output: [valueInfo(`h${LAYERS}`, ["n", WIDTH])],
      initializer: [
        floats("c", [12, 3, 1, 1], noise(3, 36)),
        ...names.map((name, k) => ({
          name,
          dims: [WIDTH, WIDTH],
          dataType: TYPE.float32,
          dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
          externalData: Object.entries({ location: "weights.bin", offset: k * LAYER_BYTES, length: LAYER_BYTES }).map(
            ([key, value]) => ({ key, value: String(value) }),
          ),
        })),
      ],
    }),
  );
  return path;
}

describe("weights beside the model", () => {
  const path = writeLarge();
  const parts: number[] = [];
  const reader = externalReader(path);
  const counted = decodeModel(readModelFile(path).bytes, (location, offset, length) => {
    parts.push(length ?? 0);
    return reader(location, offset, length);
  });

  test("building the graph reads no more than the end of each tensor", () => {
    using watch = watchAllocations();
    parts.length = 0;
    buildGraph(counted);
    expect(parts).toEqual(new Array<number>(LAYERS).fill(4));
    expect(watch.largest()).toBeLessThan(2 ** 20);
  });

  test("a tensor is the same array while it is held, and in parts what it is as a whole", () => {
    const graph = buildGraph(counted);
    const tensor = graph.constants.get("w3");
    const [{ row, column, value } = { row: 0, column: 0, value: 0 }] = PLACES;
    expect(tensor?.data).toBe(tensor?.data);
    expect(tensor?.data[row * WIDTH + column]).toBe(value);
    expect(tensor?.part?.(row * WIDTH + column, 1)).toEqual(Float32Array.of(value));
  });

  test.skipIf(testAdapters.length === 0)("a run reads each byte once, 16 MB at a time, and holds it once", async () => {
    const adapter = await openTestAdapter(testAdapters[0] ?? "");
    const gpu = await Gpu.open(adapter.adapter);
    const graph = buildGraph(counted);
    const session = new Session(gpu, graph);
    const image = Float32Array.from({ length: 768 }, (_, k) => ((k % 17) - 8) / 8);
    const input = new Map([["x", { type: "float32" as const, shape: [1, 3, 16, 16], data: image }]]);
    parts.length = 0;
    const before = process.memoryUsage().rss;
    using watch = watchAllocations();
    const most = peakRss();
    const results = await session.run(input, ["h0", `h${LAYERS}`]);
    const grown = most() - before;
    expect(parts.reduce((n, k) => n + k, 0)).toBe(LAYERS * LAYER_BYTES);
    expect(Math.max(...parts)).toBe(2 ** 24);
    expect(watch.largest()).toBeLessThanOrEqual(2 ** 24);
    // Software adapters keep the device's copy in this process too. Beside it, at most 64 MB wait in the queue, and as
    // much may wait for the garbage collector; lavapipe itself takes some tens.
    expect(grown).toBeLessThan(LAYERS * LAYER_BYTES + 200 * 2 ** 20);

    let h = Float64Array.from(results.get("h0")?.data ?? []);
    for (let layer = 0; layer < LAYERS; layer++) {
      const next = new Float64Array(WIDTH);
      for (const { row, column, value } of PLACES) next[row] = (next[row] ?? 0) + value * (h[column] ?? 0);
      h = next;
    }
    const y = results.get(`h${LAYERS}`)?.data ?? [];
    // Each row has at most a few terms that are not zero; the bound is for all 64 in one, at every layer.
    const scale = Math.max(...h.map(Math.abs), 1e-30);
    y.forEach((v, k) => {
      expect(Math.abs(v - (h[k] ?? NaN))).toBeLessThanOrEqual(LAYERS * 64 * 2 ** -24 * scale);
    });
    session[Symbol.dispose]();
    gpu[Symbol.dispose]();
    adapter.close();
  });

  test("a split leaves the data file alone, and its own file small", () => {
    const model = readModelFile(path);
    const digest = modelDigest(path, model);
    parts.length = 0;
    const nodeIndex = model.nodes.findIndex((n) => n.opType === "Conv");
    const split = splitLayer(counted, {
      nodeIndex,
      channels: [{ channel: 2, concepts: 2, sets: Uint32Array.of(1, 2, 3) }],
    });
    expect(parts).toEqual([]);
    expect(split.bytes.length).toBeLessThan(model.bytes.length + 4000);
    const after = decodeModel(split.bytes, externalReader(path));
    expect(after.initializers.get("w7")?.part(5, 2)).toEqual(model.initializers.get("w7")?.part(5, 2));
    expect(modelDigest(path)).toBe(digest);
  });
});

/** Watches this process's memory until asked for its most. */
function peakRss(): () => number {
  let most = process.memoryUsage().rss;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 5);
  return () => {
    clearInterval(timer);
    return Math.max(most, process.memoryUsage().rss);
  };
}

describe.skipIf(testAdapters.length === 0)("limits of the adapter", () => {
  /** A device with the least limits that WebGPU guarantees: 128 MiB a binding, 256 MiB a buffer, 65535 workgroups. */
  async function withLeast(use: (gpu: Gpu) => Promise<void>): Promise<void> {
    const adapter = await openTestAdapter(testAdapters[0] ?? "");
    const device = await adapter.adapter.requestDevice();
    const gpu = Gpu.borrow(device);
    try {
      await use(gpu);
      expect(gpu.allocatedBytes).toBe(0);
    } finally {
      gpu[Symbol.dispose]();
      device.destroy();
      adapter.close();
    }
  }
  const refused = async (gpu: Gpu, graph: Graph, shape: readonly number[]): Promise<UnbraidError> => {
    const session = new Session(gpu, graph);
    try {
      await session.prepare({ inputs: new Map([["image", shape]]), outputs: graph.outputs });
    } catch (error) {
      if (error instanceof UnbraidError) return error;
      throw error;
    } finally {
      session[Symbol.dispose]();
    }
    throw new Error("it was not refused");
  };
  const upsampled = graphOf(
    [
      graphNode("Relu", ["image"], ["small"]),
      graphNode("Tile", ["small", "repeats"], ["tiled"]),
      graphNode("ReduceMax", ["tiled"], ["most"]),
    ],
    [null, 1, null, null],
    ["most"],
    { repeats: { type: "int64", shape: [4], data: Float64Array.of(1, 1, 64, 64) } },
  );

  test("a value in between that exceeds a binding: its dispatch, its bytes and the limit", async () => {
    await withLeast(async (gpu) => {
      const limit = gpu.device.limits.maxStorageBufferBindingSize;
      expect(limit).toBe(2 ** 27);
      const error = await refused(gpu, upsampled, [1, 1, 96, 96]);
      expect(error).toMatchObject({ kind: "device", code: "GPU_LIMIT" });
      expect(error.message).toContain('the result of "tiled');
      expect(error.message).toContain(`${4 * 96 * 96 * 64 * 64} bytes`);
      expect(error.message).toContain(`allows ${limit}`);
    });
  });

  test("an input, a result and a constant by their names", async () => {
    await withLeast(async (gpu) => {
      const plain = graphOf([graphNode("Relu", ["image"], ["y"])], [null, null], ["y"]);
      expect((await refused(gpu, plain, [2, 2 ** 25])).message).toContain(
        `the input "image" of shape 2x${2 ** 25} needs ${2 ** 28} bytes`,
      );
      const tiled = { ...upsampled, outputs: ["tiled"] };
      expect((await refused(gpu, tiled, [1, 1, 96, 96])).message).toContain('the value "tiled" of shape 1x1x6144x6144');
      const huge = {
        type: "float32" as const,
        shape: [2 ** 25, 2],
        get data(): Float32Array {
          throw new Error("it was read");
        },
      };
      const dense = graphOf([graphNode("Add", ["image", "w"], ["y"])], [null, null], ["y"], { w: huge });
      const error = await refused(gpu, dense, [1, 1]);
      expect(error.message).toMatch(/^the constant that ".*y.*" reads needs 268435456 bytes/);
    });
  });

  test("a device that is out of memory says so, and takes no harm", async () => {
    await withLeast(async (gpu) => {
      const w = { type: "float32" as const, shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) };
      const dense = graphOf([graphNode("MatMul", ["image", "w"], ["y"])], [null, null], ["y"], { w });
      using session = new Session(gpu, dense);
      const images = (n: number) =>
        new Map([["image", { type: "float32" as const, shape: [n, 2], data: new Float32Array(2 * n).fill(1) }]]);
      await session.run(images(1)); // what is compiled and uploaded now fails no more
      const before = gpu.allocatedBytes;
      // Real exhaustion would take the machine with it: the device is made to report it once.
      class GPUOutOfMemoryError {
        readonly message = "no memory left";
      }
      const honest = gpu.device.popErrorScope.bind(gpu.device);
      gpu.device.popErrorScope = async () => {
        gpu.device.popErrorScope = honest;
        await honest();
        return new GPUOutOfMemoryError();
      };
      const error: unknown = await session.run(images(2)).catch((e: unknown) => e);
      expect(error).toMatchObject({ kind: "device", code: "GPU_MEMORY" });
      expect(gpu.allocatedBytes).toBe(before);
      expect((await session.run(images(2))).get("y")?.data).toEqual(Float32Array.of(4, 6, 4, 6));
    });
  });

  test("more workgroups than a dimension takes", async () => {
    await withLeast(async (gpu) => {
      // 2^20 groups of one channel: one workgroup each along y.
      const n = 2 ** 17;
      const w = { type: "float32" as const, shape: [8 * n, 1, 1, 1], data: new Float32Array(8 * n) };
      const conv = graphOf([graphNode("Conv", ["image", "w"], ["y"], { group: n })], [null, null, null, null], ["y"], {
        w,
      });
      const error = await refused(gpu, conv, [1, n, 1, 1]);
      expect(error.message).toMatch(new RegExp(`y needs 1x${n}x1 workgroups; this adapter allows 65535`));
      expect(error.code).toBe("GPU_LIMIT");
    });
  });

  test("a window dilated far beyond the image takes no memory for its padding", async () => {
    await withLeast(async (gpu) => {
      const w = { type: "float32" as const, shape: [16, 4, 3, 3], data: noise(5, 16 * 4 * 9) };
      const far = 2 ** 20;
      const conv = graphOf(
        [graphNode("Conv", ["image", "w"], ["y"], { dilations: [far, far], pads: [far, far, far, far] })],
        [null, 4, 4, 4],
        ["y"],
        { w },
      );
      using session = new Session(gpu, conv);
      const data = noise(6, 64);
      const got = await session.run(new Map([["image", { type: "float32", shape: [1, 4, 4, 4], data }]]));
      // Of the nine taps only the middle one lies in the image.
      const y = got.get("y")?.data ?? [];
      for (let o = 0; o < 16; o++)
        for (let p = 0; p < 16; p++) {
          let sum = 0;
          for (let c = 0; c < 4; c++) sum += (w.data[(o * 4 + c) * 9 + 4] ?? 0) * (data[c * 16 + p] ?? 0);
          // Four products and sums, each rounded, of magnitude at most 1.
          expect(Math.abs((y[o * 16 + p] ?? NaN) - sum)).toBeLessThanOrEqual(4 * 4 * 2 ** -24);
        }
    });
  });
});
