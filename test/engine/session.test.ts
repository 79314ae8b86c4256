/** Sessions: runs at once, batches, memory, constants of several plans, devices that fail. */
import { afterAll, describe, expect, test } from "vitest";
import { Session } from "../../src/engine/session.ts";
import { UnbraidError } from "../../src/errors.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { Graph, HostTensor } from "../../src/graph/graph.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { ints, randomTensor, tensor } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { graphOf, IMAGE, LOGITS, node, normalNumbers, residualNetwork } from "./network.ts";

const normal = normalNumbers(5, 0.3);
const network = residualNetwork(normal, normal, normal);
const pixels = IMAGE.reduce((a, b) => a * b, 1);
const batch = (n: number, seed: number): HostTensor => randomTensor([n, ...IMAGE], seed);
const inputs = (t: HostTensor) => new Map([["image", t]]);
const cut = (t: HostTensor, i: number): HostTensor => ({
  type: "float32",
  shape: [1, ...IMAGE],
  data: t.data.slice(i * pixels, (i + 1) * pixels),
});

async function refused(work: Promise<unknown>): Promise<UnbraidError> {
  const outcome = await work.then(
    () => new Error("it was not refused"),
    (e: unknown) => e,
  );
  if (outcome instanceof UnbraidError) return outcome;
  throw outcome;
}

