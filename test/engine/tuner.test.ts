/** Tiles of convolutions: choices are taken, change no bit, are kept, and are measured. */
import { describe, expect, test, vi } from "vitest";
import { Executable } from "../../src/engine/executable.ts";
import { gradientName, makePlan, seedName, type Plan } from "../../src/engine/plan.ts";
import { Session } from "../../src/engine/session.ts";
import { timeTiles } from "../../src/engine/time-tiles.ts";
import { Tuner } from "../../src/engine/tuner.ts";
import { attachTuner } from "../../src/engine/tuners.ts";
import { nameOf } from "../../src/gpu/gpu.ts";
import { WeightStore } from "../../src/engine/weights.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { foursProduct, type ProductShape } from "../../src/kernels/conv-fours.ts";
import { tileName, type ConvTile } from "../../src/kernels/conv-fours-shader.ts";
import { candidateTiles, pixelRanges, tileFor } from "../../src/kernels/conv-tiles.ts";
import { layerKey, TileTable, type TileChoices } from "../../src/kernels/tile-table.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { randomTensor } from "../support/numbers.ts";
import { onAdapters } from "../support/on-adapters.ts";
import { graphOf, node } from "./network.ts";

/** A plain convolution, Winograd's, one with stride (whose gradient runs in phases), and groups. */
const network = graphOf(
  [
    node("Conv", ["image", "w1"], ["a"], { pads: [1, 1, 1, 1] }),
    node("Conv", ["a", "w2"], ["b"], { pads: [1, 1, 1, 1] }),
    node("Relu", ["b"], ["c"]),
    node("Conv", ["c", "w3"], ["d"], { strides: [2, 2], pads: [1, 1, 1, 1] }),
    node("Conv", ["d", "w4"], ["e"], { group: 2 }),
    node("GlobalAveragePool", ["e"], ["logits"]),
  ],
  [null, 3, 10, 10],
  ["logits"],
  {
    w1: randomTensor([20, 3, 3, 3], 1),
    w2: randomTensor([20, 20, 3, 3], 2),
    w3: randomTensor([24, 20, 3, 3], 3),
    w4: randomTensor([40, 12, 1, 1], 4),
  },
);
const request = (batch: number) => ({
  inputs: new Map([["image", [batch, 3, 10, 10]]]),
  outputs: ["logits"],
  gradient: { of: "logits", wrt: ["image"] },
});
const adapter = (subgroups: number, tiles?: TileChoices) => ({ subgroups, workgroupBytes: 32768, tiles });

function productsOf(subgroups: number, batch: number): ProductShape[] {
  const asked = new Map<string, ProductShape>();
  const tile = (p: ProductShape): undefined => void asked.set(layerKey(p), p);
  makePlan(network, request(batch), adapter(subgroups, { outputs: () => undefined, tile }));
  return [...asked.values()];
}

function tableWith(tile: (p: ProductShape) => ConvTile | undefined, subgroups: number, batch: number): TileTable {
  const table = new TileTable();
  for (const p of productsOf(subgroups, batch)) {
    const chosen = tile(p);
    if (chosen !== undefined) table.set(p, chosen);
  }
  return table;
}

const convolutions = (plan: Plan): string[] =>
  plan.calls
    .map((c) => nameOf(c.shader).replace(/(, points)?(, \d channels)?(, \d+ staged)?$/, ""))
    .filter((s) => s.startsWith("conv_fours"));
const constants = (plan: Plan): string[] => plan.slots.flatMap((s) => s.key ?? []).filter((k) => k.startsWith("conv:"));

describe("choices of tiles", () => {
  const { length } = productsOf(8, 2);

  test("a plan takes the tiles of its table, and the cost model's where there is none", () => {
    expect(length).toBeGreaterThan(6);
    for (const tile of candidateTiles(8)) {
      const plan = makePlan(
        network,
        request(2),
        adapter(
          8,
          tableWith(() => tile, 8, 2),
        ),
      );
      expect(new Set(convolutions(plan))).toEqual(new Set([tileName(tile)]));
    }
    const usual = convolutions(makePlan(network, request(2), adapter(8)));
    expect(convolutions(makePlan(network, request(2), adapter(8, new TileTable())))).toEqual(usual);
  });

  test("plans for other batches have the same outputs a tile, and so the same constants", () => {
    const wide = candidateTiles(8).find((t) => t.share === "broadcast" && t.outputs === 16);
    const table = tableWith(() => wide, 8, 4);
    const [four, three] = [4, 3].map((n) => constants(makePlan(network, request(n), adapter(8, table))));
    expect(three).toEqual(four);
    expect(constants(makePlan(network, request(4), adapter(8)))).not.toEqual(four);
  });

  test("a table comes back from its record; names that the adapter lacks and other widths are left out", () => {
    const table = tableWith((p) => tileFor({ subgroups: 8 }, p), 8, 2);
    const record = table.record();
    expect(Object.keys(record)).toHaveLength(length);
    expect(TileTable.from(JSON.parse(JSON.stringify(record)) as typeof record, 8).record()).toEqual(record);
    expect(
      TileTable.from({ layer: { 4: "no such tile", x: tileName(tileFor({ subgroups: 8 }, first(8))) } }, 8).record(),
    ).toEqual({});
    const [a, b] = [8, 16].map((n) => candidateTiles(8).find((t) => t.outputs === 2 * n));
    if (a === undefined || b === undefined) throw new Error("no such tiles");
    const mixed = TileTable.from({ layer: { 4: tileName(a), 5: tileName(b) } }, 8);
    expect(mixed.record()).toEqual({ layer: { 5: tileName(b) } });
  });
});

