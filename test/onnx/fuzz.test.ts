/**
 * Mutants of real networks: damaged bytes, and valid protobuf that is not valid ONNX. Each is decoded, built, planned
 * forward and backward, and split; a share of those that come through is run. None may crash, hang, allocate what is only
 * declared, or give a result that is not finite without its being said. Seeded: every run tries the same mutants.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeNpy } from "../../src/cli/npy.ts";
import { countNonFinite } from "../../src/engine/finite.ts";
import { externalReader } from "../../src/files.ts";
import type { OpenAdapter } from "../../src/gpu/dawn/adapters.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { operators } from "../../src/kernels/table.ts";
import { temporaryFolder, unbraid, write } from "../cli/support.ts";
import { watchAllocations } from "../support/allocations.ts";
import { openTestAdapter, testAdapters } from "../support/gpu.ts";
import { Random } from "../support/random.ts";
import { sharedDir } from "../support/shared.ts";
import { attempt, evaluate, inputsOf, smallEnough, type Attempt } from "./fuzz/attempt.ts";
import { byteMutant, rangesOf, structureMutant } from "./fuzz/mutate.ts";
import { demo, networks } from "./fuzz/networks.ts";

/** Mutants of the narrowed demo model, of each smaller network, and of a file at full size: 20 400 together. */
const COUNTS = { demo: 1500, small: 4700, full: 100 } as const;
/** One in so many of the mutants that could be planned differently is run. */
const RUN_EVERY = 4;
const LIMIT_MS = 1000;
/** Twice the largest result that is computed on the host (2^20 float64), and some copies of the file. */
const LIMIT_BYTES = (fileBytes: number): number => 16 * 2 ** 20 + 16 * fileBytes;

const external = externalReader(fileURLToPath(new URL("../../models/demo.onnx", import.meta.url)));
const known = [...operators.keys()];
const dir = temporaryFolder();

interface Tally {
  readonly outcomes: Map<string, number>;
  run: number;
  /** Mutants whose results are not finite. */
  readonly notFinite: Uint8Array[];
}

/** Reads one mutant, within the limits of time and memory. */
function read(bytes: Uint8Array, gradient: boolean, what: string): Attempt {
  using watch = watchAllocations();
  // Time of the processor, not of the clock: something else may hold the machine.
  const before = process.cpuUsage();
  const result = attempt(bytes, gradient, external);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000, `${what}: ms`).toBeLessThan(LIMIT_MS);
  expect(watch.largest(), `${what}: bytes allocated at once`).toBeLessThan(LIMIT_BYTES(bytes.length));
  return result;
}

async function fuzz(bytes: Uint8Array, count: number, seed: number, gpu: Gpu | undefined): Promise<Tally> {
  const tally: Tally = { outcomes: new Map(), run: 0, notFinite: [] };
  const original = read(bytes, true, "the original");
  expect(original.outcome).toBe("planned");
  const plain = JSON.stringify(original.plan?.calls);
  if (gpu !== undefined) expect(await notFinite(gpu, original)).toBe(0);
  const random = new Random(seed);
  const ranges = rangesOf(bytes);
  let planned = 0;
  for (let k = 0; k < count; k++) {
    // One in four is damaged in its bytes: most of those end in the decoder.
    const damaged = k % 4 === 0;
    const mutant = damaged ? byteMutant(random, bytes, ranges) : structureMutant(random, bytes, known);
    const result = read(mutant, k % 8 < 4, `mutant ${k} of seed ${seed}`);
    tally.outcomes.set(result.outcome, (tally.outcomes.get(result.outcome) ?? 0) + 1);
    const changed = result.plan !== undefined && (damaged || JSON.stringify(result.plan.calls) !== plain);
    if (gpu === undefined || !changed || planned++ % RUN_EVERY !== 0 || !smallEnough(result.plan)) continue;
    tally.run++;
    if ((await notFinite(gpu, result)) > 0) tally.notFinite.push(mutant);
  }
  return tally;
}