onAdapters("sessions", (gpu) => {
  test("runs at once give each its own results", async () => {
    using session = new Session(gpu(), network);
    const images = [1, 2, 3, 4].map((seed) => batch(2, seed));
    const seed = Float32Array.from({ length: 2 * LOGITS }, (_, i) => i);
    const run = (t: HostTensor) => session.run(inputs(t), ["logits"]);
    const gradient = (t: HostTensor) => session.gradient(inputs(t), { of: "logits", seed, wrt: ["z2"] });
    const [alone, slopes] = [[] as unknown[], [] as unknown[]];
    for (const t of images) {
      alone.push((await run(t)).get("logits"));
      slopes.push((await gradient(t)).get("z2"));
    }
    const together = await Promise.all(images.flatMap((t) => [run(t), gradient(t)]));
    images.forEach((_, i) => {
      expect(together[2 * i]?.get("logits")).toEqual(alone[i]);
      expect(together[2 * i + 1]?.get("z2")).toEqual(slopes[i]);
    });
    expect(alone[0]).not.toEqual(alone[1]);
  });

  test("integers as BigInt64Array, as onnxruntime has them, and as Float64Array", async () => {
    const graph: Graph = {
      opset: 13,
      nodes: [{ name: "pick", opType: "Gather", inputs: ["table", "index"], outputs: ["row"], attributes: new Map() }],
      constants: new Map([["table", randomTensor([4, 3], 1)]]),
      inputs: [{ name: "index", type: "int64", shape: [2] }],
      outputs: ["row"],
    };
    using session = new Session(gpu(), graph);
    const big = { type: "int64", shape: [2], data: BigInt64Array.of(3n, -2n) } as unknown as HostTensor;
    const got = await session.run(new Map([["index", big]]));
    expect(got).toEqual(await session.run(new Map([["index", ints([3, -2])]])));
    expect(got.get("row")?.shape).toEqual([2, 3]);
  });

  test("an image alone and in a batch of 5 gives the same bits, forward and backward", async () => {
    using session = new Session(gpu(), network);
    const five = batch(5, 6);
    const names = ["z1", "n1", "c", "joined", "r", "logits", "side"];
    const wrt = ["image", "z1", "c", "z3"];
    const whole = await session.run(inputs(five), names);
    const seed = new Float32Array(5 * LOGITS).map((_, i) => (i % LOGITS) - 1.7);
    const slopes = await session.gradient(inputs(five), { of: "logits", seed, wrt });
    for (const i of [0, 2, 4]) {
      const one = await session.run(inputs(cut(five, i)), names);
      const slope = await session.gradient(inputs(cut(five, i)), { of: "logits", seed: seed.slice(0, LOGITS), wrt });
      for (const [all, single] of [
        ...names.map((n) => [whole.get(n), one.get(n)]),
        ...wrt.map((n) => [slopes.get(n), slope.get(n)]),
      ]) {
        const size = single?.data.length ?? 0;
        expect(size).toBeGreaterThan(0);
        expect(all?.data.slice(i * size, (i + 1) * size)).toEqual(single?.data);
      }
    }
  });

  test("disposing frees every byte, in mid-run too, and nothing runs afterwards", async () => {
    const before = gpu().allocatedBytes;
    const session = new Session(gpu(), network);
    await session.run(inputs(batch(2, 1)));
    await session.gradient(inputs(batch(1, 1)), { of: "logits", seed: new Float32Array(LOGITS), wrt: ["w1", "image"] });
    expect(gpu().allocatedBytes).toBeGreaterThan(before);
    const late = session.run(inputs(batch(3, 1)));
    session[Symbol.dispose]();
    await late.catch((e: unknown) => {
      if (!(e instanceof UnbraidError)) throw e;
    });
    expect(gpu().allocatedBytes).toBe(before);
    expect((await refused(session.run(inputs(batch(1, 1))))).code).toBe("SESSION_CLOSED");
    expect((await refused(session.prepare({ inputs: new Map(), outputs: [] }))).code).toBe("SESSION_CLOSED");
    expect(gpu().allocatedBytes).toBe(before);
  });

  test("many shapes do not pile up: weights are uploaded once, old plans are dropped", async () => {
    using session = new Session(gpu(), network);
    for (const n of [1, 2, 3, 4, 5]) await session.run(inputs(batch(n, 1)));
    const five = gpu().allocatedBytes;
    for (let k = 0; k < 2; k++) for (const n of [1, 2, 3, 4, 5]) await session.run(inputs(batch(n, 1)));
    expect(gpu().allocatedBytes).toBe(five);
  });

  test("a request that is refused leaves nothing behind, and the session works on", async () => {
    using session = new Session(gpu(), network);
    const good = await session.run(inputs(batch(1, 1)));
    const held = gpu().allocatedBytes;
    expect((await refused(session.run(inputs(batch(1, 1)), ["nothing"]))).code).toBe("VALUE_UNKNOWN");
    expect((await refused(session.run(inputs({ ...batch(1, 1), shape: [2, ...IMAGE] })))).code).toBe("INPUT_SIZE");
    const short = session.gradient(inputs(batch(1, 1)), { of: "logits", seed: new Float32Array(2), wrt: ["z3"] });
    expect(await refused(short)).toMatchObject({ kind: "input", code: "INPUT_SIZE" });
    expect(gpu().allocatedBytes).toBeGreaterThanOrEqual(held);
    expect(await session.run(inputs(batch(1, 1)))).toEqual(good);
  });

  test("constants that depend on the input's shape are those of each plan", async () => {
    // image + (0, 1, 2, ...) along the width, which exporters compute from the shape.
    const graph: Graph = {
      ...graphOf(
        [
          node("Shape", ["image"], ["shape"]),
          node("Gather", ["shape", "three"], ["width"]),
          node("Range", ["zero", "width", "one"], ["positions"]),
          node("Cast", ["positions"], ["grid"], { to: 1 }),
          node("Add", ["image", "grid"], ["y"]),
        ],
        [null, null, null, null],
        ["y"],
      ),
      constants: new Map(
        ["zero", "one", "three"].map((name, i) => [
          name,
          { type: "int64", shape: [], data: Float64Array.of([0, 1, 3][i] ?? 0) } as const,
        ]),
      ),
    };
    using session = new Session(gpu(), graph);
    for (const width of [3, 5, 2, 3]) {
      const y = await session.run(inputs(tensor([1, 1, 1, width], new Array<number>(width).fill(10))));
      expect(Array.from(y.get("y")?.data ?? [])).toEqual([10, 11, 12, 13, 14].slice(0, width));
    }
  });

  test("one weight, read with and without groups, is laid out for each", async () => {
    const w = randomTensor([32, 4, 3, 3], 2);
    const graph = graphOf(
      [
        node("Slice", ["image", "from", "to", "axis"], ["half"]),
        node("Conv", ["half", "w"], ["whole"]),
        node("Conv", ["image", "w"], ["grouped"], { group: 2 }),
      ],
      [1, 8, 5, 5],
      ["whole", "grouped"],
      { w, from: ints([0]), to: ints([4]), axis: ints([1]) },
    );
    using session = new Session(gpu(), graph);
    const got = await session.run(inputs(randomTensor([1, 8, 5, 5], 1)));
    // The first group reads the same four channels through the first 16 rows.
    const [whole, grouped] = ["whole", "grouped"].map((n) => got.get(n)?.data.slice(0, 16 * 9));
    expect(whole?.length).toBe(144);
    expect(grouped).toEqual(whole);
  });

  test("results without elements are empty arrays", async () => {
    const graph = graphOf(
      [node("Slice", ["image", "zero", "zero", "axis"], ["none"]), node("Relu", ["none"], ["y"])],
      [1, 3, 8, 8],
      ["none", "y"],
      { zero: ints([0]), axis: ints([1]) },
    );
    using session = new Session(gpu(), graph);
    const got = await session.run(inputs(batch(1, 1)), ["none", "y", "image"]);
    for (const name of ["none", "y"]) {
      expect(got.get(name)).toEqual({ type: "float32", shape: [1, 0, 8, 8], data: new Float32Array(0) });
    }
    expect(got.get("image")?.data).toEqual(batch(1, 1).data);
    expect((await session.run(inputs(batch(1, 1)), ["y"])).get("y")?.data.length).toBe(0);
  });
});

