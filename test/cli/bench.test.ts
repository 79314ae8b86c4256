/** `unbraid bench`: named measures, and nothing of what no peer of the same run agrees with. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { parseCommandLine } from "../../src/cli/arguments.ts";
import { concatenated, type Peer } from "../../src/cli/bench/engine.ts";
import { medianOf, ratioOf } from "../../src/cli/bench/figures.ts";
import { installed } from "../../src/cli/bench/peers.ts";
import { TFJS_CORE, TFJS_WEBGPU } from "../../src/cli/bench/tfjs-api.ts";
import { differenceOf } from "../../src/cli/bench/work.ts";
import { bench, runBench } from "../../src/cli/commands/bench.ts";
import { Context } from "../../src/cli/context.ts";
import type { BenchDocument } from "../../src/cli/bench/document.ts";
import { Output } from "../../src/cli/output.ts";
import { testAdapters } from "../support/gpu.ts";
import { halfAdapters } from "../support/half.ts";
import { build } from "./built.ts";
import { errorOf, Kept, temporaryFolder, unbraid, jsonOf, writeClassifier } from "./support.ts";

const [adapter = ""] = testAdapters;
const dir = temporaryFolder();
const common = ["--adapter", adapter, "--rounds", "2", "--starts", "0"];

/** onnxruntime in this process; `spoil` is added to each of its outputs. */
const peer = (name: string, spoil: (round: number) => number): Peer => ({
  name,
  open: async (task) => {
    const { path, outputs } = task;
    const session = await ort.InferenceSession.create(path);
    let runs = 0;
    return {
      name,
      run: async (_, feeds = task.feeds) => {
        const given = Object.fromEntries(feeds.map((f) => [f.name, new ort.Tensor("float32", f.data, f.shape)]));
        const got = await session.run(given);
        const add = spoil(runs++);
        const output = concatenated(outputs.map((o) => got[o]?.data as Float32Array)).map((y) => y + add);
        return { ms: 5, output };
      },
      close: () => Promise.resolve(),
    };
  },
});
const absent: Peer = { name: "absent", open: () => Promise.reject(new Error("is not installed")) };

async function run(peers: readonly Peer[], ...argv: string[]): Promise<{ code: number; document: BenchDocument }> {
  const [stdout, stderr] = [new Kept(), new Kept()];
  const { signal } = new AbortController();
  const out = new Output({ stdout, stderr }, { json: true, quiet: true }, signal);
  const code = await runBench(new Context(parseCommandLine(bench, [...argv, ...common]), out, signal), peers);
  return { code, document: JSON.parse(stdout.text) as BenchDocument };
}