async function notFinite(gpu: Gpu, { graph, plan }: Attempt): Promise<number> {
  if (graph === undefined || plan === undefined) throw new Error("not planned");
  const results = await evaluate(gpu, graph, plan);
  return [...results.values()].reduce((n, data) => n + countNonFinite(data), 0);
}

/** `unbraid run` on a mutant: it ends well, and says which value is not finite and how often. */
async function expectSaid(mutant: Uint8Array, name: string): Promise<void> {
  const { graph, plan } = attempt(mutant, false, external);
  if (graph === undefined || plan === undefined) throw new Error("not planned");
  const model = write(join(dir, `${name}.onnx`), mutant);
  const inputs = [...inputsOf(plan)].flatMap(([input, data], k) => {
    const { type, shape } = { type: "float32" as const, shape: plan.inputs.get(input)?.shape ?? [] };
    return ["--input", `${input}=${write(join(dir, `${name}-${k}.npy`), encodeNpy({ type, shape, data }))}`];
  });
  const ran = await unbraid("run", model, ...inputs, "--json", "--adapter", testAdapters[0] ?? "");
  const { non_finite: said } = JSON.parse(ran.stdout) as { non_finite: Record<string, number> };
  expect(Object.values(said).reduce((n, k) => n + k, 0)).toBeGreaterThan(0);
  for (const [value, n] of Object.entries(said)) expect(ran.stderr).toContain(`\\"${value}\\": ${n} of `);
}

describe("mutants of networks", () => {
  let adapter: OpenAdapter | undefined;
  let gpu: Gpu | undefined;
  beforeAll(async () => {
    if (testAdapters[0] === undefined) return;
    adapter = await openTestAdapter(testAdapters[0]);
    gpu = await Gpu.open(adapter.adapter);
  });
  afterAll(() => {
    gpu?.[Symbol.dispose]();
    adapter?.close();
  });

  it("are at least 20 000", () => {
    expect(COUNTS.demo + (networks.length - 1) * COUNTS.small + COUNTS.full).toBeGreaterThanOrEqual(20_000);
  });

  it.each(networks.map(({ name, bytes }, k) => [name, { bytes, k }] as const))("%s", async (_, { bytes, k }) => {
    const count = k === 0 ? COUNTS.demo : COUNTS.small;
    const tally = await fuzz(bytes, count, 100 + k, gpu);
    // The mutants reach beyond the outermost checks: all manner of errors, and many networks that still run.
    expect(tally.outcomes.size).toBeGreaterThan(15);
    expect(tally.outcomes.get("planned")).toBeGreaterThan(count / 10);
    if (gpu === undefined) return;
    expect(tally.run).toBeGreaterThan(count / 100);
    for (const [n, mutant] of tally.notFinite.slice(0, 2).entries()) await expectSaid(mutant, `${k}-${n}`);
  });

  it("the demo model as it ships", async () => {
    const tally = await fuzz(demo, COUNTS.full, 200, undefined);
    expect(tally.outcomes.size).toBeGreaterThan(8);
  });

  it.skipIf(sharedDir === undefined)("trained networks (skipped where ../shared is absent)", async () => {
    for (const [k, name] of ["cifar10-resnet20", "cifar10-resnet20-dynamo", "cifar100-bottleneck26"].entries()) {
      const bytes = new Uint8Array(readFileSync(`${sharedDir ?? ""}/models/${name}.onnx`));
      const tally = await fuzz(bytes, 40, 300 + k, undefined);
      expect(tally.outcomes.size, name).toBeGreaterThan(6);
    }
  });

  it("cut short anywhere: an error that says so", () => {
    const bytes = networks[1]?.bytes ?? new Uint8Array();
    for (let n = 0; n < bytes.length; n++) {
      // Cut right before opset_import (the last 4 bytes) or inside it, the graph is whole but its version is missing.
      expect(["NOT_ONNX", "ONNX_TRUNCATED", "ONNX_NO_GRAPH", "OPSET_UNSUPPORTED"], `${n} bytes`).toContain(
        attempt(bytes.subarray(0, n), false).outcome,
      );
    }
  });
});