describe.skipIf(testAdapters.length === 0).each([...testAdapters])("a device that fails, on %s", (name) => {
  const opened: { close(): void }[] = [];
  afterAll(() => {
    for (const o of opened) o.close();
  });
  async function open(): Promise<{ gpu: Gpu; session: Session }> {
    const adapter = await openTestAdapter(name);
    opened.push(adapter);
    const gpu = await Gpu.open(adapter.adapter);
    return { gpu, session: new Session(gpu, network) };
  }

  test("lost between runs or during one: an error, never zeros", async () => {
    const { gpu, session } = await open();
    const good = await session.run(inputs(batch(1, 1)), ["logits"]);
    expect(good.get("logits")?.data.some((v) => v !== 0)).toBe(true);
    const during = refused(session.run(inputs(batch(1, 1)), ["logits"]));
    gpu.device.destroy();
    expect(await during).toMatchObject({ kind: "device", code: "DEVICE_LOST" });
    expect(await refused(session.run(inputs(batch(1, 1)), ["logits"]))).toMatchObject({ code: "DEVICE_LOST" });
    // A plan that was not there before: its pipelines cannot be compiled any more.
    expect(await refused(session.run(inputs(batch(3, 1)), ["r"]))).toMatchObject({ code: "DEVICE_LOST" });
    expect(() => {
      gpu.check();
    }).toThrow(/was lost/);
    session[Symbol.dispose]();
    gpu[Symbol.dispose]();
  });

  test("lost in the very moment of a run", async () => {
    const { gpu, session } = await open();
    await session.run(inputs(batch(1, 1)), ["logits"]);
    gpu.device.destroy();
    expect(await refused(session.run(inputs(batch(1, 1)), ["logits"]))).toMatchObject({ code: "DEVICE_LOST" });
    session[Symbol.dispose]();
  });

  test("an error that no call reported fails the next result", async () => {
    const { gpu, session } = await open();
    const work = session.run(inputs(batch(1, 1)), ["logits"]);
    await work;
    gpu.device.createBuffer({ size: 16, usage: 1 | 128 }); // mapping and storage together are not allowed
    expect(await refused(session.run(inputs(batch(1, 1)), ["logits"]))).toMatchObject({
      kind: "device",
      code: "GPU_ERROR",
    });
    session[Symbol.dispose]();
    gpu[Symbol.dispose]();
  });

  test("more than a binding holds is refused with both numbers", async () => {
    const { gpu, session } = await open();
    const limit = Math.min(gpu.device.limits.maxBufferSize, gpu.device.limits.maxStorageBufferBindingSize);
    const n = Math.ceil(limit / (4 * 8 * 64)) + 1;
    const request = { inputs: new Map([["image", [n, ...IMAGE]]]), outputs: ["z1"] };
    const error = await refused(session.prepare(request));
    expect(error).toMatchObject({ kind: "device", code: "GPU_LIMIT" });
    expect(error.message).toContain(String(limit));
    expect(gpu.allocatedBytes).toBe(0);
    session[Symbol.dispose]();
    gpu[Symbol.dispose]();
  });
});