describe.skipIf(testAdapters.length === 0)("bench", () => {
  it.skipIf(!halfAdapters.includes(adapter))("half precision is held to what float16 rounds, and said", async () => {
    const peers = [peer("honest", () => 0), peer("wrong", () => 50)];
    const { document } = await run(peers, "--precision", "f16");
    expect(document.precision).toBe("f16");
    const [network] = document.networks;
    expect(network?.validated.map((v) => v.peer)).toEqual(["honest"]);
    expect(network?.refused.map((v) => v.peer)).toEqual(["wrong"]);
    // More than float32 rounds, by which it is told apart from a run in float32.
    const { document: full } = await run([peer("honest", () => 0)]);
    expect(full.precision).toBe("f32");
    const [half, whole] = [network?.validated[0], full.networks[0]?.validated[0]];
    expect(half?.difference ?? 0).toBeGreaterThan(whole?.bound ?? Infinity);
    expect(half?.bound ?? 0).toBeGreaterThan(whole?.bound ?? Infinity);
  });

  it("names measures of the demo network, each with an interval; absent peers are said to be so", async () => {
    const { code, document } = await run([peer("honest", () => 0), absent], "--layers", "--gradient", "--out", dir);
    expect(code).toBe(0);
    const [network] = document.networks;
    expect(network?.validated.map((v) => v.peer)).toEqual(["honest"]);
    expect(network?.absent).toEqual([{ peer: "absent", why: "is not installed" }]);
    const names = Object.keys(network?.measures ?? {});
    expect(names).toEqual(
      expect.arrayContaining([
        ...["ours_ms_an_image", "honest_ms_an_image", "honest_over_ours", "share_of_ceiling", "event_loop_share"],
        ...["gpu_peak_bytes", "gpu_peak_over_floor", "gradient_with_forward_over_forward"],
      ]),
    );
    const { gflops, gbytes_per_second } = document.ceiling;
    for (const figure of [...Object.values(network?.measures ?? {}), gflops, gbytes_per_second]) {
      expect(Object.keys(figure).sort()).toEqual(["high", "low", "n", "value"]);
      const { value, low, high, n } = figure;
      expect([value, low, high, n].every(Number.isFinite)).toBe(true);
      expect(low <= value && value <= high && n >= 1).toBe(true);
    }
    const layers = network?.layers ?? [];
    expect(layers.filter((l) => l.what === "Gemm")).toHaveLength(1);
    // The sum over layers is the whole network's work.
    expect(layers.reduce((n, l) => n + l.operations, 0)).toBe(network?.operations_an_image);
    expect(readFileSync(join(dir, "bench.md"), "utf8")).toMatch(/^\| demo \| 1 \| honest \| 5 \|/m);
    expect(readFileSync(join(dir, "roofline-demo-1.svg"), "utf8")).toContain("prefers-color-scheme: dark");
  });

  it("prints no figure where outputs differ, at first or in a later round", async () => {
    for (const spoil of [(k: number) => (k < 3 ? 0 : 0.1), () => NaN]) {
      const { code, document } = await run([peer("wrong", spoil)]);
      expect(code).toBe(9);
      expect(document.networks[0]?.measures).toEqual({});
      expect(document.networks[0]?.refused.map((v) => v.peer)).toEqual(["wrong"]);
    }
    const both = await run([peer("honest", () => 0), peer("wrong", () => 0.1)]);
    expect(both.code).toBe(9);
    expect(Object.keys(both.document.networks[0]?.measures ?? {}).filter((k) => k.startsWith("wrong"))).toEqual([]);
    expect(both.document.networks[0]?.measures.honest_over_ours?.n).toBe(2);
  });

  it("refuses without any peer, and peers that are none", async () => {
    await expect(run([absent])).rejects.toMatchObject({
      code: "BENCH_NO_PEER",
      message: expect.stringContaining("absent") as string,
    });
    expect(await errorOf("bench", "--only", "caffe")).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
    expect(await errorOf("bench", "--rounds", "0")).toMatchObject({ code: "OPTION_VALUE", exit: 2 });
  });

  it("measures tiles first where --tune asks for it", async () => {
    const cache = join(dir, "tuned");
    vi.stubEnv("XDG_CACHE_HOME", cache);
    try {
      expect((await run([peer("honest", () => 0)], "--tune", "once")).code).toBe(0);
    } finally {
      vi.unstubAllEnvs();
    }
    const files = readdirSync(cache, { recursive: true, encoding: "utf8" });
    expect(files.filter((file) => /tuning-[0-9a-f]+\.json$/.test(file))).toHaveLength(1);
  });

  describe("with processes", () => {
    beforeAll(build, 120_000);
    it("onnxruntime runs in one of its own, for each size of batch", async () => {
      const model = writeClassifier(join(dir, "net.onnx"));
      const argv = ["--crop", "8", "--batch", "1,3", "--only", "onnxruntime_cpu,tfjs_webgpu", "--json"];
      const ran = await unbraid("bench", model, ...argv, ...common);
      expect(ran.code, ran.stderr).toBe(0);
      const { networks } = jsonOf<BenchDocument>(ran);
      expect(networks.map((n) => n.batch)).toEqual([1, 3]);
      const tfjs = installed(TFJS_CORE) && installed(TFJS_WEBGPU);
      const peers = ["onnxruntime_cpu", ...(tfjs ? ["tfjs_webgpu"] : [])];
      expect(networks.map((n) => n.validated.map((v) => v.peer))).toEqual([peers, peers]);
      if (!tfjs) expect(networks[0]?.absent[0]?.why).toMatch(/^not installed: .*npm install/);
    });
  });
});

it("ratios are medians over pairs: a drift of both cancels", () => {
  const ours = [1, 2, 4, 8];
  const ratio = ratioOf(
    ours.map((ms) => 3 * ms),
    ours,
  );
  expect(ratio).toEqual({ value: 3, low: 3, high: 3, n: 4 });
  expect(medianOf([5])).toEqual({ value: 5, low: 5, high: 5, n: 1 });
});

it("outputs that are zeros, or of another length, confirm nothing", () => {
  expect(differenceOf(new Float32Array(4), new Float32Array(4), []).holds).toBe(false);
  expect(differenceOf(Float32Array.of(1, 2), Float32Array.of(1), []).holds).toBe(false);
  expect(differenceOf(Float32Array.of(1, 2), Float32Array.of(1, 2), []).holds).toBe(true);
});