const first = (subgroups: number): ProductShape => {
  const [p] = productsOf(subgroups, 1);
  if (p === undefined) throw new Error("no products");
  return p;
};

async function run(gpu: Gpu, batch: number, tiles?: TileChoices): Promise<Map<string, Float32Array>> {
  const plan = makePlan(network, request(batch), {
    subgroups: gpu.subgroups,
    workgroupBytes: gpu.workgroupBytes,
    tiles,
  });
  using weights = new WeightStore(gpu);
  using executable = await Executable.make(gpu, plan, weights);
  const image = Float32Array.from(randomTensor([batch, 3, 10, 10], 9).data, Number);
  executable.run(
    new Map([
      ["image", image],
      [seedName("logits"), new Float32Array(batch * 40).fill(1)],
    ]),
  );
  return await executable.read(["logits", gradientName("image")]);
}

onAdapters("tuning", (gpu) => {
  test("a tile's time is that of all its dispatches", async () => {
    // 228 pixels: 4 more than a multiple of 32 and of 28, the blocks of the software adapters.
    const shape = { batch: 1, input: [12, 19], output: [12, 19], channels: 512, outputs: 160 } as const;
    const window = { kernel: [1, 1], strides: [1, 1], dilations: [1, 1], pads: [0, 0] } as const;
    const p = foursProduct({ ...shape, ...window, groups: 1, transposed: false });
    const tiles = candidateTiles(gpu().subgroups)
      .filter((t) => t.share !== "memory")
      .slice(0, 3);
    const profile = vi.spyOn(Executable.prototype, "profile");
    const run = vi.spyOn(Executable.prototype, "run");
    try {
      const times = await timeTiles(gpu(), p, tiles);
      expect(times).toHaveLength(tiles.length);
      const timed = [...profile.mock.calls, ...run.mock.calls].map(([, calls]) => (calls ?? []).join());
      const lengths = tiles.map((tile) => pixelRanges({ ...p, tile }).length);
      const expected = lengths.map((n, k) => {
        const first = lengths.slice(0, k).reduce((sum, m) => sum + m, 0);
        return Array.from({ length: n }, (_, c) => first + c).join();
      });
      expect(new Set(timed)).toEqual(new Set(expected));
      if (tiles[0]?.share === "broadcast") expect(lengths[0]).toBe(2);
    } finally {
      profile.mockRestore();
      run.mockRestore();
    }
  });

  test("every tile gives the same bits, forward and backward", async () => {
    const { subgroups } = gpu();
    const usual = await run(gpu(), 2);
    const narrow = candidateTiles(subgroups).filter((t) => t.outputs <= 16);
    for (const tile of [...narrow, ...candidateTiles(subgroups).slice(0, 1)])
      expect(
        await run(
          gpu(),
          2,
          tableWith(() => tile, subgroups, 2),
        ),
        tileName(tile),
      ).toEqual(usual);
  }, 300_000);

  test("measures what a session's plans need, once, and changes no result", async () => {
    const { subgroups } = gpu();
    const inputs = new Map([["image", randomTensor([2, 3, 10, 10], 9)]]);
    using plain = new Session(gpu(), network);
    const usual = await plain.run(inputs);
    const events: string[] = [];
    const tuner = new Tuner(gpu(), {
      begin: (n) => events.push(`${n}`),
      end: (table) => events.push(`kept ${Object.keys(table.record()).length}`),
    });
    attachTuner(gpu(), tuner);
    using session = new Session(gpu(), network);
    expect(await session.run(inputs)).toEqual(usual);
    expect(events).toEqual(["4", "kept 4"]);
    using again = new Session(gpu(), network);
    expect(await again.run(inputs)).toEqual(usual);
    expect(events).toHaveLength(2);
    const known = new Set(candidateTiles(subgroups).map(tileName));
    for (const tiles of Object.values(tuner.table.record()))
      for (const name of Object.values(tiles)) expect(known).toContain(name);
  }, 300_000);

  test("keeps what it has measured when it is interrupted", async () => {
    const stop = new AbortController();
    let kept = 0;
    const tuner = new Tuner(gpu(), {
      signal: stop.signal,
      begin: () => {
        stop.abort(new Error("stopped"));
      },
      end: () => kept++,
    });
    await expect(tuner.tune(network, request(1))).rejects.toThrow("stopped");
    expect(kept).toBe(1);
  });
});

describe.skipIf(testAdapters.length === 0)("without timestamp queries", () => {
  test("time is the clock's", async () => {
    using adapter = await openTestAdapter(testAdapters[0] ?? "");
    const device = await adapter.adapter.requestDevice();
    using gpu = Gpu.borrow(device);
    const tuner = new Tuner(gpu);
    const { inputs, outputs } = request(1);
    const tiles = await tuner.tune(network, { inputs, outputs });
    expect(tiles.tile(first(gpu.subgroups))).toBeDefined();
    device.destroy();
  }, 300_000);
});
